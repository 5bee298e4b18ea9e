"""What the procedurally generated games share: levels, modes, the two views, and the clock.

In the spirit of ProcGen (Cobbe et al. 2020, https://arxiv.org/abs/1912.01588): a level is made from
a seed, and training and test levels are different ones. All that happens follows from the level and
the actions, so the key of a step is not used and a search may try things out.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.procgen.scene import Scene, centred, kinds_seen, picture, planes, whole
from metarl.envs.spaces import Choices
from metarl.envs.splits import check_split, draw_level
from metarl.envs.steps import outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep

Mode = Literal["easy", "hard", "memory"]
View = Literal["planes", "pixels"]
Level = Any  # a pytree of arrays, a game's own
World = Any  # a pytree of arrays, a game's own

FIRE = 9  # the action that is no move
STAY = 4
PIXELS = 64


class Params(struct.PyTreeNode):
    """Dynamic settings; the levels are leaves like any other, so one programme serves any set."""

    levels: Level  # [L, ...] an episode draws a row; None: every episode makes a level of its own
    max_steps: jax.Array  # [] int32, steps until truncation
    split: str | None = struct.field(pytree_node=False, default=None)  # where `levels` is None


class State(struct.PyTreeNode):
    """One episode in progress."""

    world: World
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Game(Choices):
    """The base of all games; `docs/environments.md` has the rules of each.

    Actions, as in ProcGen but for five keys that no game here uses: `3 * column + row` of a move
    with column 0 left, 1 neither, 2 right and row 0 down, 1 neither, 2 up; so 4 stays. 9 fires.
    An action number out of range is clipped. `view="planes"` shows uint8 planes
    `[kinds + gauges, span, span]`, `view="pixels"` a picture `[3, 64, 64]`, channels first as
    agents read them. `mode="memory"` shows the player's surroundings in a larger world.
    """

    mode: Mode = "easy"
    view: View = "planes"

    num_actions: ClassVar[int] = 10
    arrows: ClassVar[tuple[int, int, int, int]] = (5, 7, 3, 1)  # up, right, down, left
    modes: ClassVar[tuple[str, ...]] = get_args(Mode)
    kinds: ClassVar[tuple[str, ...]]  # names of what a cell or sprite may be; the first is empty
    signs: ClassVar[str]  # one sign a kind
    gauges: ClassVar[tuple[str, ...]] = ()  # names of what is shown besides
    sides: ClassVar[Mapping[str, int]]  # cells of a side of the world, by mode
    radius: ClassVar[int] = 8  # cells to all sides of the player that memory mode shows
    horizon: ClassVar[Mapping[str, int]] = dict.fromkeys(get_args(Mode), 500)  # steps, by mode

    def __post_init__(self):
        if self.mode not in self.modes:
            raise ValueError(f"{type(self).__name__} has modes {self.modes}, not {self.mode!r}")
        if self.view not in get_args(View):
            raise ValueError(f"view must be one of {get_args(View)}, not {self.view!r}")

    # What each game says.

    def generate(self, key: Key) -> Level:
        """A level that can be won. The key is consumed."""
        raise NotImplementedError

    def edit(self, key: Key, level: Level) -> Level:
        """The level with one small change, after which it can still be won. The key is consumed."""
        raise NotImplementedError

    def begin(self, level: Level) -> World:
        """The world at the start of an episode."""
        raise NotImplementedError

    def advance(self, world: World, action: jax.Array) -> tuple[World, jax.Array, jax.Array]:
        """One step: the world, the reward [] float32, and whether the task ended [] bool."""
        raise NotImplementedError

    def scene(self, world: World) -> Scene:
        """What is there to see."""
        raise NotImplementedError

    @staticmethod
    def atlas() -> np.ndarray:
        """[K, 8, 8, 4] uint8, a picture of every kind."""
        raise NotImplementedError

    # What they share.

    @property
    def side(self) -> int:
        """Cells of a side of the world."""
        return self.sides[self.mode]

    @property
    def span(self) -> int:
        """Cells of a side of the view: all of the world, or the player's surroundings."""
        return 2 * self.radius + 1 if self.mode == "memory" else self.side

    def seen(
        self, tiles: jax.Array, row: jax.Array, column: jax.Array, *, outside: int, **rest: Any
    ) -> Scene:
        """The scene of a player whose centre is at `row` and `column`, in cells.

        Args:
          tiles: [side, side] uint8, the world.
          row, column: [] float32.
          outside: the kind beyond the world's edge.
          **rest: sprites and gauges.
        """
        if self.span == self.side:
            return whole(tiles, **rest)
        return centred(tiles, row, column, radius=self.radius, outside=outside, **rest)

    @property
    def observation_space(self) -> Box:
        """Planes of kinds, 0 or 1, and of gauges, 0 to 255; or a picture."""
        if self.view == "pixels":
            return Box(0, 255, (3, PIXELS, PIXELS), np.uint8)
        marks, gauges = len(self.kinds) - 1, len(self.gauges)
        high = np.repeat(np.array([1, 255], np.uint8), [marks, gauges])[:, None, None]
        shape = (marks + gauges, self.span, self.span)
        return Box(np.zeros(shape, np.uint8), np.broadcast_to(high, shape), dtype=np.uint8)

    def default_params(
        self, num_levels: int = 200, start_level: int = 0, split: str = "train"
    ) -> Params:
        """Levels made from consecutive seeds.

        Args:
          num_levels: how many; 0: every episode makes a level of its own, without end, which is
            slow unless the environments are vectorised with a `pool` of starts.
          start_level: seed of the first.
          split: "train" or "heldout"; no level is in both, whatever their seeds.

        Raises:
          ValueError: negative numbers or an unknown split.
        """
        check_split(split)
        if min(num_levels, start_level) < 0:
            raise ValueError("num_levels and start_level must not be negative")
        limit = jnp.int32(self.horizon[self.mode])
        if num_levels == 0:
            return Params(None, limit, split)
        table = _table(self, num_levels, start_level, split)
        return Params(jax.tree.map(jnp.array, table), limit)

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """A task: one level. The key is consumed."""
        level = draw_level(self.generate, key, split)
        row = jax.tree.map(lambda x: x[None], level)
        return Params(row, jnp.int32(self.horizon[self.mode]))

    def mutate(self, key: Key, params: Params) -> Params:
        """Every level with one small change of its own. The key is consumed.

        Raises:
          ValueError: the params hold no levels.
        """
        if params.levels is None:
            raise ValueError("these params make levels without end; there is none to mutate")
        count = jax.tree.leaves(params.levels)[0].shape[0]
        edited = jax.vmap(self.edit)(jax.random.split(key, count), params.levels)
        return params.replace(levels=edited)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Draws a level, or makes one. The key is consumed."""
        if params.levels is None:
            level = draw_level(self.generate, key, params.split)
        else:
            count = jax.tree.leaves(params.levels)[0].shape[0]
            row = keys.below(keys.words(key, 1)[0], count)
            level = jax.tree.map(lambda x: x.at[row].get(mode="promise_in_bounds"), params.levels)
        state = State(self.begin(level), jnp.int32(0))
        return state, self._timestep(state, params, jnp.float32(0), jnp.bool_(False))

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Advances the world. The key is not used."""
        action = jnp.clip(action, 0, self.num_actions - 1)
        world, reward, terminated = self.advance(state.world, action)
        state = State(world, state.time + 1)
        return state, self._timestep(state, params, reward, terminated)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """Planes or a picture; every action is legal."""
        scene = self.scene(state.world)
        if self.view == "pixels":
            return picture(scene, self.atlas(), PIXELS), None
        return planes(scene, len(self.kinds)), None

    def render(self, state: State, params: Params) -> jax.Array:
        """The same picture, four times as sharp."""
        shown = picture(self.scene(state.world), self.atlas(), 4 * PIXELS)
        return jnp.moveaxis(shown, 0, -1)

    def render_text(self, state: State, params: Params) -> str:
        """One sign a cell, sprites above tiles, then the gauges."""
        scene = jax.device_get(self.scene(state.world))
        shown = np.array(kinds_seen(scene))
        marks = np.asarray(planes(scene.replace(gauges=None), len(self.kinds)))
        for kind in range(1, len(self.kinds)):
            sprites = marks[kind - 1].astype(bool) & (np.asarray(kinds_seen(scene)) != kind)
            shown[sprites] = kind
        rows = ["".join(self.signs[kind] for kind in row) for row in shown]
        if scene.gauges is not None:
            levels = zip(self.gauges, scene.gauges, strict=True)
            rows.append("  ".join(f"{name} {level:.2f}" for name, level in levels))
        return "\n".join(rows)

    def _timestep(
        self, state: State, params: Params, reward: jax.Array, terminated: jax.Array
    ) -> TimeStep:
        obs, _ = self.observe(state, params)
        return outcome(obs, reward, terminated, state.time >= params.max_steps)


def moves(action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows down and columns right, each -1, 0 or 1, that an action asks for; firing is no move."""
    move = action < FIRE
    return jnp.where(move, 1 - action % 3, 0), jnp.where(move, action // 3 - 1, 0)


def four_moves(action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same without diagonals, where the move to a side wins."""
    down, right = moves(action)
    return jnp.where(right == 0, down, 0), right


def level_of(game: Game, seed: jax.Array | int, split: str | None) -> Level:
    """The level of a seed."""
    return draw_level(game.generate, jax.random.key(seed), split)


@functools.lru_cache(maxsize=64)
def _table(game: Game, count: int, start: int, split: str) -> Level:
    """[count, ...] levels on the host: what a caller gets is a copy, which may be donated."""
    with jax.ensure_compile_time_eval():
        seeds = jnp.arange(start, start + count)
        make = jax.jit(jax.vmap(lambda seed: level_of(game, seed, split)))
        return jax.device_get(make(seeds))

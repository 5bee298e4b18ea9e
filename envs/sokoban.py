"""Sokoban: push every box onto a target; nothing can be pulled.

Rules and rewards of Boxoban and of jumanji's Sokoban-v0 (Bonnet et al. 2024,
https://arxiv.org/abs/2306.09884), with one difference: the time limit truncates instead of
terminating. A level solved in `T` steps returns `10 + boxes - 0.1 * T`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.drawing import tiled
from metarl.envs.levels.boxoban import load_levels
from metarl.envs.levels.shipped import default_levels
from metarl.envs.levels.table import BOX, PLAYER, TARGET, WALL, Levels, LevelTable, draw
from metarl.envs.spaces import FourMoves
from metarl.envs.splits import SPLITS, check_split
from metarl.envs.steps import outcome
from metarl.envs.ways import distances
from metarl.ops import keys
from metarl.ops.sampling import any_of
from metarl.types import Key, TimeStep

_MIRRORS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # of rows and of columns


class Params(struct.PyTreeNode):
    """Dynamic settings; the levels are a leaf like any other, so a programme serves any set."""

    levels: Levels
    max_steps: jax.Array  # [] int32, steps until truncation
    step_reward: jax.Array  # [] float32, for every step
    on_reward: jax.Array  # [] float32, for a box that arrives on a target
    off_reward: jax.Array  # [] float32, for a box that leaves one
    solved_reward: jax.Array  # [] float32, for the last box's arrival, on top

    @classmethod
    def from_levels(
        cls,
        levels: LevelTable,
        *,
        max_steps: int = 120,
        step_reward: float = -0.1,
        on_reward: float = 1.0,
        off_reward: float = -1.0,
        solved_reward: float = 10.0,
    ) -> "Params":
        """The published numbers, or others, with these levels."""
        rewards = (jnp.float32(r) for r in (step_reward, on_reward, off_reward, solved_reward))
        return cls(levels.levels(), jnp.int32(max_steps), *rewards)


class State(struct.PyTreeNode):
    """One episode in progress; the player is not on the board but beside it."""

    board: jax.Array  # [cells] uint8, bits WALL, TARGET and BOX
    player: jax.Array  # [] int32, cell number `row * width + column`
    left: jax.Array  # [] int32, boxes that are not on a target
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Sokoban(FourMoves):
    """A board of `height` by `width` cells; actions are up, right, down, left.

    A move into a wall, or of a box that has no room, changes nothing but costs the step; the mask
    calls it illegal. An action number out of range is clipped. Every episode draws its level
    uniformly from the params'. `boxes` matters to `default_params` alone. With `hidden_targets` the
    observation lacks the targets, so that a box on one looks like any other: only rewards tell, and
    a second attempt at a level (`metarl.wrappers.trial`) can profit from the first. Pictures show
    them all the same. The outermost cells are walls in every level; with `border=False` the
    observation is of the cells within them alone, which on 6 by 6 are 16 of 36.
    """

    height: int = 10
    width: int = 10
    boxes: int = 4
    hidden_targets: bool = False
    border: bool = True

    def __post_init__(self):
        if min(self.height, self.width) < 3 or self.height * self.width > 65536 or self.boxes < 1:
            raise ValueError(f"Sokoban needs 3 by 3 to 65536 cells and a box, got {self}")

    @property
    def observation_space(self) -> Box:
        """Planes wall, target (unless hidden), box, player."""
        without = 0 if self.border else 2
        cells = (self.height - without, self.width - without)
        return Box(0, 1, (4 - self.hidden_targets, *cells), np.uint8)

    def default_params(self, split: str = "train", levels: str | None = None) -> Params:
        """The published numbers on levels of the package's own generator, no download.

        Args:
          split: "train" or "heldout"; the two share no room. Sizes that the package ships no table
            for are generated here, which takes a second or more.
          levels: path of level files or a folder of them to play instead; see `params_from`.
        """
        if levels is not None:
            return params_from(levels)
        return Params.from_levels(default_levels(self.height, self.width, self.boxes, split))

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """A task: one level of `default_params`, of either split for None. The key is consumed."""
        check_split(split)
        splits = SPLITS if split is None else (split,)
        tables = [default_levels(self.height, self.width, self.boxes, s) for s in splits]
        chosen = LevelTable.join(tables)
        params = Params.from_levels(chosen)
        row = keys.below(keys.words(key, 1)[0], len(chosen))
        return params.replace(levels=jax.tree.map(lambda x: x[row][None], params.levels))

    def mutate(self, key: Key, params: Params) -> Params:
        """Every level turned or mirrored, its player elsewhere in reach. The key is consumed.

        Both keep a level solvable, and in its split.
        """
        count = params.levels.board.shape[0]
        board, player = jax.vmap(self._turned)(
            jax.random.split(key, count), params.levels.board, params.levels.player
        )
        return params.replace(levels=params.levels.replace(board=board, player=player))

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Draws a level. The key is consumed.

        Raises:
          ValueError: the params hold levels of another size.
        """
        levels = params.levels
        if (levels.height, levels.width) != (self.height, self.width):
            raise ValueError(
                f"{self} was given levels of {levels.height} by {levels.width} cells; "
                f"make it with height={levels.height}, width={levels.width}"
            )
        row = keys.below(keys.words(key, 1)[0], levels.board.shape[0])
        board, player, left = (
            leaf.at[row].get(mode="promise_in_bounds")
            for leaf in (levels.board, levels.player, levels.left)
        )
        state = State(board, player, left, jnp.int32(0))
        return state, self._timestep(state, params, jnp.float32(0), jnp.bool_(False))

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Moves the player, and the box in its way. The key is not used."""
        move = self._moves()[jnp.clip(action, 0, 3)]
        near, far = state.player + move, state.player + 2 * move
        near_cell, far_cell = _cells(state.board, near), _cells(state.board, far)
        moves = _passable(near_cell, far_cell)
        pushes = moves & _has(near_cell, BOX)
        cell = jnp.arange(self.height * self.width)
        swapped = ((cell == near) | (cell == far)) & pushes  # the box leaves one and enters one
        on, off = pushes & _has(far_cell, TARGET), pushes & _has(near_cell, TARGET)
        state = State(
            board=state.board ^ jnp.where(swapped, jnp.uint8(BOX), jnp.uint8(0)),
            player=jnp.where(moves, near, state.player),
            left=state.left - on + off,
            time=state.time + 1,
        )
        solved = state.left == 0
        reward = params.on_reward * on + params.off_reward * off + params.solved_reward * solved
        return state, self._timestep(state, params, reward + params.step_reward, solved)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, jax.Array]:
        """The planes and the moves that change something."""
        del params
        player = jnp.arange(self.height * self.width) == state.player
        shown = (WALL, BOX) if self.hidden_targets else (WALL, TARGET, BOX)
        planes = [*(_has(state.board, bit) for bit in shown), player]
        # Flat planes end to end are plain copies; stacked they would be a slow transposition.
        obs = jnp.concatenate([plane.astype(jnp.uint8) for plane in planes])
        move = self._moves()
        near = _cells(state.board, state.player + move)
        mask = _passable(near, _cells(state.board, state.player + 2 * move))
        obs = obs.reshape(-1, self.height, self.width)
        # Walled in on all sides, every action is as good as another.
        return obs if self.border else obs[:, 1:-1, 1:-1], mask | ~mask.any()

    def render(self, state: State, params: Params) -> jax.Array:
        """Sixteen pixels a cell: brick walls, red targets, crates that turn green on a target."""
        del params
        return tiled(self._drawn(state), tiles())

    def render_text(self, state: State, params: Params) -> str:
        """The usual signs: `#` wall, `@` player, `$` box, `.` target, `*` and `+` on a target."""
        del params
        return draw(np.asarray(self._drawn(state)))

    def _turned(self, key: Key, board: jax.Array, player: jax.Array) -> tuple[jax.Array, jax.Array]:
        """A board [cells] turned some way, and a player who could have walked there."""
        way_word, player_word = keys.words(key, 2)
        grid = board.at[player].add(jnp.uint8(PLAYER)).reshape(self.height, self.width)
        square = self.height == self.width
        ways = [g[::i, ::j] for g in ((grid, grid.T) if square else (grid,)) for i, j in _MIRRORS]
        turned = jnp.stack(ways)[keys.below(way_word, len(ways))]
        here = jnp.argmax(_has(turned, PLAYER)).astype(jnp.int32)
        free = ~_has(turned, WALL | BOX)
        reached = distances(free, here) < free.size
        return (turned & ~jnp.uint8(PLAYER)).ravel(), any_of(player_word, reached)

    def _drawn(self, state: State) -> jax.Array:
        """[H, W] uint8 flags, the player's among them."""
        board = state.board.at[state.player].add(jnp.uint8(PLAYER))
        return board.reshape(self.height, self.width)

    def _moves(self) -> jax.Array:
        """[4] int32, how far up, right, down and left are in cell numbers."""
        return jnp.array([-self.width, 1, self.width, -1])

    def _timestep(
        self, state: State, params: Params, reward: jax.Array, solved: jax.Array
    ) -> TimeStep:
        obs, mask = self.observe(state, params)
        ts = outcome(obs, reward, solved, state.time >= params.max_steps, mask)
        return ts.replace(info={"solved": solved, "boxes_left": state.left})


def params_from(paths: str | Path | Iterable[str | Path], **numbers: Any) -> Params:
    """Params with the levels of text files, folders of them, or saved tables (`.npz`).

    Args:
      paths: one path or several; see `metarl.envs.levels.boxoban.load_levels`.
      **numbers: as `Params.from_levels` takes them.
    """
    return Params.from_levels(load_levels(paths), **numbers)


def tiles(size: int = 16) -> np.ndarray:
    """[16, size, size, 3] uint8, a picture of every combination of flags."""
    y, x = np.mgrid[:size, :size] * (16 / size)
    radius = np.hypot(x - 7.5, y - 7.5)
    brick = (y % 4 >= 3) | ((x + 4 * (y // 4 % 2)) % 8 >= 7)
    frame = np.maximum(abs(x - 7.5), abs(y - 7.5))
    plank = (frame > 5.5) | (abs(abs(x - 7.5) - abs(y - 7.5)) < 1)
    eyes = (abs(abs(x - 7.5) - 2) < 1) & (abs(y - 6) < 1.5)
    floor = (235, 230, 215)
    paint = {  # flag -> (where, colour) from the bottom up
        WALL: [(frame < 99, (150, 90, 60)), (brick, (95, 60, 45))],
        TARGET: [
            (frame < 6, (205, 70, 60)),
            (frame < 5, floor),
            (radius < 2, (205, 70, 60)),
        ],
        BOX: [(frame < 7, (215, 165, 90)), ((frame < 7) & plank, (150, 105, 50))],
        BOX | TARGET: [(frame < 7, (140, 200, 110)), ((frame < 7) & plank, (70, 130, 60))],
        PLAYER: [(radius < 5.5, (60, 110, 200)), (eyes, (255, 255, 255))],
    }
    pictures = np.empty((16, size, size, 3), np.uint8)
    pictures[:] = floor
    for flags in range(16):
        for what in (WALL, TARGET, BOX, BOX | TARGET, PLAYER):
            for where, colour in paint[what] if flags & what == what else ():
                pictures[flags, where] = colour
    return pictures


def _cells(board: jax.Array, cell: jax.Array) -> jax.Array:
    """The flags of some cells; beyond the border, where no move ends, those of the nearest cell."""
    return board.at[cell].get(mode="clip", wrap_negative_indices=False)


def _has(cells: jax.Array, flags: int) -> jax.Array:
    return (cells & flags) != 0


def _passable(near: jax.Array, far: jax.Array) -> jax.Array:
    """Whether a player can move onto `near`, pushing the box there onto `far`."""
    return ~_has(near, WALL) & (~_has(near, BOX) | ~_has(far, WALL | BOX))

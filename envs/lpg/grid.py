"""The grid-worlds of LPG: a life learns one small level that differs from all others.

Oh et al. 2020 (https://arxiv.org/abs/2007.08794) and GROOVE (Jackson et al. 2023,
https://arxiv.org/abs/2310.02782), whose released code settles the order within a step. Differences
from that code: the clock truncates instead of terminating; objects that return to random places
never land in walls, on the agent or on each other, but may on a cell where an absent one has been;
a cell's number counts from the same corner in steps of the largest grid; the mazes are our own.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box, Dict, Discrete, Space

from metarl.envs.drawing import layered
from metarl.envs.lpg import level
from metarl.envs.lpg.level import Params
from metarl.envs.lpg.modes import MODES, parts
from metarl.envs.lpg.places import place
from metarl.envs.spaces import Choices
from metarl.envs.splits import check_split, draw_level
from metarl.envs.steps import opening, outcome
from metarl.ops import keys
from metarl.types import Key, PyTree, TimeStep

_COLOURS = np.array([[70, 74, 84], [70, 170, 95], [205, 70, 65], [80, 130, 220]], np.uint8)


class State(struct.PyTreeNode):
    """One episode in progress."""

    cell: jax.Array  # [] int32, the agent's
    objects: jax.Array  # [] int32, bit i: object i is there
    places: jax.Array  # [N] int32, the objects' cells; [0] where they never change
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class LPGGrid(Choices):
    """A grid of at most `size` by `size` cells with at most `objects` objects.

    Actions are up, down, left, right, stay; one out of range is clipped. A step, in this order: the
    agent moves, unless into a wall or off the grid; it picks up what was on its new cell before the
    step; every object that was absent before the step returns with its own probability, so one
    picked up returns in the next step at the earliest; the reward is that of what was picked up,
    and the episode terminates with the probability of what was picked up (sums, should objects of
    own levels share a cell). After `max_steps` steps the clock truncates.

    Where the mode is tabular, objects have fixed cells and the observation is the agent's cell,
    the set of present objects as a binary number, and time in thousands of steps; `index` turns it
    into one number below `num_states`. With `one_hot` it is instead the published vector of
    `num_states` zeros and ones and the time. In the other modes objects lie and return on random
    free cells, and the observation is planes (agent, then one per type of object) and the time.
    Walls are never shown: a life finds out.

    `sample_params` draws levels of the `mode`, one of `metarl.envs.lpg.modes`, and `default_params`
    is always the same one of them. Whether a level's free cells are connected is not checked, as
    published. Levels of every mode that fits can be played: `size` and `objects` fix the shapes.
    """

    num_actions: ClassVar[int] = 5  # up, down, left, right, stay

    mode: str = "all"
    size: int = 0  # 0: the mode's own
    objects: int = 0  # 0: the mode's own
    one_hot: bool = False

    def __post_init__(self):
        modes = parts(self.mode)
        least = {"size": max(m.max_size for m in modes), "objects": max(m.slots for m in modes)}
        for field, number in least.items():
            if getattr(self, field) == 0:
                object.__setattr__(self, field, number)
            if getattr(self, field) < number:
                raise ValueError(f"mode {self.mode!r} needs {field}={number} or more, got {self}")
        if self.size > 255 or self.objects > 16:
            raise ValueError(f"size is at most 255 and objects at most 16, got {self}")
        if self.one_hot and not self.tabular:
            raise ValueError(f"one_hot is for tabular modes; {self.mode!r} shows planes")

    @property
    def tabular(self) -> bool:
        """Whether objects have fixed cells."""
        return parts(self.mode)[0].tabular

    @property
    def mechanics(self) -> "LPGGrid":
        """The one that stands for all modes whose levels can be played by the same programme."""
        return replace(self, mode=next(name for name in MODES if self._plays(name)))

    def _plays(self, name: str) -> bool:
        mode = MODES[name]
        fits = mode.max_size <= self.size and mode.slots <= self.objects
        same = self.tabular or 1 + len(mode.kinds) == self._planes
        return fits and same and mode.tabular == self.tabular

    @property
    def num_states(self) -> int:
        """Pairs of a cell and a set of objects."""
        return self.size**2 * 2**self.objects

    @property
    def observation_space(self) -> Box | Dict:
        """See the class."""
        time = Box(0, np.inf, (1,), np.float32)
        if self.one_hot:
            high = np.append(np.ones(self.num_states, np.float32), np.float32(np.inf))
            return Box(np.zeros_like(high), high)
        if self.tabular:
            shown: dict[str, Space] = {"cell": Discrete(self.size**2)}
            return Dict({**shown, "objects": Discrete(2**self.objects), "time": time})
        shape = (self._planes, self.size, self.size)
        return Dict({"planes": Box(0, 1, shape, np.uint8), "time": time})

    def default_params(self) -> Params:
        """The level that key 0 draws."""
        return _sample(jax.random.key(0), self, None)

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """A level of the mode, from "train", "heldout" or both. The key is consumed."""
        check_split(split)
        return _sample(key, self, split)

    def mutate(self, key: Key, params: Params) -> Params:
        """Moves the start or an object, or toggles a wall (`level.mutate`). The key is consumed."""
        return level.mutate(key, params, self.size, self.tabular)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """The agent on its start, the objects on theirs or anywhere. The key is consumed."""
        places = jnp.zeros(0, jnp.int32)
        if not self.tabular:
            places, none = jnp.zeros(self.objects, jnp.int32), jnp.zeros(self.objects, bool)
            draws = _unit(jnp.stack(keys.words(key, self.objects)))
            places = place(
                draws, params.present, none, places=places, cell=params.start, params=params
            )
        state = State(params.start, self.number(params.present), places, jnp.int32(0))
        obs, _ = self.observe(state, params)
        return state, opening(obs)

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """One step, in the order that the class tells. The key is consumed."""
        fate = jnp.stack(keys.words(key, self.objects))  # [N], a word for each object
        cell = self.target(state.cell, action, params)
        places = params.cells if self.tabular else state.places
        present = self.bits(state.objects)
        taken = present & (places == cell)
        luck = _unit(fate)
        returned = ~present & (luck < params.p_respawn)
        if not self.tabular:
            # Below the chance of returning, luck is uniform, so it also draws the place.
            draws = luck / jnp.maximum(params.p_respawn, 1e-9)
            places = place(
                draws, returned, present & ~taken, places=places, cell=cell, params=params
            )
        # An object that was picked up has made no other use of its word.
        luck = _unit(jnp.sum(jnp.where(taken, fate, 0), dtype=jnp.uint32))
        terminated = luck < jnp.sum(jnp.where(taken, params.p_terminate, 0))
        reward = jnp.sum(jnp.where(taken, params.rewards, 0))
        objects = self.number((present & ~taken) | returned)
        state = State(cell, objects, state.places if self.tabular else places, state.time + 1)
        obs, _ = self.observe(state, params)
        return state, outcome(obs, reward, terminated, state.time >= params.max_steps)

    def observe(self, state: State, params: Params) -> tuple[PyTree, None]:
        """What the class tells; every action is legal."""
        time = state.time[None] * jnp.float32(0.001)
        index = state.cell + self.size**2 * state.objects
        if self.one_hot:
            hot = jnp.arange(self.num_states) == index
            return jnp.concatenate([hot.astype(jnp.float32), time]), None
        if self.tabular:
            return {"cell": state.cell, "objects": state.objects, "time": time}, None
        return {"planes": self._shown(state, params), "time": time}, None

    def index(self, obs: PyTree) -> jax.Array:
        """[] int32, `cell + size**2 * objects` of a tabular observation: a number per state.

        Raises:
          ValueError: the mode is not tabular.
        """
        if not self.tabular:
            raise ValueError(
                f"mode {self.mode!r} is not tabular: its states are too many to number"
            )
        if self.one_hot:
            return jnp.argmax(obs[..., :-1], axis=-1).astype(jnp.int32)
        return obs["cell"] + self.size**2 * obs["objects"]

    def target(self, cell: jax.Array, action: jax.Array, params: Params) -> jax.Array:
        """[] int32, the cell that an action leads to."""
        action = jnp.clip(action, 0, 4)
        row = cell // self.size + (action == 1) - (action == 0)
        column = cell % self.size + (action == 3) - (action == 2)
        inside = (jnp.minimum(row, column) >= 0) & (jnp.maximum(row, column) < params.size)
        ahead = jnp.where(inside, row * self.size + column, cell).astype(jnp.int32)
        return jnp.where(params.walls.at[ahead].get(mode="promise_in_bounds"), cell, ahead)

    def bits(self, objects: jax.Array) -> jax.Array:
        """[..., N] bool, which objects binary numbers [...] say are there."""
        return (objects[..., None] >> jnp.arange(self.objects)) & 1 == 1

    def number(self, present: jax.Array) -> jax.Array:
        """[] int32, the binary number of a set of objects, [N] bool."""
        return jnp.sum(present << jnp.arange(self.objects), dtype=jnp.int32)

    def render(self, state: State, params: Params) -> jax.Array:
        """Sixteen pixels a cell: walls grey, good objects green, bad ones red, the agent blue."""
        walls, good, bad, agent = self._pictured(state, params)
        planes = jnp.stack([walls, good, bad, agent]).reshape(4, self.size, self.size)
        return layered(planes, _COLOURS)

    def render_text(self, state: State, params: Params) -> str:
        """One character a cell: `#` wall or outside, `@` agent, `+` and `-` objects, `.` free."""
        layers = jax.device_get(self._pictured(state, params))
        signs = np.full(self.size**2, ".")
        for layer, sign in zip(layers, "#+-@", strict=True):
            signs[layer] = sign
        return "\n".join("".join(row) for row in signs.reshape(self.size, self.size))

    def _pictured(self, state: State, params: Params) -> list[jax.Array]:
        """[cells] bool each: walls and what lies outside, good objects, bad ones, the agent."""
        cells = jnp.arange(self.size**2)
        places = params.cells if self.tabular else state.places
        there = (cells[:, None] == places) & self.bits(state.objects)
        walls = params.walls | ~level.inside(params.size, self.size)
        good, bad = (
            jnp.any(there & one, axis=1) for one in (params.rewards > 0, params.rewards <= 0)
        )
        return [walls, good, bad, cells == state.cell]

    @property
    def _planes(self) -> int:
        return 1 + max(len(mode.kinds) for mode in parts(self.mode))

    def _shown(self, state: State, params: Params) -> jax.Array:
        """[planes, G, G] uint8."""
        cells = self.size**2
        plane = jnp.where(self.bits(state.objects), 1 + params.kinds, self._planes)
        marked = jnp.concatenate([state.cell[None], plane * cells + state.places])
        # Blank planes and a few scattered marks: comparing every cell with each is slower here.
        shown = jnp.zeros(self._planes * cells, jnp.uint8).at[marked].set(1, mode="drop")
        return shown.reshape(self._planes, self.size, self.size)


@partial(jax.jit, static_argnums=(1, 2))
def _sample(key: Key, env: LPGGrid, split: str | None) -> Params:
    draw = partial(level.sample, modes=parts(env.mode), size=env.size, slots=env.objects)
    return draw_level(draw, key, split)


def _unit(word: jax.Array) -> jax.Array:
    """Random words as float32 numbers from 0 to below 1, the finer the nearer to 0."""
    return jnp.minimum(word.astype(jnp.float32) * np.float32(2**-32), np.float32(1 - 2**-24))

"""Deep sea: only going right at every step finds the treasure, and each step right costs.

The exploration probe of bsuite (Osband et al. 2020, https://arxiv.org/abs/1908.03568), the
deterministic form. Two intended differences: by default one action is right everywhere, where
bsuite draws it for each cell; and the observation is the number of the cell.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Discrete

from metarl.envs import cells
from metarl.envs.drawing import layered
from metarl.envs.spaces import Choices
from metarl.envs.splits import draw_level
from metarl.envs.steps import ENDLESS, opening, outcome
from metarl.types import Key, TimeStep


class Params(struct.PyTreeNode):
    """Dynamic settings; `right` makes a task."""

    right: jax.Array  # [cells] int32, the action 0 or 1 that goes right in each cell
    treasure: jax.Array  # [] float32, for going right in the last column
    move_cost: jax.Array  # [] float32, of `size` steps to the right together
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    column: jax.Array  # [] int32
    time: jax.Array  # [] int32, the row


@dataclass(frozen=True)
class DeepSea(Choices):
    """A grid of `size` by `size`; each step sinks one row and goes left or right.

    The start is the first cell and the episode terminates after `size` steps. Going right costs
    `move_cost / size`, and in the last column pays 1. The way there is to go right always, for a
    return of 0.99; every other policy gets 0 or less, and a random one finds the treasure once in
    `2**size` episodes. Which of the two actions goes right may differ from cell to cell. The border
    stops a move. An action number out of range is clipped.
    """

    num_actions: ClassVar[int] = 2  # two actions

    size: int = 10

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")

    @property
    def observation_space(self) -> Discrete:
        """The cell `row * size + column`; below the last row, the cell above."""
        return Discrete(self.size**2)

    def default_params(self) -> Params:
        """The published rewards; action 1 goes right everywhere."""
        right = jnp.ones(self.size**2, jnp.int32)
        return Params(right, jnp.float32(1), jnp.float32(0.01), jnp.int32(ENDLESS))

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """In every cell a random action goes right. The key is consumed."""

        def make(key: Key) -> Params:
            right = jax.random.bernoulli(key, 0.5, (self.size**2,)).astype(jnp.int32)
            return self.default_params().replace(right=right)

        return draw_level(make, key, split)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Starts in the first cell. The key is not used."""
        state = State(jnp.int32(0), jnp.int32(0))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Sinks one row. The key is not used."""
        right = jnp.clip(action, 0, 1) == params.right[self._cell(state)]
        found = right & (state.column == self.size - 1)
        reward = params.treasure * found - params.move_cost / self.size * right
        column = jnp.clip(state.column + jnp.where(right, 1, -1), 0, self.size - 1)
        state = State(column, state.time + 1)
        ends, late = state.time >= self.size, state.time >= params.max_steps
        return state, outcome(self.observe(state, params)[0], reward, ends, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """The number of the cell, [] int32."""
        del params
        return self._cell(state), None

    def render(self, state: State, params: Params) -> jax.Array:
        """Sixteen pixels a cell: the sea, darker where no way leads; treasure gold, diver white."""
        cell = jnp.arange(self.size**2)
        deep = (cell % self.size > cell // self.size).reshape(self.size, self.size)
        last = jnp.int32(self.size**2 - 1)
        marks = cells.planes(self.size, last, self._cell(state))
        colours = [[60, 110, 170], [30, 50, 90], [226, 180, 60], [235, 235, 235]]
        planes = jnp.concatenate([jnp.ones_like(deep)[None], deep[None], marks])
        return layered(planes, np.array(colours, np.uint8))

    def render_text(self, state: State, params: Params) -> str:
        """One character a cell: `A` diver, `G` the cell of the treasure, `.` water."""
        marks = {"G": jnp.int32(self.size**2 - 1), "A": self._cell(state)}
        return cells.text(self.size, marks)

    def _cell(self, state: State) -> jax.Array:
        return jnp.minimum(state.time, self.size - 1) * self.size + state.column

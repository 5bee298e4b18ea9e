"""Catch: be where the ball lands.

The game of bsuite (Osband et al. 2020, https://arxiv.org/abs/1908.03568), with one difference:
ball and paddle are two planes instead of one.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.drawing import layered
from metarl.envs.spaces import Choices
from metarl.envs.steps import ENDLESS, opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep


class Params(struct.PyTreeNode):
    """Dynamic settings."""

    catch_reward: jax.Array  # [] float32
    miss_reward: jax.Array  # [] float32
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    row: jax.Array  # [] int32, of the ball
    column: jax.Array  # [] int32, of the ball
    paddle: jax.Array  # [] int32, its column in the last row
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Catch(Choices):
    """A ball falls from a random column of the first row, one row a step, and a paddle waits below.

    Actions are left, stay, right; the paddle stops at the border and starts in the middle. When
    the ball reaches the last row the episode terminates, with 1 if the paddle is there and -1 if
    not. The best return is 1. An action number out of range is clipped.
    """

    num_actions: ClassVar[int] = 3  # left, stay, right

    rows: int = 10
    columns: int = 5

    def __post_init__(self):
        if self.rows < 2 or self.columns < 1:
            raise ValueError(f"Catch needs at least 2 rows and 1 column, got {self}")

    @property
    def observation_space(self) -> Box:
        """Planes ball, paddle."""
        return Box(0, 1, (2, self.rows, self.columns), np.uint8)

    def default_params(self) -> Params:
        """The published setting."""
        return Params(jnp.float32(1), jnp.float32(-1), jnp.int32(ENDLESS))

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Drops a ball. The key is consumed."""
        column = keys.below(keys.words(key, 1)[0], self.columns)
        state = State(jnp.int32(0), column, jnp.int32(self.columns // 2), jnp.int32(0))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Moves the paddle, then the ball. The key is not used."""
        move = jnp.clip(action, 0, 2) - 1
        paddle = jnp.clip(state.paddle + move, 0, self.columns - 1).astype(jnp.int32)
        row = jnp.minimum(state.row + 1, self.rows - 1)
        lands = row == self.rows - 1
        caught = jnp.where(paddle == state.column, params.catch_reward, params.miss_reward)
        reward = jnp.where(lands, caught, 0)
        state = State(row, state.column, paddle, state.time + 1)
        late = state.time >= params.max_steps
        return state, outcome(self.observe(state, params)[0], reward, lands, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """The planes."""
        del params
        rows, columns = jnp.arange(self.rows)[:, None], jnp.arange(self.columns)
        ball = (rows == state.row) & (columns == state.column)
        paddle = (rows == self.rows - 1) & (columns == state.paddle)
        return jnp.stack([ball, paddle]).astype(jnp.uint8), None

    def render(self, state: State, params: Params) -> jax.Array:
        """Sixteen pixels a cell: the paddle blue, the ball gold."""
        planes, _ = self.observe(state, params)
        return layered(planes[::-1], np.array([[74, 118, 214], [226, 180, 60]], np.uint8))

    def render_text(self, state: State, params: Params) -> str:
        """One character a cell: `o` ball, `=` paddle, `.` free."""
        (ball, paddle), _ = jax.device_get(self.observe(state, params))
        signs = np.where(ball > 0, "o", np.where(paddle > 0, "=", "."))
        return "\n".join("".join(row) for row in signs)

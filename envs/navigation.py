"""2-D navigation: walk to a point that is not shown, the smallest task of MAML.

Finn et al. 2017 (https://arxiv.org/abs/1703.03400), with the numbers of its public code.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.drawing import disc
from metarl.envs.splits import draw_level
from metarl.envs.steps import opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep

REACH = 0.1  # the longest step along either axis


class Params(struct.PyTreeNode):
    """Dynamic settings; the goal makes a task."""

    goal: jax.Array  # [2] float32
    tolerance: jax.Array  # [] float32, how near along both axes ends the episode
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    position: jax.Array  # [2] float32
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Navigation:
    """A point starts at (0, 0) and moves by its action, clipped to 0.1 along either axis.

    Every step costs the distance to the goal after it. The episode terminates when the point is
    within `tolerance` of the goal along both axes. The observation is the position alone.
    """

    @property
    def action_space(self) -> Box:
        """The move along x and y."""
        return Box(-REACH, REACH, (2,), np.float32)

    @property
    def observation_space(self) -> Box:
        """The position, unbounded."""
        return Box(-np.inf, np.inf, (2,), np.float32)

    def default_params(self) -> Params:
        """The goal (0.5, 0.5), the farthest of the task distribution; 100 steps."""
        return Params(jnp.full(2, 0.5), jnp.float32(0.01), jnp.int32(100))

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """A goal, uniform in the square from -0.5 to 0.5. The key is consumed."""

        def make(key: Key) -> Params:
            goal = jnp.stack([keys.unit(word) - 0.5 for word in keys.words(key, 2)])
            return self.default_params().replace(goal=goal)

        return draw_level(make, key, split)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Puts the point on the origin. The key is not used."""
        state = State(jnp.zeros(2), jnp.int32(0))
        return state, opening(state.position)

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Moves the point. The key is not used."""
        state = State(state.position + jnp.clip(action, -REACH, REACH), state.time + 1)
        x, y = state.position[0] - params.goal[0], state.position[1] - params.goal[1]
        reached = jnp.maximum(abs(x), abs(y)) < params.tolerance
        late = state.time >= params.max_steps
        return state, outcome(state.position, -jnp.sqrt(x * x + y * y), reached, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """The position, [2] float32."""
        del params
        return state.position, None

    def render(self, state: State, params: Params) -> jax.Array:
        """The square from -1 to 1, 96 pixels a side, y upwards: goal green, point blue."""
        picture = jnp.full((96, 96, 3), 235, jnp.uint8)
        picture = disc(picture, _pixels(params.goal), 5, (72, 158, 92))
        return disc(picture, _pixels(state.position), 4, (50, 90, 200))

    def render_text(self, state: State, params: Params) -> str:
        """A line such as `at (0.10, 0.10), goal (0.50, 0.50), step 1`."""
        at, goal = ("({:.2f}, {:.2f})".format(*xy) for xy in (state.position, params.goal))
        return f"at {at}, goal {goal}, step {int(state.time)}"


def _pixels(position: jax.Array) -> jax.Array:
    """[2] float32, row and column of a position in the picture, on its edge if it lies outside."""
    x, y = jnp.clip(position, -1, 1)
    return jnp.stack([47.5 - 47.5 * y, 47.5 + 47.5 * x])

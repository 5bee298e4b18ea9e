"""T-maze: a sign at the start says where to turn at the end of a corridor.

Bakker 2001 ("Reinforcement learning with long short-term memory"), from memory. The intended
differences: the observation is a number instead of Bakker's three bits, and a clock truncates.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Discrete

from metarl.envs.drawing import layered
from metarl.envs.spaces import FourMoves
from metarl.envs.steps import opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep

UP, DOWN, CORRIDOR, JUNCTION = range(4)  # what is seen: two signs, and two places without one


class Params(struct.PyTreeNode):
    """Dynamic settings."""

    right_reward: jax.Array  # [] float32, for turning to where the sign pointed
    wrong_reward: jax.Array  # [] float32, for turning the other way
    still_reward: jax.Array  # [] float32, for a step into a wall
    opposite: jax.Array  # [] bool, whether the sign points to the wrong side
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    sign: jax.Array  # [] int32, UP or DOWN
    place: jax.Array  # [] int32, cells from the start; `length` at the junction
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class TMaze(FourMoves):
    """A corridor of `length` cells and a junction; actions are up, right, down, left.

    The first cell shows a random sign, up or down, the others of the corridor look alike, and the
    junction looks different. Turning up or down at the junction terminates the episode: 4 if the
    sign pointed there, else -0.1. A step into a wall costs 0.1 and moves nothing. So the best
    return is 4 at step `length + 1`, and without memory 1.95 on average. An action number out of
    range is clipped.
    """

    length: int = 10

    def __post_init__(self):
        if self.length < 1:
            raise ValueError(f"length must be at least 1, got {self.length}")

    @property
    def observation_space(self) -> Discrete:
        """Sign up, sign down, corridor, junction."""
        return Discrete(4)

    def default_params(self) -> Params:
        """The published rewards; eight times the shortest way until truncation."""
        return Params(
            right_reward=jnp.float32(4),
            wrong_reward=jnp.float32(-0.1),
            still_reward=jnp.float32(-0.1),
            opposite=jnp.bool_(False),
            max_steps=jnp.int32(8 * (self.length + 1)),
        )

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Draws the sign. The key is consumed."""
        state = State(keys.below(keys.words(key, 1)[0], 2), jnp.int32(0), jnp.int32(0))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Walks one cell or turns. The key is not used."""
        action = jnp.clip(action, 0, 3)
        place = jnp.clip(state.place + (action == 1) - (action == 3), 0, self.length)
        turns = (state.place == self.length) & (action % 2 == 0)
        right = (action == 2) == ((state.sign == DOWN) ^ params.opposite)
        still = jnp.where(place == state.place, params.still_reward, 0)
        turned = jnp.where(right, params.right_reward, params.wrong_reward)
        state = State(state.sign, place, state.time + 1)
        late = state.time >= params.max_steps
        reward = jnp.where(turns, turned, still)
        return state, outcome(self.observe(state, params)[0], reward, turns, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """What can be seen at this place, [] int32."""
        del params
        plain = jnp.where(state.place == self.length, JUNCTION, CORRIDOR)
        return jnp.where(state.place == 0, state.sign, plain).astype(jnp.int32), None

    def render(self, state: State, params: Params) -> jax.Array:
        """Sixteen pixels a cell: the maze light, the right end green, the agent blue."""
        rows, columns = jnp.arange(3)[:, None], jnp.arange(self.length + 1)
        maze = (rows == 1) | (columns == self.length)
        end = jnp.where((state.sign == DOWN) ^ params.opposite, 2, 0)
        goal = (rows == end) & (columns == self.length)
        agent = (rows == 1) & (columns == state.place)
        colours = [[200, 200, 200], [72, 158, 92], [74, 118, 214]]
        return layered(jnp.stack([maze, goal, agent]), np.array(colours, np.uint8))

    def render_text(self, state: State, params: Params) -> str:
        """The maze: `A` agent, `G` the right end, `.` free."""
        signs = np.full((3, self.length + 1), " ")
        signs[1], signs[:, -1] = ".", "."
        signs[2 if bool((state.sign == DOWN) ^ params.opposite) else 0, -1] = "G"
        signs[1, int(state.place)] = "A"
        return "\n".join("".join(row).rstrip() for row in signs)

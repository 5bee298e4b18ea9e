"""A grid with walls and one goal, small enough that every value is known exactly.

Nothing but the start is random. From `d` moves away the best return at a discount `g` is
`goal_reward * g**(d - 1) + step_reward * (1 - g**(d - 1)) / (1 - g)`, if the clock allows it.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.spaces import FourMoves
from metarl.ops import keys
from metarl.types import Key, TimeStep


class Params(struct.PyTreeNode):
    """Dynamic settings; the walls, the goal and the start make a task, so batch them for many."""

    walls: jax.Array  # [cells] bool
    goal: jax.Array  # [] int32, cell index `row * size + column`
    start: jax.Array  # [] int32, cell index; -1 draws a free cell for each episode
    goal_reward: jax.Array  # [] float32
    step_reward: jax.Array  # [] float32, for every step that does not reach the goal
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    agent: jax.Array  # [] int32, cell index
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class GridWorld(FourMoves):
    """The grid is `size` by `size`; actions are up, right, down, left.

    A move into a wall or off the grid leaves the agent where it is and costs the step; the mask
    calls it illegal. An action number out of range is clipped.
    """

    size: int = 5

    def __post_init__(self):
        if not 2 <= self.size <= 255:
            raise ValueError(f"size must lie in 2..255, got {self.size}")

    @property
    def observation_space(self) -> Box:
        """Planes agent, goal, wall."""
        return Box(0, 1, (3, self.size, self.size), np.uint8)

    def default_params(self) -> Params:
        """A wall across the middle column with one gap; the goal is the last corner."""
        row, column = jnp.divmod(jnp.arange(self.size**2), self.size)
        middle = self.size // 2
        return Params(
            walls=(column == middle) & (row != middle) & (self.size > 2),
            goal=jnp.int32(self.size**2 - 1),
            start=jnp.int32(-1),
            goal_reward=jnp.float32(1),
            step_reward=jnp.float32(0),
            max_steps=jnp.int32(4 * self.size**2),
        )

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Puts the agent on its start. The key is consumed."""
        cells = jnp.arange(self.size**2)
        count = jnp.cumsum(~params.walls & (cells != params.goal))  # [cells] free ones so far
        drawn = jnp.argmax(count > keys.below(keys.words(key, 1)[0], count[-1]))
        agent = jnp.where(params.start < 0, drawn, params.start).astype(jnp.int32)
        state = State(agent, jnp.int32(0))
        obs, mask = self.observe(state, params)
        return state, TimeStep(obs, jnp.float32(0), jnp.bool_(False), jnp.bool_(False), mask)

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Moves the agent one cell. The key is not used."""
        targets = self._targets(state, params)
        state = State(targets[jnp.clip(action, 0, 3)], state.time + 1)
        terminated = state.agent == params.goal
        truncated = ~terminated & (state.time >= params.max_steps)
        reward = jnp.where(terminated, params.goal_reward, params.step_reward)
        obs, mask = self.observe(state, params)
        return state, TimeStep(obs, reward, terminated, truncated, mask)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, jax.Array]:
        """The planes and the moves that lead somewhere."""
        cells = jnp.arange(self.size**2)
        planes = jnp.stack([cells == state.agent, cells == params.goal, params.walls])
        mask = self._targets(state, params) != state.agent
        # Walled in on all sides, every action is as good as another.
        return planes.reshape(3, self.size, self.size).astype(jnp.uint8), mask | ~mask.any()

    def render(self, state: State, params: Params) -> jax.Array:
        """Eight pixels a cell: walls black, the goal green, the agent blue."""
        (agent, goal, wall), _ = self.observe(state, params)
        colour = jnp.where(agent > 0, 3, jnp.where(goal > 0, 2, wall))  # [H, W]
        colours = [[255, 255, 255], [40, 40, 40], [60, 160, 80], [50, 90, 200]]
        picture = jnp.array(colours, jnp.uint8)[colour]
        return picture.repeat(8, axis=0).repeat(8, axis=1)

    def render_text(self, state: State, params: Params) -> str:
        """One character a cell: `#` wall, `G` goal, `A` agent, `.` free."""
        (agent, goal, wall), _ = jax.device_get(self.observe(state, params))
        signs = np.where(agent > 0, "A", np.where(goal > 0, "G", np.where(wall > 0, "#", ".")))
        return "\n".join("".join(row) for row in signs)

    def _targets(self, state: State, params: Params) -> jax.Array:
        """[4] int32, the cell each action leads to."""
        row, column = jnp.divmod(state.agent, self.size)
        rows = row + jnp.array([-1, 0, 1, 0])
        columns = column + jnp.array([0, 1, 0, -1])
        inside = (rows >= 0) & (rows < self.size) & (columns >= 0) & (columns < self.size)
        cells = jnp.where(inside, rows * self.size + columns, state.agent)
        return jnp.where(params.walls[cells], state.agent, cells).astype(jnp.int32)

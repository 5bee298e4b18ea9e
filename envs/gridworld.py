"""A grid with walls and one goal, small enough that every value is known exactly.

Nothing but the start is random. From `d` moves away the best return at a discount `g` is
`goal_reward * g**(d - 1) + step_reward * (1 - g**(d - 1)) / (1 - g)`, if the clock allows it.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs import cells
from metarl.envs.spaces import FourMoves
from metarl.envs.splits import draw_level
from metarl.envs.steps import opening, outcome
from metarl.envs.ways import distances
from metarl.ops import keys
from metarl.ops.sampling import any_of
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

    @property
    def num_states(self) -> int:
        """The cells: nothing but where the agent is changes."""
        return self.size**2

    def index(self, obs: jax.Array) -> jax.Array:
        """[] int32, the agent's cell, of one observation: a number per state of a task."""
        return jnp.argmax(jnp.ravel(obs[0])).astype(jnp.int32)

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

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """Random walls and a random goal that every free cell has a way to. The key is consumed.

        A cell is a wall with probability 0.3, or if it is cut off; at least half of the grid is
        free. All else is the default.
        """

        def draw(key: Key) -> tuple[jax.Array, jax.Array]:
            wall_key, goal_key = jax.random.split(key)
            goal = keys.below(keys.words(goal_key, 1)[0], self.size**2)
            walls = jax.random.bernoulli(wall_key, 0.3, (self.size**2,))
            return ~self._joined(walls, goal), goal

        def make(key: Key) -> Params:
            def again(loop: tuple[jax.Array, tuple[jax.Array, jax.Array]]) -> Any:
                return loop[0] + 1, draw(jax.random.fold_in(key, loop[0]))

            def narrow(loop: tuple[jax.Array, tuple[jax.Array, jax.Array]]) -> jax.Array:
                return 2 * jnp.sum(~loop[1][0]) < self.size**2

            solid = jnp.ones(self.size**2, bool), jnp.int32(0)
            walls, goal = jax.lax.while_loop(narrow, again, (jnp.int32(0), solid))[1]
            return self.default_params().replace(walls=walls, goal=goal)

        return draw_level(make, key, split)

    def mutate(self, key: Key, params: Params) -> Params:
        """Moves the goal, one time in four, or else opens or closes one cell. The key is consumed.

        Every free cell keeps its way to the goal, and a fixed start stays free and off it. Edits
        that would break this are drawn anew, eight times at most; then nothing changes.
        """

        def edit(key: Key) -> tuple[jax.Array, jax.Array]:
            kind, place, target = keys.words(key, 3)
            moves, cell = keys.below(kind, 4) == 0, jnp.arange(self.size**2)
            toggled = cell == cells.another(place, self.size**2, params.goal)
            goal = any_of(target, ~params.walls & (cell != params.goal))
            return params.walls ^ (toggled & ~moves), jnp.where(moves, goal, params.goal)

        def another(loop: tuple[jax.Array, tuple[jax.Array, jax.Array]]) -> Any:
            return loop[0] + 1, edit(jax.random.fold_in(key, loop[0]))

        def bad(loop: tuple[jax.Array, tuple[jax.Array, jax.Array]]) -> jax.Array:
            tries, level = loop
            return (tries < 8) & ((tries == 0) | ~self._sound(*level, params.start))

        now = params.walls, params.goal
        new = jax.lax.while_loop(bad, another, (jnp.int32(0), now))[1]
        sound = self._sound(*new, params.start)
        walls, goal = jax.tree.map(lambda x, y: jnp.where(sound, x, y), new, now)
        return params.replace(walls=walls, goal=goal)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Puts the agent on its start. The key is consumed."""
        free = ~params.walls & (jnp.arange(self.size**2) != params.goal)
        drawn = any_of(keys.words(key, 1)[0], free)
        agent = jnp.where(params.start < 0, drawn, params.start).astype(jnp.int32)
        state = State(agent, jnp.int32(0))
        obs, mask = self.observe(state, params)
        return state, opening(obs, mask)

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Moves the agent one cell. The key is not used."""
        targets = self._targets(state, params)
        state = State(targets[jnp.clip(action, 0, 3)], state.time + 1)
        terminated = state.agent == params.goal
        reward = jnp.where(terminated, params.goal_reward, params.step_reward)
        obs, mask = self.observe(state, params)
        return state, outcome(obs, reward, terminated, state.time >= params.max_steps, mask)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, jax.Array]:
        """The planes and the moves that lead somewhere."""
        cell = jnp.arange(self.size**2)
        planes = jnp.stack([cell == state.agent, cell == params.goal, params.walls])
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
        target = cells.moved(state.agent, jnp.arange(4), self.size)
        return jnp.where(params.walls[target], state.agent, target).astype(jnp.int32)

    def _sound(self, walls: jax.Array, goal: jax.Array, start: jax.Array) -> jax.Array:
        """[] bool, whether all free cells are joined to the goal and one may start somewhere."""
        free = ~walls & (jnp.arange(self.size**2) != goal)
        whole = jnp.all(walls | self._joined(walls, goal)) & ~walls[goal]
        return whole & jnp.where(start < 0, jnp.any(free), free[start])

    def _joined(self, walls: jax.Array, goal: jax.Array) -> jax.Array:
        """[cells] bool, from which cells there is a way to the goal."""
        free = ~walls.reshape(self.size, self.size)
        return (distances(free, goal) < self.size**2).ravel()

"""Maze: walk to the goal of a random maze.

Rules and mazes of jumanji's Maze-v0 (Bonnet et al. 2024, https://arxiv.org/abs/2306.09884), with
two differences: the time limit truncates instead of terminating, and being walled in, which its
mazes rule out, ends nothing. Mazes are made by recursive division: a chamber is divided by a wall
with one gap across its longer side, its parts likewise, until they are one cell wide.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.drawing import layered
from metarl.envs.spaces import FourMoves
from metarl.envs.splits import draw_level
from metarl.envs.steps import opening, outcome
from metarl.envs.ways import ahead, distances, heading
from metarl.ops import keys
from metarl.ops.control import apart
from metarl.types import Key, TimeStep


class Params(struct.PyTreeNode):
    """Dynamic settings; walls and goal make a task. A cell is `row * width + column`."""

    walls: jax.Array  # [cells] bool, used if there is a goal
    goal: jax.Array  # [] int32, cell; -1 draws a maze and a goal for each episode
    start: jax.Array  # [] int32, cell; -1 draws a free one for each episode
    goal_reward: jax.Array  # [] float32
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    walls: jax.Array  # [cells] bool
    goal: jax.Array  # [] int32, cell
    agent: jax.Array  # [] int32, cell
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Maze(FourMoves):
    """A maze of `height` by `width` cells, walls being cells; actions are up, right, down, left.

    A move into a wall or off the board leaves the agent where it is and costs the step; the mask
    calls it illegal. An action number out of range is clipped. Reaching the goal gives 1 and ends
    the episode; after `max_steps`, as many as there are cells, it is cut off. Agent and goal start
    on two uniform free cells; from every free cell one way alone leads to every other.

    The observation is three planes: agent, goal, wall. By default each episode has a maze of its
    own, which is slow to make: use a pool of starts (`metarl.rollout.pool`) for speed. A task of
    `sample_params` keeps maze and goal, and draws the start.
    """

    height: int = 10
    width: int = 10

    def __post_init__(self):
        if not (2 <= self.height <= 255 and 2 <= self.width <= 255):
            raise ValueError(f"height and width must lie in 2..255, got {self}")

    @property
    def observation_space(self) -> Box:
        """Planes agent, goal, wall."""
        return Box(0, 1, (3, self.height, self.width), np.uint8)

    def default_params(self) -> Params:
        """The published setting: another maze in each episode, as many steps as there are cells."""
        free, drawn = jnp.zeros(self.height * self.width, bool), jnp.int32(-1)
        return Params(free, drawn, drawn, jnp.float32(1), jnp.int32(self.height * self.width))

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """A task: a maze and its goal; starts are drawn. The key is consumed."""

        def make(key: Key) -> tuple[jax.Array, jax.Array]:
            walls, _, goal = self._made(key)
            return walls, goal

        walls, goal = draw_level(make, key, split)
        return self.default_params().replace(walls=walls, goal=goal)

    def mutate(self, key: Key, params: Params) -> Params:
        """A task with one cell more or less of wall, or, if that parted it, another goal.

        The goal and a fixed start stay free; drawn mazes stay drawn. The key is consumed.
        """
        cell_word, goal_word = keys.words(key, 2)
        cell = jnp.arange(self.height * self.width)
        kept = (cell == params.goal) | (cell == params.start)
        walls = params.walls ^ (cell == _chosen(cell_word, ~kept))
        whole = self._connected(walls, params.goal)
        elsewhere = _chosen(goal_word, ~params.walls & ~kept)
        changed = params.replace(
            walls=jnp.where(whole, walls, params.walls),
            goal=jnp.where(whole, params.goal, elsewhere),
        )
        return jax.tree.map(lambda x, y: jnp.where(params.goal < 0, x, y), params, changed)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Draws the maze, unless the params hold one, and the start. The key is consumed."""
        maze_key, start_key = keys.split(key)
        walls, agent, goal = self._made(maze_key)
        given = params.goal >= 0
        free = ~params.walls & (jnp.arange(len(walls)) != params.goal)
        start = _chosen(keys.words(start_key, 1)[0], free)
        start = jnp.where(params.start < 0, start, params.start)
        state = State(
            walls=jnp.where(given, params.walls, walls),
            goal=jnp.where(given, params.goal, goal),
            agent=jnp.where(given, start, agent),
            time=jnp.int32(0),
        )
        obs, mask = self.observe(state, params)
        return state, opening(obs, mask)

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Moves the agent one cell. The key is not used."""
        cell, inside = self._target(state.agent, jnp.clip(action, 0, 3))
        moves = inside & ~_at(state.walls, cell)
        agent = jnp.where(moves, cell, state.agent)
        state = state.replace(agent=agent, time=state.time + 1)
        terminated = agent == state.goal
        obs, mask = self.observe(state, params)
        return state, outcome(
            obs, params.goal_reward * terminated, terminated, state.time >= params.max_steps, mask
        )

    def observe(self, state: State, params: Params) -> tuple[jax.Array, jax.Array]:
        """The planes and the moves that lead somewhere."""
        del params
        state = apart(state)
        ways = [self._target(state.agent, jnp.int32(action)) for action in range(4)]
        mask = jnp.stack([inside & ~_at(state.walls, cell) for cell, inside in ways])
        cell = jnp.arange(self.height * self.width)
        planes = (cell == state.agent, cell == state.goal, state.walls)
        obs = jnp.concatenate([plane.astype(jnp.uint8) for plane in planes])
        # Walled in on all sides, every action is as good as another.
        return obs.reshape(3, self.height, self.width), mask | ~mask.any()

    def render(self, state: State, params: Params) -> jax.Array:
        """Sixteen pixels a cell: walls dark, the goal green, the agent blue."""
        (agent, goal, wall), _ = self.observe(state, params)
        colours = np.array([(62, 66, 78), (70, 170, 95), (60, 105, 215)])
        return layered(jnp.stack([wall, goal, agent]), colours, background=(232, 232, 226))

    def render_text(self, state: State, params: Params) -> str:
        """One character a cell: `#` wall, `G` goal, `A` agent, `.` free."""
        (agent, goal, wall), _ = jax.device_get(self.observe(state, params))
        signs = np.where(agent > 0, "A", np.where(goal > 0, "G", np.where(wall > 0, "#", ".")))
        return "\n".join("".join(row) for row in signs)

    def _target(self, cell: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The cell an action leads to, and whether it is on the board; if not, it is `cell`."""
        return ahead(cell, *heading(action), height=self.height, width=self.width)

    def _made(self, key: Key) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Walls [cells], and two different uniform free cells. The key is consumed."""
        first, second, agent_word, goal_word = keys.words(key, 4)
        walls = self._divided(first, second)
        agent = _chosen(agent_word, ~walls)
        return walls, agent, _chosen(goal_word, ~walls & (jnp.arange(len(walls)) != agent))

    def _divided(self, first: jax.Array, second: jax.Array) -> jax.Array:
        """[cells] bool, walls by recursive division, drawn by two random words.

        Each cell follows the division of the chambers it lies in, and needs no other cell for
        that: what a chamber draws is a hash of the words and of the chamber.
        """
        row, column = (
            jnp.asarray(index.ravel(), jnp.int32)
            for index in np.indices((self.height, self.width), np.int32)
        )

        def divide(_: int, loop: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            top, left, height, width, wall = loop
            chamber = (((top * 256 + left) * 256 + height) * 256 + width).astype(jnp.uint32)
            word = keys.mix(keys.mix(chamber + first) ^ second)
            upright = width >= height  # the wall, so that it divides the longer side
            along, across = jnp.where(upright, width, height), jnp.where(upright, height, width)
            offset = jnp.where(upright, column - left, row - top)
            walls = along // 2  # places for one
            at = 1 + 2 * keys.below(word, walls)
            # What is left of the word after this draw serves the next.
            gap = 2 * keys.below(word * walls.astype(jnp.uint32), (across + 1) // 2)
            open_ = (width > 1) & (height > 1) & ~wall
            on = open_ & (offset == at)
            beyond = open_ & (offset > at)
            here = jnp.where(upright, row - top, column - left)
            start, size = jnp.where(beyond, at + 1, 0), jnp.where(beyond, along - at - 1, at)
            size = jnp.where(open_, size, along)
            return (
                top + jnp.where(upright, 0, start),
                left + jnp.where(upright, start, 0),
                jnp.where(upright, height, size),
                jnp.where(upright, size, width),
                wall | (on & (here != gap)),
            )

        zero = jnp.zeros_like(row)
        begin = (zero, zero, zero + self.height, zero + self.width, zero > 0)
        return jax.lax.fori_loop(0, self._depth(), divide, begin)[4]

    def _depth(self) -> int:
        """How often a chamber may be divided: at most a cell or two are cut off each time."""
        height, width, depth = self.height, self.width, 0
        while height > 1 and width > 1:
            if width >= height:
                width -= 1 + width % 2
            else:
                height -= 1 + height % 2
            depth += 1
        return depth

    def _connected(self, walls: jax.Array, cell: jax.Array) -> jax.Array:
        """[] bool, whether all free cells can be reached from a free `cell`."""
        free = ~walls.reshape(self.height, self.width)
        return jnp.all((distances(free, cell) < free.size) == free)


def _at(walls: jax.Array, cell: jax.Array) -> jax.Array:
    """Whether there is a wall at a cell that is known to be on the board."""
    return walls.at[cell].get(mode="promise_in_bounds")


def _chosen(word: jax.Array, among: jax.Array) -> jax.Array:
    """[] int32, a uniform cell of those marked: the one with the highest hash; 0 if none is."""
    cell = jnp.arange(among.size, dtype=jnp.int32)
    score = jnp.where(among, keys.mix(word + cell.astype(jnp.uint32) * jnp.uint32(0x9E3779B9)), 0)
    return jnp.max(jnp.where(among & (score == score.max()), cell, 0))

"""Dark key-to-door and dark room: find invisible things by where you are, and remember them.

Laskin et al. 2022 (https://arxiv.org/abs/2210.14215), from memory; public versions differ in where
an episode starts and whether the door ends it, so both are params. The intended difference: key and
door never share a cell.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import MultiDiscrete

from metarl.envs import cells
from metarl.envs.drawing import layered
from metarl.envs.spaces import Choices, coordinate_space
from metarl.envs.splits import draw_level
from metarl.envs.steps import opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep


class Params(struct.PyTreeNode):
    """Dynamic settings; the cells of key and door make a task."""

    key: jax.Array  # [] int32, cell; without effect where no key is needed
    door: jax.Array  # [] int32, cell
    start: jax.Array  # [] int32, cell; -1 draws one for each episode
    key_reward: jax.Array  # [] float32, once in an episode
    door_reward: jax.Array  # [] float32
    door_ends: jax.Array  # [] bool, whether the door ends the episode or pays at every step
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress; a cell is `row * size + column`."""

    agent: jax.Array  # [] int32, cell
    has_key: jax.Array  # [] bool
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class KeyToDoor(Choices):
    """A dark room of `size` by `size` cells; actions are up, right, down, left, stay.

    A step that ends at the key pays 1, once. A step that ends at the door, with the key, pays 1 and
    terminates the episode: the best return is 2. With `locked=False`, the dark room, there is no
    key, and the door is a goal that pays 1 at every step and ends nothing. The agent sees its own
    cell alone, not even whether it holds the key. A move off the grid leaves it where it is; an
    action number out of range is clipped.
    """

    num_actions: ClassVar[int] = 5  # up, right, down, left, stay

    size: int = 9
    locked: bool = True

    def __post_init__(self):
        if not 2 <= self.size <= 255:
            raise ValueError(f"size must lie in 2..255, got {self.size}")

    @property
    def observation_space(self) -> MultiDiscrete:
        """Row and column of the agent."""
        return coordinate_space(self.size, 1)

    def default_params(self) -> Params:
        """Key and door in opposite corners; random starts and 50 steps.

        Without a lock it starts in the middle and lasts 20.
        """
        return Params(
            key=jnp.int32(0),
            door=jnp.int32(self.size**2 - 1),
            start=jnp.int32(-1 if self.locked else self.size**2 // 2),
            key_reward=jnp.float32(1),
            door_reward=jnp.float32(1),
            door_ends=jnp.bool_(self.locked),
            max_steps=jnp.int32(50 if self.locked else 20),
        )

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """Key and door on two random cells. The key is consumed.

        Without a lock the door alone makes the task, and the key keeps its default cell.
        """

        def make(key: Key) -> Params:
            words, params = keys.words(key, 2), self.default_params()
            door = keys.below(words[0], self.size**2)
            if not self.locked:
                return params.replace(door=door)
            return params.replace(key=cells.another(words[1], self.size**2, door), door=door)

        return draw_level(make, key, split)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Puts the agent on its start. The key is consumed."""
        drawn = keys.below(keys.words(key, 1)[0], self.size**2)
        agent = jnp.where(params.start < 0, drawn, params.start).astype(jnp.int32)
        state = State(agent, jnp.bool_(not self.locked), jnp.int32(0))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Moves the agent one cell. The key is not used."""
        agent = jnp.where(action > 3, state.agent, cells.moved(state.agent, action, self.size))
        finds = ~state.has_key & (agent == params.key)
        opens = state.has_key & (agent == params.door)
        reward = params.key_reward * finds + params.door_reward * opens
        state = State(agent, state.has_key | finds, state.time + 1)
        late = state.time >= params.max_steps
        ends = opens & params.door_ends
        return state, outcome(self.observe(state, params)[0], reward, ends, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """Row and column, [2] uint8."""
        del params
        return cells.coordinates(self.size, state.agent), None

    def render(self, state: State, params: Params) -> jax.Array:
        """Sixteen pixels a cell: the agent blue, the door brown, the key gold until it is found."""
        colours = [[150, 100, 60], [226, 180, 60], [74, 118, 214]]
        key = jnp.where(state.has_key, -1, params.key)
        return layered(
            cells.planes(self.size, params.door, key, state.agent), np.array(colours, np.uint8)
        )

    def render_text(self, state: State, params: Params) -> str:
        """One character a cell: `A` agent, `D` door, `k` key until it is found."""
        key = jnp.where(state.has_key, -1, params.key)
        return cells.text(self.size, {"D": params.door, "k": key, "A": state.agent})

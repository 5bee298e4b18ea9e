"""Lights Out: a template for environments of your own. Copy it, rename, replace the game.

Check it with `metarl check-env metarl_lights:LightsOut` from this folder; train on it, installed or
not, with `metarl train metarl_lights:LightsOut size=3`. Everything below `step` is optional.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box, Discrete

from metarl.envs.drawing import layered  # cells to pixels
from metarl.envs.splits import draw_level  # train and held-out levels that cannot overlap
from metarl.ops import keys  # the same cipher as jax.random, several times faster on a CPU
from metarl.types import Key, TimeStep


class Params(struct.PyTreeNode):
    """Every number of the game, so that a batch of tasks is a `vmap`; a level is a number too."""

    board: jax.Array  # [cells] bool, lights that are on at the start; all off: a new one each time
    max_steps: jax.Array  # [] int32, steps until truncation; the name is a convention
    step_reward: jax.Array  # [] float32


class State(struct.PyTreeNode):
    """One episode in progress. Small types are fast: this is what is copied at every step."""

    board: jax.Array  # [cells] bool
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class LightsOut:
    """Put out all lights of a `size` by `size` board; 1 for that, and the end.

    An action presses a cell, which switches it and its neighbours. An action number out of range
    is clipped.
    """

    size: int = 4  # what fixes a shape or a branch is a field; everything else lives in Params

    def __post_init__(self):
        if not 2 <= self.size <= 16:  # say what is wrong before anything is compiled
            raise ValueError(f"size must lie in 2..16, got {self.size}")

    @property
    def num_actions(self) -> int:
        """One a cell."""
        return self.size**2

    @property
    def action_space(self) -> Discrete:
        """The cell to press, row by row."""
        return Discrete(self.num_actions)

    @property
    def observation_space(self) -> Box:
        """One plane, channels first as agents read them; compact types, true bounds."""
        return Box(0, 1, (1, self.size, self.size), np.uint8)

    def default_params(self) -> Params:
        """Arrays with dtypes, not Python numbers."""
        off = jnp.zeros(self.size**2, bool)
        return Params(off, jnp.int32(4 * self.size**2), jnp.float32(0))

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Lights the params' board, or a random one. The key is consumed."""
        board = jnp.where(params.board.any(), params.board, self._random_board(key))
        state = State(board, jnp.int32(0))
        obs, mask = self.observe(state, params)
        return state, TimeStep(obs, jnp.float32(0), jnp.bool_(False), jnp.bool_(False), mask)

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Presses a cell. Pure: new states, never a change in place; no `if` on traced values."""
        action = jnp.clip(action, 0, self.num_actions - 1)
        state = State(state.board ^ self._cross(action), state.time + 1)
        solved = ~state.board.any()
        late = ~solved & (state.time >= params.max_steps)  # the clock alone: truncated
        obs, mask = self.observe(state, params)
        return state, TimeStep(obs, solved + params.step_reward, solved, late, mask)

    # Optional: a vectorised step then observes once, after the reset, instead of twice.

    def observe(self, state: State, params: Params) -> tuple[jax.Array, jax.Array | None]:
        """What a state shows, and which actions are legal: None where all are."""
        return state.board.reshape(1, self.size, self.size).astype(jnp.uint8), None

    # Optional: tasks, for meta-learning and curricula.

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """A board that can be solved, of a split: it was made by presses. The key is consumed."""
        board = draw_level(self._random_board, key, split)
        return self.default_params().replace(board=board)

    def mutate(self, key: Key, params: Params) -> Params:
        """One more press, so it can still be solved; the key is consumed."""
        cell = keys.below(keys.words(key, 1)[0], self.size**2)
        return params.replace(board=params.board ^ self._cross(cell))

    # Optional: pictures, for films and for `metarl play`.

    def render(self, state: State, params: Params) -> jax.Array:
        """[H, W, 3] uint8, inside jit."""
        board = state.board.reshape(1, self.size, self.size)
        return layered(board, np.array([[250, 210, 80]], np.uint8), pixels=24)

    def render_text(self, state: State, params: Params) -> str:
        """On the host."""
        signs = np.where(np.asarray(state.board), "o", ".").reshape(self.size, self.size)
        return "\n".join("".join(row) for row in signs)

    def _cross(self, cell: jax.Array) -> jax.Array:
        """[cells] bool, a cell and its neighbours."""
        row, column = jnp.divmod(jnp.arange(self.size**2), self.size)
        return abs(row - cell // self.size) + abs(column - cell % self.size) <= 1

    def _random_board(self, key: Key) -> jax.Array:
        """[cells] bool, each cell pressed or not at random; never all off."""
        pressed = jax.random.bernoulli(key, 0.5, (self.size**2,))
        crosses = jax.vmap(self._cross)(jnp.arange(self.size**2))
        board = (pressed @ crosses.astype(jnp.int32)) % 2 == 1
        return jnp.where(board.any(), board, crosses[0])

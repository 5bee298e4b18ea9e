"""Probes: one family of tiny tasks, each testing one ability of a learner with a known answer.

A cue is drawn, an action is demanded, and the last step pays 1 if that action equals the cue.
So the value at step `t` is `discount ** (length - 1 - t)` times the probability of being right.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.spaces import Choices
from metarl.types import Key, TimeStep


class State(struct.PyTreeNode):
    """One episode in progress."""

    cue: jax.Array  # [] int32
    answer: jax.Array  # [] int32, the action that counts, -1 until it was given
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Probe(Choices):
    """`choices` actions, `length` steps.

    With `choices=1` every episode is right: it tests values (`length=1`) and discounts. With
    `answer="first"` the first action counts and credit must travel; with `answer="last"` and
    `hide=True` the cue is shown at the first step alone and must be remembered.
    """

    choices: int = 2
    length: int = 1
    answer: Literal["first", "last"] = "first"
    hide: bool = False

    def __post_init__(self):
        if self.choices < 1 or self.length < 1:
            raise ValueError(f"choices and length must be at least 1, got {self}")

    @property
    def num_actions(self) -> int:
        """One action per cue."""
        return self.choices

    @property
    def observation_space(self) -> Box:
        """One-hot cue (zero when hidden), then one-hot time."""
        return Box(0, 1, (self.choices + self.length,), np.uint8)

    def default_params(self) -> tuple:
        """Nothing to set."""
        return ()

    def reset(self, key: Key, params: tuple) -> tuple[State, TimeStep]:
        """Draws a cue. The key is consumed."""
        cue = jax.random.randint(key, (), 0, self.choices)
        state = State(cue, jnp.int32(-1), jnp.int32(0))
        return state, self._timestep(state, jnp.float32(0), jnp.bool_(False))

    def step(
        self, key: Key, state: State, action: jax.Array, params: tuple
    ) -> tuple[State, TimeStep]:
        """Takes the action down if it is the one that counts. The key is not used."""
        counts = state.time == (0 if self.answer == "first" else self.length - 1)
        answer = jnp.where(counts, action, state.answer)
        state = State(state.cue, answer, state.time + 1)
        last = state.time == self.length
        reward = (last & (answer == state.cue)).astype(jnp.float32)
        return state, self._timestep(state, reward, last)

    def _timestep(self, state: State, reward: jax.Array, terminated: jax.Array) -> TimeStep:
        shown = (state.time == 0) | (not self.hide)
        cue = (jnp.arange(self.choices) == state.cue) & shown
        clock = jnp.arange(self.length) == state.time
        obs = jnp.concatenate([cue, clock]).astype(jnp.uint8)
        return TimeStep(obs, reward, terminated, jnp.bool_(False))

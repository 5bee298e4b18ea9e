"""Umbrella: take it or leave it at the first step, and learn at the last whether it rained.

The credit probe of bsuite (Osband et al. 2020, https://arxiv.org/abs/1908.03568), with the twenty
distractors of its `umbrella_length`.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.spaces import Choices
from metarl.envs.steps import ENDLESS, opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep


class Params(struct.PyTreeNode):
    """Dynamic settings."""

    length: jax.Array  # [] int32, steps of an episode
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    needed: jax.Array  # [] bool, whether it will rain
    taken: jax.Array  # [] bool, whether the umbrella is there
    noise: jax.Array  # [] uint32, a distracting bit each
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Umbrella(Choices):
    """The first of `length` actions leaves (0) or takes (1) the umbrella; all others do nothing.

    The last step pays 1 if the umbrella is there exactly when it is needed, else -1, and
    terminates the episode; every other step pays 1 or -1 at random. So the best expected return is
    1, and that of a random policy 0. The observation is whether it is needed, whether it is there,
    the share of the episode that is left, and `distractors` random bits, new at each step. An
    action number out of range is clipped.
    """

    num_actions: ClassVar[int] = 2  # leave it, take it

    distractors: int = 20

    def __post_init__(self):
        if not 0 <= self.distractors <= 32:
            raise ValueError(f"distractors must lie in 0..32, got {self.distractors}")

    @property
    def observation_space(self) -> Box:
        """Needed, there, share of time left, distractors."""
        return Box(0, 1, (3 + self.distractors,), np.float32)

    def default_params(self) -> Params:
        """Ten steps."""
        return Params(jnp.int32(10), jnp.int32(ENDLESS))

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Draws the weather, and whether the umbrella is there already. The key is consumed."""
        word, noise = keys.words(key, 2)
        state = State(word >> 31 == 1, word >> 30 & 1 == 1, noise, jnp.int32(0))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Takes the first action down. The key is consumed."""
        word, noise = keys.words(key, 2)
        taken = jnp.where(state.time == 0, jnp.clip(action, 0, 1) == 1, state.taken)
        state = State(state.needed, taken, noise, state.time + 1)
        ends, late = state.time >= params.length, state.time >= params.max_steps
        good = jnp.where(ends, state.taken == state.needed, word >> 31 == 1)
        reward = jnp.where(good, jnp.float32(1), -1)
        return state, outcome(self.observe(state, params)[0], reward, ends, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """The numbers, [3 + distractors] float32."""
        left = jnp.maximum(1 - state.time / params.length, 0)
        bits = state.noise >> jnp.arange(self.distractors, dtype=jnp.uint32) & 1
        seen = jnp.stack([state.needed.astype(jnp.float32), state.taken.astype(jnp.float32), left])
        return jnp.concatenate([seen, bits.astype(jnp.float32)]), None

    def render(self, state: State, params: Params) -> jax.Array:
        """Rain blue or sun gold above, an umbrella violet below, and the time left as a bar."""
        left = self.observe(state, params)[0][2]
        sky = jnp.where(state.needed, jnp.array([74, 118, 214]), jnp.array([226, 180, 60]))
        hand = jnp.where(state.taken, jnp.array([150, 90, 180]), jnp.array([235, 235, 235]))
        rows, columns = jnp.arange(48)[:, None, None], jnp.arange(64)[None, :, None]
        bar = jnp.where(columns < left * 64, 60, 200)
        picture = jnp.where(rows < 20, sky, jnp.where(rows < 40, hand, bar))
        return jnp.broadcast_to(picture, (48, 64, 3)).astype(jnp.uint8)

    def render_text(self, state: State, params: Params) -> str:
        """A line such as `step 3 of 10  rain, umbrella`."""
        weather = "rain" if state.needed else "sun"
        hand = "umbrella" if state.taken else "no umbrella"
        return f"step {int(state.time)} of {int(params.length)}  {weather}, {hand}"

"""A bandit, the smallest environment: read this one first.

Arms that pay with uniform probabilities are a task distribution of RL^2 (Duan et al. 2016,
https://arxiv.org/abs/1611.02779), normal arms that of Wang et al. 2016 and Vuorio et al. 2022.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.spaces import Choices
from metarl.envs.splits import draw_level
from metarl.envs.steps import opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep


class Params(struct.PyTreeNode):
    """Dynamic settings: batch them with `vmap`."""

    arms: jax.Array  # [A] float32, probability of reward
    max_steps: jax.Array  # [] int32, steps until truncation


class GaussianParams(Params):
    """The same; `arms` are mean rewards."""

    noise: jax.Array  # [] float32, standard deviation of a reward


class State(struct.PyTreeNode):
    """One episode in progress."""

    time: jax.Array  # [] int32
    arm: jax.Array  # [] int32, the last one pulled, -1 before the first pull


@dataclass(frozen=True)
class Bandit(Choices):
    """Pull one of `num_actions` arms; the observation is constant. A wrong arm number is clipped.

    Arm `a` pays 1 with probability `params.arms[a]`, so the best return is
    `max(arms) * max_steps`. The end is a truncation: nothing in the task ends.
    """

    num_actions: int = 2

    def __post_init__(self):
        if self.num_actions < 1:
            raise ValueError(f"num_actions must be at least 1, got {self.num_actions}")

    @property
    def observation_space(self) -> Box:
        """A constant one."""
        return Box(0, 1, (1,), np.uint8)

    def default_params(self) -> Params:
        """Arm 0 pays with probability 0.1, the last one with 0.9."""
        return Params(arms=jnp.linspace(0.1, 0.9, self.num_actions), max_steps=jnp.int32(20))

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """Probabilities uniform in [0, 1). The key is consumed."""

        def make(key: Key) -> Params:
            arms = jax.random.uniform(key, (self.num_actions,))
            return self.default_params().replace(arms=arms)

        return draw_level(make, key, split)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Starts an episode. The key is not used."""
        state = State(time=jnp.int32(0), arm=jnp.int32(-1))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Pulls an arm. The key is consumed."""
        arm = jnp.clip(action, 0, self.num_actions - 1).astype(jnp.int32)
        reward = self._pay(keys.words(key, 1)[0], arm, params)
        state = State(state.time + 1, arm)
        late = state.time >= params.max_steps
        return state, outcome(self.observe(state, params)[0], reward, jnp.bool_(False), late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """A constant one, [1] uint8."""
        del state, params
        return jnp.ones(1, jnp.uint8), None

    def render(self, state: State, params: Params) -> jax.Array:
        """A bar per arm, the higher the better, the last one pulled in orange."""
        height, width = 32, 16
        column = jnp.arange(self.num_actions * width)
        arm, margin = column // width, column % width < 2
        filled = height - jnp.arange(height)[:, None] <= self._heights(params)[arm] * height
        colours = jnp.array([[255, 255, 255], [70, 110, 160], [230, 140, 40]], jnp.uint8)
        bar = filled & ~margin  # [H, W]
        return colours[jnp.where(bar, 1 + (arm == state.arm), 0)]

    def render_text(self, state: State, params: Params) -> str:
        """A line such as `step 3  0.10 [0.90]`: the arms, the last one pulled in brackets."""
        arms = [f"[{p:.2f}]" if a == state.arm else f" {p:.2f} " for a, p in enumerate(params.arms)]
        return f"step {int(state.time)} {' '.join(arms)}"

    def _pay(self, word: jax.Array, arm: jax.Array, params: Any) -> jax.Array:
        """[] float32, what a pull pays; `word` is random."""
        return (keys.unit(word) < params.arms[arm]).astype(jnp.float32)

    def _heights(self, params: Params) -> jax.Array:
        """[A] float32 in 0..1, how good each arm looks in a picture."""
        return params.arms


@dataclass(frozen=True)
class GaussianBandit(Bandit):
    """The same with normal rewards: arm `a` pays `params.arms[a]` on average."""

    def default_params(self) -> GaussianParams:
        """Means from -1 for arm 0 to 1 for the last one, unit noise."""
        arms = jnp.linspace(-1.0, 1.0, self.num_actions)
        return GaussianParams(arms=arms, max_steps=jnp.int32(20), noise=jnp.float32(1))

    def sample_params(self, key: Key, split: str | None = None) -> GaussianParams:
        """Standard normal means. The key is consumed."""

        def make(key: Key) -> GaussianParams:
            arms = jax.random.normal(key, (self.num_actions,))
            return self.default_params().replace(arms=arms)

        return draw_level(make, key, split)

    def _pay(self, word: jax.Array, arm: jax.Array, params: Any) -> jax.Array:
        return params.arms[arm] + params.noise * keys.normal(word)

    def _heights(self, params: Params) -> jax.Array:
        return jax.nn.sigmoid(params.arms)

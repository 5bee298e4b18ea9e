"""A bandit, the smallest environment: read this one first."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box, Discrete

from metarl.types import Key, TimeStep


class Params(struct.PyTreeNode):
    """Dynamic settings: batch them with `vmap`."""

    arms: jax.Array  # [A] float32, probability of reward
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    time: jax.Array  # [] int32
    arm: jax.Array  # [] int32, the last one pulled, -1 before the first pull


@dataclass(frozen=True)
class Bandit:
    """Pull one of `num_actions` arms; the observation is constant. A wrong arm number is clipped.

    Arm `a` pays 1 with probability `params.arms[a]`, so the best return is
    `max(arms) * max_steps`. The end is a truncation: nothing in the task ends.
    """

    num_actions: int = 2

    def __post_init__(self):
        if self.num_actions < 1:
            raise ValueError(f"num_actions must be at least 1, got {self.num_actions}")

    @property
    def action_space(self) -> Discrete:
        """One action per arm, all legal."""
        return Discrete(self.num_actions)

    @property
    def observation_space(self) -> Box:
        """A constant one."""
        return Box(0, 1, (1,), np.uint8)

    def default_params(self) -> Params:
        """Arm 0 pays with probability 0.1, the last one with 0.9."""
        return Params(arms=jnp.linspace(0.1, 0.9, self.num_actions), max_steps=jnp.int32(20))

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Starts an episode. The key is not used."""
        state = State(time=jnp.int32(0), arm=jnp.int32(-1))
        return state, _timestep(jnp.float32(0), jnp.bool_(False))

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Pulls an arm. The key is consumed."""
        arm = jnp.clip(action, 0, self.num_actions - 1).astype(jnp.int32)
        reward = jax.random.bernoulli(key, params.arms[arm]).astype(jnp.float32)
        state = State(state.time + 1, arm)
        return state, _timestep(reward, state.time >= params.max_steps)

    def render(self, state: State, params: Params) -> jax.Array:
        """A bar per arm, as high as its probability, the last one pulled in orange."""
        height, width = 32, 16
        column = jnp.arange(self.num_actions * width)
        arm, margin = column // width, column % width < 2
        filled = height - jnp.arange(height)[:, None] <= params.arms[arm] * height
        colours = jnp.array([[255, 255, 255], [70, 110, 160], [230, 140, 40]], jnp.uint8)
        bar = filled & ~margin  # [H, W]
        return colours[jnp.where(bar, 1 + (arm == state.arm), 0)]

    def render_text(self, state: State, params: Params) -> str:
        """A line such as `step 3  0.10 [0.90]`: the arms, the last one pulled in brackets."""
        arms = [f"[{p:.2f}]" if a == state.arm else f" {p:.2f} " for a, p in enumerate(params.arms)]
        return f"step {int(state.time)} {' '.join(arms)}"


def _timestep(reward: jax.Array, truncated: jax.Array) -> TimeStep:
    return TimeStep(jnp.ones(1, jnp.uint8), reward, jnp.bool_(False), truncated)

"""Discounting chain: the first action chooses when a reward comes, and one chain pays more.

After bsuite (Osband et al. 2020, https://arxiv.org/abs/1908.03568), as used to show the bias of
meta-learned discounts by Bonnet et al. 2022 (https://arxiv.org/abs/2211.10550).
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.drawing import layered
from metarl.envs.spaces import Choices
from metarl.envs.splits import draw_level
from metarl.envs.steps import ENDLESS, opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep

CHAINS = 5


class Params(struct.PyTreeNode):
    """Dynamic settings."""

    rewards: jax.Array  # [5] float32, what each chain pays
    reward_steps: jax.Array  # [5] int32, the step, counted from 1, at which it pays
    length: jax.Array  # [] int32, steps of an episode
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    chain: jax.Array  # [] int32, the one chosen, -1 before
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class DiscountingChain(Choices):
    """The first of 100 actions chooses one of five chains; all others do nothing.

    The chains pay once, at steps 1, 3, 10, 30 and 100. All pay 1, but the one at step 30 pays 1.1
    (bsuite's `mapping_seed` 3): the best return is 1.1, a uniform choice gives 1.02, and a
    discount below about 0.9967 prefers the first chain. The observation is the chain, -1 before
    the choice, and the share of the episode that is over. The episode terminates at its length,
    which is part of the task. An action number out of range is clipped.
    """

    num_actions: ClassVar[int] = CHAINS  # one action per chain

    @property
    def observation_space(self) -> Box:
        """The chain and the time over the length."""
        low, high = np.array([[-1, 0], [CHAINS - 1, 1]], np.float32)
        return Box(low, high, dtype=np.float32)

    def default_params(self) -> Params:
        """The published setting: the chain at step 30 pays 1.1."""
        return _paying(jnp.int32(3))

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """A random chain pays 1.1, of five; splits share none. The key is consumed."""
        return draw_level(lambda k: _paying(keys.below(keys.words(k, 1)[0], CHAINS)), key, split)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Starts an episode. The key is not used."""
        state = State(jnp.int32(-1), jnp.int32(0))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Takes the first action down. The key is not used."""
        chosen = jnp.clip(action, 0, CHAINS - 1).astype(jnp.int32)
        state = State(jnp.where(state.time == 0, chosen, state.chain), state.time + 1)
        pays = state.time == params.reward_steps[state.chain]
        reward = jnp.where(pays, params.rewards[state.chain], 0)
        ends, late = state.time >= params.length, state.time >= params.max_steps
        return state, outcome(self.observe(state, params)[0], reward, ends, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """The chain and the time over the length, [2] float32."""
        over = jnp.minimum(state.time / params.length, 1)
        return jnp.stack([state.chain.astype(jnp.float32), over]), None

    def render(self, state: State, params: Params) -> jax.Array:
        """A row per chain, 25 cells long: time that is over grey, the reward green or gold."""
        columns, rows = jnp.arange(25), jnp.arange(CHAINS)[:, None]
        column = lambda step: (step - 1) * 25 // params.length  # noqa: E731
        over = (columns <= column(state.time)) & (rows == state.chain)
        reward = columns == column(params.reward_steps)[:, None]
        best = reward & (params.rewards == params.rewards.max())[:, None]
        colours = [[120, 124, 132], [72, 158, 92], [226, 180, 60]]
        return layered(jnp.stack([over, reward, best]), np.array(colours, np.uint8), pixels=8)

    def render_text(self, state: State, params: Params) -> str:
        """A line such as `chain 3 of 5  step 12 of 100  pays 1.1 at 30`."""
        chain, time = int(state.chain), f"step {int(state.time)} of {int(params.length)}"
        if chain < 0:
            return f"no chain of {CHAINS}  {time}"
        pays = f"pays {params.rewards[chain]:.4g} at {params.reward_steps[chain]}"
        return f"chain {chain} of {CHAINS}  {time}  {pays}"


def _paying(chain: jax.Array) -> Params:
    """The published numbers with the bonus of 0.1 on one chain."""
    bonus = jnp.where(jnp.arange(CHAINS) == chain, jnp.float32(0.1), 0)
    steps = jnp.array([1, 3, 10, 30, 100], jnp.int32)
    return Params(1 + bonus, steps, jnp.int32(100), jnp.int32(ENDLESS))

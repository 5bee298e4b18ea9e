"""Wrappers of what an action means: its number permuted, so that it must be found out."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnasium.spaces import Discrete

from metarl.ops import keys
from metarl.types import Environment, Key, PyTree, TimeStep
from metarl.wrappers.base import Inner, WithLeaves

_APART = 0x7065726D  # keeps a permutation's draw apart from those of the inner task


class PermuteParams(struct.PyTreeNode):
    """Dynamic settings; with the inner ones the permutation makes a task."""

    env: PyTree
    permutation: jax.Array  # [A] int32, the inner action that each action plays


@dataclass(frozen=True)
class PermuteActions(WithLeaves):
    """See `permute_actions`."""

    masked: bool = True

    def extend(self, params: PyTree) -> PermuteParams:
        """Adds the identity."""
        return PermuteParams(params, jnp.arange(self._count, dtype=jnp.int32))

    def sample_params(self, key: Key, split: str | None = None) -> PermuteParams:
        """A task of the environment, or its defaults, and a permutation. The key is consumed.

        The split is that of the inner tasks; permutations, of which there are few, are uniform in
        both.
        """
        drawn = keys.shuffled(keys.fold_in(key, jnp.uint32(_APART)), self._count)
        if hasattr(self.env, "sample_params"):
            return PermuteParams(self.env.sample_params(key, split), drawn)
        return PermuteParams(self.env.default_params(), drawn)

    def reset(self, key: Key, params: PermuteParams) -> tuple[Inner, TimeStep]:
        """Starts an episode. The key is consumed."""
        env, ts = self.env.reset(key, params.env)
        return Inner(env), ts.replace(action_mask=self._mask(ts.action_mask, params))

    def step(
        self, key: Key, state: Inner, action: jax.Array, params: PermuteParams
    ) -> tuple[Inner, TimeStep]:
        """Plays what the action stands for. The key is consumed."""
        action = params.permutation.at[action].get(mode="clip", wrap_negative_indices=False)
        env, ts = self.env.step(key, state.env, action, params.env)
        return Inner(env), ts.replace(action_mask=self._mask(ts.action_mask, params))

    def observe_inner(self, state: Inner, params: PermuteParams) -> tuple[PyTree, Any]:
        """The inner `observe`, its mask permuted."""
        obs, mask = super().observe_inner(state, params)
        return obs, self._mask(mask, params)

    def _mask(self, mask: jax.Array | None, params: PermuteParams) -> jax.Array | None:
        if mask is None or not self.masked:
            return None
        return mask.at[params.permutation].get(mode="promise_in_bounds")

    @property
    def _count(self) -> int:
        return int(self.env.action_space.n)


def permute_actions(env: Environment, masked: bool = True) -> PermuteActions:
    """Plays action `params.permutation[a]` where action `a` is chosen.

    The permutation is the identity until `sample_params` draws one for a task, uniformly: so trials
    that draw tasks (`trial(env, sample_task=True)`) hide from an agent what its actions do, and a
    second attempt can profit from the first. An action number out of range is clipped. Previous
    actions, as agents see them, are those chosen.

    Args:
      env: with discrete actions.
      masked: permute the action mask with them. Where the mask says which actions change something
        it tells something of the permutation; False leaves it out, so that all are legal.

    Raises:
      ValueError: the actions are not discrete, or not numbered from 0.
    """
    space = env.action_space
    if not isinstance(space, Discrete) or space.start != 0:
        raise ValueError(f"permute_actions needs Discrete actions from 0, got {space}")
    return PermuteActions(env, masked)

"""Every trajectory of a small Markov decision process, so that expectations are sums."""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Trajectories(NamedTuple):
    """All that can happen in an episode of `T` steps: `K` trajectories."""

    state: jax.Array  # [K, T] int32
    action: jax.Array  # [K, T] int32
    reward: jax.Array  # [K, T]
    nature: jax.Array  # [K], product of the probabilities of the transitions

    def log_probs(self, logits: jax.Array) -> jax.Array:
        """[K, T] of the actions, under a softmax policy with logits [S, A]."""
        states, actions = (
            jax.nn.one_hot(x, n) for x, n in zip(self[:2], logits.shape, strict=True)
        )
        taken = states[..., None] * actions[..., None, :]  # [K, T, S, A]
        return jnp.tensordot(taken.astype(logits.dtype), jax.nn.log_softmax(logits), 2)

    def probability(self, logits: jax.Array) -> jax.Array:
        """[K], of the trajectories; they sum to one."""
        return self.nature * jnp.exp(self.log_probs(logits).sum(axis=1))

    def returns(self) -> jax.Array:
        """[K, T], the undiscounted rewards from each step to the end."""
        return jnp.cumsum(self.reward[:, ::-1], axis=1)[:, ::-1]

    def value(self, logits: jax.Array) -> jax.Array:
        """[], the expected return."""
        return jnp.dot(self.probability(logits), self.reward.sum(axis=1))


def trajectories(
    transitions: jax.Array, rewards: jax.Array, *, horizon: int, start: int = 0
) -> Trajectories:
    """Enumerates them: `(A S) ** (T - 1) A` of them, most of them unlikely.

    Args:
      transitions: [S, A, S], probability of each next state; may be traced.
      rewards: [S, A], given for each action.
      horizon: T, at least 1.
      start: the first state.
    """
    states, actions = rewards.shape
    ways = [range(actions), *[range(states), range(actions)] * (horizon - 1)]
    found = np.array([*itertools.product(*ways)], np.int32)
    action, after = found[:, ::2], found[:, 1::2]
    state = np.concatenate([np.full((len(found), 1), start, np.int32), after], axis=1)
    passed = transitions[state[:, :-1], action[:, :-1], after]
    nature = jnp.prod(passed, axis=1)
    return Trajectories(jnp.asarray(state), jnp.asarray(action), rewards[state, action], nature)


def samples(outcomes: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """All samples of a size, their order ignored.

    Args:
      outcomes: K, of which each draw is one.
      size: N, of a sample.

    Returns:
      [M, K] float64 counts that sum to N, and [M] the logarithm of the number of orders each can
      come in: with log-probabilities l [K] a sample has the probability `exp(orders + counts @ l)`.
    """
    chosen = np.array([*itertools.combinations_with_replacement(range(outcomes), size)])
    counts = np.stack([(chosen == k).sum(axis=1) for k in range(outcomes)], axis=1)
    factorial = np.array([math.lgamma(n + 1) for n in range(size + 1)])
    return counts.astype(float), factorial[size] - factorial[counts].sum(axis=1)

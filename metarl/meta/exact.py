"""Meta-gradients of one policy-gradient step on a small MDP, exactly: by enumeration.

Three objectives of the params theta, for V the expected return, g the policy gradient that a
surrogate gives on N trajectories tau of theta, alpha the step size:

  sampled     J_N(theta) = E_tau[V(theta + alpha g(tau))], what one gets with N trajectories
  population  J(theta) = V(theta + alpha grad V(theta)), its limit for large N

and an estimator is autodiff of its own surrogates on N trajectories tau and N further ones of the
updated params. All surrogates of `metarl.ops.surrogates` have the same g, so the same J_N.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl.ops.enumeration import Trajectories, samples
from metarl.ops.surrogates import Surrogate


class Problem(NamedTuple):
    """A small MDP, and how one adapts to it."""

    paths: Trajectories
    baseline: jax.Array  # [K, T], given numbers that depend on no action from their step on
    step_size: float


class Moments(NamedTuple):
    """Of an estimator's distribution."""

    mean: jax.Array  # [S, A]
    variance: jax.Array  # [], summed over the params


def adapted(
    problem: Problem, surrogate: Surrogate, logits: jax.Array, counts: jax.Array
) -> jax.Array:
    """[S, A] the logits after one step on a sample with so many [K] of each trajectory."""
    paths = problem.paths
    last = jnp.zeros(paths.reward.shape, bool).at[:, -1].set(True)

    def objective(logits: jax.Array) -> jax.Array:
        terms = jax.vmap(surrogate)(
            paths.log_probs(logits), paths.returns(), problem.baseline, last
        )
        return jnp.dot(counts, terms.sum(axis=1)) / counts.sum()

    return logits + problem.step_size * jax.grad(objective)(logits)


def population(problem: Problem, logits: jax.Array) -> jax.Array:
    """[] J, the return after a step along the exact gradient."""
    value = problem.paths.value
    return value(logits + problem.step_size * jax.grad(value)(logits))


def sampled(problem: Problem, surrogate: Surrogate, logits: jax.Array, size: int) -> jax.Array:
    """[] J_N, the expected return after a step along the gradient of N = `size` trajectories."""
    counts, orders = _samples(problem, size)
    after = jax.vmap(partial(adapted, problem, surrogate, logits))(counts)
    return jnp.dot(_weights(problem, logits, counts, orders), jax.vmap(problem.paths.value)(after))


def moments(
    problem: Problem, surrogate: Surrogate, logits: jax.Array, size: int, *, score: float = 0.0
) -> Moments:
    """Mean and variance of a meta-gradient estimator over all samples it may see.

    The estimator adapts to `size` trajectories with the surrogate, and differentiates the plain one
    on as many of the updated params, through the update. With `score` 1 it adds E-MAML's term, with
    the return before the update as its baseline.

    Args:
      problem: the MDP.
      surrogate: of the inner step.
      logits: [S, A], theta.
      size: N, of each of the two samples.
      score: weight of E-MAML's term.
    """
    paths = problem.paths
    counts, orders = _samples(problem, size)
    total, expected = paths.reward.sum(axis=1), paths.value(logits)

    def estimates(counts: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[K, S, A] the estimate for each outer trajectory, and [K] their probabilities."""
        after, pull = jax.vjp(lambda x: adapted(problem, surrogate, x, counts), logits)

        def outer(logits: jax.Array) -> jax.Array:  # [K] the plain surrogate
            return jnp.sum(paths.log_probs(logits) * paths.returns(), axis=1)

        through = jax.vmap(lambda slope: pull(slope)[0])(jax.jacrev(outer)(after))
        seen = jax.grad(lambda x: jnp.dot(counts, paths.log_probs(x).sum(axis=1)))(logits)
        extra = (total - jax.lax.stop_gradient(expected))[:, None, None] * seen
        return through + score * extra, paths.probability(after)

    each, chance = jax.lax.map(estimates, counts, batch_size=4096)  # [M, K, S, A], [M, K]
    weights = _weights(problem, logits, counts, orders)
    inner = jnp.einsum("mk,mkij->mij", chance, each)
    mean = jnp.einsum("m,mij->ij", weights, inner)
    within = jnp.einsum("mk,mkij->m", chance, jnp.square(each - inner[:, None]))
    between = jnp.sum(jnp.square(inner - mean), axis=(1, 2))
    return Moments(mean, jnp.dot(weights, between + within / size))


def limit(problem: Problem, surrogate: Surrogate, logits: jax.Array) -> jax.Array:
    """[S, A] what the mean of such an estimator without score tends to for large samples."""
    chance = jax.lax.stop_gradient(problem.paths.probability(logits))  # frequencies are data
    return jax.grad(lambda x: problem.paths.value(adapted(problem, surrogate, x, chance)))(logits)


def _samples(problem: Problem, size: int) -> tuple[jax.Array, np.ndarray]:
    counts, orders = samples(problem.paths.nature.size, size)
    return jnp.asarray(counts, problem.paths.reward.dtype), orders


def _weights(
    problem: Problem, logits: jax.Array, counts: jax.Array, orders: np.ndarray
) -> jax.Array:
    """[M] the probability of each sample."""
    return jnp.exp(orders + counts @ jnp.log(problem.paths.probability(logits)))

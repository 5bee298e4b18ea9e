"""Objectives for autodiff through sampling: the same gradient once, different ones twice.

The first derivative of every function here is that of the policy gradient, the sum of
`grad log pi(a_t) (G_t - b_t)`. A meta-gradient differentiates that gradient again, and then they
differ. Let V be the expected return of one episode; the expected second derivative is

  plain        E[sum_t (hess log pi_t) (G_t - b_t)], which is no Hessian of V: what MAML's own code
               differentiates (Finn et al. 2017, https://arxiv.org/abs/1703.03400)
  lvc          the Hessian of V without the cross terms between a step and those before it: exact
               for one step, and the less biased the nearer to an optimum
  dice         the Hessian of V, without bias and with the most variance
  loaded_dice  the Hessian of V, without bias; the baseline also tames its second derivative

The other half of a meta-gradient through sampling, that the experience to adapt on depends on the
params, is `score`. Facts on all of them from their papers' derivations, checked by enumeration
(`metarl.ops.enumeration`).

Each function maps one stream [T] to terms [T], whose sum or mean is to be maximised. No gradient
is stopped but by the magic box itself: returns and baselines are constants if the caller says so.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Surrogate = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


def box(x: jax.Array) -> jax.Array:
    """The magic box of DiCE: one, with the derivatives of `exp(x)`, as if x were zero."""
    return jnp.exp(x - jax.lax.stop_gradient(x))


def plain(
    log_prob: jax.Array, returns: jax.Array, baseline: jax.Array, last: jax.Array
) -> jax.Array:
    """Log-probability times advantage.

    Args:
      log_prob: [T], of the actions taken, under the params to differentiate.
      returns: [T], the rewards from each step to the end of its episode.
      baseline: [T], which must not depend on the action taken.
      last: [T] bool, the episode ended with this step.
    """
    del last
    return log_prob * (returns - baseline)


def lvc(log_prob: jax.Array, returns: jax.Array, baseline: jax.Array, last: jax.Array) -> jax.Array:
    """Ratio times advantage, the low-variance curvature estimator.

    ProMP (Rothfuss et al. 2019, https://arxiv.org/abs/1810.06784). Args: as `plain`.
    """
    del last
    return box(log_prob) * (returns - baseline)


def dice(
    log_prob: jax.Array, returns: jax.Array, baseline: jax.Array, last: jax.Array
) -> jax.Array:
    """The step-wise infinitely differentiable estimator, with its first-order baseline.

    DiCE (Foerster et al. 2018, https://arxiv.org/abs/1802.05098). Without discount the sum of these
    terms is `sum_t box(log_prob up to t) r_t + sum_t (1 - box(log_prob_t)) b_t` but for a constant.
    Args: as `plain`.
    """
    upto, before = histories(log_prob, last)
    return (box(upto) - box(before)) * returns - box(log_prob) * baseline


def loaded_dice(
    log_prob: jax.Array, returns: jax.Array, baseline: jax.Array, last: jax.Array
) -> jax.Array:
    """DiCE around advantages, whose baseline acts on every derivative.

    Loaded DiCE (Farquhar et al. 2019, https://arxiv.org/abs/1909.10549) with full returns. Args: as
    `plain`.
    """
    upto, before = histories(log_prob, last)
    return (box(upto) - box(before)) * (returns - baseline)


def score(log_prob: jax.Array, outcome: jax.Array) -> jax.Array:
    """E-MAML's extra term: log-probability of the experience times what came of adapting to it.

    Stadie et al. 2018 (https://arxiv.org/abs/1803.01118). Added to an outer objective whose inner
    surrogate is `plain`, it makes its gradient that of the expected return after adapting to so
    many trajectories, without bias. With `dice` or `loaded_dice` inside it counts twice what those
    count already.

    Args:
      log_prob: of all actions adapted to.
      outcome: [] the return after the update, less a baseline that does not depend on those
        actions; a constant here.

    Returns:
      [], to be maximised.
    """
    return jnp.sum(log_prob) * jax.lax.stop_gradient(outcome)  # data: the other term moves it


def histories(log_prob: jax.Array, last: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[T] sums of log-probabilities of an episode's actions up to each step, and before it."""

    def forward(total: jax.Array, x: tuple[jax.Array, jax.Array]):
        log_prob, last = x
        upto = total + log_prob
        return jnp.where(last, 0, upto), upto

    _, upto = jax.lax.scan(forward, jnp.zeros_like(log_prob[0]), (log_prob, last))
    return upto, upto - log_prob


SURROGATES: dict[str, Surrogate] = {
    "plain": plain,
    "lvc": lvc,
    "dice": dice,
    "loaded_dice": loaded_dice,
}

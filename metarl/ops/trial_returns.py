"""Returns over the attempts of a trial, of one sequence `[T]`; `vmap` for batches.

An early attempt is worth what it earns and what it makes possible later. Time within an attempt and
the number of attempts are discounted apart (Jiang et al. 2025, https://arxiv.org/abs/2512.16848).
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def trial_returns(
    reward: jax.Array,
    attempt_ended: jax.Array,
    last: jax.Array,
    *,
    discount: ArrayLike = 0.95,
    attempt_discount: ArrayLike = 0.6,
    chained: bool = False,
) -> jax.Array:
    """What each step earns in its own attempt, and what all later attempts of the trial earn.

    The paper's return of step `t` of attempt `n` adds to the attempt's own discounted return
    `g_t^n` what the later ones are worth from their start: `sum_{m > n} b^(m - n) g_0^m`, b being
    `attempt_discount`. The authors' code computes another (this follows a summary of both): one
    backward sum, in which b replaces the discount at the end of an attempt, so that later attempts
    count the less the earlier it is in this one. The two agree at the last step of an attempt.

    Args:
      reward: [T], received after each step.
      attempt_ended: [T] bool, an attempt ended with this step; the end of a trial need not be told.
      last: [T] bool, the trial ended with this step: nothing passes from one trial to another.
      discount: of a step within an attempt, a number.
      attempt_discount: b.
      chained: as the authors' code.

    Returns:
      [T]. What lies beyond the sequence counts 0, so a trial that it cuts off has too little.
    """
    ended = attempt_ended | last

    def backward(ahead: tuple[jax.Array, jax.Array], x: tuple[jax.Array, ...]):
        own, later = ahead  # of the step after this one
        reward, ended, last = x
        onward = jnp.where(last, 0, attempt_discount * (own + later))
        later = jnp.where(ended, onward, later)
        own = reward + discount * jnp.where(ended, 0, own)
        return (own, later), own + later

    def backward_chained(ahead: jax.Array, x: tuple[jax.Array, ...]):
        reward, ended, last = x
        ret = reward + jnp.where(last, 0, jnp.where(ended, attempt_discount, discount)) * ahead
        return ret, ret

    zero, steps = jnp.zeros_like(reward[0]), (reward, ended, last)
    if chained:
        return jax.lax.scan(backward_chained, zero, steps, reverse=True)[1]
    return jax.lax.scan(backward, (zero, zero), steps, reverse=True)[1]


def whole(first: jax.Array, last: jax.Array) -> jax.Array:
    """[T] bool, which steps belong to an episode that both began and ended within the sequence.

    Args:
      first: [T] bool, the episode began with this step.
      last: [T] bool, it ended with this step.
    """
    began, ends = jnp.cumsum(first) > 0, jnp.cumsum(last[::-1])[::-1] > 0
    return began & ends

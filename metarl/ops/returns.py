"""Returns and advantages of one sequence `[T]`; `vmap` for batches. No gradient is stopped."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def gae(
    reward: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    *,
    discount: ArrayLike = 0.99,
    lambda_: ArrayLike = 0.95,
) -> jax.Array:
    """Generalised advantage estimation (Schulman et al. 2016, https://arxiv.org/abs/1506.02438).

    A termination cuts the bootstrap and the trace, a truncation the trace alone.

    Args:
      reward: [T], received after each step.
      terminated: [T] bool.
      truncated: [T] bool.
      value: [T], V of the observation acted on.
      next_value: [T], V of the true successor, before any reset.
      discount: one-step discount, a number or [T].
      lambda_: decay of the trace, a number or [T].

    Returns:
      [T] advantages; add `value` for the targets of a value function, which are lambda-returns.
    """
    delta = reward + discount * (1 - terminated) * next_value - value
    decay = discount * lambda_ * (1 - (terminated | truncated))

    def backward(adv: jax.Array, x: tuple[jax.Array, jax.Array]):
        delta, decay = x
        adv = delta + decay * adv
        return adv, adv

    decay = jnp.broadcast_to(decay, delta.shape)
    return jax.lax.scan(backward, jnp.zeros_like(delta[0]), (delta, decay), reverse=True)[1]


def vtrace(
    reward: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    log_ratio: jax.Array,
    *,
    discount: ArrayLike = 0.99,
    lambda_: ArrayLike = 1.0,
    alpha_rho: ArrayLike = 1.0,
    alpha_c: ArrayLike = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """Leaky V-trace: targets and advantages from the experience of another policy.

    V-trace (Espeholt et al. 2018, https://arxiv.org/abs/1802.01561) clips the ratios of
    probabilities at 1. The leak lets a share of what was cut off through (Zahavy et al. 2020,
    https://arxiv.org/abs/2002.12928): `rho = a min(1, ratio) + (1 - a) ratio`, so that `a = 1` is
    V-trace and `a = 0` plain importance sampling. Endings count as in `gae`, which this is where
    all ratios are 1 (its targets are then `value` plus those advantages).

    Args:
      reward: [T].
      terminated: [T] bool.
      truncated: [T] bool.
      value: [T], V of the observation acted on.
      next_value: [T], V of the true successor, before any reset.
      log_ratio: [T], log-probability of the action now less that when it was taken.
      discount: a number or [T].
      lambda_: decay of the trace.
      alpha_rho: a of the ratios that weigh temporal differences and advantages.
      alpha_c: a of the ratios that weigh the trace.

    Returns:
      Targets of the values, [T], and advantages weighed by their ratio, [T].
    """
    ratio = jnp.exp(log_ratio)
    clipped = jnp.minimum(ratio, 1)
    rho = alpha_rho * clipped + (1 - alpha_rho) * ratio
    c = alpha_c * clipped + (1 - alpha_c) * ratio
    on = discount * (1 - terminated)
    delta = rho * (reward + on * next_value - value)
    carried = lambda_ * (1 - (terminated | truncated))  # of what is known one step later

    def backward(ahead: jax.Array, x: tuple[jax.Array, jax.Array]):
        delta, decay = x
        error = delta + decay * ahead
        return error, (error, ahead)

    steps: Any = (delta, jnp.broadcast_to(discount * carried * c, delta.shape))
    _, (error, ahead) = jax.lax.scan(backward, jnp.zeros_like(delta[0]), steps, reverse=True)
    adv = rho * (reward + on * (next_value + carried * ahead) - value)
    return value + error, adv


def retrace(
    reward: jax.Array, on: jax.Array, next_value: jax.Array, q: jax.Array, trace: jax.Array
) -> jax.Array:
    """Retrace: targets of action values, [T] (Munos et al. 2016, https://arxiv.org/abs/1606.02647).

    Args:
      reward: [T].
      on: [T], what the future of each step counts: the discount, or 0 where the task ended.
      next_value: [T], V of what follows, under the policy that is to be valued.
      q: [T], Q of the action taken at each step.
      trace: [T], `lambda min(1, ratio)` of the action taken at each step; that of the first is not
        read.
    """

    def backward(beyond: jax.Array, x: tuple[jax.Array, ...]):
        reward, on, next_value, q, trace = x
        target = reward + on * (next_value + beyond)
        return trace * (target - q), target

    steps = (reward, on, next_value, q, trace)
    return jax.lax.scan(backward, jnp.zeros_like(q[0]), steps, reverse=True)[1]

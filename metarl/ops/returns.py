"""Returns and advantages of one sequence `[T]`; `vmap` for batches. No gradient is stopped."""

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
      lambda_: decay of the trace.

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

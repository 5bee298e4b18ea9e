"""Temporally aware LPO (Jackson et al. 2024, https://arxiv.org/abs/2402.05828): it knows the time.

The drift's network also reads its inputs times n/N, the share of the life that is over, so that the
drift stays zero around a ratio of 1. The paper was not read in full: this form follows summaries of
it, and the published code has none.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from metarl.rules.life import Clock, new_clock
from metarl.rules.lpo import Shape, built, heads, hypers, numbers
from metarl.types import Agent, Eta, UpdateRule

__all__ = ["heads", "hypers", "ta_lpo", "with_time"]


def ta_lpo(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Eta | None = None,
    lifetime: int = 1000,
    hidden: int = 128,
    ppo_init: bool = False,
    epochs: int = 4,
    minibatches: int = 4,
    discount: float = 0.99,
    lambda_: float = 0.95,
    entropy_cost: float = 0.01,
    value_cost: float = 0.5,
    learning_rate: float = 3e-4,
) -> UpdateRule:
    """Builds the rule: `epochs` passes over the rollout in shuffled minibatches.

    Args:
      agent, heads, optimizer, eta, hidden, ppo_init, epochs, minibatches: as
        `metarl.rules.lpo.lpo`.
      lifetime: N at birth, in updates, one for each rollout; the state's `clock` has it, and may be
        given another.
      discount, lambda_, entropy_cost, value_cost, learning_rate: as `metarl.rules.lpo.lpo`.

    Raises:
      ValueError: a lifetime without updates; in `update`, while tracing, if `minibatches` does not
        divide the rows.
    """
    own = numbers(discount, lambda_, entropy_cost, value_cost, learning_rate)
    shape, clock = Shape(hidden, ppo_init, epochs, minibatches), new_clock(lifetime)
    return built(
        "ta_lpo", agent, heads, optimizer, eta, own, shape, clock=clock, n_in=16, tell=with_time
    )


def with_time(x: jax.Array, clock: Clock) -> jax.Array:
    """[..., 16]: inputs [..., 8], and the same times n/N, where n = 0 at the first update."""
    return jnp.concatenate([x, clock.relative * x], axis=-1)

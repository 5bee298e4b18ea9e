"""Discovered policy optimisation (Lu et al. 2022, https://arxiv.org/abs/2210.05639).

PPO's passes with another surrogate: the ratio times the advantage less a drift, a penalty for
leaving the old policy, in the closed form that the authors read off a learned one (`rules.lpo`).
"""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.typing import ArrayLike

from metarl.rules.common import actor_critic_heads, adam
from metarl.rules.proximal import Batch, less, proximal, proximal_loss
from metarl.types import Agent, Metrics, Params, UpdateRule

heads = actor_critic_heads


class Hypers(struct.PyTreeNode):
    """DPO's eta: batch it with `vmap`, or let an outer loop learn it."""

    discount: jax.Array
    lambda_: jax.Array
    alpha: jax.Array  # how far a ratio may go where the action was good; times the advantage
    beta: jax.Array  # the same where it was bad
    entropy_cost: jax.Array
    value_cost: jax.Array
    learning_rate: jax.Array  # factor on the optimizer's steps


def hypers(
    discount: float = 0.99,
    lambda_: float = 0.95,
    alpha: float = 2.0,
    beta: float = 0.6,
    entropy_cost: float = 0.01,
    value_cost: float = 0.5,
    learning_rate: float = 1e-3,
) -> Hypers:
    """Eta from plain numbers; each may be an array to be mapped over."""
    values = (discount, lambda_, alpha, beta, entropy_cost, value_cost, learning_rate)
    return Hypers(*(jnp.asarray(v, jnp.float32) for v in values))


def dpo(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Hypers | None = None,
    epochs: int = 4,
    minibatches: int = 4,
) -> UpdateRule:
    """Builds the rule: `epochs` passes over the rollout in shuffled minibatches.

    Args and Raises: as `metarl.rules.ppo.ppo`.
    """
    chosen = eta or (hypers() if optimizer is None else hypers(learning_rate=1.0))
    how = {"epochs": epochs, "minibatches": minibatches}
    return proximal("dpo", dpo_loss, agent, heads, optimizer or adam(), chosen, **how)


def dpo_loss(agent: Agent, eta: Hypers, params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Minus ratio times advantage less drift, squared value error, entropy bonus; rows [R] or more.

    Advantages are standardised over the minibatch.
    """
    penalty = partial(drift, alpha=eta.alpha, beta=eta.beta)
    return proximal_loss(agent, eta, params, batch, less(penalty))


def drift(log_ratio: jax.Array, adv: jax.Array, alpha: ArrayLike, beta: ArrayLike) -> jax.Array:
    """[...], not negative; zero with zero slope where the ratio is 1."""
    up, down = (jnp.exp(log_ratio) - 1) * adv, log_ratio * adv
    good = jax.nn.relu(up - alpha * jnp.tanh(up / alpha))
    bad = jax.nn.relu(down - beta * jnp.tanh(down / beta))
    return jnp.where(adv >= 0, good, bad)

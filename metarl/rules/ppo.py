"""Proximal policy optimisation (Schulman et al. 2017, https://arxiv.org/abs/1707.06347)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.rules.common import actor_critic_heads, adam
from metarl.rules.proximal import Batch, clipped, proximal, proximal_loss
from metarl.types import Agent, Metrics, Params, UpdateRule

heads = actor_critic_heads


class Hypers(struct.PyTreeNode):
    """PPO's eta: batch it with `vmap`, or let an outer loop learn it."""

    discount: jax.Array
    lambda_: jax.Array
    clip: jax.Array  # the probability ratio is held within 1 +- clip
    entropy_cost: jax.Array
    value_cost: jax.Array
    learning_rate: jax.Array  # factor on the optimizer's steps
    attempt_discount: jax.Array  # instead of discount between two attempts of a trial


def hypers(
    discount: float = 0.99,
    lambda_: float = 0.95,
    clip: float = 0.2,
    entropy_cost: float = 0.01,
    value_cost: float = 0.5,
    learning_rate: float = 1e-3,
    attempt_discount: float = 1.0,
) -> Hypers:
    """Eta from plain numbers; each may be an array to be mapped over.

    `attempt_discount` does nothing outside of trials (`metarl.rules.common.discounts`).
    """
    costs = (entropy_cost, value_cost)
    values = (discount, lambda_, clip, *costs, learning_rate, attempt_discount)
    return Hypers(*(jnp.asarray(v, jnp.float32) for v in values))


def ppo(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Hypers | None = None,
    epochs: int = 4,
    minibatches: int = 4,
) -> UpdateRule:
    """Builds the rule: `epochs` passes over the rollout in shuffled minibatches.

    Agents without memory are trained on single steps, agents with memory on whole streams: then
    `minibatches` must divide the number of environments.

    Args:
      agent: whose `params` are learned.
      heads: as declared by `heads(env)`.
      optimizer: defaults to clipped Adam of rate one, which `eta.learning_rate` scales. With an
        optimizer of your own the default `eta.learning_rate` is 1.
      eta: what `init_eta` returns; defaults to `hypers()`.
      epochs: passes over each rollout.
      minibatches: parts of each pass.

    Raises:
      ValueError: in `update`, while tracing, if `minibatches` does not divide the rows.
    """
    chosen = eta or (hypers() if optimizer is None else hypers(learning_rate=1.0))
    how = {"epochs": epochs, "minibatches": minibatches}
    return proximal("ppo", ppo_loss, agent, heads, optimizer or adam(), chosen, **how)


def ppo_loss(agent: Agent, eta: Hypers, params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
    """The clipped surrogate, squared value error and entropy bonus over rows [R] or [R, T].

    Advantages are standardised over the minibatch.
    """
    return proximal_loss(agent, eta, params, batch, clipped(eta.clip))

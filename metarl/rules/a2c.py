"""Advantage actor-critic (Mnih et al. 2016, https://arxiv.org/abs/1602.01783).

The paper has n-step returns and RMSProp; this has generalised advantages and Adam.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.typing import ArrayLike

from metarl.ops.distributions import policy
from metarl.ops.returns import gae
from metarl.rollout import replay
from metarl.rules.common import actor_critic_heads, adam, check_heads, discounts, from_loss
from metarl.types import Agent, Metrics, Params, Rollout, UpdateRule

heads = actor_critic_heads


class Hypers(struct.PyTreeNode):
    """A2C's eta: batch it with `vmap`, or let an outer loop learn it."""

    discount: jax.Array
    lambda_: jax.Array
    entropy_cost: jax.Array
    value_cost: jax.Array
    learning_rate: jax.Array  # factor on the optimizer's steps
    weight: jax.Array  # [], [T] or [N, T], factor on the losses of each step
    attempt_discount: jax.Array  # instead of discount between two attempts of a trial


def hypers(
    discount: float = 0.99,
    lambda_: float = 0.95,
    entropy_cost: float = 0.01,
    value_cost: float = 0.5,
    learning_rate: float = 1e-3,
    weight: ArrayLike = 1.0,
    attempt_discount: float = 1.0,
) -> Hypers:
    """Eta from plain numbers; each may be an array to be mapped over.

    `weight` may also be one number for each step of a rollout, [T], or of a batch of them, [N, T].
    `attempt_discount` does nothing outside of trials (`metarl.rules.common.discounts`).
    """
    costs = (entropy_cost, value_cost)
    values = (discount, lambda_, *costs, learning_rate, weight, attempt_discount)
    return Hypers(*(jnp.asarray(v, jnp.float32) for v in values))


def a2c(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Hypers | None = None,
    forward_over_reverse: bool = False,
) -> UpdateRule:
    """Builds the rule: one gradient step per rollout.

    Args:
      agent: whose `params` are learned.
      heads: as declared by `heads(env)`.
      optimizer: defaults to clipped Adam of rate one, which `eta.learning_rate` scales. With an
        optimizer of your own the default `eta.learning_rate` is 1.
      eta: what `init_eta` returns; defaults to `hypers()`.
      forward_over_reverse: how a meta-gradient differentiates the update (`rules.common`).
    """
    if eta is None:
        eta = hypers() if optimizer is None else hypers(learning_rate=1.0)

    def loss(eta: Hypers, params: Params, rollout: Rollout) -> tuple[jax.Array, Metrics]:
        return a2c_loss(agent, heads, eta, params, rollout)

    return from_loss(
        loss,
        optimizer or adam(),
        heads=heads,
        init_eta=lambda key: eta,
        forward_over_reverse=forward_over_reverse,
        eta_axes=weight_axes,
    )


def weight_axes(eta: Hypers) -> Hypers | None:
    """Which axis of eta runs over streams: the first of weights [N, T], and no other."""
    nowhere = Hypers(*[None] * len(vars(eta)))  # type: ignore[arg-type]
    return nowhere.replace(weight=0) if jnp.ndim(eta.weight) == 2 else None


def a2c_loss(
    agent: Agent, needed: Mapping[str, int], eta: Hypers, params: Params, rollout: Rollout
) -> tuple[jax.Array, Metrics]:
    """Policy gradient, squared value error and entropy bonus, averaged over one stream [T].

    `eta.weight`, [] or [T], multiplies all three at each step, in the loss but not in the metrics.
    It does not enter advantages or targets.
    Gradients in `params` flow through the policy, its entropy and the predicted value alone.
    Gradients in `eta` also flow through advantages and targets, as meta-gradients need.
    """
    now, after = replay(agent, params, rollout)
    check_heads(now, needed, "a2c")
    pi, value = policy(now), now["value"][..., 0]  # [T]
    adv = gae(
        rollout.reward,
        rollout.terminated,
        rollout.truncated,
        jax.lax.stop_gradient(value),  # a baseline must not chase the return it explains
        jax.lax.stop_gradient(after["value"][..., 0]),  # semi-gradient: targets are constants
        discount=discounts(eta, rollout),
        lambda_=eta.lambda_,
    )
    target = adv + jax.lax.stop_gradient(value)  # the same constant as above
    policy_loss = -pi.log_prob(rollout.action) * adv  # [T]
    value_loss = jnp.square(value - target) / 2
    entropy = pi.entropy()
    total = policy_loss + eta.value_cost * value_loss - eta.entropy_cost * entropy
    parts = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
    return jnp.mean(eta.weight * total), {name: jnp.mean(part) for name, part in parts.items()}

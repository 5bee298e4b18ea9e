"""A2C with a second value head for the outer problem (Bonnet et al. 2022, 2211.10550).

Debiasing meta-gradient reinforcement learning by learning the outer value function,
https://arxiv.org/abs/2211.10550: where eta's discount is shorter than the outer one, values learned
with it make outer advantages that are positive on average and favour haste. The second head is
learned with the outer discount, and is used in the outer loss alone (`baseline="outer_value"` of
`metarl.meta.objectives.policy_gradient`).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from metarl.ops.returns import gae
from metarl.rollout import replay
from metarl.rules.a2c import Hypers, a2c_loss, hypers, weight_axes
from metarl.rules.common import actor_critic_heads, adam, from_loss
from metarl.types import Agent, Environment, Metrics, Params, Rollout, UpdateRule

__all__ = ["Hypers", "heads", "hypers", "outer_value", "outer_value_loss"]


def heads(env: Environment) -> dict[str, int]:
    """What an actor-critic says, and the value with the outer discount."""
    return {**actor_critic_heads(env), "outer_value": 1}


def outer_value(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Hypers | None = None,
    outer_discount: float = 1.0,
    outer_lambda: float = 1.0,
    forward_over_reverse: bool = False,
) -> UpdateRule:
    """Builds the rule: one gradient step per rollout.

    Args:
      agent, heads, optimizer, eta, forward_over_reverse: as `metarl.rules.a2c.a2c`.
      outer_discount: with which the second head is learned.
      outer_lambda: of its targets.
    """
    if eta is None:
        eta = hypers() if optimizer is None else hypers(learning_rate=1.0)

    def loss(eta: Hypers, params: Params, rollout: Rollout) -> tuple[jax.Array, Metrics]:
        outer = {"outer_discount": outer_discount, "outer_lambda": outer_lambda}
        return outer_value_loss(agent, heads, eta, params, rollout, **outer)

    return from_loss(
        loss,
        optimizer or adam(),
        heads=heads,
        init_eta=lambda key: eta,
        forward_over_reverse=forward_over_reverse,
        eta_axes=weight_axes,
    )


def outer_value_loss(
    agent: Agent,
    needed: Mapping[str, int],
    eta: Hypers,
    params: Params,
    rollout: Rollout,
    *,
    outer_discount: float,
    outer_lambda: float,
) -> tuple[jax.Array, Metrics]:
    """A2C's loss and the squared error of the outer value, over one stream [T].

    No gradient in eta passes through the second part: its targets and its factor are constants,
    and `eta.weight` leaves it alone, as every step tells something of the outer values.
    """
    total, metrics = a2c_loss(agent, needed, eta, params, rollout)
    now, after = (heads["outer_value"][..., 0] for heads in replay(agent, params, rollout))
    value, following = jax.lax.stop_gradient((now, after))  # semi-gradient
    flags = (rollout.terminated, rollout.truncated)
    adv = gae(
        rollout.reward, *flags, value, following, discount=outer_discount, lambda_=outer_lambda
    )
    error = jnp.mean(jnp.square(now - adv - value)) / 2
    weight = jax.lax.stop_gradient(eta.value_cost)  # eta is judged by the policy alone
    return total + weight * error, {
        **metrics,
        "outer_value_loss": error,
        "outer_adv": jnp.mean(adv),
    }

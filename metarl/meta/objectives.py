"""What outer loops want: losses of an agent on experience, with numbers of their own, not eta's."""

from typing import Any

import jax
import jax.numpy as jnp

from metarl.meta.common import Objective
from metarl.ops.distributions import policy
from metarl.ops.returns import gae, vtrace
from metarl.rollout import replay
from metarl.types import Agent, Params, Rollout


def policy_gradient(
    agent: Agent,
    *,
    discount: float = 1.0,
    lambda_: float = 1.0,
    entropy_cost: float = 0.0,
    baseline: str = "value",
    normalise: bool = False,
) -> Objective:
    """Minus the mean of log-probability times advantage, and an entropy bonus.

    Advantages are constants, as in any policy gradient. They are biased if the baseline was learned
    with another discount: see `metarl.rules.outer_value`.

    Args:
      agent: whose params are judged.
      discount: of the outer problem.
      lambda_: of its advantages.
      entropy_cost: weight of the bonus.
      baseline: the head that predicts values.
      normalise: advantages are standardised over the batch, with 1e-5 added to the variance.
    """

    def objective(params: Params, rollout: Rollout) -> jax.Array:
        def heads(stream: Rollout) -> tuple[dict, jax.Array]:
            now, after = replay(agent, params, stream)
            adv = gae(
                stream.reward,
                stream.terminated,
                stream.truncated,
                now[baseline][..., 0],
                after[baseline][..., 0],
                discount=discount,
                lambda_=lambda_,
            )
            return now, jax.lax.stop_gradient(adv)  # a judgement of actions, not of values

        now, adv = jax.vmap(heads)(rollout)  # [N, T]
        if normalise:
            adv = standardised(adv)
        pi = policy(now)
        loss = -jnp.mean(pi.log_prob(rollout.action) * adv)
        return loss - entropy_cost * jnp.mean(pi.entropy())

    return objective


def stac_outer(
    agent: Agent,
    *,
    discount: float = 0.995,
    lambda_: float = 1.0,
    value_cost: float = 0.25,
    policy_cost: float = 1.0,
    entropy_cost: float = 0.01,
    kl_cost: float = 1.0,
) -> Objective:
    """IMPALA's loss and KL(now || when it acted): the outer loss of STAC (Zahavy et al. 2020).

    https://arxiv.org/abs/2002.12928; the numbers are from memory. Targets, advantages and V-trace's
    ratios are constants. The KL is zero, and so is its derivative, on experience that was collected
    by the very params that are judged, as that of `metagrad` is: it counts where several updates
    learn from the same experience on which they are judged.

    Args:
      agent: whose params are judged.
      discount: of the outer problem.
      lambda_: of its traces.
      value_cost, policy_cost, entropy_cost, kl_cost: weights of the four parts.
    """

    def one(params: Params, rollout: Rollout) -> jax.Array:
        now, after = replay(agent, params, rollout)
        pi, behaviour, value = policy(now), policy(rollout.heads), now["value"][..., 0]
        log_prob = pi.log_prob(rollout.action)
        given = (value, after["value"][..., 0], log_prob - behaviour.log_prob(rollout.action))
        target, adv = vtrace(
            rollout.reward,
            rollout.terminated,
            rollout.truncated,
            *jax.lax.stop_gradient(given),  # a judgement of actions, not of values or ratios
            discount=discount,
            lambda_=lambda_,
        )
        distance: Any = pi
        parts = (
            value_cost * jnp.square(value - target) / 2,
            -policy_cost * log_prob * adv,
            -entropy_cost * pi.entropy(),
            kl_cost * distance.kl(behaviour),
        )
        return jnp.mean(sum(parts[1:], parts[0]))

    return lambda params, rollout: jnp.mean(jax.vmap(one, in_axes=(None, 0))(params, rollout))


def mean_advantage(
    agent: Agent, params: Params, rollout: Rollout, *, discount: float, lambda_: float, head: str
) -> jax.Array:
    """[] the mean advantage of the actions taken: about zero where `head` fits that discount."""

    def one(stream: Rollout) -> jax.Array:
        now, after = (heads[head][..., 0] for heads in replay(agent, params, stream))
        flags = (stream.terminated, stream.truncated)
        return gae(stream.reward, *flags, now, after, discount=discount, lambda_=lambda_)

    return jnp.mean(jax.vmap(one)(rollout))


def standardised(adv: jax.Array) -> jax.Array:
    """Advantages with mean 0 and variance 1 over a batch; no derivative through either."""
    mean, variance = jax.lax.stop_gradient((adv.mean(), adv.var()))  # a unit, not a quantity
    return (adv - mean) * jax.lax.rsqrt(variance + 1e-5)

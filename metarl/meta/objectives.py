"""What outer loops want: losses of an agent on experience, with numbers of their own, not eta's."""

import jax
import jax.numpy as jnp

from metarl.meta.common import Objective
from metarl.ops.distributions import policy
from metarl.ops.returns import gae
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

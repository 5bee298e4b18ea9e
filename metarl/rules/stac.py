"""Self-tuning actor-critic: IMPALA with leaky V-trace (Zahavy et al. 2020, 2002.12928).

A self-tuning deep reinforcement learning algorithm, https://arxiv.org/abs/2002.12928. The paper was
not read in full: the leak follows a summary of it and the formula of the library rlax; that all
weights of the loss are in eta, from a summary. The paper's ratios come from actors that lag behind;
here they come from several passes over each rollout. The outer loss is `stac_outer` of
`metarl.meta.objectives`; `metarl.meta.tune` says what is tuned.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.ops.distributions import policy
from metarl.ops.returns import vtrace
from metarl.rollout import replay
from metarl.rules.common import actor_critic_heads, adam, check_heads, descend
from metarl.types import Agent, Key, Metrics, Params, PyTree, Rollout, UpdateRule

heads = actor_critic_heads


class Hypers(struct.PyTreeNode):
    """STAC's eta: batch it with `vmap`, or let an outer loop learn it."""

    discount: jax.Array
    lambda_: jax.Array
    value_cost: jax.Array
    policy_cost: jax.Array
    entropy_cost: jax.Array
    alpha_rho: jax.Array  # 1 clips the ratios of temporal differences, 0 leaves them alone
    alpha_c: jax.Array  # the same for those of the trace
    learning_rate: jax.Array  # factor on the optimizer's steps


class Belief(struct.PyTreeNode):
    """What a pass holds constant, computed from the params before it; leaves [N, T]."""

    value: jax.Array
    next_value: jax.Array
    log_ratio: jax.Array  # of the params to the policy that acted


def hypers(
    discount: float = 0.995,
    lambda_: float = 0.95,
    value_cost: float = 0.25,
    policy_cost: float = 1.0,
    entropy_cost: float = 0.01,
    alpha_rho: float = 0.99,
    alpha_c: float = 0.99,
    learning_rate: float = 1e-3,
) -> Hypers:
    """Eta from plain numbers; each may be an array to be mapped over."""
    costs = (value_cost, policy_cost, entropy_cost)
    values = (discount, lambda_, *costs, alpha_rho, alpha_c, learning_rate)
    return Hypers(*(jnp.asarray(v, jnp.float32) for v in values))


def stac(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Hypers | None = None,
    epochs: int = 2,
) -> UpdateRule:
    """Builds the rule: `epochs` gradient steps on the whole of each rollout.

    Before each of them values and ratios are computed anew, with the params of then. The first has
    ratios of 1, and the leak no effect: with one epoch its derivative is zero.

    The derivative of an update is that of everything it computes: unlike A2C's, it passes through
    the values and ratios of later epochs. Only the experience counts as given.

    Args:
      agent: whose `params` are learned.
      heads: as declared by `heads(env)`.
      optimizer: defaults to clipped Adam of rate one, which `eta.learning_rate` scales. With an
        optimizer of your own the default `eta.learning_rate` is 1.
      eta: what `init_eta` returns; defaults to `hypers()`.
      epochs: passes over each rollout, at least 1.

    Raises:
      ValueError: no epochs.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    optimizer_ = optimizer or adam()
    eta_ = eta or (hypers() if optimizer is None else hypers(learning_rate=1.0))

    def loss(params: Params, eta: Hypers, belief: Belief, rollout: Rollout):
        one = lambda belief, rollout: stac_loss(agent, eta, params, belief, rollout)  # noqa: E731
        total, metrics = jax.vmap(one)(belief, rollout)
        return total.mean(), jax.tree.map(jnp.mean, {"loss": total, **metrics})

    def update(eta: Hypers, params: Params, state: PyTree, rollout: Rollout, key: Key):
        check_heads(rollout.heads, heads, "stac")

        def step(loop: tuple, _: None) -> tuple[tuple, Metrics]:
            params, state = loop
            belief = jax.vmap(lambda rollout: believed(agent, params, rollout))(rollout)
            grads, metrics = jax.grad(loss, has_aux=True)(params, eta, belief, rollout)
            metrics["grad_norm"] = optax.tree.norm(grads)
            return descend(optimizer_, eta.learning_rate, grads, state, params), metrics

        (params, state), metrics = jax.lax.scan(step, (params, state), None, length=epochs)
        return params, state, jax.tree.map(jnp.mean, metrics)

    return UpdateRule(heads, lambda key: eta_, optimizer_.init, update)


def believed(agent: Agent, params: Params, rollout: Rollout) -> Belief:
    """Values and ratios of one stream [T], for a pass that takes them as given."""
    now, after = replay(agent, params, rollout)
    log_prob, before = (policy(heads).log_prob(rollout.action) for heads in (now, rollout.heads))
    return Belief(now["value"][..., 0], after["value"][..., 0], log_prob - before)


def stac_loss(
    agent: Agent, eta: Hypers, params: Params, belief: Belief, rollout: Rollout
) -> tuple[jax.Array, Metrics]:
    """Value error, policy gradient and entropy bonus over one stream [T], with their costs.

    The gradient in `params` takes targets and advantages as constants, since they are made of
    `belief`; that in `eta` passes through them.
    """
    now, _ = replay(agent, params, rollout)
    pi, value = policy(now), now["value"][..., 0]  # [T]
    target, adv = vtrace(
        rollout.reward,
        rollout.terminated,
        rollout.truncated,
        belief.value,
        belief.next_value,
        belief.log_ratio,
        discount=eta.discount,
        lambda_=eta.lambda_,
        alpha_rho=eta.alpha_rho,
        alpha_c=eta.alpha_c,
    )
    value_loss = jnp.mean(jnp.square(value - target)) / 2
    policy_loss = -jnp.mean(pi.log_prob(rollout.action) * adv)
    entropy = jnp.mean(pi.entropy())
    costs = eta.value_cost * value_loss + eta.policy_cost * policy_loss
    return costs - eta.entropy_cost * entropy, {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "ratio": jnp.mean(jnp.exp(belief.log_ratio)),
    }

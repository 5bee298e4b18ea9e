"""IMPALA's actor-critic with V-trace (Espeholt et al. 2018, https://arxiv.org/abs/1802.01561).

The paper's experience is that of actors which lag behind; here a rollout keeps what the policy that
acted said, so it may be an older one, and several passes over one rollout make it older. The paper
sums losses over a batch and uses RMSProp; this has means and Adam, and clips no rewards. Its costs
of entropy, .00025 to .01, were searched for; the default here is A2C's.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.typing import ArrayLike

from metarl.ops import returns
from metarl.ops.distributions import policy
from metarl.rollout import replay
from metarl.rules.common import actor_critic_heads, adam, check_heads, descend, discounts
from metarl.types import Agent, Eta, Key, Metrics, Params, PyTree, Rollout, UpdateRule

heads = actor_critic_heads


class Hypers(struct.PyTreeNode):
    """Its eta: batch it with `vmap`, or let an outer loop learn it."""

    discount: jax.Array
    lambda_: jax.Array
    entropy_cost: jax.Array
    value_cost: jax.Array
    learning_rate: jax.Array  # factor on the optimizer's steps
    attempt_discount: jax.Array  # instead of discount between two attempts of a trial


class Belief(struct.PyTreeNode):
    """What a pass holds constant, computed from the params before it; leaves [N, T]."""

    value: jax.Array
    next_value: jax.Array
    log_ratio: jax.Array  # of the params to the policy that acted


def hypers(
    discount: float = 0.99,
    lambda_: float = 1.0,
    entropy_cost: float = 0.01,
    value_cost: float = 0.5,
    learning_rate: float = 1e-3,
    attempt_discount: float = 1.0,
) -> Hypers:
    """Eta from plain numbers; each may be an array to be mapped over.

    `attempt_discount` does nothing outside of trials (`metarl.rules.common.discounts`).
    """
    values = (discount, lambda_, entropy_cost, value_cost, learning_rate, attempt_discount)
    return Hypers(*(jnp.asarray(v, jnp.float32) for v in values))


def vtrace(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Hypers | None = None,
    epochs: int = 2,
) -> UpdateRule:
    """Builds the rule: `epochs` gradient steps on the whole of each rollout, see `in_epochs`.

    Agents with memory replay it from where the rollout began, with the memory of then.

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
    chosen = eta or (hypers() if optimizer is None else hypers(learning_rate=1.0))
    return in_epochs("vtrace", vtrace_loss, agent, heads, optimizer or adam(), chosen, epochs)


def in_epochs(
    name: str,
    loss: Callable[[Agent, Any, Params, Belief, Rollout], tuple[jax.Array, Metrics]],
    agent: Agent,
    heads: Mapping[str, int],
    optimizer: optax.GradientTransformation,
    eta: Eta,
    epochs: int,
) -> UpdateRule:
    """The rule that takes `epochs` steps down the mean of a loss of one stream.

    Before each of them values and ratios are computed anew, with the params of then. On experience
    of the agent's own the first has ratios of 1.

    The derivative of an update is that of everything it computes: unlike A2C's, it passes through
    the values and ratios of later epochs. Only the experience counts as given.

    Args:
      name: of the rule, for errors.
      loss: of the agent, eta, params, belief and one stream of experience.
      agent, heads, optimizer: as the rule takes them.
      eta: what `init_eta` returns.
      epochs: passes.

    Raises:
      ValueError: no epochs.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")

    def mean_loss(params: Params, eta: Any, belief: Belief, rollout: Rollout):
        one = lambda belief, rollout: loss(agent, eta, params, belief, rollout)  # noqa: E731
        total, metrics = jax.vmap(one)(belief, rollout)
        return total.mean(), jax.tree.map(jnp.mean, {"loss": total, **metrics})

    def update(eta: Any, params: Params, state: PyTree, rollout: Rollout, key: Key):
        check_heads(rollout.heads, heads, name)

        def step(loop: tuple, _: None) -> tuple[tuple, Metrics]:
            params, state = loop
            belief = jax.vmap(lambda rollout: believed(agent, params, rollout))(rollout)
            grads, metrics = jax.grad(mean_loss, has_aux=True)(params, eta, belief, rollout)
            metrics["grad_norm"] = optax.tree.norm(grads)
            return descend(optimizer, eta.learning_rate, grads, state, params), metrics

        (params, state), metrics = jax.lax.scan(step, (params, state), None, length=epochs)
        return params, state, jax.tree.map(jnp.mean, metrics)

    return UpdateRule(heads, lambda key: eta, optimizer.init, update)


def believed(agent: Agent, params: Params, rollout: Rollout) -> Belief:
    """Values and ratios of one stream [T], for a pass that takes them as given."""
    now, after = replay(agent, params, rollout)
    log_prob, before = (policy(heads).log_prob(rollout.action) for heads in (now, rollout.heads))
    return Belief(now["value"][..., 0], after["value"][..., 0], log_prob - before)


def vtrace_loss(
    agent: Agent,
    eta: Any,
    params: Params,
    belief: Belief,
    rollout: Rollout,
    *,
    alpha_rho: ArrayLike = 1.0,
    alpha_c: ArrayLike = 1.0,
    policy_cost: ArrayLike = 1.0,
) -> tuple[jax.Array, Metrics]:
    """Value error, policy gradient and entropy bonus over one stream [T], with their costs.

    The gradient in `params` takes targets and advantages as constants, since they are made of
    `belief`; that in `eta` passes through them.

    Args:
      agent, params, belief, rollout: of one stream.
      eta: with the numbers of `Hypers`.
      alpha_rho, alpha_c: how much of the ratios is clipped, see `metarl.ops.returns.vtrace`: all.
      policy_cost: factor on the policy's part.
    """
    now, _ = replay(agent, params, rollout)
    pi, value = policy(now), now["value"][..., 0]  # [T]
    target, adv = returns.vtrace(
        rollout.reward,
        rollout.terminated,
        rollout.truncated,
        belief.value,
        belief.next_value,
        belief.log_ratio,
        discount=discounts(eta, rollout),
        lambda_=eta.lambda_,
        alpha_rho=alpha_rho,
        alpha_c=alpha_c,
    )
    value_loss = jnp.mean(jnp.square(value - target)) / 2
    policy_loss = -jnp.mean(pi.log_prob(rollout.action) * adv)
    entropy = jnp.mean(pi.entropy())
    costs = eta.value_cost * value_loss + policy_cost * policy_loss
    return costs - eta.entropy_cost * entropy, {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "ratio": jnp.mean(jnp.exp(belief.log_ratio)),
    }

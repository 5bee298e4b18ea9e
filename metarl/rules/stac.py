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

from metarl.rules.common import actor_critic_heads, adam
from metarl.rules.vtrace import Belief, in_epochs, vtrace_loss
from metarl.types import Agent, Metrics, Params, Rollout, UpdateRule

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
    """Builds the rule: `epochs` gradient steps on the whole of each rollout, see `in_epochs`.

    In the first all ratios are 1, and the leak has no effect: with one epoch its derivative is
    zero.

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
    return in_epochs("stac", stac_loss, agent, heads, optimizer or adam(), chosen, epochs)


def stac_loss(
    agent: Agent, eta: Hypers, params: Params, belief: Belief, rollout: Rollout
) -> tuple[jax.Array, Metrics]:
    """V-trace's loss with a leak in its clipping and a cost of each part, over one stream [T]."""
    leak = {"alpha_rho": eta.alpha_rho, "alpha_c": eta.alpha_c}
    return vtrace_loss(agent, eta, params, belief, rollout, **leak, policy_cost=eta.policy_cost)

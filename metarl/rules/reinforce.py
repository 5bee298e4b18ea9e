"""The policy gradient with a linear baseline (Williams 1992), as MAML adapts with it.

REINFORCE (https://doi.org/10.1007/BF00992696) with Duan et al.'s linear feature baseline
(https://arxiv.org/abs/1604.06778), fitted anew to every batch, as in the experiments of Finn et al.
2017 (https://arxiv.org/abs/1703.03400). `surrogate` chooses what autodiff sees when the update is
differentiated again (`metarl.ops.surrogates`); the update itself is the same for all.
"""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.ops.distributions import policy, policy_heads
from metarl.ops.least_squares import fitted
from metarl.ops.returns import gae
from metarl.ops.surrogates import SURROGATES, Surrogate
from metarl.rollout import replay_streams
from metarl.rules.common import adam, check_heads, from_batch_loss
from metarl.types import Agent, Environment, Metrics, Params, PyTree, Rollout, UpdateRule


def heads(env: Environment) -> dict[str, int]:
    """What the rule needs an agent to say: a policy."""
    return policy_heads(env.action_space)


class Hypers(struct.PyTreeNode):
    """The rule's eta."""

    discount: jax.Array
    entropy_cost: jax.Array
    learning_rate: jax.Array  # factor on the optimizer's steps


def hypers(
    discount: float = 0.99, entropy_cost: float = 0.01, learning_rate: float = 1e-3
) -> Hypers:
    """Eta from plain numbers; each may be an array to be mapped over."""
    return Hypers(*(jnp.asarray(v, jnp.float32) for v in (discount, entropy_cost, learning_rate)))


def reinforce(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Hypers | None = None,
    surrogate: str | Surrogate = "plain",
    baseline: str = "linear",
    normalise: bool = True,
    forward_over_reverse: bool = False,
) -> UpdateRule:
    """Builds the rule: one gradient step per rollout, which should hold whole episodes.

    Args:
      agent: whose `params` are learned.
      heads: as declared by `heads(env)`.
      optimizer: defaults to clipped Adam of rate one, which `eta.learning_rate` scales. With an
        optimizer of your own the default `eta.learning_rate` is 1.
      eta: what `init_eta` returns; defaults to `hypers()`.
      surrogate: one of `metarl.ops.surrogates`, or its name.
      baseline: `linear` in the features of `basis`, or `none`.
      normalise: advantages are standardised over the batch.
      forward_over_reverse: how a meta-gradient differentiates the update (`rules.common`).

    Raises:
      ValueError: no such surrogate or baseline.
    """
    if eta is None:
        eta = hypers() if optimizer is None else hypers(learning_rate=1.0)
    if baseline not in ("linear", "none"):
        raise ValueError(f"the baseline is 'linear' or 'none', got {baseline!r}")
    kind = chosen(surrogate)

    def loss(params: Params, eta: Hypers, rollout: Rollout) -> tuple[jax.Array, Metrics]:
        args = (agent, heads, eta, params, rollout)
        value, metrics = reinforce_loss(
            *args, surrogate=kind, baseline=baseline, normalise=normalise
        )
        return value, {"loss": value, **metrics}

    return from_batch_loss(
        loss,
        optimizer or adam(),
        heads=heads,
        init_eta=lambda key: eta,
        forward_over_reverse=forward_over_reverse,
    )


def reinforce_loss(
    agent: Agent,
    needed: Mapping[str, int],
    eta: Hypers,
    params: Params,
    rollout: Rollout,
    *,
    surrogate: Surrogate = SURROGATES["plain"],
    baseline: str = "linear",
    normalise: bool = True,
) -> tuple[jax.Array, Metrics]:
    """Minus the mean of the surrogate's terms, and an entropy bonus, over a batch [N, T].

    An episode that is cut off, by the clock or by the end of the rollout, counts as over. The
    baseline is fitted to the returns that it is taken from, which shrinks advantages a little, and
    to nothing where there are as many features as steps.
    """
    now = replay_streams(agent, params, rollout)
    check_heads(now, needed, "reinforce")
    pi = policy(now)
    flags = (rollout.terminated, rollout.truncated)
    sums = jax.vmap(partial(gae, discount=eta.discount, lambda_=1.0))
    zero = jnp.zeros_like(rollout.reward)
    returns = sums(rollout.reward, *flags, zero, zero)  # [N, T]
    values = zero
    if baseline == "linear":
        features = jax.vmap(basis)(rollout).reshape(returns.size, -1)
        # a baseline must not chase the return it explains, nor move with eta: it is a value
        values = jax.lax.stop_gradient(fitted(features, returns.ravel())).reshape(returns.shape)
    if normalise:
        adv = jax.lax.stop_gradient(returns - values)  # a unit, not a quantity
        mean, scale = adv.mean(), jax.lax.rsqrt(adv.var() + 1e-8)
        returns, values = returns * scale, (values + mean) * scale
    terms = jax.vmap(surrogate)(pi.log_prob(rollout.action), returns, values, rollout.last)
    entropy = jnp.mean(pi.entropy())
    return -jnp.mean(terms) - eta.entropy_cost * entropy, {"entropy": entropy}


def basis(rollout: Rollout) -> jax.Array:
    """[T, F] of one stream: the observation clipped to 10, its squares, time to the third power.

    Time is counted in hundreds of steps from the start of the episode, or of the rollout if that
    came later.
    """
    length = rollout.reward.shape[0]
    steps = jnp.arange(length)
    since = jax.lax.cummax(jnp.where(rollout.inputs.first, steps, 0))
    time = ((steps - since) / 100)[:, None]
    leaves: list[PyTree] = jax.tree.leaves(rollout.inputs.obs)
    flat = [x.reshape(length, -1).astype(jnp.float32) for x in leaves]
    obs = jnp.clip(jnp.concatenate(flat, axis=1), -10, 10)
    powers = [time**n for n in range(4)]
    return jnp.concatenate([obs, jnp.square(obs), *powers], axis=1)


def chosen(surrogate: str | Surrogate) -> Surrogate:
    """The surrogate, or that of this name.

    Raises:
      ValueError: there is none.
    """
    if not isinstance(surrogate, str):
        return surrogate
    if surrogate not in SURROGATES:
        raise ValueError(f"no surrogate {surrogate!r}; there are {', '.join(SURROGATES)}")
    return SURROGATES[surrogate]

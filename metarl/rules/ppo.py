"""Proximal policy optimisation (Schulman et al. 2017, https://arxiv.org/abs/1707.06347)."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.ops import keys
from metarl.ops.distributions import policy
from metarl.ops.returns import gae
from metarl.rollout import next_values, replay
from metarl.rules.common import actor_critic_heads, adam, check_heads, descend
from metarl.types import (
    Agent,
    Key,
    Metrics,
    Params,
    PyTree,
    Rollout,
    UpdateRule,
)

heads = actor_critic_heads


class Hypers(struct.PyTreeNode):
    """PPO's eta: batch it with `vmap`, or let an outer loop learn it."""

    discount: jax.Array
    lambda_: jax.Array
    clip: jax.Array  # the probability ratio is held within 1 +- clip
    entropy_cost: jax.Array
    value_cost: jax.Array
    learning_rate: jax.Array  # factor on the optimizer's steps


class Batch(struct.PyTreeNode):
    """Rows of experience with what PPO holds constant.

    Leaves are `[R, ...]`, single steps, for agents without memory, else `[R, T, ...]`, streams.
    """

    rollout: Rollout
    log_prob: jax.Array  # of the behaviour policy
    adv: jax.Array
    target: jax.Array


def hypers(
    discount: float = 0.99,
    lambda_: float = 0.95,
    clip: float = 0.2,
    entropy_cost: float = 0.01,
    value_cost: float = 0.5,
    learning_rate: float = 1e-3,
) -> Hypers:
    """Eta from plain numbers; each may be an array to be mapped over."""
    values = (discount, lambda_, clip, entropy_cost, value_cost, learning_rate)
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
    optimizer_ = optimizer or adam()
    eta_ = eta or (hypers() if optimizer is None else hypers(learning_rate=1.0))

    def loss(params: Params, eta: Hypers, batch: Batch) -> tuple[jax.Array, Metrics]:
        return ppo_loss(agent, eta, params, batch)

    def update(eta: Hypers, params: Params, state: PyTree, rollout: Rollout, key: Key):
        check_heads(rollout.heads, heads, "ppo")
        batch = prepare(agent, eta, params, rollout)
        size = batch.adv.shape[0]
        if size % minibatches:
            raise ValueError(f"{minibatches} minibatches do not divide {size} rows of experience")

        def step(loop: tuple, rows: jax.Array):
            params, state = loop
            part = jax.tree.map(lambda x: x[rows], batch)
            grads, metrics = jax.grad(loss, has_aux=True)(params, eta, part)
            metrics["grad_norm"] = optax.tree.norm(grads)
            return descend(optimizer_, eta.learning_rate, grads, state, params), metrics

        rows = jax.vmap(lambda k: keys.shuffled(k, size))(jax.random.split(key, epochs))
        rows = rows.reshape(epochs * minibatches, size // minibatches)
        (params, state), metrics = jax.lax.scan(step, (params, state), rows)
        return params, state, jax.tree.map(jnp.mean, metrics)

    return UpdateRule(heads, lambda key: eta_, optimizer_.init, update)


def prepare(agent: Agent, eta: Hypers, params: Params, rollout: Rollout) -> Batch:
    """Advantages and targets of `[N, T]` experience, as rows to draw minibatches from."""

    # Constants of the update: the policy that acted and what it believed.
    params, heads = jax.lax.stop_gradient((params, rollout.heads))
    value = heads["value"][..., 0]  # [N, T]
    after = next_values(agent, params, rollout, value)
    adv = jax.vmap(partial(gae, discount=eta.discount, lambda_=eta.lambda_))(
        rollout.reward, rollout.terminated, rollout.truncated, value, after
    )
    batch = Batch(rollout, policy(heads).log_prob(rollout.action), adv, adv + value)
    if jax.tree.leaves(rollout.carry):
        return batch
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)  # [N * T, ...]


def ppo_loss(agent: Agent, eta: Hypers, params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
    """The clipped surrogate, squared value error and entropy bonus over rows [R] or [R, T].

    Advantages are standardised over the minibatch.
    """
    if jax.tree.leaves(batch.rollout.carry):
        now = jax.vmap(lambda rollout: replay(agent, params, rollout)[0])(batch.rollout)
    else:
        now = jax.vmap(lambda x: agent.apply(params, (), x)[0])(batch.rollout.inputs)
    pi, value = policy(now), now["value"][..., 0]
    adv = (batch.adv - batch.adv.mean()) / (batch.adv.std() + 1e-8)
    log_ratio = pi.log_prob(batch.rollout.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1 - eta.clip, 1 + eta.clip)
    policy_loss = -jnp.mean(jnp.minimum(ratio * adv, clipped * adv))
    value_loss = jnp.mean(jnp.square(value - batch.target)) / 2
    entropy = jnp.mean(pi.entropy())
    total = policy_loss + eta.value_cost * value_loss - eta.entropy_cost * entropy
    return total, {
        "loss": total,
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "kl": jnp.mean(ratio - 1 - log_ratio),
        "clipped": jnp.mean(jnp.abs(ratio - 1) > eta.clip),
    }

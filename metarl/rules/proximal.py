"""What PPO and its relatives share: a surrogate, and passes over a rollout in minibatches."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.ops import keys
from metarl.ops.distributions import policy
from metarl.ops.returns import gae
from metarl.ops.statistics import standardised
from metarl.rollout import apply_all, next_values, replay_streams
from metarl.rules.common import check_heads, descend, discounts
from metarl.types import Agent, Eta, Key, Metrics, Params, PyTree, Rollout, UpdateRule

# `(log_ratio, adv) -> (what is maximised, metrics)` of rows [R] or [R, T]; the ratio is that of the
# probability of the action now to that when it was taken.
Surrogate = Callable[[jax.Array, jax.Array], tuple[jax.Array, Metrics]]


class Numbers(Protocol):
    """What the functions here read of a rule's numbers; `attempt_discount` too if they have it."""

    discount: Any
    lambda_: Any
    entropy_cost: Any
    value_cost: Any
    learning_rate: Any  # factor on the optimizer's steps


class Batch(struct.PyTreeNode):
    """Rows of experience with what an update holds constant.

    Leaves are `[R, ...]`, single steps, for agents without memory, else `[R, T, ...]`, streams.
    """

    rollout: Rollout
    log_prob: jax.Array  # of the behaviour policy
    adv: jax.Array
    target: jax.Array


def prepare(agent: Agent, numbers: Numbers, params: Params, rollout: Rollout) -> Batch:
    """Advantages and targets of `[N, T]` experience, as rows to draw minibatches from."""

    # Constants of the update: the policy that acted and what it believed.
    params, heads = jax.lax.stop_gradient((params, rollout.heads))
    value = heads["value"][..., 0]  # [N, T]
    after = next_values(agent, params, rollout, value)

    def advantages(rollout: Rollout, value: jax.Array, after: jax.Array) -> jax.Array:
        given = (rollout.reward, rollout.terminated, rollout.truncated, value, after)
        return gae(*given, discount=discounts(numbers, rollout), lambda_=numbers.lambda_)

    adv = jax.vmap(advantages)(rollout, value, after)
    batch = Batch(rollout, policy(heads).log_prob(rollout.action), adv, adv + value)
    if jax.tree.leaves(rollout.carry):
        return batch
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)  # [N * T, ...]


def proximal_loss(
    agent: Agent, numbers: Numbers, params: Params, batch: Batch, surrogate: Surrogate
) -> tuple[jax.Array, Metrics]:
    """Minus the surrogate, squared value error and entropy bonus over rows [R] or [R, T].

    Advantages are standardised over the minibatch.
    """
    if jax.tree.leaves(batch.rollout.carry):
        now = replay_streams(agent, params, batch.rollout)
    else:
        now, _ = apply_all(agent, params, (), batch.rollout.inputs)
    pi, value = policy(now), now["value"][..., 0]
    adv = standardised(batch.adv)
    log_ratio = pi.log_prob(batch.rollout.action) - batch.log_prob
    gain, metrics = surrogate(log_ratio, adv)
    policy_loss = -jnp.mean(gain)
    value_loss = jnp.mean(jnp.square(value - batch.target)) / 2
    entropy = jnp.mean(pi.entropy())
    total = policy_loss + numbers.value_cost * value_loss - numbers.entropy_cost * entropy
    return total, {
        "loss": total,
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "kl": jnp.mean(jnp.exp(log_ratio) - 1 - log_ratio),
        **metrics,
    }


def passes(
    loss: Callable[[Params, Any], tuple[jax.Array, Metrics]],
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array,
    start: tuple[Params, PyTree],
    batch: Any,
    key: Key,
    *,
    epochs: int,
    minibatches: int,
    tell: Callable[[Params, Any], Mapping[str, Any]] = lambda params, rows: {},
) -> tuple[Params, PyTree, Metrics]:
    """`epochs` passes over the rows in shuffled minibatches. The key is consumed.

    Args:
      loss: of params and some of the rows.
      optimizer: whose state is the second of `start`.
      learning_rate: factor on its steps.
      start: params and optimizer state.
      batch: the rows, a `Batch` or whatever else has `adv` [R, ...].
      key: consumed.
      epochs: passes.
      minibatches: parts of each pass.
      tell: of params and some of the rows, what else the optimizer listens to, by name.

    Returns:
      Params, optimizer state, and the mean of all metrics.

    Raises:
      ValueError: `minibatches` does not divide the rows.
    """
    size = batch.adv.shape[0]
    if size % minibatches:
        raise ValueError(f"{minibatches} minibatches do not divide {size} rows of experience")

    def step(loop: tuple, rows: jax.Array):
        params, state = loop
        part = jax.tree.map(lambda x: x[rows], batch)
        grads, metrics = jax.grad(loss, has_aux=True)(params, part)
        metrics["grad_norm"] = optax.tree.norm(grads)
        told = tell(params, part)
        return descend(optimizer, learning_rate, grads, state, params, **told), metrics

    rows = jax.vmap(lambda k: keys.shuffled(k, size))(jax.random.split(key, epochs))
    rows = rows.reshape(epochs * minibatches, size // minibatches)
    (params, state), metrics = jax.lax.scan(step, start, rows)
    return params, state, jax.tree.map(jnp.mean, metrics)


def proximal(
    name: str,
    loss: Callable[[Agent, Any, Params, Batch], tuple[jax.Array, Metrics]],
    agent: Agent,
    heads: Mapping[str, int],
    optimizer: optax.GradientTransformation,
    eta: Eta,
    *,
    epochs: int,
    minibatches: int,
) -> UpdateRule:
    """The rule whose eta are numbers: passes over each rollout down `loss(agent, eta, ...)`.

    Args:
      name: of the rule, for errors.
      loss: of the agent, eta, params and some rows of experience.
      agent, heads, optimizer: as the rule takes them.
      eta: what `init_eta` returns.
      epochs, minibatches: as of `passes`.
    """

    def update(eta: Any, params: Params, state: PyTree, rollout: Rollout, key: Key):
        check_heads(rollout.heads, heads, name)
        return passes(
            lambda params, batch: loss(agent, eta, params, batch),
            optimizer,
            eta.learning_rate,
            (params, state),
            prepare(agent, eta, params, rollout),
            key,
            epochs=epochs,
            minibatches=minibatches,
        )

    return UpdateRule(heads, lambda key: eta, optimizer.init, update)


def less(drift: Callable[[jax.Array, jax.Array], jax.Array]) -> Surrogate:
    """Ratio times advantage less a drift, a function of the log-ratio and the advantage."""

    def gain(log_ratio: jax.Array, adv: jax.Array) -> tuple[jax.Array, Metrics]:
        penalty = drift(log_ratio, adv)
        return jnp.exp(log_ratio) * adv - penalty, {"drift": jnp.mean(penalty)}

    return gain


def clipped(clip: jax.Array) -> Surrogate:
    """The smaller of ratio times advantage and the same with the ratio held within 1 +- clip."""

    def gain(log_ratio: jax.Array, adv: jax.Array) -> tuple[jax.Array, Metrics]:
        ratio = jnp.exp(log_ratio)
        held = jnp.clip(ratio, 1 - clip, 1 + clip)
        share = jnp.mean(jnp.abs(ratio - 1) > clip)
        return jnp.minimum(ratio * adv, held * adv), {"clipped": share}

    return gain

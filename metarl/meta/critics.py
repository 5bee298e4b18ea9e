"""Outer loops whose lives are judged by critics, one beside each life (Oh et al. 2020).

Discovering reinforcement learning algorithms, https://arxiv.org/abs/2007.08794. What a loop lacks
here is the meta-gradient of some lives: how they are judged is for each loop to say.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.meta.common import MetaState, life_keys, moved, started, summary
from metarl.ops.distributions import policy
from metarl.ops.statistics import standardised
from metarl.rollout import where
from metarl.types import Agent, Eta, Heads, Key, Learner, MetaLearner, Params, PyTree, UpdateRule


class Critic(NamedTuple):
    """How values are learned beside each life."""

    agent: Agent  # with a head `value`, and without memory
    optimizer: optax.GradientTransformation
    discount: float = 0.99
    lambda_: float = 0.95
    frozen: bool = False  # it never learns: GROOVE's code loses its gradient
    time_outs_end: bool = False  # time-outs count as terminations, as in that code


class CriticState(struct.PyTreeNode):
    """The critic of one life."""

    params: Params
    optimizer: PyTree
    life: jax.Array  # [] int32, of whom


class DiscoveryState(struct.PyTreeNode):
    """Of the outer loop."""

    meta: MetaState
    critics: CriticState  # [A, ...]


def by_critics(
    grad: Callable[..., tuple[PyTree, PyTree]],
    rule: UpdateRule,
    critic: Critic,
    optimizer: optax.GradientTransformation,
    *,
    chunk: int | None,
) -> MetaLearner:
    """Builds the outer loop that follows meta-gradients of lives [A, ...].

    Args:
      grad: `(eta, learners, critics, keys of their lives) -> (the mean meta-gradient, (losses,
        learners, critics, metrics))`, all but eta and the mean [part, ...].
      rule: whose eta is learned.
      critic: of whose states each life has one.
      optimizer: of eta.
      chunk: lives that are differentiated at once, a divisor of their number; None: all.
    """

    def init(key: Key, learners: Learner) -> DiscoveryState:
        meta_key, critic_key = jax.random.split(key)
        critics = newborn(critic, critic_key, learners)
        return DiscoveryState(started(rule, optimizer, meta_key), critics)

    def update(state: DiscoveryState, learners: Learner, key: Key):
        live_key, critic_key = jax.random.split(key)
        critics = renewed(critic, state.critics, learners, critic_key)
        whole = (learners, critics, life_keys(live_key, learners))
        grads, (losses, learners, critics, metrics) = in_chunks(grad, state.meta.eta, whole, chunk)
        meta, told = moved(optimizer, state.meta, jax.tree.map(lambda x: x[None], grads))
        told = {**summary({**metrics, "meta_loss": losses}), **told}
        learners, critics = jax.lax.stop_gradient((learners, critics))
        return DiscoveryState(meta, critics), learners, told

    return MetaLearner(init, update)


def in_chunks(
    grad: Callable[..., tuple[PyTree, PyTree]], eta: Eta, whole: PyTree, chunk: int | None
) -> tuple[PyTree, PyTree]:
    """`grad(eta, *part) -> (mean over the part, rows [part, ...])` over the whole, part by part.

    Returns:
      The mean over the whole, and rows [A, ...].

    Raises:
      ValueError: the whole cannot be cut so.
    """
    size = len(jax.tree.leaves(whole)[0])
    chunk = chunk or size
    if size % chunk:
        raise ValueError(f"chunk must be a divisor of the {size} learners, got {chunk}")
    if chunk == size:
        return grad(eta, *whole)
    count = size // chunk
    cut = jax.tree.map(lambda x: x.reshape(count, chunk, *x.shape[1:]), whole)

    def step(total: PyTree, part: PyTree) -> tuple[PyTree, PyTree]:
        grads, rows = grad(eta, *part)
        return jax.tree.map(lambda t, g: t + g / count, total, grads), rows

    grads, rows = jax.lax.scan(step, jax.tree.map(jnp.zeros_like, eta), cut)
    return grads, jax.tree.map(lambda x: x.reshape(size, *x.shape[2:]), rows)


def credited(heads: Heads, action: jax.Array, adv: jax.Array) -> jax.Array:
    """[] minus log-probability times advantage [N, T], which is standardised over all of them."""
    adv = jax.lax.stop_gradient(standardised(adv))  # a judgement of actions
    return -jnp.mean(policy(heads).log_prob(action) * adv)


def descended(
    critic: Critic, state: CriticState, loss: Callable[[Params], jax.Array]
) -> tuple[CriticState, jax.Array]:
    """The critic after one step of its optimizer, and the loss before."""
    error, grads = jax.value_and_grad(loss)(state.params)
    steps, optimizer = critic.optimizer.update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, steps)
    return state.replace(params=params, optimizer=optimizer), error


def newborn(critic: Critic, key: Key, learners: Learner) -> CriticState:
    """[A, ...] critics that know nothing, one for each life in progress."""

    def one(key: Key, life: jax.Array) -> CriticState:
        params = critic.agent.init(key)
        return CriticState(params, critic.optimizer.init(params), life)

    return jax.vmap(one)(life_keys(key, learners), learners.life)


def renewed(critic: Critic, critics: CriticState, learners: Learner, key: Key) -> CriticState:
    """The critics, new ones where a life has begun."""
    begun = critics.life != learners.life

    def renew(critics: CriticState) -> CriticState:
        return where(begun, newborn(critic, key, learners), critics)

    return jax.lax.cond(jnp.any(begun), renew, lambda critics: critics, critics)

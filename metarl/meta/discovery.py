"""Meta-gradients of a learned rule over many lives, each on a level of its own (Oh et al. 2020).

Discovering reinforcement learning algorithms, https://arxiv.org/abs/2007.08794, with the numbers of
GROOVE's code (Jackson et al. 2023, https://arxiv.org/abs/2310.02782). The outer loss is a policy
gradient on experience that is new to the life, with the advantages of a critic that the life has
for this purpose alone, and four penalties that keep policies, predictions and the rule's words
spread out. In that code critics never learn, by a defect; here they do, as the papers say, unless
`Critic.frozen`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.inner import Gradient, check_gradient, collect, learn_lives
from metarl.meta.common import MetaState, life_keys, moved, started, summary
from metarl.ops.distributions import policy
from metarl.ops.returns import gae
from metarl.ops.unroll import unroll
from metarl.rollout import VectorEnv, next_values, replay, where, without_truncation
from metarl.types import (
    Agent,
    Eta,
    Key,
    Learner,
    MetaLearner,
    Metrics,
    Params,
    PyTree,
    Rollout,
    UpdateRule,
)


class Costs(NamedTuple):
    """Weights of the penalties: two entropies are wanted, two squares are not."""

    entropy: float = 0.05
    y_entropy: float = 0.001
    pi_hat: float = 0.005
    y_hat: float = 0.001


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


def discovery(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    critic: Critic,
    optimizer: optax.GradientTransformation,
    *,
    updates: int = 5,
    length: int = 20,
    costs: Costs | None = None,
    chunk: int | None = None,
    gradient: Gradient = "unrolled",
) -> MetaLearner:
    """Builds the outer loop.

    At each meta-update every learner makes `updates` updates and is then judged on its next
    experience, which it will learn from in its turn. Its critic learns from the experience of each
    update first, and from that of the judgement afterwards. Learners are taken `chunk` at a time,
    one after the other: their derivatives in eta are summed as they come, so memory grows with
    `chunk` and not with the population.

    Args:
      agent, rule, venv: the parts of the inner loop. The penalties on what the rule says are its
        metrics `pi_hat_square` and `y_hat_square`, and that on predictions needs the head `y`;
        where a rule has none there is no such penalty.
      critic: of whose states each life has one.
      optimizer: of eta.
      updates: K, of each learner.
      length: T, steps between updates.
      costs: default `Costs()`.
      chunk: learners that are differentiated at once, a divisor of their number; None: all.
      gradient: how derivatives pass through the updates (`metarl.inner.live`).

    Returns:
      A `MetaLearner` with the metrics of the rule, of episodes and of `meta.common.moved`, and
      `meta_loss`, `outer_adv` (mean advantage before it is standardised) and `critic_loss`.
    """
    check_gradient(gradient)
    weights = costs or Costs()
    parts = (agent, rule, venv, critic, weights)
    judge = partial(judged, *parts, updates=updates, length=length, gradient=gradient)

    def init(key: Key, learners: Learner) -> DiscoveryState:
        meta_key, critic_key = jax.random.split(key)
        return DiscoveryState(
            started(rule, optimizer, meta_key), newborn(critic, critic_key, learners)
        )

    def some(eta: Eta, learners: Learner, critics: CriticState, keys: Key):
        losses, rest = judge(eta, learners, critics, keys)
        return losses.mean(), (losses, *rest)

    def update(state: DiscoveryState, learners: Learner, key: Key):
        live_key, critic_key = jax.random.split(key)
        critics = renewed(critic, state.critics, learners, critic_key)
        whole = (learners, critics, life_keys(live_key, learners))
        grads, (losses, learners, critics, metrics) = in_chunks(
            jax.grad(some, has_aux=True), state.meta.eta, whole, chunk
        )
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


def judged(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    critic: Critic,
    costs: Costs,
    eta: Eta,
    learners: Learner,
    values: CriticState,
    keys: Key,
    *,
    updates: int,
    length: int,
    gradient: Gradient,
) -> tuple[jax.Array, tuple[Learner, CriticState, Metrics]]:
    """The outer losses of lives, everything but eta [A, ...].

    Returns:
      Losses [A], and learners and critics afterwards and means of metrics, all [A, ...].
    """
    collects = jax.vmap(partial(collect, agent, venv, length=length))

    def improve(eta: Eta, learners: Learner, rollouts: Rollout, keys: Key):
        learners, metrics = learn_lives(rule, eta, learners, rollouts, keys)
        punished = jax.vmap(partial(penalties, agent, costs))
        return learners, metrics, punished(learners.params, rollouts, metrics)

    if gradient != "unrolled":
        improve = partial(jax.checkpoint, prevent_cse=False)(improve)

    def turn(learners: Learner) -> tuple[Learner, PyTree]:
        rollouts, learners, counts, update_keys = collects(learners, keys)
        learners, metrics, cost = improve(eta, learners, rollouts, update_keys)
        return learners, (rollouts, {**metrics, **counts}, cost)

    learners = jax.lax.stop_gradient(learners)  # what came before the window is given
    levels = gradient if isinstance(gradient, int) else 1
    learners, (rollouts, metrics, cost) = unroll(turn, learners, updates, levels=levels)
    # What the learners will collect next, seen in advance: the same keys make the same rollouts.
    ahead, *_ = collects(learners, keys)
    everything = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), rollouts, ahead)
    fits = jax.vmap(partial(fitted, critic))
    values, (errors, advs) = jax.lax.scan(fits, values, everything)  # [K + 1, A], [K + 1, A, N, T]
    adv = advs[-1]  # by critics that have not learned from what they judge
    losses = jax.vmap(partial(policy_loss, agent))(learners.params, ahead, adv) + cost.mean(axis=0)
    means = jax.vmap(summary, in_axes=1)({**metrics, "critic_loss": errors})
    return losses, (learners, values, {**means, "outer_adv": adv.mean(axis=(1, 2))})


def penalties(
    agent: Agent, costs: Costs, params: Params, rollout: Rollout, metrics: Metrics
) -> jax.Array:
    """[] what an update costs beside the policy gradient: of the params after it, and its words."""
    heads = jax.vmap(lambda stream: replay(agent, params, stream)[0])(rollout)
    total = -costs.entropy * jnp.mean(policy(heads).entropy())
    if "y" in heads:
        log_y = jax.nn.log_softmax(heads["y"])
        total -= costs.y_entropy * jnp.mean(-jnp.sum(jnp.exp(log_y) * log_y, axis=-1))
    said = ((costs.pi_hat, "pi_hat_square"), (costs.y_hat, "y_hat_square"))
    return total + sum((cost * metrics[name] for cost, name in said if name in metrics), 0.0)


def policy_loss(agent: Agent, params: Params, rollout: Rollout, adv: jax.Array) -> jax.Array:
    """[] minus log-probability times advantage [N, T], which is standardised over all of them."""
    heads = jax.vmap(lambda stream: replay(agent, params, stream)[0])(rollout)
    mean, std = adv.mean(), adv.std()
    adv = jax.lax.stop_gradient((adv - mean) / (std + 1e-8))  # a judgement of actions
    return -jnp.mean(policy(heads).log_prob(rollout.action) * adv)


def fitted(
    critic: Critic, state: CriticState, rollout: Rollout
) -> tuple[CriticState, tuple[jax.Array, jax.Array]]:
    """The critic after one step towards the lambda-returns of a rollout.

    And what it said before: its error, and advantages [N, T], which are constants.
    """
    rollout = rollout.replace(carry=())  # that of the agent which acted; critics have no memory
    adv, value = estimates(critic, state.params, rollout)
    target = adv + value

    def loss(params: Params) -> jax.Array:
        said = jax.vmap(lambda stream: replay(critic.agent, params, stream)[0]["value"])(rollout)
        return jnp.mean(jnp.square(said[..., 0] - target))

    error, grads = jax.value_and_grad(loss)(state.params)
    if critic.frozen:
        return state, (error, adv)
    steps, optimizer = critic.optimizer.update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, steps)
    return state.replace(params=params, optimizer=optimizer), (error, adv)


def estimates(critic: Critic, params: Params, rollout: Rollout) -> tuple[jax.Array, jax.Array]:
    """Advantages and values, [N, T] each, by the critic; no derivative passes through them."""
    params, rollout = jax.lax.stop_gradient((params, rollout.replace(carry=())))
    if critic.time_outs_end:
        rollout = without_truncation(rollout)
    value = jax.vmap(lambda stream: replay(critic.agent, params, stream)[0]["value"])(rollout)
    value = value[..., 0]
    after = next_values(critic.agent, params, rollout, value)
    estimate = partial(gae, discount=critic.discount, lambda_=critic.lambda_)
    flags = (rollout.terminated, rollout.truncated)
    return jax.vmap(estimate)(rollout.reward, *flags, value, after), value


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

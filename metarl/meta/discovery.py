"""Meta-gradients of a learned rule over many lives, each on a level of its own (Oh et al. 2020).

Discovering reinforcement learning algorithms, https://arxiv.org/abs/2007.08794, with the numbers of
GROOVE's code (Jackson et al. 2023, https://arxiv.org/abs/2310.02782). The outer loss is a policy
gradient on experience that is new to the life, with the advantages of a critic that the life has
for this purpose alone, and four penalties that keep policies, predictions and the rule's words
spread out. In that code critics never learn, by a defect; here they do, as the papers say, unless
`Critic.frozen`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl.inner import Gradient, check_gradient, collect, learn_lives
from metarl.meta.common import summary
from metarl.meta.critics import Critic, CriticState, by_critics, credited, descended
from metarl.ops.distributions import policy
from metarl.ops.returns import gae
from metarl.ops.unroll import unroll
from metarl.rollout import VectorEnv, next_values, replay_streams, without_truncation
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

    def some(eta: Eta, learners: Learner, critics: CriticState, keys: Key):
        losses, rest = judge(eta, learners, critics, keys)
        return losses.mean(), (losses, *rest)

    return by_critics(jax.grad(some, has_aux=True), rule, critic, optimizer, chunk=chunk)


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
    heads = replay_streams(agent, params, rollout)
    total = -costs.entropy * jnp.mean(policy(heads).entropy())
    if "y" in heads:
        log_y = jax.nn.log_softmax(heads["y"])
        total -= costs.y_entropy * jnp.mean(-jnp.sum(jnp.exp(log_y) * log_y, axis=-1))
    said = ((costs.pi_hat, "pi_hat_square"), (costs.y_hat, "y_hat_square"))
    return total + sum((cost * metrics[name] for cost, name in said if name in metrics), 0.0)


def policy_loss(agent: Agent, params: Params, rollout: Rollout, adv: jax.Array) -> jax.Array:
    """[] minus log-probability times advantage [N, T], which is standardised over all of them."""
    return credited(replay_streams(agent, params, rollout), rollout.action, adv)


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
        said = replay_streams(critic.agent, params, rollout)["value"]
        return jnp.mean(jnp.square(said[..., 0] - target))

    if critic.frozen:
        return state, (loss(state.params), adv)
    state, error = descended(critic, state, loss)
    return state, (error, adv)


def estimates(critic: Critic, params: Params, rollout: Rollout) -> tuple[jax.Array, jax.Array]:
    """Advantages and values, [N, T] each, by the critic; no derivative passes through them."""
    params, rollout = jax.lax.stop_gradient((params, rollout.replace(carry=())))
    if critic.time_outs_end:
        rollout = without_truncation(rollout)
    value = replay_streams(critic.agent, params, rollout)["value"]
    value = value[..., 0]
    after = next_values(critic.agent, params, rollout, value)
    estimate = partial(gae, discount=critic.discount, lambda_=critic.lambda_)
    flags = (rollout.terminated, rollout.truncated)
    return jax.vmap(estimate)(rollout.reward, *flags, value, after), value

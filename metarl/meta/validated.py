"""Meta-gradients of a rule, judged on experience that it did not learn from (Oh et al. 2025).

Discovering state-of-the-art reinforcement learning algorithms,
https://doi.org/10.1038/s41586-025-09761-x, with the numbers of the authors' notebook, from a
specification of it. A learner acts for all of its next updates and for a validation at once, with
the params that it has; after the updates its policy is judged on the validation by V-trace and a
value network of its own. In that notebook values take rewards one step early; here the advantage
of an action counts the reward that it caused. There agents are a list, here a `vmap`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl.inner import collect, learn
from metarl.meta.critics import Critic, CriticState, by_critics, credited, descended
from metarl.ops.distributions import Categorical, policy
from metarl.ops.returns import vtrace
from metarl.rollout import VectorEnv, replay, replay_streams
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
    """Weights of the penalties; the entropies are wanted."""

    entropy: float = 1e-2  # of the policy on the validation
    prediction: float = 1e-3  # entropies of y, and of z of the action taken, there
    centre: float = 1e-3  # squared means of the logits of all targets
    slow: float = 1e-2  # KL of the target network's policy to the policy's target


class Experience(NamedTuple):
    """Of one learner, or [A, ...] of many; it counts as given."""

    train: Rollout  # [K, N, T, ...] of each update
    valid: Rollout  # [N, V, ...]


def validated(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    critic: Critic,
    optimizer: optax.GradientTransformation,
    *,
    updates: int = 2,
    length: int = 16,
    valid: int = 32,
    costs: Costs | None = None,
    chunk: int | None = None,
    max_norm: float | None = None,
) -> MetaLearner:
    """Builds the outer loop.

    Args:
      agent, rule, venv: the parts of the inner loop; the agent has no memory. Penalties are for
        what there is: the heads `y` and `z`, and the rule's metrics `centre` and `slow_kl`.
      critic: the value network; it learns by V-trace from the experience of each update.
      optimizer: of eta.
      updates: K, of each learner.
      length: T, steps of each update.
      valid: V, steps of the validation.
      costs: default `Costs()`.
      chunk: learners that are differentiated at once, a divisor of their number; None: all.
      max_norm: to which the meta-gradient of each learner is clipped; None: none is. Adam divides
        by what gradients were: those of the newborn are a hundred times as long as others.

    Returns:
      A `MetaLearner` with the metrics of the rule, of episodes and of `meta.common.moved`, and
      `meta_loss`, `outer_adv` (mean advantage before it is standardised) and `critic_loss`.

    Raises:
      ValueError: an agent with memory, which cannot take up a rollout in its middle.
    """
    if jax.tree.leaves(agent.carry()):
        raise ValueError("validated is for agents without memory")
    weights = costs or Costs()
    collects = jax.vmap(
        partial(collected, agent, venv, updates=updates, length=length, valid=valid)
    )
    judge = partial(judged, agent, rule, critic, weights)

    def one(eta: Eta, *life: PyTree) -> tuple[jax.Array, PyTree]:
        loss, rest = judge(eta, *life)
        return loss, (loss, *rest)

    def some(eta: Eta, learners: Learner, critics: CriticState, keys: Key):
        given, learners, counts, keys = collects(learners, keys)
        grad = jax.vmap(jax.grad(one, has_aux=True), in_axes=(None, 0, 0, 0, 0))
        own, (losses, learners, critics, metrics) = grad(eta, learners, critics, given, keys)
        if max_norm is not None:
            norms = jax.vmap(optax.tree.norm)(own)
            scale = max_norm / jnp.maximum(norms, max_norm)
            own = jax.tree.map(lambda g: jnp.einsum("a,a...->a...", scale, g), own)
        rows = (losses, learners, critics, {**metrics, **counts})
        return jax.tree.map(lambda g: g.mean(axis=0), own), rows

    return by_critics(some, rule, critic, optimizer, chunk=chunk)


def collected(
    agent: Agent,
    venv: VectorEnv,
    learner: Learner,
    key: Key,
    *,
    updates: int,
    length: int,
    valid: int,
) -> tuple[Experience, Learner, Metrics, Key]:
    """Experience of a learner, in one piece that is cut; `key` is that of its life.

    Returns:
      The experience, the learner after it, its episodes, and the key to learn with.
    """
    seen = updates * length
    rollout, learner, counts, update_key = collect(agent, venv, learner, key, length=seen + valid)

    def pieces(x: jax.Array) -> jax.Array:  # [N, K T, ...] -> [K, N, T, ...]
        return x[:, :seen].reshape(-1, updates, length, *x.shape[2:]).swapaxes(0, 1)

    given = Experience(jax.tree.map(pieces, rollout), jax.tree.map(lambda x: x[:, seen:], rollout))
    return given, learner, counts, update_key


def judged(
    agent: Agent,
    rule: UpdateRule,
    critic: Critic,
    costs: Costs,
    eta: Eta,
    learner: Learner,
    values: CriticState,
    given: Experience,
    key: Key,
) -> tuple[jax.Array, tuple[Learner, CriticState, Metrics]]:
    """The outer loss of one life, and learner, critic and means of metrics after its updates."""

    def turn(loop: tuple[Learner, CriticState], x: tuple[Rollout, Key]):
        learner, values = loop
        rollout, key = x
        values, error = fitted(agent, critic, values, learner.params, rollout)
        learner, metrics = learn(rule, eta, learner, rollout, key)
        return (learner, values), {**metrics, "critic_loss": error}

    learner = jax.lax.stop_gradient(learner)  # what came before is given
    count = given.train.reward.shape[0]
    pairs = (given.train, jax.random.split(key, count))
    (learner, values), metrics = jax.lax.scan(turn, (learner, values), pairs)
    adv, _ = estimates(agent, critic, values.params, learner.params, given.valid)
    means = jax.tree.map(jnp.mean, metrics)
    loss = outer_loss(agent, costs, learner.params, given.valid, adv) + punished(costs, means)
    return loss, (learner, values, {**means, "outer_adv": adv.mean()})


def outer_loss(
    agent: Agent, costs: Costs, params: Params, rollout: Rollout, adv: jax.Array
) -> jax.Array:
    """[] minus log-probability times advantage [N, V], less what entropies are worth.

    Advantages are standardised over all of them, and constants.
    """
    heads = replay_streams(agent, params, rollout)
    total = credited(heads, rollout.action, adv)
    total -= costs.entropy * jnp.mean(policy(heads).entropy())
    predictions = [Categorical(heads["y"])] if "y" in heads else []
    if "z" in heads:
        actions = heads["logits"].shape[-1]
        z = heads["z"].reshape(*rollout.action.shape, actions, -1)
        index = rollout.action[..., None, None]
        predictions.append(Categorical(jnp.take_along_axis(z, index, axis=2)[:, :, 0]))
    return total - costs.prediction * sum((jnp.mean(p.entropy()) for p in predictions), 0.0)


def punished(costs: Costs, metrics: Metrics) -> jax.Array:
    """[] what the rule's words cost, of means over the updates."""
    weights = {"centre": costs.centre, "slow_kl": costs.slow}
    return sum((w * metrics[k] for k, w in weights.items() if k in metrics), jnp.zeros(()))


def fitted(
    agent: Agent, critic: Critic, state: CriticState, params: Params, rollout: Rollout
) -> tuple[CriticState, jax.Array]:
    """The critic after one step towards the V-trace targets of the policy of `params`.

    And its error before, half the mean square.
    """
    _, target = estimates(agent, critic, state.params, params, rollout)

    def loss(own: Params) -> jax.Array:
        return jnp.mean(jnp.square(_value(critic, own, rollout)[0] - target)) / 2

    return descended(critic, state, loss)


def estimates(
    agent: Agent, critic: Critic, values: Params, params: Params, rollout: Rollout
) -> tuple[jax.Array, jax.Array]:
    """Advantages and targets of values, [N, T] each, by V-trace; no derivative passes.

    The advantage of an action has the reward of its own step, which it caused.

    Args:
      agent: whose policy is judged.
      critic: how values are learned.
      values: the critic's params.
      params: the agent's.
      rollout: [N, T, ...], of this or another policy.
    """
    values, params = jax.lax.stop_gradient((values, params))  # a judgement, not a thing to shape
    value, after = _value(critic, values, rollout)
    now, then = policy(replay_streams(agent, params, rollout)), policy(rollout.heads)
    log_ratio = now.log_prob(rollout.action) - then.log_prob(rollout.action)
    estimate: Callable[..., PyTree] = partial(
        vtrace, discount=critic.discount, lambda_=critic.lambda_
    )
    flags = (rollout.terminated, rollout.truncated)
    target, adv = jax.vmap(estimate)(rollout.reward, *flags, value, after, log_ratio)
    return adv, target


def _value(critic: Critic, params: Params, rollout: Rollout) -> tuple[jax.Array, jax.Array]:
    """[N, T] values of each step and of what truly follows."""
    both = jax.vmap(lambda stream: replay(critic.agent, params, stream))(rollout)
    now, after = (heads["value"][..., 0] for heads in both)
    return now, after

"""The antagonist of algorithmic regret: an actor-critic that lives one life on a level.

GROOVE (Jackson et al. 2023, https://arxiv.org/abs/2310.02782), with the numbers of its code: the
sizes of the agents it is compared with, generalised advantages standardised over the batch, an
entropy bonus, the policy and the critic apart, each with gradient descent behind a clip of its own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metarl.curriculum.scores import Reference, Return
from metarl.inner import birth, live
from metarl.ops.distributions import policy
from metarl.ops.returns import gae
from metarl.ops.statistics import standardised
from metarl.rollout import VectorEnv, replay, without_truncation
from metarl.rules import a2c
from metarl.rules.common import check_heads, from_batch_loss
from metarl.types import (
    Agent,
    Environment,
    Eta,
    Key,
    Learner,
    Metrics,
    Params,
    PyTree,
    Rollout,
    UpdateRule,
)


def antagonist(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    ret: Return,
    *,
    lifetime: int | jax.Array | Callable[[PyTree], jax.Array],
    length: int = 20,
    env_params: Callable[[PyTree], PyTree] = lambda level: level,
) -> Reference:
    """What an agent earns on a level at the end of a life of its own there.

    Under `vmap` the longest life counts: levels of very different lifetimes go better in small
    batches.

    Args:
      agent, rule, venv: the parts of the life; `antagonist_rule` makes GROOVE's rule.
      ret: `(params, level, key) -> mean return`, the same that the agents are judged by.
      lifetime: updates, of every level or from a level.
      length: T, steps per update.
      env_params: from a level to its params.
    """

    def reference(level: PyTree, key: Key) -> jax.Array:
        birth_key, eta_key, life_key, play_key = jax.random.split(key, 4)
        eta = rule.init_eta(eta_key)
        updates = lifetime(level) if callable(lifetime) else lifetime

        def older(learner: Learner) -> Learner:
            parts = (agent, rule, venv, eta, learner, life_key)
            return live(*parts, updates=1, length=length)[0]

        learner = birth(agent, rule, venv, env_params(level), birth_key)
        learner = jax.lax.while_loop(lambda learner: learner.age < updates, older, learner)
        return ret(learner.params, level, play_key)

    return reference


def heads(env: Environment) -> dict[str, int]:
    """What the antagonist's agent must say."""
    return a2c.heads(env)


def antagonist_rule(
    agent: Agent,
    needed: dict[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: a2c.Hypers | None = None,
    time_outs_end: bool = False,
) -> UpdateRule:
    """A2C with advantages standardised over the batch.

    Args:
      agent: with a policy and a value, best of separate params.
      needed: as `heads(env)` declares them.
      optimizer: defaults to `apart()`, which is for tabular agents.
      eta: defaults to `metarl.rules.a2c.hypers` with the whole squared error of the value as its
        loss.
      time_outs_end: count time-outs as terminations, as GROOVE's code does.
    """
    eta = eta or a2c.hypers(value_cost=2.0, learning_rate=1.0)
    endings = without_truncation if time_outs_end else lambda rollout: rollout

    def loss(params: Params, eta: Eta, rollout: Rollout) -> tuple[jax.Array, Metrics]:
        return antagonist_loss(agent, needed, params, eta, endings(rollout))

    return from_batch_loss(loss, optimizer or apart(), heads=needed, init_eta=lambda key: eta)


def apart(
    policy_rate: float = 40.0, value_rate: float = 4.0, max_norm: float = 0.5
) -> optax.GradientTransformation:
    """Gradient descent of the value's params and of all others, each behind its own clip.

    The value's are those below a key `value`.
    """

    def labels(params: Params) -> PyTree:
        def label(path: Any, leaf: jax.Array) -> str:
            return (
                "value" if any(getattr(entry, "key", "") == "value" for entry in path) else "rest"
            )

        return jax.tree_util.tree_map_with_path(label, params)

    def descent(rate: float) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(max_norm), optax.sgd(rate))

    parts = {"value": descent(value_rate), "rest": descent(policy_rate)}
    return optax.multi_transform(parts, labels)


def antagonist_loss(
    agent: Agent, needed: dict[str, int], params: Params, eta: Eta, rollout: Rollout
) -> tuple[jax.Array, Metrics]:
    """As `metarl.rules.a2c.a2c_loss`, for a batch [N, T] over which advantages are standardised."""
    now, after = jax.vmap(partial(replay, agent, params))(rollout)
    check_heads(now, needed, "the antagonist")
    pi, value = policy(now), now["value"][..., 0]  # [N, T]
    adv = jax.vmap(partial(gae, discount=eta.discount, lambda_=eta.lambda_))(
        rollout.reward,
        rollout.terminated,
        rollout.truncated,
        jax.lax.stop_gradient(value),  # a baseline must not chase the return it explains
        jax.lax.stop_gradient(after["value"][..., 0]),  # semi-gradient: targets are constants
    )
    target = adv + jax.lax.stop_gradient(value)  # the same constant as above
    policy_loss = -pi.log_prob(rollout.action) * standardised(adv)
    value_loss = jnp.square(value - target) / 2
    entropy = pi.entropy()
    total = policy_loss + eta.value_cost * value_loss - eta.entropy_cost * entropy
    parts = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
    loss = jnp.mean(eta.weight * total)
    return loss, {"loss": loss, **{name: jnp.mean(part) for name, part in parts.items()}}

"""Lives by a rule: how large its updates are, and what becomes of the policy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metarl.build import Parts
from metarl.inner import birth, collect, learn
from metarl.inspection.probe import ETA
from metarl.ops.distributions import policy
from metarl.programme import seed_keys
from metarl.rollout import replay_streams
from metarl.rules.life import with_lifetime
from metarl.types import Eta, Key, Learner, Metrics, Rollout


class Life(NamedTuple):
    """Every update of the lives of S seeds."""

    steps: np.ndarray  # [U] environment steps of each seed before it
    size: np.ndarray  # [S, U] norm of the change of all params
    kl: np.ndarray  # [S, U] of the policy before to that after, mean over the experience
    entropy: np.ndarray  # [S, U] of the policy before, nats
    ret: np.ndarray  # [S, U] mean return of episodes that ended; NaN where none did


class Moment(NamedTuple):
    """One update of the first seed's life, to look at more closely."""

    before: Learner
    after: Learner
    rollout: Rollout  # [N, T, ...]


def lives(parts: Parts, updates: int) -> tuple[Life, list[Moment]]:
    """Lives of all seeds of `parts.config`, and moments at birth, in the middle and at the end.

    Rules with a clock are told the length of the life.
    """
    eta = parts.eta(jax.random.key(ETA))
    birth_keys, _, life_keys = seed_keys(parts.config)

    def born(key: Key) -> Learner:
        learner = birth(parts.agent, parts.rule, parts.venv, parts.env_params, key)
        return learner.replace(rule_state=with_lifetime(learner.rule_state, updates))

    def half(learner: Learner, key: Key) -> tuple[Learner, Moment, Moment, Metrics]:
        """Half a life, its first and last update at hand."""
        turn = lambda learner: _turn(parts, eta, learner, key)  # noqa: E731
        blank = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(turn, learner)[0]
        )

        def step(loop: tuple, number: jax.Array) -> tuple[tuple, Metrics]:
            learner, first, _ = loop
            latest, metrics = turn(learner)
            first = jax.tree.map(lambda x, y: jnp.where(number == 0, x, y), latest, first)
            return (latest.after, first, latest), metrics

        loop, metrics = jax.lax.scan(step, (learner, blank, blank), jnp.arange(updates // 2))
        return *loop, metrics

    older = jax.jit(jax.vmap(half))
    learners, birth_, _, early = older(jax.jit(jax.vmap(born))(birth_keys), life_keys)
    _, middle, end, late = older(learners, life_keys)
    both = jax.device_get((early, late))
    rows = {name: np.concatenate([m[name] for m in both], axis=1) for name in early}
    steps = np.arange(2 * (updates // 2)) * parts.config.steps_per_update
    moments = [jax.tree.map(lambda x: x[0], moment) for moment in (birth_, middle, end)]
    return Life(steps, **rows), moments


def _turn(parts: Parts, eta: Eta, learner: Learner, key: Key) -> tuple[Moment, Metrics]:
    rollout, acted, counts, update_key = collect(
        parts.agent, parts.venv, learner, key, length=parts.config.length
    )
    later, _ = learn(parts.rule, eta, acted, rollout, update_key)
    before, after = (_policy(parts, x, rollout) for x in (learner, later))
    change = jax.tree.map(jnp.subtract, later.params, learner.params)
    return Moment(learner, later, rollout), {
        "size": optax.tree.norm(change),
        "kl": jnp.mean(before.kl(after)),
        "entropy": jnp.mean(before.entropy()),
        "ret": counts["episode_return"],
    }


def _policy(parts: Parts, learner: Learner, rollout: Rollout):
    return policy(replay_streams(parts.agent, learner.params, rollout))

"""Living in a Gymnasium environment: collect, then learn, in turns."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import VectorEnv

from metarl.host.collect import Collector, env_seed
from metarl.types import Agent, Eta, Key, Learner, Metrics, UpdateRule

Report = Callable[[int, dict[str, Any]], None]


def birth(agent: Agent, rule: UpdateRule, key: Key) -> Learner:
    """A new-born learner; its episodes and its memory are the collector's. The key is consumed."""
    params = agent.init(key)
    elsewhere: Any = ()
    zero = jnp.int32(0)
    return Learner(params, rule.init(params), (), elsewhere, (), elsewhere, zero, zero)


def live(
    collector: Collector,
    rule: UpdateRule,
    eta: Eta,
    learner: Learner,
    key: Key,
    *,
    updates: int,
    length: int,
    report: Report | None = None,
) -> tuple[Learner, Metrics]:
    """`updates` times: act for `length` steps, then learn. As `metarl.inner.live`, on the host.

    Args:
      collector: acts; it holds the environments.
      rule: learns.
      eta: the rule's meta-parameters.
      learner: the life in progress.
      key: of the whole life.
      updates: how many.
      length: T, steps per update and environment.
      report: called after every update with its number and its metrics.

    Returns:
      The learner, and metrics [updates]: the rule's own, and those of the episodes.
    """
    rows = []
    for _ in range(updates):
        act_key, update_key = jax.random.split(jax.random.fold_in(key, learner.age))
        rollout, episodes = collector.collect(learner.params, act_key, length=length)
        learner, metrics = learn(rule.update, eta, learner, rollout, update_key)
        rows.append({**jax.device_get(metrics), **episodes})
        if report:
            report(int(learner.age), rows[-1])
    return learner, jax.tree.map(lambda *x: np.stack(x), *rows)


def train(
    envs: VectorEnv,
    agent: Agent,
    rule: UpdateRule,
    *,
    updates: int,
    length: int,
    seed: int = 0,
    eta: Eta | None = None,
    report: Report | None = None,
) -> tuple[Learner, Metrics]:
    """One whole life in `envs`, which stay open. As `metarl.train.train`, on the host.

    Args:
      envs: N environments, of any autoreset mode.
      agent, rule: built for `HostEnv.of(envs)`.
      updates: number of updates; each sees `length` steps of every environment.
      length: T.
      seed: of the agent and of the environments.
      eta: defaults to the rule's own.
      report: called after every update with its number and its metrics.

    Returns:
      The learner at the end, and metrics [updates].
    """
    birth_key, eta_key, life_key = jax.random.split(jax.random.key(seed), 3)
    collector = Collector(envs, agent, seed=env_seed(seed))
    learner = birth(agent, rule, birth_key)
    eta = rule.init_eta(eta_key) if eta is None else eta
    sizes: dict[str, Any] = {"updates": updates, "length": length, "report": report}
    return live(collector, rule, eta, learner, life_key, **sizes)


@partial(jax.jit, static_argnums=0)
def learn(update: Any, eta: Eta, learner: Learner, rollout: Any, key: Key):
    """The learner one update later, and the rule's metrics; `update` is the rule's own function."""
    params, state, metrics = update(eta, learner.params, learner.rule_state, rollout, key)
    return learner.replace(params=params, rule_state=state, age=learner.age + 1), metrics

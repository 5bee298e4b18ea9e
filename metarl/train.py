"""The whole programme, environment to learner, as one function of a key: jit it, vmap it."""

import jax

from metarl.inner import birth, live
from metarl.rollout import VectorEnv
from metarl.types import Agent, Eta, Key, Learner, MetaLearner, Metrics, PyTree, UpdateRule


def train(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    key: Key,
    *,
    env_params: PyTree,
    updates: int,
    length: int,
    eta: Eta | None = None,
) -> tuple[Learner, Metrics]:
    """One whole life. The key is consumed.

    Seeds are a `vmap` over `key`, hyperparameters a `vmap` over `eta`, tasks one over `env_params`.

    Args:
      agent, rule, venv: the parts.
      key: of this life.
      env_params: the task.
      updates: number of updates; each sees `length` steps of every environment of `venv`.
      length: T.
      eta: defaults to the rule's own.

    Returns:
      The learner at the end, and metrics [updates].
    """
    birth_key, eta_key, life_key = jax.random.split(key, 3)
    learner = birth(agent, rule, venv, env_params, birth_key)
    eta = rule.init_eta(eta_key) if eta is None else eta
    return live(agent, rule, venv, eta, learner, life_key, updates=updates, length=length)


def meta_train(
    meta: MetaLearner, learners: Learner, key: Key, *, updates: int, state: PyTree | None = None
) -> tuple[PyTree, Learner, Metrics]:
    """A whole run of an outer loop. The key is consumed.

    Calling it again with the same key and what it returned goes on to the same bits.

    Args:
      meta: the outer loop.
      learners: the population, [A, ...]; `vmap` of `birth`, or `metarl.meta.lives.staggered`.
      key: of the run.
      updates: meta-updates.
      state: of the outer loop; by default a new one.

    Returns:
      The outer loop's state, the population, and metrics [updates].
    """
    init_key, live_key = jax.random.split(key)
    state = meta.init(init_key, learners) if state is None else state

    def step(loop: tuple, _: None) -> tuple[tuple, Metrics]:
        state, learners, metrics = meta.update(loop[0], loop[1], live_key)
        return (state, learners), metrics

    (state, learners), metrics = jax.lax.scan(step, (state, learners), None, length=updates)
    return state, learners, metrics

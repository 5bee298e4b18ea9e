"""The whole programme, environment to learner, as one function of a key: jit it, vmap it."""

import jax

from metarl.inner import birth, live
from metarl.rollout import VectorEnv
from metarl.types import Agent, Eta, Key, Learner, Metrics, PyTree, UpdateRule


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

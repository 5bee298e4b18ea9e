"""Arms of recipes whose lives are led under an outer loop, or under none."""

from collections.abc import Callable, Sequence
from functools import partial

import jax

from metarl.inner import live
from metarl.meta.common import life_keys
from metarl.meta.metagrad import summary
from metarl.recipes.common import Arm
from metarl.rollout import VectorEnv
from metarl.train import meta_train
from metarl.types import Agent, Eta, Key, Learner, MetaLearner, Metrics, PyTree, UpdateRule


def meta_arm(
    name: str,
    meta: MetaLearner,
    born: Callable[[Key], Learner],
    keep: Sequence[str],
    *,
    seeds: int,
    updates: int,
    chunks: int,
    seed: int = 0,
) -> Arm:
    """An outer loop over one learner, for several seeds at once.

    Args:
      name: of the arm.
      meta: the outer loop.
      born: a new learner from a key.
      keep: names of the metrics of `meta` that are kept, [S, rows], one row an update.
      seeds: S.
      updates: of the outer loop in all; a multiple of `chunks`.
      chunks: into which the run is cut.
      seed: of the arm; arms with the same one start from the same learners.

    Raises:
      ValueError: `updates` is not a multiple of `chunks`.
    """
    if updates % chunks:
        raise ValueError(f"updates must be a multiple of {chunks}, got {updates}")
    run_keys = jax.random.key(seed), jax.random.key(seed + 1)

    def start() -> tuple[PyTree, Learner]:
        birth_keys, life = (jax.random.split(key, seeds) for key in run_keys)
        learners = jax.jit(jax.vmap(jax.vmap(born)))(birth_keys[:, None])  # [S, 1, ...]
        init = lambda key, learners: meta.init(jax.random.split(key)[0], learners)  # noqa: E731
        return jax.jit(jax.vmap(init))(life, learners), learners

    def one(state: PyTree, learners: Learner, key: Key) -> tuple[tuple, Metrics]:
        count = updates // chunks
        state, learners, metrics = meta_train(meta, learners, key, updates=count, state=state)
        return (state, learners), {name: metrics[name] for name in keep}

    def advance(loop: tuple[PyTree, Learner]) -> tuple[tuple, Metrics]:
        return jax.vmap(one)(*loop, jax.random.split(run_keys[1], seeds))

    return Arm(name, start, advance, chunks)


def fixed(
    agent: Agent, rule: UpdateRule, venv: VectorEnv, *, updates: int = 1, length: int
) -> MetaLearner:
    """The outer loop that leaves eta as it is: what the others are compared with.

    Args:
      agent, rule, venv: the parts of the inner loop.
      updates: of each learner at each turn.
      length: T, steps between updates.
    """

    def update(eta: Eta, learners: Learner, key: Key) -> tuple[Eta, Learner, Metrics]:
        go = partial(live, agent, rule, venv, eta, updates=updates, length=length)
        learners, metrics = jax.vmap(go)(learners, life_keys(key, learners))
        means = jax.vmap(summary)(metrics)
        return eta, learners, jax.tree.map(lambda x: x.mean(), means)

    return MetaLearner(lambda key, learners: rule.init_eta(key), update)

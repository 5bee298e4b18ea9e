"""Runs in environments of Gymnasium, `gym/<id>`: what `metarl.programme` does, stepped on the host.

Environments of Gymnasium cannot be saved. A resumed run continues with the same agents, in new
episodes, and so not to the same bits.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from metarl import host
from metarl.build import Parts
from metarl.evaluate import Scores, evaluate
from metarl.host.live import learn
from metarl.meta_programme import MetaProgramme, MetaRun, meta_shapes
from metarl.outer import MetaParts, eldest
from metarl.programme import (
    CAPACITY,
    EPISODE_METRICS,
    Programme,
    lower_rate,
    metric_names,
    seed_keys,
    shapes,
    strong,
)
from metarl.training import TrainingParts
from metarl.training_programme import TrainingProgramme, TrainingRun, training_shapes
from metarl.types import Agent, Key, Learner, Metrics, Params, PyTree

AnyParts = Parts | MetaParts | TrainingParts
_SIDE_BY_SIDE = 16  # episodes played side by side in an evaluation


def is_hosted(parts: AnyParts) -> TypeGuard[Parts]:
    """Whether the environment is one of Gymnasium's."""
    return isinstance(parts, Parts) and isinstance(parts.env, host.HostEnv)


def programme_of(parts: AnyParts) -> "AnyProgramme":
    """The programme that trains these parts."""
    if isinstance(parts, TrainingParts):
        return TrainingProgramme(parts)
    if isinstance(parts, MetaParts):
        return MetaProgramme(parts)
    return HostedProgramme(parts) if is_hosted(parts) else Programme(parts)


def shapes_of(parts: AnyParts) -> PyTree:
    """Shapes and dtypes of the state of all seeds, [S, ...], which checkpoints are held to."""
    if isinstance(parts, TrainingParts):
        return training_shapes(parts)
    if isinstance(parts, MetaParts):
        return meta_shapes(parts)
    if not is_hosted(parts):
        return shapes(parts)
    return jax.eval_shape(_births(parts), seed_keys(parts.config)[0])


def learners_of(state: PyTree) -> Learner:
    """One learner a seed, [S, ...], from the state of a run; of a population the eldest."""
    return jax.vmap(eldest)(state.learners) if isinstance(state, MetaRun) else state


def outcome_of(state: PyTree) -> PyTree:
    """What a run has come to: the learners, or the whole of a meta-training."""
    return state if isinstance(state, TrainingRun) else learners_of(state)


class HostedProgramme:
    """The training of all seeds, one after the other; used as a `metarl.programme.Programme`."""

    ahead = False  # `advance` returns when the work is done

    def __init__(self, parts: Parts):
        """Makes the environments of all seeds, and traces the update.

        Raises:
          ValueError: parts that do not fit together.
        """
        self.parts = parts
        row = parts.config.updates_per_row
        self.capacity = row * max(1, CAPACITY // row)
        self._birth_keys, eta_keys, self._life_keys = seed_keys(parts.config)
        self._etas = [parts.eta(key) for key in eta_keys]
        self.like = shapes_of(parts)
        n, env = parts.config.num_envs, _env(parts)
        self._collectors = [host.Collector(env.vector(n), parts.agent) for _ in self._etas]
        self._running = False
        learner = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), self.like)
        rollout = self._collectors[0].blank(learner.params, parts.config.length)
        self._example = (self._etas[0], learner, rollout, self._life_keys[0])
        try:
            _, metrics = jax.eval_shape(partial(learn, parts.rule.update), *self._example)
        except TypeError as error:
            raise ValueError(f"these parts do not fit together: {error}") from error
        self.metric_names = metric_names([*metrics, *EPISODE_METRICS])

    def compile(self) -> float:
        """Compiles the update; returns how many seconds that took."""
        start = time.perf_counter()
        jax.block_until_ready(learn(self.parts.rule.update, *self._example))
        return time.perf_counter() - start

    def born(self) -> Learner:
        """The learners of all seeds at age 0, [S, ...]."""
        return jax.jit(_births(self.parts))(self._birth_keys)

    @property
    def advice(self) -> str:
        """What to do about a run that diverged."""
        return lower_rate(self.parts.config)

    def watched(self, learner: Learner) -> dict[str, jax.Array]:
        """Arrays [S, ...] of which histograms are kept: none."""
        return {}

    def advance(self, learner: Learner, updates: int) -> tuple[Learner, Metrics, np.ndarray]:
        """Lives `updates` more updates: the learner, metrics [S, updates], finite params [S]."""
        if not self._running:
            for seed, collector in zip(self.parts.config.seeds, self._collectors, strict=True):
                collector.restart(host.env_seed(seed, int(np.max(learner.age))))
            self._running = True
        sizes: dict[str, Any] = {"updates": updates, "length": self.parts.config.length}
        lives = zip(self._collectors, self._etas, _rows(learner), self._life_keys, strict=True)
        outs = [
            host.live(collector, self.parts.rule, eta, one, key, **sizes)
            for collector, eta, one, key in lives
        ]
        learner, metrics = jax.tree.map(lambda *x: np.stack(jax.device_get(x)), *outs)
        finite = [[np.isfinite(x).all() for x in jax.tree.leaves(one.params)] for one, _ in outs]
        return learner, metrics, np.all(finite, axis=1)


def play(
    parts: Parts | MetaParts,
    agent: Agent,
    params: Params,
    keys: Key,
    *,
    episodes: int,
    max_steps: int,
    greedy: bool,
) -> Scores:
    """Outcomes [S, E] of one agent a seed, on the host or compiled. The keys are consumed.

    Args:
      parts: of the run.
      agent: with `params` [S, ...].
      keys: [S].
      episodes: E of each.
      max_steps: where an episode is cut off.
      greedy: take the likeliest action instead of sampling.
    """
    sizes: dict[str, Any] = {"episodes": episodes, "max_steps": max_steps, "greedy": greedy}
    if not is_hosted(parts):
        one = lambda p, k: evaluate(agent, parts.env, p, parts.env_params, k, **sizes)  # noqa: E731
        return jax.device_get(jax.vmap(one)(params, keys))
    envs = _env(parts).vector(min(episodes, _SIDE_BY_SIDE))
    scores = [
        host.evaluate(envs, agent, jax.tree.map(lambda x, i=i: x[i], params), key, **sizes)
        for i, key in enumerate(keys)
    ]
    envs.close()
    return jax.tree.map(lambda *x: np.stack(x), *scores)


def _births(parts: Parts) -> Callable[[Key], Learner]:
    return jax.vmap(lambda key: strong(host.birth(parts.agent, parts.rule, key)))


def _env(parts: Parts | MetaParts) -> host.HostEnv:
    assert isinstance(parts.env, host.HostEnv)
    return parts.env


def _rows(tree: Any) -> list[Any]:
    """A tree of leaves [S, ...] as a list of `S` trees."""
    count = len(jax.tree.leaves(tree)[0])
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(count)]


AnyProgramme = Programme | MetaProgramme | TrainingProgramme | HostedProgramme

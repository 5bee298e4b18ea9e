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
from metarl.evaluate import Scores
from metarl.host.live import learn
from metarl.programme import (
    CAPACITY,
    EPISODE_METRICS,
    lower_rate,
    metric_names,
    seed_keys,
    strong,
)
from metarl.types import Agent, Key, Learner, Metrics, Params, PyTree

_SIDE_BY_SIDE = 16  # episodes played side by side in an evaluation


def is_hosted(parts: object) -> TypeGuard[Parts]:
    """Whether they are parts of a run whose environment is one of Gymnasium's."""
    return isinstance(parts, Parts) and isinstance(parts.env, host.HostEnv)


def hosted_shapes(parts: Parts) -> PyTree:
    """Shapes and dtypes of the learners of all seeds, [S, ...]."""
    return jax.eval_shape(_births(parts), seed_keys(parts.config)[0])


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
        self.like = hosted_shapes(parts)
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
        rows = _rows(learner, len(self._etas))
        lives = zip(self._collectors, self._etas, rows, self._life_keys, strict=True)
        outs = [
            host.live(collector, self.parts.rule, eta, one, key, **sizes)
            for collector, eta, one, key in lives
        ]
        learner, metrics = jax.tree.map(lambda *x: np.stack(jax.device_get(x)), *outs)
        finite = [[np.isfinite(x).all() for x in jax.tree.leaves(one.params)] for one, _ in outs]
        return learner, metrics, np.all(finite, axis=1)

    def close(self) -> None:
        """Ends the environments."""
        for collector in self._collectors:
            collector.envs.close()


def play_hosted(
    parts: Parts, agent: Agent, params: Params, keys: Key, *, episodes: int, **how: Any
) -> Scores:
    """Outcomes [S, E], as `metarl.programmes.play` says it. The keys are consumed."""
    envs = _env(parts).vector(min(episodes, _SIDE_BY_SIDE))
    scores = [
        host.evaluate(envs, agent, one, key, episodes=episodes, **how)
        for one, key in zip(_rows(params, len(keys)), keys, strict=True)
    ]
    envs.close()
    return jax.tree.map(lambda *x: np.stack(x), *scores)


def _births(parts: Parts) -> Callable[[Key], Learner]:
    return jax.vmap(lambda key: strong(host.birth(parts.agent, parts.rule, key)))


def _env(parts: Parts) -> host.HostEnv:
    assert isinstance(parts.env, host.HostEnv)
    return parts.env


def _rows(tree: Any, count: int) -> list[Any]:
    """A tree of leaves [S, ...] as a list of `S` trees."""
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(count)]

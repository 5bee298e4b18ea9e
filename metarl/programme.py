"""The training of all seeds as one compiled function that lives any number of updates."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl.build import Parts
from metarl.inner import birth, live
from metarl.types import Eta, Key, Learner, Metrics, PyTree

CAPACITY = 1024  # updates whose metrics one call can hand back
EPISODE_METRICS = ("episodes", "episode_return", "episode_length")


class Programme:
    """Traced when made, compiled once by `compile`, then called with any number of updates.

    One programme serves every number of updates, so results cannot depend on how a run is cut into
    calls. Seeds are its leading axis; seed `s` is `metarl.train.train(..., jax.random.key(s))`.
    Learners are kept without their `env_params`, which all seeds share and no checkpoint needs.
    """

    ahead = True  # `advance` returns before the work is done

    def __init__(self, parts: Parts):
        """Traces the programme.

        Raises:
          ValueError: parts that do not fit together, found while tracing.
        """
        self.parts = parts
        row = parts.config.updates_per_row
        self.capacity = row * max(1, CAPACITY // row)
        self._birth_keys, eta_keys, self._life_keys = seed_keys(parts)
        self._eta = jax.vmap(parts.eta)(eta_keys)
        self.like = shapes(parts)
        function = jax.vmap(self._chunk(), in_axes=(0, 0, 0, None, None))
        example = (self._eta, self.like, self._life_keys, parts.env_params, np.int32(1))
        try:
            self._lowered = jax.jit(function, donate_argnums=1).lower(*example)
        except TypeError as error:
            raise ValueError(f"these parts do not fit together: {error}") from error
        self.metric_names = metric_names(self._lowered.out_info[1])
        self._compiled: Callable[..., Any] | None = None

    def compile(self) -> float:
        """Compiles the programme; returns how many seconds that took."""
        start = time.perf_counter()
        self._compiled = self._lowered.compile()
        return time.perf_counter() - start

    def born(self) -> Learner:
        """The learners of all seeds at age 0, [S, ...]."""
        return jax.jit(_births(self.parts))(self._birth_keys, self.parts.env_params)

    def advance(self, learner: Learner, updates: int) -> tuple[Learner, Metrics, jax.Array]:
        """Lives `updates` more updates, at most `capacity`, without waiting for the device.

        Args:
          learner: [S, ...]; it is donated and must not be used again.
          updates: how many.

        Returns:
          The learner, metrics [S, capacity] of which the first `updates` count, and whether all
          parameters are finite, [S] bool.
        """
        if self._compiled is None:
            self.compile()
        assert self._compiled is not None
        env_params = self.parts.env_params
        return self._compiled(self._eta, learner, self._life_keys, env_params, np.int32(updates))

    def _chunk(self) -> Callable[..., tuple[Learner, Metrics, jax.Array]]:
        _, _, _, agent, rule, venv = self.parts
        length = self.parts.config.length

        def one(eta: Eta, learner: Learner, key: Key, env_params: PyTree):
            learner = learner.replace(env_params=env_params)
            learner, metrics = live(agent, rule, venv, eta, learner, key, updates=1, length=length)
            return _kept(learner), metrics

        def chunk(eta: Eta, learner: Learner, key: Key, env_params: PyTree, updates: jax.Array):
            shapes = jax.eval_shape(one, eta, learner, key, env_params)[1]
            room = jax.tree.map(lambda x: jnp.zeros(self.capacity, x.dtype), shapes)

            def body(i: jax.Array, loop: tuple[Learner, Metrics]):
                learner, metrics = one(eta, loop[0], key, env_params)
                metrics = jax.tree.map(lambda a, x: a.at[i].set(x[0]), loop[1], metrics)
                return learner, metrics

            learner, metrics = jax.lax.fori_loop(0, updates, body, (learner, room))
            leaves = jax.tree.leaves(learner.params)
            finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves] or [jnp.bool_(True)])
            return learner, metrics, jnp.all(finite)

        return chunk


def metric_names(names: Iterable[str]) -> list[str]:
    """Episodes first, then the rule's own in alphabetical order."""
    names = set(names)
    return [n for n in EPISODE_METRICS if n in names] + sorted(names - set(EPISODE_METRICS))


def shapes(parts: Parts) -> Learner:
    """Shapes and dtypes of the learners of all seeds, [S, ...], which checkpoints are held to."""
    return jax.eval_shape(_births(parts), seed_keys(parts)[0], parts.env_params)


def _births(parts: Parts) -> Callable[[Key, PyTree], Learner]:
    _, _, _, agent, rule, venv = parts
    one = lambda key, env_params: _kept(birth(agent, rule, venv, env_params, key))  # noqa: E731
    return jax.vmap(one, in_axes=(0, None))


def seed_keys(parts: Parts) -> tuple[Key, Key, Key]:
    """Keys of birth, eta and life for each seed, as `metarl.train.train` makes them of its key."""
    keys = jnp.stack([jax.random.key(seed) for seed in parts.config.seeds])
    split = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    return split[:, 0], split[:, 1], split[:, 2]


def _kept(learner: Learner) -> Learner:
    """Without `env_params`, which no checkpoint needs."""
    return strong(learner).replace(env_params=())


def strong(learner: Learner) -> Learner:
    """Without weak types, which a checkpoint would lose."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), learner)

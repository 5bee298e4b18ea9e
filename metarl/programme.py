"""The training of all seeds as one compiled function that makes any number of updates."""

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl.build import Parts
from metarl.config import Config
from metarl.inner import birth, live
from metarl.types import Eta, Key, Learner, Metrics, PyTree

T = TypeVar("T")

CAPACITY = 1024  # updates whose metrics one call can hand back
EPISODE_METRICS = ("episodes", "episode_return", "episode_length")


class Compiled:
    """One step of all seeds, traced when made, compiled once, then taken any number of times.

    One programme serves every number of steps, so results cannot depend on how a run is cut into
    calls. Seeds are the leading axis of its state and of what it is told beside.
    """

    ahead = True  # `advance` returns before the work is done
    metric_names: list[str]

    def __init__(
        self,
        row: int,
        like: PyTree,
        constants: PyTree,
        env_params: PyTree,
        step: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, Metrics]],
        learned: Callable[[PyTree], PyTree],
        *,
        in_turn: bool = False,
    ):
        """Traces the programme.

        Args:
          row: updates of a row of metrics; calls take whole rows.
          like: shapes and dtypes of the state, [S, ...], which checkpoints are held to.
          constants: of every seed, [S, ...].
          env_params: the task, shared by all.
          step: `(constants, state, env_params) -> (state, metrics [])` of one seed.
          learned: what of the state must stay finite.
          in_turn: seeds are taken one after the other, so that what a step does only now and then
            costs nothing at other times; side by side they share its products.

        Raises:
          ValueError: parts that do not fit together, found while tracing.
        """
        self.capacity = row * max(1, CAPACITY // row)
        self.like = like
        self._told = constants, env_params
        chunk = self._chunk(step, learned)
        function = _in_turn(chunk) if in_turn else jax.vmap(chunk, in_axes=(0, 0, None, None))
        try:
            lowered = jax.jit(function, donate_argnums=1)
            self._lowered = lowered.lower(constants, like, env_params, np.int32(1))
        except TypeError as error:
            raise ValueError(f"these parts do not fit together: {error}") from error
        self.metric_names = metric_names(self._lowered.out_info[1])
        self._compiled: Callable[..., Any] | None = None

    def compile(self) -> float:
        """Compiles the programme; returns how many seconds that took."""
        start = time.perf_counter()
        self._compiled = self._lowered.compile()
        return time.perf_counter() - start

    def advance(self, state: PyTree, updates: int) -> tuple[PyTree, Metrics, jax.Array]:
        """Takes `updates` more steps, at most `capacity`, without waiting for the device.

        Args:
          state: [S, ...]; it is donated and must not be used again.
          updates: how many.

        Returns:
          The state, metrics [S, capacity] of which the first `updates` count, and whether all that
          is learned is finite, [S] bool.
        """
        if self._compiled is None:
            self.compile()
        assert self._compiled is not None
        constants, env_params = self._told
        return self._compiled(constants, state, env_params, np.int32(updates))

    def _chunk(self, step: Callable, learned: Callable) -> Callable:
        one: Callable[..., Any] = jax.jit(step, inline=True)  # traced once, though used twice

        def chunk(constants: PyTree, state: PyTree, env_params: PyTree, updates: jax.Array):
            shapes = jax.eval_shape(one, constants, state, env_params)[1]
            room = jax.tree.map(lambda x: jnp.zeros(self.capacity, x.dtype), shapes)

            def body(i: jax.Array, loop: tuple[PyTree, Metrics]):
                state, metrics = one(constants, loop[0], env_params)
                return state, jax.tree.map(lambda a, x: a.at[i].set(x), loop[1], metrics)

            state, metrics = jax.lax.fori_loop(0, updates, body, (state, room))
            leaves = jax.tree.leaves(learned(state))
            finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves] or [jnp.bool_(True)])
            return state, metrics, jnp.all(finite)

        return chunk


class Programme(Compiled):
    """The training of all seeds.

    Seed `s` is `metarl.train.train(..., jax.random.key(s))`. Learners are kept without their
    `env_params`, which all seeds share and no checkpoint needs.
    """

    def __init__(self, parts: Parts):
        """Traces the programme.

        Raises:
          ValueError: parts that do not fit together, found while tracing.
        """
        self.parts = parts
        self._birth_keys, eta_keys, life_keys = seed_keys(parts.config)
        constants = (jax.vmap(parts.eta)(eta_keys), life_keys)
        row = parts.config.updates_per_row
        super().__init__(
            row, shapes(parts), constants, parts.env_params, self._step, lambda state: state.params
        )

    @property
    def advice(self) -> str:
        """What to do about a run that diverged."""
        return lower_rate(self.parts.config)

    def born(self) -> Learner:
        """The learners of all seeds at age 0, [S, ...]."""
        return jax.jit(_births(self.parts))(self._birth_keys, self.parts.env_params)

    def watched(self, learner: Learner) -> dict[str, jax.Array]:
        """Arrays [S, ...] of which histograms are kept: none."""
        return {}

    def _step(self, constants: tuple[Eta, Key], learner: Learner, env_params: PyTree):
        _, _, _, agent, rule, venv = self.parts
        eta, key = constants
        learner = learner.replace(env_params=env_params)
        learner, metrics = live(
            agent, rule, venv, eta, learner, key, updates=1, length=self.parts.config.length
        )
        return kept(learner), jax.tree.map(lambda x: x[0], metrics)


def _in_turn(chunk: Callable) -> Callable:
    """`chunk` of every seed, one after the other."""

    def all_seeds(constants: PyTree, state: PyTree, env_params: PyTree, updates: jax.Array):
        return jax.lax.map(lambda x: chunk(*x, env_params, updates), (constants, state))

    return all_seeds


def lower_rate(config: Config) -> str:
    """The first thing to try when a run diverges."""
    fields = config.rule.fields
    rate = f" (now {fields['learning_rate']})" if "learning_rate" in fields else ""
    return (
        f"Start again with a lower learning rate{rate}, as in `--rule {config.rule.name} "
        "learning_rate=1e-4`; look also at the size of the rewards"
    )


def metric_names(names: Iterable[str]) -> list[str]:
    """Episodes first, then the rule's own in alphabetical order."""
    names = set(names)
    return [n for n in EPISODE_METRICS if n in names] + sorted(names - set(EPISODE_METRICS))


def shapes(parts: Parts) -> Learner:
    """Shapes and dtypes of the learners of all seeds, [S, ...], which checkpoints are held to."""
    return jax.eval_shape(_births(parts), seed_keys(parts.config)[0], parts.env_params)


def _births(parts: Parts) -> Callable[[Key, PyTree], Learner]:
    _, _, _, agent, rule, venv = parts
    one = lambda key, env_params: kept(birth(agent, rule, venv, env_params, key))  # noqa: E731
    return jax.vmap(one, in_axes=(0, None))


def seed_keys(config: Config) -> tuple[Key, Key, Key]:
    """Keys of birth, eta and life for each seed, as `metarl.train.train` makes them of its key."""
    keys = jnp.stack([jax.random.key(seed) for seed in config.seeds])
    split = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    return split[:, 0], split[:, 1], split[:, 2]


def kept(learner: Learner) -> Learner:
    """Without `env_params`, which no checkpoint needs."""
    return strong(learner).replace(env_params=())


def strong(tree: T) -> T:
    """Without weak types, which a checkpoint would lose."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), tree)

"""The boards of many trials side by side, played on the device and read on the host."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.text.types import TextCodec
from metarl.types import Environment, Key, PyTree
from metarl.wrappers.trial import limited, success


class _Now(struct.PyTreeNode):
    """One board as it is."""

    state: PyTree
    mask: jax.Array | None  # [A] bool
    time: jax.Array  # [] int32, moves of the attempt


class Boards:
    """`count` boards of an environment, each with the start that all its attempts share.

    What is random in a move depends on the board and on how many moves the attempt has had, not on
    the attempt: the same moves lead to the same boards, also where mines are moved away from the
    first cell.

    Args:
      env: the environment.
      params: its dynamic settings.
      count: N, boards.
      seed: of the starts and the tasks.
      sample_task: draw params for each board by `sample_params(key, split)`; of those given only
        the time limits stay.
      split: of the tasks drawn.
    """

    def __init__(
        self,
        env: Environment,
        params: PyTree,
        count: int,
        *,
        seed: int = 0,
        sample_task: bool = False,
        split: str | None = None,
    ):
        self.env, self.count = env, count
        start_key, task_key, move_key = jax.random.split(jax.random.key(seed), 3)
        self._axis = 0 if sample_task else None
        if sample_task:
            draw: Any = env
            task = jax.vmap(lambda k: limited(draw.sample_params(k, split), params))
            params = task(_spread(task_key, count))
        self._params = params
        self._keys = _spread(move_key, count)
        self._start = self._now = _begin(env, self._axis, _spread(start_key, count), params)
        self._told = jax.device_get((self._now, params if sample_task else None))

    def restart(self, which: np.ndarray) -> None:
        """Puts the boards `which`, [N] bool, back to their starts."""
        self._now = _picked(which, self._start, self._now)
        self._read()

    def move(
        self, which: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Plays `actions` [N] on the boards `which` [N] bool; the others stay.

        Returns:
          Rewards, whether the episode has ended, and whether it was won, [N] each; of the boards
          that stay they mean nothing.
        """
        how = self.env, self._axis, self._keys, self._now, actions, which, self._params
        self._now, outcome = _move(*how)
        self._read()
        return tuple(np.asarray(x) for x in jax.device_get(outcome))  # type: ignore[return-value]

    def mask(self, board: int) -> np.ndarray | None:
        """[A] bool, the legal actions on one board; None where all are."""
        mask = self._told[0].mask
        return None if mask is None else mask[board]

    def text(self, board: int, codec: TextCodec) -> str:
        """One board in words."""
        now, tasks = self._told
        state, task = jax.device_put(jax.tree.map(lambda x: x[board], (now.state, tasks)))
        return codec.render(state, self._params if tasks is None else task)

    def _read(self) -> None:
        self._told = (jax.device_get(self._now), self._told[1])


def _spread(key: Key, count: int) -> Key:
    """Keys of which the first n are the same for every count of n or more. The key is consumed."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))


@partial(jax.jit, static_argnums=(0, 1))
def _begin(env: Any, axis: int | None, keys: Key, params: PyTree) -> _Now:
    state, ts = jax.vmap(env.reset, (0, axis))(keys, params)
    return _Now(state, ts.action_mask, jnp.zeros(len(keys), jnp.int32))


@partial(jax.jit, static_argnums=(0, 1))
def _move(
    env: Any,
    axis: int | None,
    keys: Key,
    now: _Now,
    actions: jax.Array,
    which: jax.Array,
    params: PyTree,
) -> tuple[_Now, tuple[jax.Array, ...]]:
    keys = jax.vmap(jax.random.fold_in)(keys, now.time)
    state, ts = jax.vmap(env.step, (0, 0, 0, axis))(keys, now.state, actions, params)
    after = _picked(which, _Now(state, ts.action_mask, now.time + 1), now)
    return after, (ts.reward, ts.last, success(ts) & ts.last)


@jax.jit
def _picked(which: jax.Array, one: PyTree, other: PyTree) -> PyTree:
    """Leaves [N, ...] of `one` where `which` [N], else of `other`."""

    def pick(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.where(which.reshape(-1, *[1] * (x.ndim - 1)), x, y)

    return jax.tree.map(pick, one, other)

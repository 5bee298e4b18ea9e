"""Uniform draws: one of those marked, and actions for players that know nothing of the task."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from metarl.ops import keys
from metarl.types import Key


def any_of(word: jax.Array, among: jax.Array) -> jax.Array:
    """[] int32, a uniform number of those marked, from a random word; 0 if none is.

    Args:
      word: [] uint32.
      among: [...] bool, at most 65536, numbered as they lie in memory.
    """
    count = jnp.cumsum(among.ravel())  # so far; the drawn one is the first beyond
    return jnp.argmax(count > keys.below(word, count[-1])).astype(jnp.int32)


def random_action(space: spaces.Space, key: Key, mask: jax.Array | None = None) -> jax.Array:
    """A uniform action of the space, among the legal ones where there is a mask.

    Unbounded sides of a `Box` are taken to end at -1 and 1. The key is consumed.

    Raises:
      ValueError: the space is of another kind than `Discrete`, `MultiDiscrete` and `Box`.
    """
    if isinstance(space, spaces.Discrete):
        if mask is None:
            mask = jnp.ones(int(space.n), bool)
        return any_of(keys.words(key, 1)[0], mask)
    if isinstance(space, spaces.MultiDiscrete):
        return jax.random.randint(key, space.shape, 0, jnp.array(space.nvec, jnp.int32))
    if isinstance(space, spaces.Box):
        low = np.where(space.bounded_below, space.low.astype(np.float32), -1)
        high = np.where(space.bounded_above, space.high.astype(np.float32), 1)
        action = jax.random.uniform(key, space.shape, minval=low, maxval=high)
        return action.astype(jax.dtypes.canonicalize_dtype(space.dtype))
    raise ValueError(f"actions are Discrete, MultiDiscrete or Box, got {space}")


def no_action(space: spaces.Space) -> jax.Array:
    """What stands for the previous action where there was none: zeros of the action's form."""
    return jnp.zeros(space.shape or (), narrow(space))


def narrow(space: spaces.Space) -> Any:
    """The type of a space's numbers, with JAX's 32 bits for numpy's 64."""
    return {"int64": np.int32, "float64": np.float32}.get(str(space.dtype), space.dtype)

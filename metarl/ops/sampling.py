"""Random actions of a space, for players that know nothing of the task."""

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from metarl.ops import keys
from metarl.types import Key


def random_action(space: spaces.Space, key: Key, mask: jax.Array | None = None) -> jax.Array:
    """A uniform action of the space, among the legal ones where there is a mask.

    Unbounded sides of a `Box` are taken to end at -1 and 1. The key is consumed.

    Raises:
      ValueError: the space is of another kind than `Discrete`, `MultiDiscrete` and `Box`.
    """
    if isinstance(space, spaces.Discrete):
        if mask is None:
            mask = jnp.ones(int(space.n), bool)
        count = jnp.cumsum(mask)  # [A] legal actions so far; the drawn one is the first beyond
        drawn = keys.below(keys.words(key, 1)[0], count[-1])
        return jnp.argmax(count > drawn).astype(jnp.int32)
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
    dtype = jnp.int32 if space.dtype == "int64" else space.dtype
    return jnp.zeros(space.shape or (), dtype)

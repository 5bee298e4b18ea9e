"""From whatever an environment shows to numbers of unit scale."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

from metarl.types import AgentInput, PyTree


def flat_size(space: Space) -> int:
    """Length of `flatten(space, obs)`.

    Raises:
      TypeError: a kind of space that agents cannot read.
    """
    if isinstance(space, Box | MultiBinary):
        return int(np.prod(space.shape))
    if isinstance(space, Discrete):
        return int(space.n)
    if isinstance(space, MultiDiscrete):
        return int(space.nvec.sum())
    if isinstance(space, Dict | Tuple):
        return sum(flat_size(part) for part in _parts(space))
    raise TypeError(f"agents read Box, Discrete, MultiDiscrete, Dict and Tuple, not {space}")


def flatten(space: Space, obs: PyTree) -> jax.Array:
    """One float vector: numbers divided by their bound, integers as one-hot, parts joined."""
    if isinstance(space, Box | MultiBinary):
        return scale(space, obs).ravel()
    if isinstance(space, Discrete):
        return jax.nn.one_hot(obs - space.start, int(space.n))
    if isinstance(space, MultiDiscrete):
        hot = [jax.nn.one_hot(o, int(n)) for o, n in zip(obs, space.nvec, strict=True)]
        return jnp.concatenate(hot)
    parts = zip(_parts(space), _values(space, obs), strict=True)
    return jnp.concatenate([flatten(part, value) for part, value in parts])


def scale(space: Box | MultiBinary, obs: jax.Array) -> jax.Array:
    """Float32 of the same shape, divided by upper bounds that are finite and above one."""
    high = np.asarray(getattr(space, "high", 1), np.float64)
    divisor = np.where(np.isfinite(high) & (high > 1) & (high < 1e6), high, 1.0)
    if (divisor == 1).all():
        return obs.astype(jnp.float32)
    return obs.astype(jnp.float32) * jnp.asarray(1 / divisor, jnp.float32)


def context_size(action_space: Space) -> int:
    """Length of `context(action_space, inputs)`."""
    return flat_size(action_space) + 2


def context(action_space: Space, inputs: AgentInput) -> jax.Array:
    """What memory agents see beside the observation: previous action, reward, and `first`."""
    scalars = jnp.stack([inputs.prev_reward, inputs.first.astype(jnp.float32)])
    return jnp.concatenate([flatten(action_space, inputs.prev_action), scalars])


def _parts(space: Any) -> list[Space]:
    return list(space.values()) if isinstance(space, Dict) else list(space.spaces)


def _values(space: Any, obs: Any) -> list[PyTree]:
    return [obs[name] for name in space] if isinstance(space, Dict) else list(obs)

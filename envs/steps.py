"""Time steps, written once: how an episode opens, and how the clock cuts it off."""

import jax
import jax.numpy as jnp

from metarl.types import PyTree, TimeStep

ENDLESS = 2**31 - 1  # steps until truncation, for tasks that no clock cuts off


def opening(obs: PyTree, mask: jax.Array | None = None) -> TimeStep:
    """What `reset` shows: no reward, no end."""
    return TimeStep(obs, jnp.float32(0), jnp.bool_(False), jnp.bool_(False), mask)


def outcome(
    obs: PyTree,
    reward: jax.Array,
    terminated: jax.Array,
    late: jax.Array,
    mask: jax.Array | None = None,
) -> TimeStep:
    """What `step` shows; `late`, a bool, truncates the episode unless it has terminated."""
    return TimeStep(obs, reward, terminated, late & ~terminated, mask)

"""What the classic control tasks share: starts, angles, and bodies that vary from task to task."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from metarl.envs.splits import draw_level
from metarl.ops import keys
from metarl.types import Key


def uniform(word: jax.Array, low: float, high: float) -> jax.Array:
    """A uniform float32 in `[low, high)` from a random word."""
    return low + (high - low) * keys.unit(word)


def wrapped(angle: jax.Array) -> jax.Array:
    """The same angle in `[-pi, pi)`, up to rounding."""
    turn = 2 * jnp.pi
    return angle - turn * jnp.floor(angle / turn + 0.5)  # a remainder would call the C library


def varied(params: Any, names: Sequence[str], key: Key, split: str | None) -> Any:
    """The params with some leaves multiplied by factors uniform in 0.5..1.5. The key is consumed.

    Args:
      params: what to vary.
      names: of scalar leaves, each with its own factor.
      key: the seed of the task.
      split: "train", "heldout", or None for any.
    """

    def make(key: Key) -> Any:
        factors = [uniform(word, 0.5, 1.5) for word in keys.words(key, len(names))]
        pairs = zip(names, factors, strict=True)
        return params.replace(**{name: getattr(params, name) * factor for name, factor in pairs})

    return draw_level(make, key, split)

"""Train and held-out levels that cannot overlap, whatever their seeds.

A level belongs to one split by what it is, not by what it was made from: a hash of its arrays
decides. So two equal levels are never in different splits, not even tiny ones that many seeds make.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl.ops import keys
from metarl.types import Key, PyTree

SPLITS = ("train", "heldout")  # half of all levels each


def draw_level(make: Callable[[Key], PyTree], key: Key, split: str | None) -> PyTree:
    """A level of a split: the first of `make`'s that belongs to it. The key is consumed.

    Args:
      make: from a key to a level, a pytree of arrays; called about twice.
      key: the seed of the level.
      split: "train", "heldout", or None for the first level made.

    Raises:
      ValueError: no such split.
    """
    check_split(split)
    if split is None:
        return make(jax.random.fold_in(key, 0))
    wanted = SPLITS.index(split)

    def another(loop: tuple[jax.Array, PyTree]) -> tuple[jax.Array, PyTree]:
        return loop[0] + 1, make(jax.random.fold_in(key, loop[0]))

    def wrong(loop: tuple[jax.Array, PyTree]) -> jax.Array:
        return (loop[0] == 0) | (side(loop[1]) != wanted)

    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(make, key))
    return jax.lax.while_loop(wrong, another, (jnp.int32(0), empty))[1]


def side(level: PyTree) -> jax.Array:
    """[] int32, the number in `SPLITS` of the split that a level belongs to."""
    return (fingerprint(level) >> 31).astype(jnp.int32)


def fingerprint(tree: PyTree) -> jax.Array:
    """[] uint32, a hash of every number of a pytree: multiply, xor, shift; not cryptographic."""
    total = jnp.uint32(0x9E3779B9)
    for leaf in jax.tree.leaves(tree):
        bits = _bits(leaf).ravel()
        place = jnp.arange(bits.shape[0], dtype=jnp.uint32) * jnp.uint32(0x85EBCA6B)
        total = keys.mix(total + jnp.sum(keys.mix(bits ^ place), dtype=jnp.uint32))
    return total


def check_split(split: str | None) -> None:
    """Raises ValueError for an unknown split."""
    if split not in (None, *SPLITS):
        raise ValueError(f"split must be one of {SPLITS} or None, got {split!r}")


def _bits(leaf: jax.Array) -> jax.Array:
    """Every number as uint32."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf).astype(jnp.uint32)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32)
    return leaf.astype(jnp.uint32)

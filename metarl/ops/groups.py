"""Means over groups of steps that share a name, without a loop over groups."""

import jax
import jax.numpy as jnp

from metarl.types import PyTree


def members(*names: jax.Array) -> jax.Array:
    """[M] int32, a number below M for each of M rows, equal exactly where all `names` [M] are."""
    order = jnp.lexsort(names)
    rows = [name[order] for name in names]
    new = sum((row[1:] != row[:-1]).astype(jnp.int32) for row in rows)
    rank = jnp.cumsum(jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.minimum(new, 1)]))
    return jnp.zeros_like(rank).at[order].set(rank)


def group_moments(
    x: jax.Array, group: jax.Array, counts: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, variance and size of the group of each row, [M], over the rows that count.

    Args:
      x: [M].
      group: [M], from `members`.
      counts: [M] bool; a group of which no row counts has 0 of each.
    """

    def total(values: jax.Array) -> jax.Array:
        sums = jax.ops.segment_sum(jnp.where(counts, values, 0), group, len(group))
        return sums[group]

    size = total(jnp.ones_like(x))
    some = jnp.maximum(size, 1)
    mean = total(x) / some
    return mean, total(jnp.square(x - mean)) / some, size


def fingerprint(obs: PyTree, rows: int) -> tuple[jax.Array, jax.Array]:
    """Two words, each [rows] uint32, of whatever leaves [rows, ...] there are.

    Equal rows have equal words; that rows which differ have is as good as impossible (`2**-64`).
    """
    numbers = jnp.concatenate([_bits(leaf.reshape(rows, -1)) for leaf in jax.tree.leaves(obs)], 1)
    place = jnp.arange(numbers.shape[1], dtype=jnp.uint32)
    salts = (jnp.uint32(0x9E3779B9), jnp.uint32(0x85EBCA77))
    # Mixed twice, so that the sum over places knows which number stood where.
    words = [_mix(_mix(numbers + salt) ^ _mix(place * salt + 1)).sum(axis=1) for salt in salts]
    return words[0].astype(jnp.uint32), words[1].astype(jnp.uint32)


def _bits(x: jax.Array) -> jax.Array:
    """The numbers as 32-bit words; 0 and -0 are one."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        x = jnp.where(x == 0, 0, x).astype(jnp.float32)
        return jax.lax.bitcast_convert_type(x, jnp.uint32)
    return x.astype(jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
    """A bijection of 32-bit words in which every bit moves all others: the end of MurmurHash3."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)

"""Costly work for a few rows of many, in a programme of fixed size."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metarl.types import PyTree


def for_few(
    wanted: jax.Array,
    order: jax.Array,
    work: Callable[[jax.Array], PyTree],
    out: PyTree,
    *,
    batch: int,
    quorum: int = 1,
) -> tuple[PyTree, jax.Array, jax.Array]:
    """Does `work` for rows that are wanted, `batch` at a time, while at least `quorum` are left.

    A loop, not a `cond`: that would compute both sides under `vmap`, as over seeds, where this
    enters its body only while some row of the batch needs it. No derivative passes in reverse.

    Args:
      wanted: [n] bool.
      order: [n] numbers, the lowest first.
      work: from a row's number, [] int32, to what `out` has for it; it is mapped over `batch` rows.
      out: leaves [n, ...], what is known before.
      batch: rows at a time, at most n.
      quorum: with fewer rows left nothing is done.

    Returns:
      `out` with the rows done, which rows are still wanted, [n] bool, and how many rows were
      computed, [] int32: whole batches.
    """

    def some(loop: tuple[jax.Array, PyTree, jax.Array]) -> jax.Array:
        return jnp.sum(loop[0]) >= quorum

    def turn(loop: tuple[jax.Array, PyTree, jax.Array]) -> tuple[jax.Array, PyTree, jax.Array]:
        wanted, out, done = loop
        rows = jnp.lexsort((order, ~wanted))[:batch]
        valid = wanted[rows]
        found = jax.vmap(work)(jnp.where(valid, rows, rows[0]))  # a batch is filled with its first
        to = jnp.where(valid, rows, wanted.shape[0])  # beyond the end: dropped
        put: Any = lambda old, new: old.at[to].set(new, mode="drop")  # noqa: E731
        return wanted.at[rows].set(False), jax.tree.map(put, out, found), done + len(rows)

    wanted, out, done = jax.lax.while_loop(some, turn, (wanted, out, jnp.int32(0)))
    return out, wanted, done

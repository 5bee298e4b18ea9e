"""Squares that move between cells: what they touch, and things that go to and fro by the clock.

Places are of centres, in cells, rows downwards: 0.5 is the middle of the first row of cells.
"""

import jax
import jax.numpy as jnp
import numpy as np

from metarl.ops import keys
from metarl.ops.sampling import any_of

_WAYS = ((-1, 0), (0, 1), (1, 0), (0, -1))


def cell_of(number: jax.Array, side: int) -> jax.Array:
    """[2] uint8, row and column of a cell by its number, row by row."""
    return jnp.stack(jnp.divmod(number, side)).astype(jnp.uint8)


def at(flags: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """[...] of `flags` [H, W] in the cells that places [...] lie in; beyond the edge any cell's."""
    index = jnp.floor(row).astype(jnp.int32) * flags.shape[1] + jnp.floor(column).astype(jnp.int32)
    return flags.ravel().at[index].get(mode="clip")


def touches(flags: jax.Array, row: jax.Array, column: jax.Array, size: float) -> jax.Array:
    """[] bool, whether a square with sides of `size`, at most 1, overlaps a marked cell."""
    corner = np.array([-size / 2, size / 2], np.float32)
    return jnp.any(at(flags, row + corner[:, None], column + corner))


def meet(
    row: jax.Array,
    column: jax.Array,
    rows: jax.Array,
    columns: jax.Array,
    *,
    within: jax.Array | float,
) -> jax.Array:
    """[A, B] bool, whether squares at `row`, `column` [A] overlap others at `rows`, `columns` [B].

    `within` is half the sum of two sides, one number or [B].
    """
    near = jnp.abs(row[:, None] - rows) < within
    return near & (jnp.abs(column[:, None] - columns) < within)


def pushed(flag: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
    """[N] where `flag` the new one, then all old ones [N] but the last; else the old ones."""
    return jnp.where(flag, jnp.concatenate([new[None], old[:-1]]), old)


def remainder(x: jax.Array, divisor: jax.Array) -> jax.Array:
    """The remainder of whole floats below 2**24; the CPU divides no vectors of integers."""
    return x - divisor * jnp.floor(x / divisor)


def to_and_fro(
    cell: jax.Array, stroll: jax.Array, ahead: jax.Array, *, speed: float
) -> tuple[jax.Array, jax.Array]:
    """Rows and columns [M] float32 of things that go from their cell along a stroll and back.

    Args:
      cell: [M, 2] uint8, one end.
      stroll: [M, 2] int8, cells to the other end along one axis; 0: it stands still.
      ahead: [M] float32, whole steps since it was at the one end.
      speed: in cells a step, a power of two.
    """
    stroll = stroll.astype(jnp.float32)
    circle = 2 * jnp.abs(stroll).sum(axis=1) / speed  # [M] steps
    ahead = remainder(ahead, jnp.maximum(circle, 1))
    walked = speed * jnp.maximum(jnp.minimum(ahead, circle - ahead), 0)
    place = cell.astype(jnp.float32) + 0.5 + jnp.sign(stroll) * walked[:, None]
    return place[:, 0], place[:, 1]


def any_stroll(
    words: jax.Array, start: jax.Array, free: jax.Array, longest: int
) -> tuple[jax.Array, jax.Array]:
    """A random cell [2] uint8 and a stroll [2] int8 from it, in any way, as far as cells are free.

    Args:
      words: [3] uint32.
      start: [side, side] bool, where the cell may be.
      free: [side, side] bool, where the stroll may lead.
      longest: of the stroll, in cells.
    """
    cell = cell_of(any_of(words[0], start), free.shape[0])
    way = jnp.array(_WAYS)[keys.below(words[1], 4)]
    passed = cell.astype(jnp.int32) + way * jnp.arange(1, longest + 1)[:, None]  # [longest, 2]
    clear = jnp.cumprod(free.at[passed[:, 0], passed[:, 1]].get(mode="fill", fill_value=False))
    length = jnp.minimum(keys.below(words[2], longest + 1), clear.sum())
    return cell, (way * length).astype(jnp.int8)

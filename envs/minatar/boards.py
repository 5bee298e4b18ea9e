"""Sets of cells of a 10 by 10 board as bits: a game's step is then a few operations on words.

A batch of words is contiguous, so that the CPU handles eight or sixteen games at once, and bytes
are made only where an observation is wanted.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metarl.ops.control import alone

Board = tuple[jax.Array, ...]  # 4 words [] uint32: three rows of ten bits each, the last word one

_ROW = 1023  # the ten bits of a row
_WORD = 2**30 - 1
_COLUMN = 1 + 2**10 + 2**20  # the first column of three rows


def empty() -> Board:
    """No cell."""
    return (jnp.uint32(0),) * 4


def from_rows(rows: Sequence[jax.Array]) -> Board:
    """The ten rows [] uint32 of a board, bit `c` for column `c`."""
    words = [row << np.uint32(10 * (i % 3)) for i, row in enumerate(rows)]
    return (*(words[i] | words[i + 1] | words[i + 2] for i in (0, 3, 6)), words[9])


def cell(row: jax.Array, column: jax.Array) -> Board:
    """One cell; none if the row is not on the board. The column must be."""
    place = 10 * row + column
    return tuple(bit(place - 30 * i) & (_WORD if i < 3 else _ROW) for i in range(4))


def bit(place: jax.Array) -> jax.Array:
    """[] uint32, `1 << place`; 0 for a place below 0 or above 31."""
    inside = (place >= 0) & (place < 32)
    return jnp.where(inside, jnp.uint32(1) << jnp.clip(place, 0, 31).astype(jnp.uint32), 0)


def either(a: Board, b: Board) -> Board:
    """Cells of one or both."""
    return tuple(x | y for x, y in zip(a, b, strict=True))


def both(a: Board, b: Board) -> Board:
    """Cells that both have."""
    return tuple(x & y for x, y in zip(a, b, strict=True))


def without(a: Board, b: Board) -> Board:
    """Cells of `a` that `b` has not."""
    return tuple(x & ~y for x, y in zip(a, b, strict=True))


def where(condition: jax.Array, a: Board, b: Board) -> Board:
    """`a` if the condition holds, else `b`."""
    return tuple(jnp.where(condition, x, y) for x, y in zip(a, b, strict=True))


def up(board: Board) -> Board:
    """Every cell one row up; the first row is lost."""
    nexts = (*board[1:], jnp.uint32(0))
    return tuple((x >> 10) | ((y & _ROW) << 20) for x, y in zip(board, nexts, strict=True))


def down(board: Board) -> Board:
    """Every cell one row down; the last row is lost."""
    befores = (jnp.uint32(0), *board[:-1])
    masks = (_WORD, _WORD, _WORD, _ROW)
    triples = zip(board, befores, masks, strict=True)
    return tuple(((x << 10) & mask) | (y >> 20) for x, y, mask in triples)


def left(board: Board) -> Board:
    """Every cell one column to the left; the first column is lost."""
    return tuple((word & ~np.uint32(_COLUMN)) >> 1 for word in board)


def right(board: Board) -> Board:
    """Every cell one column to the right; the last column is lost."""
    return tuple((word & ~np.uint32(_COLUMN << 9)) << 1 for word in board)


def row(board: Board, number: int) -> jax.Array:
    """[] uint32, the ten bits of a row."""
    return (board[number // 3] >> np.uint32(10 * (number % 3))) & _ROW


def columns(board: Board) -> jax.Array:
    """[] uint32, the ten bits of all columns with a cell."""
    word = board[0] | board[1] | board[2] | board[3]
    return (word | (word >> 10) | (word >> 20)) & _ROW


def some(board: Board) -> jax.Array:
    """[] bool, whether there is any cell."""
    return (board[0] | board[1] | board[2] | board[3]) != 0


def count(board: Board) -> jax.Array:
    """[] int32, how many cells."""
    total = sum(jax.lax.population_count(word) for word in board)
    return jnp.asarray(total, jnp.int32)


def plane(board: Board) -> jax.Array:
    """[100] uint8, 1 where a cell is."""
    return alone(_bytes, _dense(board))


def spot(place: jax.Array) -> jax.Array:
    """[100] uint8, 1 at the cell of this number; empty if it is not below 100."""
    return alone(_spot, place.astype(jnp.uint8))


def run(start: jax.Array, stop: jax.Array) -> jax.Array:
    """[100] uint8, 1 from cell number `start` up to, not including, `stop`."""
    return alone(_run, start.astype(jnp.uint8), stop.astype(jnp.uint8))


def _run(start: jax.Array, stop: jax.Array) -> jax.Array:
    place = jnp.arange(100, dtype=jnp.uint8)
    return ((place >= start) & (place < stop)).astype(jnp.uint8)


def _spot(place: jax.Array) -> jax.Array:
    return (jnp.arange(100, dtype=jnp.uint8) == place).astype(jnp.uint8)


def _dense(board: Board) -> tuple[jax.Array, ...]:
    """The bits without gaps: a division by 32 is much cheaper than one by 30."""
    a, b, c, d = board
    return a | (b << 30), (b >> 2) | (c << 28), (c >> 4) | (d << 26), d >> 6


def _bytes(words: tuple[jax.Array, ...]) -> jax.Array:
    """[100] uint8 from the bits of four words."""
    place = jnp.arange(100, dtype=jnp.uint32)
    a, b, c, d = words
    word = jnp.where(place < 32, a, jnp.where(place < 64, b, jnp.where(place < 96, c, d)))
    return ((word >> (place % 32)) & 1).astype(jnp.uint8)

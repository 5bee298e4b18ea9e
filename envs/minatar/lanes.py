"""Eight small numbers in one word: what there is to know of the eight lanes, rows 1 to 8.

Lane `i` has bits `4 * i` to `4 * i + 3`: a number from 0 to 15, or a flag, 0 or 1. All lanes are
handled by one operation on the word, as long as no number leaves its four bits.
"""

import jax
import jax.numpy as jnp
import numpy as np

from metarl.envs.minatar.boards import Board, from_rows

COUNT = 8
ALL = np.uint32(0x11111111)  # the flag of every lane


def each(number: jax.Array | int) -> jax.Array:
    """The same number in every lane."""
    return ALL * jnp.asarray(number).astype(jnp.uint32)


def lane(number: jax.Array) -> jax.Array:
    """The flag of one lane, numbered from 0."""
    return jnp.uint32(1) << (4 * number.astype(jnp.uint32))


def mask(flags: jax.Array) -> jax.Array:
    """All four bits of the lanes with a flag."""
    return flags * np.uint32(15)


def pick(flags: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """The numbers of `a` where a flag is set, else those of `b`."""
    return b ^ ((a ^ b) & mask(flags))


def are(numbers: jax.Array, number: jax.Array | int) -> jax.Array:
    """Flags of the lanes with this number."""
    other = numbers ^ each(number)
    return ~(other | (other >> 1) | (other >> 2) | (other >> 3)) & ALL


def nth(flags: jax.Array, number: jax.Array) -> jax.Array:
    """Of the flags only the one that comes after `number` others; none if there are not so many."""
    before = flags * np.uint32(0x11111110)  # how many flags are set in the lanes before, at most 7
    return are(before, number) & flags


def step(columns: jax.Array, flags: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Every flagged lane's column one further, to the right where `right` is set, else to the left.

    Returns:
      The columns, and the flags without those that would leave the board.
    """
    rightward, leftward = flags & right & ~are(columns, 9), flags & ~right & ~are(columns, 0)
    return columns + rightward - leftward, rightward | leftward


def turn(columns: jax.Array, flags: jax.Array, right: jax.Array) -> jax.Array:
    """The same as `step`, but what leaves the board enters it at the other side."""
    columns, inside = step(columns, flags, right)
    return columns ^ ((flags & ~inside) * np.uint32(9))  # from 9 to 0, or from 0 to 9


def board(columns: jax.Array, flags: jax.Array) -> Board:
    """In every lane with a flag, the cell in this column."""
    none = jnp.zeros_like(columns)
    shifts = [np.uint32(4 * i) for i in range(COUNT)]
    rows = [((flags >> s) & 1) << ((columns >> s) & 15) for s in shifts]
    return from_rows([none, *rows, none])

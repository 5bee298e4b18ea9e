"""Rooms parted by walls with gaps, inside jit."""

import jax
import jax.numpy as jnp

from metarl.ops import keys
from metarl.ops.sampling import any_of
from metarl.types import Key


def rooms(key: Key, side: int, splits: int, *, least: int = 3, gap: int = 4) -> jax.Array:
    """[side, side] bool, true where there is a wall: the border, and walls that part rooms.

    Each split parts the largest room across its longer axis, where both ends of the new
    wall meet a wall and not a gap; so from any free cell there is a way to any other. Where no such
    place is left there are fewer walls. The key is consumed.

    Args:
      key: of these rooms.
      side: of the world, in cells.
      splits: how many walls.
      least: cells that a room measures at least.
      gap: cells of the opening in a wall.
    """
    place = jnp.arange(side)
    border = (place == 0) | (place == side - 1)
    walls = border[:, None] | border
    whole = jnp.array([1, 1, side - 2, side - 2])  # top, left, bottom, right
    found = jnp.zeros((splits + 1, 4), jnp.int32).at[0].set(whole)
    words = jax.random.bits(key, (splits, 2), jnp.uint32)

    def split(i: jax.Array, loop: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        walls, found = loop
        where, opening = words[i]
        high, wide = found[:, 2] - found[:, 0] + 1, found[:, 3] - found[:, 1] + 1
        room = jnp.argmax(jnp.where(jnp.arange(splits + 1) <= i, high * wide, -1))
        upright = wide[room] > high[room]
        top, left, bottom, right = jnp.where(
            upright, found[room][jnp.array([1, 0, 3, 2])], found[room]
        )
        turned = jnp.where(upright, walls.T, walls)  # so that the new wall is a row
        fits = turned[:, left - 1] & turned[:, right + 1]
        fits &= (place >= top + least) & (place <= bottom - least)
        row = any_of(where, fits)
        start = left + keys.below(opening, jnp.maximum(right - left + 2 - gap, 1))
        wall = (place >= left) & (place <= right) & ((place < start) | (place >= start + gap))
        turned |= ((place == row)[:, None] & wall) & fits.any()
        parts = jnp.array([[top, left, row - 1, right], [row + 1, left, bottom, right]])
        parts = jnp.where(upright, parts[:, jnp.array([1, 0, 3, 2])], parts)
        more = found.at[room].set(parts[0]).at[i + 1].set(parts[1])
        return jnp.where(upright, turned.T, turned), jnp.where(fits.any(), more, found)

    return jax.lax.fori_loop(0, splits, split, (walls, found))[0]

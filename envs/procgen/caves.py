"""Caves by a cellular automaton, inside jit."""

import functools

import jax
import jax.numpy as jnp

from metarl.ops import keys
from metarl.types import Key


def cave(key: Key, side: int, *, walls: float, rounds: int = 4) -> jax.Array:
    """[side, side] bool, true where it is free; the border never is, a room in the middle always.

    Cells are walls at random; then, round by round, a cell becomes a wall where at least five of
    the nine cells around and in it are walls. The key is consumed.

    Args:
      key: of this cave.
      side: of the world, in cells.
      walls: share of walls at first.
      rounds: how often walls grow smooth.
    """
    place = jnp.arange(side)
    inner = (place > 0) & (place < side - 1)
    middle = jnp.abs(place - side // 2) < 2
    inner, middle = (x[:, None] & x for x in (inner, middle))
    filled = keys.unit(jax.random.bits(key, (side, side), jnp.uint32)) < walls

    def smooth(_: int, filled: jax.Array) -> jax.Array:
        padded = jnp.pad(filled | ~inner, 1, constant_values=True).astype(jnp.int8)
        rows = padded[:-2] + padded[1:-1] + padded[2:]
        return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] >= 5

    filled = jax.lax.fori_loop(0, rounds, smooth, filled)
    return (~filled | middle) & inner


def largest(free: jax.Array) -> jax.Array:
    """[H, W] bool, the most cells between all of which there is a way through `free` [H, W]."""
    number = jnp.where(free, jnp.arange(1, free.size + 1).reshape(free.shape), 0)

    def spread(loop: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        padded = jnp.pad(loop[0], 1)
        around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        new = jnp.where(free, functools.reduce(jnp.maximum, around, loop[0]), 0)
        return new, jnp.any(new != loop[0])

    name = jax.lax.while_loop(lambda loop: loop[1], spread, (number, jnp.bool_(True)))[0]
    size = jnp.zeros(free.size + 1, jnp.int32).at[name.ravel()].add(1).at[0].set(0)
    return free & (name == jnp.argmax(size))


def widened(cells: jax.Array) -> jax.Array:
    """[H, W] bool, `cells` and all eight around each."""
    padded = jnp.pad(cells, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]

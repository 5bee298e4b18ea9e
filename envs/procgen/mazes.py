"""Perfect mazes of any odd size inside a fixed world, by Kruskal's algorithm, inside jit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from metarl.ops import keys
from metarl.types import Key


def kruskal(key: Key, world: int, size: jax.Array) -> jax.Array:
    """[world, world] bool, true where there is a wall; between any two rooms there is one way.

    The rooms are the cells an even number of rows and columns from the maze's corner, which is
    `(world - size) // 2` cells from the world's. Every spanning tree of rooms may come up: walls
    between rooms fall in random order where they part what is not yet joined. The key is consumed.

    Args:
      key: of this maze.
      world: side of the world, odd.
      size: [] int32, side of the maze, odd, from 1 to `world`.
    """
    side = (world + 1) // 2  # rooms of a side of the largest maze
    number = np.arange(side**2).reshape(side, side)
    ends = np.concatenate(  # [E, 2] the rooms on both sides of every inner wall
        [
            np.stack([number[:, :-1], number[:, 1:]], -1).reshape(-1, 2),
            np.stack([number[:-1], number[1:]], -1).reshape(-1, 2),
        ]
    )
    rooms = (size + 1) // 2
    row, column = jnp.divmod(jnp.arange(side**2), side)
    used = (row < rooms) & (column < rooms)  # [rooms]
    order = keys.shuffled(key, len(ends))
    pairs = jnp.asarray(ends)[order]

    def join(i: jax.Array, loop: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        label, fallen = loop
        a, b = pairs[i]
        falls = used[a] & used[b] & (label[a] != label[b])
        label = jnp.where(falls & (label == label[b]), label[a], label)
        return label, fallen.at[order[i]].set(falls)

    start = (jnp.arange(side**2), jnp.zeros(len(ends), bool))
    _, fallen = jax.lax.fori_loop(0, len(ends), join, start)
    free = jnp.zeros((world, world), bool).at[::2, ::2].set(used.reshape(side, side))
    across = fallen[: side * (side - 1)].reshape(side, side - 1)
    down = fallen[side * (side - 1) :].reshape(side - 1, side)
    free = free.at[::2, 1::2].set(across).at[1::2, ::2].set(down)
    corner = (world - size) // 2
    return ~jnp.roll(jnp.roll(free, corner, axis=0), corner, axis=1)


def odd_size(word: jax.Array, least: int, most: int) -> jax.Array:
    """A uniform odd number from `least` to `most`, both odd, from a random word."""
    return least + 2 * keys.below(word, (most - least) // 2 + 1)


def any_cell(word: jax.Array, free: jax.Array) -> jax.Array:
    """The number of a uniform cell among those `free` [...] bool, at most 65536, row by row."""
    count = jnp.cumsum(free.ravel())
    return jnp.argmax(count > keys.below(word, count[-1])).astype(jnp.int32)


def break_wall(word: jax.Array, walls: jax.Array) -> jax.Array:
    """The walls [H, W] less a random one between two passages, where there is one."""
    free = jnp.pad(~walls, 1)
    beside = (free[1:-1, :-2] & free[1:-1, 2:]) | (free[:-2, 1:-1] & free[2:, 1:-1])
    weak = walls & beside
    broken = jnp.arange(walls.size).reshape(walls.shape) == any_cell(word, weak)
    return walls & ~(broken & weak)


def distances(
    free: jax.Array,
    target: jax.Array,
    *,
    most: int | None = None,
    source: jax.Array | None = None,
) -> jax.Array:
    """[H, W] int32, moves from every cell to the nearest target; `H * W` where there is no way.

    Args:
      free: [H, W] bool, where one may walk; a target's own cell counts as free.
      target: [] int32, the cell `row * W + column`, or [H, W] bool, several.
      most: cells farther than this may stay at `H * W`.
      source: [] int32, cells farther than this cell may stay at `H * W`.
    """
    height, width = free.shape
    far = height * width
    if target.dtype != jnp.bool_:
        target = jnp.arange(far).reshape(height, width) == target
    start = jnp.where(target, 0, far)

    def spread(loop: tuple) -> tuple:
        turn, old, _ = loop
        padded = jnp.pad(old, 1, constant_values=far)
        ways = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        nearest = functools.reduce(jnp.minimum, ways) + 1
        new = jnp.where(free, jnp.minimum(old, nearest), old)
        goes_on = jnp.any(new < old) & (turn + 1 < (far if most is None else most))
        if source is not None:
            goes_on &= new.ravel()[source] == far
        return turn + 1, new, goes_on

    loop = (jnp.int32(0), start, jnp.bool_(True))
    return jax.lax.while_loop(lambda loop: loop[2], spread, loop)[1]


def shortest_ways(far: jax.Array, targets: jax.Array) -> jax.Array:
    """[H, W] bool, the cells of one shortest way from every target back to where `far` is zero.

    Args:
      far: [H, W] int32, as `distances` gives them.
      targets: [H, W] bool, none of them out of reach.
    """
    padded = jnp.pad(far, 1, constant_values=far.size)
    nearer = [
        near == far - 1
        for near in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    ]
    steps = []  # where the way goes up, down, left, right: the first of these that comes nearer
    for way in nearer:
        steps.append(way & ~functools.reduce(jnp.logical_or, steps, jnp.zeros_like(way)))

    def back(loop: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        up, down, left, right = (jnp.pad(loop[0] & step, 1) for step in steps)
        new = loop[0] | up[2:, 1:-1] | down[:-2, 1:-1] | left[1:-1, 2:] | right[1:-1, :-2]
        return new, jnp.any(new & ~loop[0])

    return jax.lax.while_loop(lambda loop: loop[1], back, (targets, jnp.bool_(True)))[0]

"""Ways through grids whose cells are numbered `row * width + column`: steps, distances, walls."""

import functools

import jax
import jax.numpy as jnp

from metarl.ops.sampling import any_of


def heading(action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows down and columns right that an action up, right, down or left (0 to 3) asks for."""
    return (action == 2) * 1 - (action == 0), (action == 1) * 1 - (action == 3)


def ahead(
    cell: jax.Array, down: jax.Array, right: jax.Array, *, height: int, width: int
) -> tuple[jax.Array, jax.Array]:
    """The cell so many rows down and columns to the right, and whether it is on the grid.

    If it is not, it is `cell` itself.
    """
    row, column = cell // width + down, cell % width + right
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return jnp.where(inside, row * width + column, cell).astype(jnp.int32), inside


def break_wall(word: jax.Array, walls: jax.Array) -> jax.Array:
    """The walls [H, W] less a random one between two passages, where there is one."""
    free = jnp.pad(~walls, 1)
    beside = (free[1:-1, :-2] & free[1:-1, 2:]) | (free[:-2, 1:-1] & free[2:, 1:-1])
    weak = walls & beside
    broken = jnp.arange(walls.size).reshape(walls.shape) == any_of(word, weak)
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

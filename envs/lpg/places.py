"""Random free cells for objects that return."""

import jax
import jax.numpy as jnp

from metarl.envs.lpg.level import Params, inside
from metarl.ops.control import apart

_NOWHERE = 2**30  # a rank beyond all others


def place(
    draws: jax.Array,
    wanted: jax.Array,
    settled: jax.Array,
    *,
    places: jax.Array,
    cell: jax.Array,
    params: Params,
) -> jax.Array:
    """Gives each object that wants one a free cell; all ways to do so are equally likely.

    One after the other they draw a rank among the cells that are then free: no wall, agent or
    settled object. So no cell is ever refused.

    Args:
      draws: [N] float32, uniform from 0 to below 1.
      wanted: [N] bool.
      settled: [N] bool, objects that lie on their cells already, none of which is wanted.
      places: [N] int32, cells; of no meaning for objects that are neither.
      cell: [] int32, the agent's.
      params: of the level, which has room.

    Returns:
      [N] int32, the places with those of wanted objects changed.
    """
    cells, ranks, count = _floor(params)
    at = lambda table, index: table.at[index].get(mode="clip")  # noqa: E731
    slots = range(wanted.shape[0])
    occupied = [jnp.where(settled[i], at(ranks, places[i]), _NOWHERE) for i in slots]
    # Apart, or they are looked up anew in every comparison, and each draw repeats those before it.
    *occupied, agent = apart((*occupied, at(ranks, cell)))
    count, drawn = count - 1 - jnp.sum(settled), []
    for i in slots:
        order = jnp.floor(jnp.minimum(draws[i], 1) * count).astype(jnp.int32)
        rank = apart(_skip(jnp.minimum(order, count - 1), [agent, *occupied]))
        drawn.append(rank)
        occupied[i] = jnp.where(wanted[i], rank, occupied[i])
        count = count - wanted[i]
    return jnp.where(wanted, at(cells, jnp.stack(drawn)), places)


def _skip(order: jax.Array, occupied: list[jax.Array]) -> jax.Array:
    """The rank that is number `order` among those not `occupied`, which are distinct.

    It is the least fixed point of `order` plus how many are occupied up to it.
    """
    rank = order
    for _ in range(len(occupied)):
        rank = order + sum((taken <= rank).astype(jnp.int32) for taken in occupied)
    return rank


def _floor(params: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The free cells of a level in order, the rank of each cell among them, and their number."""
    size = params.walls.shape[0]
    free = inside(params.size, round(size**0.5)) & ~params.walls
    ranks = jnp.cumsum(free, dtype=jnp.int32) - 1
    cells = jnp.zeros(size, jnp.int32).at[jnp.where(free, ranks, size)].set(jnp.arange(size))
    return cells, ranks, ranks[-1] + 1

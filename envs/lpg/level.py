"""Levels of the LPG grid-worlds: what they are, how a mode draws them, and a small edit."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.lpg.mazes import walls as drawn_walls
from metarl.envs.lpg.modes import Mode, Range, bounds
from metarl.types import Key


class Params(struct.PyTreeNode):
    """A level: dynamic settings of `LPGGrid`, `G` its size and `N` its number of objects.

    A cell is `row * G + column`, however small the level's own grid in the upper left corner is.
    """

    size: jax.Array  # [] int32, side of the level's grid, at most G
    walls: jax.Array  # [G * G] bool; what lies beyond `size` needs no wall
    start: jax.Array  # [] int32, the agent's first cell
    cells: jax.Array  # [N] int32, the objects' cells; of no meaning where places are random
    present: jax.Array  # [N] bool, which objects there are at the start
    kinds: jax.Array  # [N] int32, the objects' types, which planes show
    rewards: jax.Array  # [N] float32
    p_terminate: jax.Array  # [N] float32, that picking it up ends the episode
    p_respawn: jax.Array  # [N] float32, that it returns, for every step; 0 in empty slots
    max_steps: jax.Array  # [] int32, steps until truncation


def sample(key: Key, modes: tuple[Mode, ...], size: int, slots: int) -> Params:
    """A level of one of the modes, each as likely; `size` and `slots` are G and N.

    Whether all free cells are connected is not checked, as published. The key is consumed.
    """
    # One call of the generator for all numbers: it compiles many times faster than one for each.
    lengths = [_draws(mode, size) for mode in modes]
    pick, *parts = jnp.split(jax.random.uniform(key, (1 + sum(lengths),)), np.cumsum([1, *lengths]))
    levels = [_level(part, mode, size, slots) for part, mode in zip(parts, modes, strict=False)]
    which = _integer(pick[0], 0, len(modes) - 1)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves)[which], *levels)


def mutate(key: Key, params: Params, size: int, tabular: bool) -> Params:
    """Moves the start, moves an object or toggles a wall, one of the three where there is room.

    Start and objects stay on distinct free cells, and where places are random (not `tabular`)
    enough free cells are left; objects have no cells to move there. The key is consumed.
    """
    which, wall, place, moved = jax.random.uniform(key, (4,))
    cell, slot = jnp.arange(size**2), jnp.arange(params.cells.shape[0])
    free = inside(params.size, size) & ~params.walls
    used = params.present | (params.p_respawn > 0)
    taken = cell == params.start
    if tabular:
        taken |= jnp.any((cell[:, None] == params.cells) & used, axis=1)
    room = jnp.sum(free & ~taken) > (0 if tabular else slot.shape[0])
    may_toggle = inside(params.size, size) & ~taken & (params.walls | room)
    toggled = cell == choose(wall, may_toggle)
    place, moved = choose(place, free & ~taken), slot == choose(moved, used)
    what = _integer(which, 0, 2 if tabular else 1)
    return params.replace(
        walls=params.walls ^ (toggled & (what == 0)),
        start=jnp.where((what == 1) & (place >= 0), place, params.start),
        cells=jnp.where(moved & (what == 2) & (place >= 0), place, params.cells),
    )


def inside(side: jax.Array, size: int) -> jax.Array:
    """[size * size] bool, the cells of a grid with that side."""
    lines = jnp.arange(size) < side
    return (lines[:, None] & lines).ravel()


def _draws(mode: Mode, size: int) -> int:
    """How many uniform numbers a level takes."""
    return 4 + 3 * len(mode.kinds) + mode.max_size**2 + size**2


def _level(draws: jax.Array, mode: Mode, size: int, slots: int) -> Params:
    """A level from uniform numbers `draws`, as many as `_draws` says."""
    number = len(mode.kinds)
    ends = np.cumsum([1, 1, 1, 1, number, number, number, mode.max_size**2])
    steps, side, count, which, reward, p_end, p_return, order, scores = jnp.split(draws, ends)
    side = _integer(side[0], *bounds(mode.size))
    walls = _walls(which[0], order, mode, side, size)
    free = inside(side, size) & ~walls
    cells = _best(scores, free, slots + 1)
    objects = _integer(count[0], *(mode.objects or (mode.slots, mode.slots)))
    used = jnp.arange(slots) < jnp.minimum(objects, jnp.sum(free) - 1)
    kinds = np.repeat(np.arange(number), [kind.copies for kind in mode.kinds])
    kinds = np.concatenate([kinds, np.zeros(slots - mode.slots, np.int64)])
    rewards = uniform(reward, [kind.reward for kind in mode.kinds])
    p_terminate = log_uniform(p_end, [kind.p_terminate for kind in mode.kinds])
    p_respawn = log_uniform(p_return, [kind.p_respawn for kind in mode.kinds])
    return Params(
        size=side,
        walls=walls,
        start=cells[0],
        cells=cells[1:],
        present=used,
        kinds=jnp.asarray(kinds, jnp.int32),
        rewards=rewards[kinds] * used,
        p_terminate=p_terminate[kinds] * used,
        p_respawn=p_respawn[kinds] * used,
        max_steps=jnp.round(log_uniform(steps, [mode.max_steps])[0]).astype(jnp.int32),
    )


def _integer(draw: jax.Array, low: int, high: int) -> jax.Array:
    """[] int32, uniform from `low` to `high`, both included."""
    return low + jnp.floor(draw * (high - low + 1)).astype(jnp.int32)


def uniform(draws: jax.Array, ranges: list[Range]) -> jax.Array:
    """[len(ranges)] float32, each uniform in its range."""
    low, high = np.array([bounds(r) for r in ranges], np.float32).T
    return low + (high - low) * draws


def log_uniform(draws: jax.Array, ranges: list[Range]) -> jax.Array:
    """[len(ranges)] float32, each with a uniform logarithm; a range of one number may be 0."""
    low, high = np.array([bounds(r) for r in ranges], np.float32).T
    ratio = np.divide(high, low, out=np.ones_like(low), where=low > 0)
    return jnp.minimum(low * jnp.exp(np.log(ratio) * draws), high)


def _walls(which: jax.Array, order: jax.Array, mode: Mode, side: jax.Array, size: int) -> jax.Array:
    """[size * size] bool."""
    if mode.maps:
        return jnp.asarray(drawn_walls(mode.maps, size))[_integer(which, 0, len(mode.maps) - 1)]
    if not mode.scattered:
        return jnp.zeros(size**2, bool)
    # Distinct numbers up to that of the largest grid's last cell, of which a smaller grid, whose
    # cells are numbered row by row from 0, has only the first.
    numbers = jax.lax.top_k(order, mode.scattered)[1]
    row, column = jnp.divmod(jnp.arange(size**2), size)
    chosen = jnp.any((row * side + column)[:, None] == numbers, axis=1)
    return chosen & inside(side, size)


def _best(scores: jax.Array, allowed: jax.Array, count: int) -> jax.Array:
    """[count] int32, where the highest of `scores` [cells] are `allowed`; then any other cells."""
    return jax.lax.top_k(jnp.where(allowed, scores, -1.0), count)[1].astype(jnp.int32)


def choose(draw: jax.Array, allowed: jax.Array) -> jax.Array:
    """[] int32, a uniform index where `allowed` is true, or -1 if there is none."""
    count = jnp.cumsum(allowed)  # so far; the drawn one is the first beyond
    chosen = jnp.argmax(count > jnp.floor(draw * count[-1]))
    return jnp.where(count[-1] > 0, chosen, -1).astype(jnp.int32)

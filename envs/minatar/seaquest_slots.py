"""Seaquest's enemies, divers and bullets: each kind a few slots that are handled as one vector."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.minatar import boards
from metarl.ops.control import alone

# Slots, from the bounds of the pace. An enemy is there for `10 * (pace + 1)` steps at most, and one
# comes every `20 - ramps` steps; `pace` is 2 from the sixth ramp on, so 30 at once are the most, at
# the last ramp. A bullet flies for 9 steps and a submarine shoots every 11, so that each has one in
# the air at most, held by its own slot. Divers come every 30 steps and are there for 59, and the
# boat shoots every 5.
ENEMIES, DIVERS, BULLETS = 32, 2, 2
AIM, DIVER_WAIT = 10, 5  # steps between shots, and moves, less one
CREW = 6  # divers on board at most
GONE = np.uint8(255)  # a column that says there is nothing, as all from 10 on do


class Enemies(struct.PyTreeNode):
    """Fish and submarines, by turns in a ring of slots, [ENEMIES] each."""

    x: jax.Array  # uint8, column; from 10 on there is none
    row: jax.Array  # uint8, 1 to 8
    right: jax.Array  # bool, which way it moves
    armed: jax.Array  # bool, a submarine rather than a fish
    wait: jax.Array  # uint8, steps until it moves
    aim: jax.Array  # uint8, steps until it shoots
    shot: jax.Array  # uint8, column of its bullet, which may outlive it


class Drifters(struct.PyTreeNode):
    """Divers [DIVERS] or the boat's own bullets [BULLETS], by turns in a ring of slots."""

    x: jax.Array  # uint8, column; from 10 on there is none
    row: jax.Array  # uint8
    right: jax.Array  # bool
    wait: jax.Array  # uint8, steps until it moves; bullets never wait


def no_enemies() -> Enemies:
    """Empty slots."""
    none, zero, off = _filled(ENEMIES)
    return Enemies(none, zero, off, off, zero, zero, none)


def no_drifters(size: int) -> Drifters:
    """Empty slots."""
    none, zero, off = _filled(size)
    return Drifters(none, zero, off, zero)


def put(slots: Enemies | Drifters, where: jax.Array, new: Enemies | Drifters):
    """`new` in the slots that `where` says."""
    return jax.tree.map(lambda old, new: jnp.where(where, new, old), slots, new)


def there(slots: Enemies | Drifters) -> jax.Array:
    """[slots] bool, which are taken."""
    return slots.x < 10


def way(slots: Enemies | Drifters) -> jax.Array:
    """[slots] uint8 to add to a column: 1, or 255 for one to the left."""
    return jnp.where(slots.right, np.uint8(1), np.uint8(255))


def ages(newest: jax.Array) -> jax.Array:
    """[ENEMIES] uint8, how many enemies came since."""
    return (newest - np.arange(ENEMIES, dtype=np.uint8)) % ENEMIES


def fly(bullets: Drifters) -> Drifters:
    """Bullets one cell on."""
    return bullets.replace(x=jnp.where(there(bullets), bullets.x + way(bullets), bullets.x))


def swim(divers: Drifters, newest: jax.Array, x: jax.Array, y: jax.Array, room: jax.Array):
    """Divers a step on, or on board, the last to come first.

    Returns:
      The divers and how many came on board, at most `room` [].
    """
    level = there(divers) & (divers.row == y)
    ready, on = divers.wait == 0, divers.x + way(divers)
    here = level & (divers.x == x)
    wants = here | (level & ready & (on == x))
    first = np.arange(DIVERS) == newest
    taken = wants & (room > jnp.where(first, 0, (wants & first).any()))
    stays = (here & taken) | ~there(divers)
    column = jnp.where(taken, GONE, jnp.where(ready & ~stays, on, divers.x))
    wait = jnp.where(ready, np.uint8(DIVER_WAIT), divers.wait - 1)
    return divers.replace(x=column, wait=wait), taken.sum(dtype=jnp.int32)


def advance(enemies: Enemies, pace: jax.Array, x: jax.Array, y: jax.Array):
    """Enemies and their bullets a step on; a submarine that is being hit still shoots.

    Returns:
      The enemies, which of them moved, [ENEMIES] bool, and whether one or a bullet met the boat.
    """
    alive, level = there(enemies), enemies.row == y
    moves = alive & (enemies.wait == 0)
    column = jnp.where(moves, enemies.x + way(enemies), enemies.x)
    fires = alive & enemies.armed & (enemies.aim == 0)
    shot = jnp.where(fires, column, enemies.shot)
    flown = jnp.where(shot < 10, shot + way(enemies), shot)
    met = (enemies.x == x) | (column == x) | (shot == x) | (flown == x)
    after = enemies.replace(
        x=column,
        shot=flown,
        wait=jnp.where(enemies.wait == 0, pace, enemies.wait - 1),
        aim=jnp.where(enemies.aim == 0, np.uint8(AIM), enemies.aim - 1),
    )
    return after, moves, (met & level).any()


def hit(enemies: Enemies, bullets: Drifters, exposed: jax.Array, score: jax.Array):
    """Each bullet takes one of the `exposed` enemies in its cell, that of the highest score.

    Args:
      enemies, bullets: no two bullets are ever in one cell.
      exposed: [ENEMIES] bool.
      score: [ENEMIES] uint8 below 255, all different.

    Returns:
      What is left of both, and the number of hits.
    """
    same = (enemies.x == bullets.x[:, None]) & (enemies.row == bullets.row[:, None])
    rank = jnp.where(same & exposed & there(enemies), score + 1, np.uint8(0))  # [BULLETS, ENEMIES]
    best = rank.max(axis=1)
    gone = ((rank == best[:, None]) & (rank > 0)).any(axis=0)
    return (
        enemies.replace(x=jnp.where(gone, GONE, enemies.x)),
        bullets.replace(x=jnp.where(best > 0, GONE, bullets.x)),
        (best > 0).sum(dtype=jnp.int32),
    )


def plane(x: jax.Array, row: jax.Array, shown: jax.Array) -> jax.Array:
    """[100] uint8, 1 where one of many slots, its row at most 8, is `shown`."""
    third = (row >= 3).astype(jnp.uint8) + (row >= 6)
    place = (row - 3 * third) * 10 + x
    bit = jnp.where(shown, jnp.uint32(1) << (place & 31).astype(jnp.uint32), 0)
    zero = jnp.uint32(0)
    words = (
        jax.lax.reduce(jnp.where(third == i, bit, zero), zero, jax.lax.bitwise_or, (0,))
        for i in range(3)
    )
    return boards.plane((*words, zero))


def spots(x: jax.Array, row: jax.Array, shown: jax.Array) -> jax.Array:
    """[100] uint8, 1 where one of few slots is `shown`."""
    return alone(_marks, jnp.where(shown, 10 * row + x, GONE))


def _marks(places: jax.Array) -> jax.Array:
    return (jnp.arange(100, dtype=jnp.uint8) == places[:, None]).any(axis=0).astype(jnp.uint8)


def _filled(size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    return jnp.full(size, GONE), jnp.zeros(size, jnp.uint8), jnp.zeros(size, bool)

"""Miner: dig for diamonds below boulders, then leave (ProcGen's Miner, a kind of Boulder Dash).

Cobbe et al. 2020, https://arxiv.org/abs/1912.01588. Different: what falls and rolls does so all at
once and not cell after cell. The original has levels that cannot be won; here ways to all diamonds
and to the exit are kept along which nothing falls. The art is our own.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.procgen import game
from metarl.envs.procgen.scene import Scene, atlas_of
from metarl.envs.ways import ahead, distances, shortest_ways
from metarl.ops import keys
from metarl.ops.control import apart
from metarl.ops.sampling import any_of
from metarl.types import Key

FREE, DIRT, BOULDER, DIAMOND, FALLING_BOULDER, FALLING_DIAMOND, EXIT, MINER = range(8)
_DIAMONDS, _BOULDERS = 0.03, 0.2  # of all cells


class World(struct.PyTreeNode):
    """One moment, and as a level its first; a cell is `row * side + column`."""

    cells: jax.Array  # [side, side] uint8, kinds; the miner is not among them
    miner: jax.Array  # [] int32, cell
    left: jax.Array  # [] int32, diamonds to collect
    total: jax.Array  # [] int32, diamonds at the start


@dataclass(frozen=True)
class Miner(game.Game):
    """Dig all diamonds, 1 each, then 10 at the exit, which ends the episode; 1000 steps.

    The miner digs through dirt and pushes a resting boulder to a side where there is room. A
    boulder or diamond falls where nothing is below it, and rolls off another one where there is
    room beside and below. One that was falling kills the miner right below it; one that rested
    does not. The exit may be crossed while diamonds are left. The world has 10 cells a side in easy
    mode, 20 in hard mode and 35 in memory mode, where 8 cells to all sides of the miner are seen.
    The gauge is the share of diamonds left. Of a diagonal move only the part to a side counts.
    """

    kinds = (
        *("free", "dirt", "boulder", "diamond", "falling boulder", "falling diamond"),
        *("exit", "miner"),
    )
    sides = {"easy": 10, "hard": 20, "memory": 35}
    signs = " .o*O+E@"
    gauges = ("diamonds left",)
    horizon = dict.fromkeys(game.Game.modes, 1000)

    def generate(self, key: Key) -> World:
        """3 % diamonds and 20 % boulders in dirt, less the boulders that would bar every way."""
        side = self.side
        order_key, word_key = keys.split(key)
        exit_word, spare_word = keys.words(word_key, 2)
        rank = keys.shuffled(order_key, side**2)  # a random number of its own for every cell
        diamonds, boulders = (round(share * side**2) for share in (_DIAMONDS, _BOULDERS))
        kind = jnp.where(rank < diamonds, DIAMOND, DIRT)
        kind = jnp.where((rank >= diamonds) & (rank < diamonds + boulders), BOULDER, kind)
        miner = jnp.argmax(rank == diamonds + boulders).astype(jnp.int32)
        kind = jnp.where((kind == BOULDER) & _beside(miner, side), DIRT, kind)
        far = distances((kind != BOULDER).reshape(side, side), miner)
        reached = far.ravel() < side**2
        kind = jnp.where((kind == DIAMOND) & ~reached, DIRT, kind)
        cell = jnp.arange(side**2)
        exit_ = any_of(exit_word, reached & (kind == DIRT) & (cell != miner))
        spare = any_of(spare_word, reached & (kind == DIRT) & (cell != miner) & (cell != exit_))
        kind = jnp.where(~jnp.any(kind == DIAMOND) & (cell == spare), DIAMOND, kind)
        kind = jnp.where(cell == exit_, EXIT, jnp.where(cell == miner, FREE, kind))
        cells = _make_safe(kind.reshape(side, side).astype(jnp.uint8), far)
        total = jnp.sum(kind == DIAMOND, dtype=jnp.int32)
        return World(cells, miner, total, total)

    def edit(self, key: Key, level: World) -> World:
        """Turns a boulder into dirt."""
        boulders = level.cells == BOULDER
        chosen = any_of(keys.words(key, 1)[0], boulders)
        here = jnp.arange(boulders.size).reshape(boulders.shape) == chosen
        return level.replace(cells=jnp.where(here & boulders, jnp.uint8(DIRT), level.cells))

    def begin(self, level: World) -> World:
        """A level is the first moment of its episodes."""
        return level

    def advance(self, world: World, action: jax.Array) -> tuple[World, jax.Array, jax.Array]:
        """Moves the miner, then everything that falls."""
        cells, miner, found = _walk(world, action)
        side = cells.shape[0]
        here = jnp.arange(side**2).reshape(side, side) == miner
        above = cells.ravel().at[jnp.maximum(miner - side, 0)].get(mode="promise_in_bounds")
        dies = (miner >= side) & ((above == FALLING_BOULDER) | (above == FALLING_DIAMOND))
        exit_ = cells == EXIT
        cells = _settle(jnp.where(here, jnp.uint8(MINER), cells))
        cells = jnp.where(here, jnp.where(exit_, jnp.uint8(EXIT), jnp.uint8(FREE)), cells)
        left = world.left - found
        wins = ~dies & (left == 0) & jnp.any(here & exit_)
        reward = found.astype(jnp.float32) + 10.0 * wins
        return World(cells, miner, left, world.total), reward, dies | wins

    def scene(self, world: World) -> Scene:
        """Everything as tiles."""
        side = world.cells.shape[0]
        here = jnp.arange(side**2).reshape(side, side) == world.miner
        tiles = jnp.where(here, jnp.uint8(MINER), world.cells)
        gauges = (world.left / jnp.maximum(world.total, 1)).astype(jnp.float32)[None]
        row, column = jnp.divmod(world.miner, side)
        return self.seen(tiles, row + 0.5, column + 0.5, outside=BOULDER, gauges=gauges)

    @staticmethod
    def atlas() -> np.ndarray:
        """Earth, stones, diamonds, a door and a miner with a lamp."""
        colours = {
            "e": (112, 80, 50),
            "d": (94, 66, 42),
            "s": (134, 136, 142),
            "t": (100, 102, 110),
            "c": (110, 225, 240),
            "w": (235, 255, 255),
            "r": (220, 90, 70),
            "g": (90, 190, 100),
            "h": (50, 120, 60),
            "y": (250, 215, 70),
            "f": (232, 190, 150),
            "b": (70, 110, 200),
        }
        ground = "........ " * 8
        dirt = "eeeeeeee eedeeeee eeeeeede eeeeeeee deeeedee eeeeeeee eeedeeee eeeeeeee"
        boulder = "..ssss.. .sssssst ssssssst ssssssst sssssstt sssssttt .stttttt ..tttt.."
        diamond = "........ ...cc... ..cwcc.. .cwcccc. .cccccc. ..cccc.. ...cc... ........"
        falling = [art[:-8] + "..r..r.." for art in (boulder, diamond)]
        exit_ = "hhhhhhhh hggggggh hggggggh hggggggh hggggygh hggggggh hggggggh hggggggh"
        miner = "...yy... ..yyyy.. ..ffff.. ..ffff.. .bbbbbb. f.bbbb.f ..b..b.. ..b..b.."
        return atlas_of((ground, dirt, boulder, diamond, *falling, exit_, miner), colours)


def _beside(cell: jax.Array, side: int) -> jax.Array:
    """[cells] bool, the eight neighbours of a cell and the cell itself."""
    row, column = jnp.divmod(jnp.arange(side**2), side)
    return (abs(row - cell // side) <= 1) & (abs(column - cell % side) <= 1)


def _make_safe(cells: jax.Array, far: jax.Array) -> jax.Array:
    """Dirt for those boulders that would fall or roll into the shortest ways to all goals.

    So a miner who digs along them meets nothing that moves.

    Args:
      cells: [side, side] kinds.
      far: [side, side] int32, moves from the miner.
    """
    ways = shortest_ways(far, (cells == DIAMOND) | (cells == EXIT))
    boulder, padded = cells == BOULDER, jnp.pad(ways, 1)
    dug_below = padded[2:, 1:-1]
    shaft = padded[:-1] & padded[1:]  # a cell of the ways above another one
    beside = shaft[1:, :-2] | shaft[1:, 2:]
    rolls = _loose(_shift(cells, 1, 0)) & beside
    return jnp.where(boulder & (dug_below | rolls), jnp.uint8(DIRT), cells)


def _walk(world: World, action: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cells and miner after the move, and whether a diamond was taken."""
    down, right = game.four_moves(action)
    cells, side = world.cells.ravel(), world.cells.shape[0]

    def look(steps: int) -> tuple[jax.Array, jax.Array]:
        """The cell so many steps ahead and what is there; beyond the edge something solid."""
        cell, inside = ahead(world.miner, steps * down, steps * right, height=side, width=side)
        kind = cells.at[cell].get(mode="promise_in_bounds")
        return cell, jnp.where(inside, kind, jnp.uint8(MINER))

    (near, near_kind), (far, far_kind) = look(1), look(2)
    moving = (down != 0) | (right != 0)
    found = moving & ((near_kind == DIAMOND) | (near_kind == FALLING_DIAMOND))
    pushes = (right != 0) & (near_kind == BOULDER) & (far_kind == FREE)
    steps = pushes | found | (moving & jnp.isin(near_kind, jnp.array([FREE, DIRT, EXIT])))
    cell = jnp.arange(side**2)
    cells = jnp.where(steps & (cell == near) & (cells != EXIT), jnp.uint8(FREE), cells)
    cells = jnp.where(pushes & (cell == far), jnp.uint8(BOULDER), cells)
    return cells.reshape(side, side), jnp.where(steps, near, world.miner), found


def _settle(cells: jax.Array) -> jax.Array:
    """What falls and rolls in one step: [side, side] kinds, the miner among them.

    First all that can fall does, then what rests rolls to the left, then to the right: in each of
    the three, no two things can come to the same cell.
    """
    cells = apart(cells)
    below = _shift(cells, 1, 0)
    falls = _loose(cells) & (below == FREE)
    arrives = _shift(jnp.where(falls, cells, jnp.uint8(MINER)), -1, 0)  # from above, or MINER
    rested = jnp.where(_loose(cells), _at_rest(cells), cells)
    cells = jnp.where(falls, jnp.uint8(FREE), rested)
    cells = jnp.where(arrives != MINER, _at_rest(arrives) + jnp.uint8(2), cells)
    for side in (-1, 1):
        cells = apart(cells)
        resting = (cells == BOULDER) | (cells == DIAMOND)
        room = (_shift(cells, 0, side) == FREE) & (_shift(cells, 1, side) == FREE)
        rolls = resting & _loose(_shift(cells, 1, 0)) & room
        arrives = _shift(jnp.where(rolls, cells, jnp.uint8(MINER)), 0, -side)
        cells = jnp.where(rolls, jnp.uint8(FREE), cells)
        cells = jnp.where(arrives != MINER, arrives, cells)
    return apart(cells)


def _loose(cells: jax.Array) -> jax.Array:
    """Where there is a boulder or a diamond, falling or not."""
    return (cells >= BOULDER) & (cells <= FALLING_DIAMOND)


def _at_rest(cells: jax.Array) -> jax.Array:
    """Falling kinds, which are two higher, as the same at rest."""
    return jnp.where(cells >= FALLING_BOULDER, cells - jnp.uint8(2), cells)


def _shift(cells: jax.Array, down: int, right: int) -> jax.Array:
    """What lies so many rows below and columns to the right of each cell; beyond, the MINER."""
    height, width = cells.shape
    padded = jnp.pad(cells, 1, constant_values=np.uint8(MINER))
    return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]

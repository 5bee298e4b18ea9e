"""Jumper: hop through caves to the carrot (ProcGen's Jumper, Cobbe et al. 2020).

Simplified: the rabbit moves by half cells, sideways at one speed; a jump has one height, and a
second one from the air is possible four steps after the first. That the view follows the rabbit in
every mode, not in memory mode alone, is a memory of the original. The art is our own.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.procgen import game
from metarl.envs.procgen.caves import cave, largest
from metarl.envs.procgen.motion import cell_of
from metarl.envs.procgen.scene import Scene, Sprites, atlas_of
from metarl.ops import keys
from metarl.ops.sampling import any_of
from metarl.types import Key

WALL, SPIKES, CARROT, RABBIT = range(1, 5)
RISES = (2, 1, 1, 1, 1, 0, -1, -1, -2)  # half cells up, by steps since a jump; the last goes on
TOP, FALL = 5, 6  # the steps after which a jump rises no more, and with which a fall begins
AGAIN = 4  # steps after a jump with which a second one may come
HEIGHT = 6  # cells that two jumps rise, as long as the second begins at the top of the first
_TRIES = 8


class Level(struct.PyTreeNode):
    """Where all begins; cells are row and column."""

    walls: jax.Array  # [side, side] bool
    spikes: jax.Array  # [side, side] bool
    rabbit: jax.Array  # [2] uint8
    carrot: jax.Array  # [2] uint8


class World(struct.PyTreeNode):
    """One moment."""

    level: Level
    row: jax.Array  # [] int32, of the rabbit's upper left corner, in half cells
    column: jax.Array  # [] int32
    phase: jax.Array  # [] int32, index into RISES of what comes next
    again: jax.Array  # [] bool, whether it can jump again in the air


@dataclass(frozen=True)
class Jumper(game.Game):
    """A rabbit runs and jumps, twice where it likes; 10 for the carrot, and the end.

    A move to a side is half a cell; a move up jumps from the ground, and once more from the air
    from the fourth step of a jump on. A jump rises three cells in five steps, hangs for one and
    falls, at last a cell a step. First it moves sideways, then up or down. Spikes end the episode.

    The world has 20 cells a side in easy mode, 40 in hard mode and 45 in memory mode, where there
    are no spikes, caves stay that no way leads to, and an episode has 2000 steps instead of 1000.
    In every mode 8 cells to all sides are seen. Gauges: how far down and right the carrot is,
    half is level; whether the rabbit lies between two rows or columns of cells; the step of a
    jump; whether a second jump is left.
    """

    kinds = ("free", "wall", "spikes", "carrot", "rabbit")
    sides = {"easy": 20, "hard": 40, "memory": 45}
    signs = " #^*@"
    gauges = (
        *("carrot down", "carrot right", "between rows", "between columns"),
        *("phase of the jump", "jump left"),
    )
    horizon = {"easy": 1000, "hard": 1000, "memory": 2000}

    @property
    def span(self) -> int:
        """The rabbit's surroundings."""
        return 2 * self.radius + 1

    def generate(self, key: Key) -> Level:
        """A cave, spikes in it, and a carrot far along what the rabbit can reach."""
        side = self.side
        middle = side // 2
        cave_key, spike_key, word_key = keys.split(key, 3)
        *start_words, carrot_word = keys.words(word_key, _TRIES + 1)
        cells = jnp.arange(side)
        near = jnp.abs(cells - middle) < 2
        room, ground = ((rows[:, None] & near) for rows in (near, cells == middle + 2))
        free = cave(cave_key, side, walls=0.42, rounds=1) & ~ground
        inside = largest(free)
        # The room is a place to stand and walk where no other start leads anywhere.
        walls = ~((free if self.mode == "memory" else inside) | room)
        sharp = keys.unit(jax.random.bits(spike_key, (side, side), jnp.uint32)) < 0.15
        sharp &= (self.mode != "memory") & standing(walls)

        def another(loop: tuple) -> tuple:
            number, *_ = loop
            start = any_of(jnp.stack(start_words)[number], inside & standing(walls))
            last = number == _TRIES - 1
            start = jnp.where(last, (middle + 1) * side + middle - 1, start)
            row, column = (jnp.abs(cells - x) > 2 for x in jnp.divmod(start, side))
            spikes = sharp & (row[:, None] | column)
            rounds = reach(walls, spikes, start)
            return number + 1, start, spikes, rounds

        def poor(loop: tuple) -> jax.Array:
            number, _, _, rounds = loop
            return (number < _TRIES) & ((rounds < rounds.size).sum() < side // 2)

        rounds = jnp.full((side, side), side**2)
        loop = (jnp.int32(0), jnp.int32(0), jnp.zeros_like(walls), rounds)
        _, start, spikes, rounds = jax.lax.while_loop(poor, another, loop)
        carrot = _far_cell(carrot_word, rounds)
        return Level(walls, spikes, cell_of(start, side), cell_of(carrot, side))

    def edit(self, key: Key, level: Level) -> Level:
        """Moves the carrot; or puts or takes a piece of wall, if it can still be reached then."""
        choice, carrot_word, place = keys.words(key, 3)
        side = level.walls.shape[0]
        cells = jnp.arange(side**2).reshape(side, side)
        start, carrot = (x @ jnp.array([side, 1]) for x in (level.rabbit, level.carrot))
        inner = jnp.pad(jnp.ones((side - 2, side - 2), bool), 1)
        here = cells == any_of(place, inner & (cells != start) & (cells != carrot))
        new = level.replace(walls=level.walls ^ here, spikes=level.spikes & ~here)
        open_ = reach(new.walls, new.spikes, start).ravel()[carrot] < side**2
        moves = (choice >> 31 == 1) | ~open_
        rounds = reach(level.walls, level.spikes, start)
        moved = level.replace(carrot=cell_of(_far_cell(carrot_word, rounds), side))
        return jax.tree.map(lambda x, y: jnp.where(moves, x, y), moved, new)

    def begin(self, level: Level) -> World:
        """The rabbit stands."""
        row, column = 2 * level.rabbit.astype(jnp.int32)
        return World(level, row, column, jnp.int32(FALL), jnp.bool_(True))

    def advance(self, world: World, action: jax.Array) -> tuple[World, jax.Array, jax.Array]:
        """Jumps, moves sideways, rises or falls; then spikes and the carrot."""
        level = world.level
        down, right = game.moves(action)
        row, column = world.row, world.column
        stands = (world.phase >= TOP) & _any(level.walls, row + 1, column)
        first = (down < 0) & stands
        second = (down < 0) & ~stands & world.again & (world.phase >= AGAIN)
        phase = jnp.where(first | second, 0, jnp.where(stands, FALL, world.phase))
        again = jnp.where(stands, True, world.again & ~second)
        column = jnp.where(_any(level.walls, row, column + right), column, column + right)
        rise = jnp.asarray(np.array(RISES))[phase]
        way = -jnp.sign(rise)
        bumps = (rise != 0) & _any(level.walls, row + way, column)
        row = jnp.where(bumps, row, row + way)
        far = jnp.abs(rise) == 2
        late = ~bumps & far & _any(level.walls, row + way, column)
        row = jnp.where(far & ~bumps & ~late, row + way, row)
        ends = bumps | late
        phase = jnp.where(ends, jnp.where(rise > 0, TOP, FALL), jnp.minimum(phase + 1, 8))
        again |= ends & (rise < 0)
        dead = _any(level.spikes, row, column)
        place = jnp.stack([row, column]) - 2 * level.carrot.astype(jnp.int32)
        won = (jnp.abs(place) < 2).all() & ~dead
        world = World(level, row, column, phase, again)
        return world, 10.0 * won.astype(jnp.float32), dead | won

    def scene(self, world: World) -> Scene:
        """Walls, spikes and the carrot as tiles, the rabbit as a sprite."""
        level = world.level
        side = level.walls.shape[0]
        cells = jnp.arange(side, dtype=jnp.uint8)
        carrot = (cells == level.carrot[0])[:, None] & (cells == level.carrot[1])
        tiles = level.walls.astype(jnp.uint8) + SPIKES * level.spikes.astype(jnp.uint8)
        tiles = jnp.where(carrot, jnp.uint8(CARROT), tiles)
        row, column = (x.astype(jnp.float32) / 2 + 0.5 for x in (world.row, world.column))
        one = jnp.ones(1, jnp.float32)
        rabbit = Sprites(row[None], column[None], one, one.astype(jnp.uint8) * RABBIT)
        away = level.carrot.astype(jnp.float32) + 0.5 - jnp.stack([row, column])
        rest = [world.row % 2, world.column % 2, world.phase / 8, world.again]
        gauges = jnp.concatenate([(away / side + 1) / 2, jnp.stack(rest).astype(jnp.float32)])
        return self.seen(tiles, row, column, outside=WALL, sprites=rabbit, gauges=gauges)

    @staticmethod
    def atlas() -> np.ndarray:
        """Turf, spikes, a carrot, a rabbit."""
        colours = {
            "g": (90, 150, 80),
            "d": (112, 84, 60),
            "e": (92, 68, 50),
            "s": (190, 196, 206),
            "o": (240, 140, 50),
            "l": (110, 200, 90),
            "w": (236, 232, 228),
            "p": (240, 170, 180),
            "k": (40, 36, 40),
        }
        ground = "........ " * 8
        wall = "gggggggg dgddgdgd dddddddd ddeddddd ddddddde dddddddd deddddde dddddddd"
        spikes = "........ ........ .s....s. .s....s. sss..sss sss..sss ssssssss ssssssss"
        carrot = "....l.l. ...l.l.. ....ll.. ...ooo.. ..oooo.. ..ooo... .oo..... o......."
        rabbit = ".ww.ww.. .wp.wp.. .wwwww.. .wkwkww. .wwpwww. ..wwwwww .wwwwwww .ww..ww."
        return atlas_of((ground, wall, spikes, carrot, rabbit), colours)


def standing(walls: jax.Array) -> jax.Array:
    """[side, side] bool, the free cells above walls [side, side]."""
    return ~walls & jnp.roll(walls, -1, axis=0)


def reach(walls: jax.Array, spikes: jax.Array, start: jax.Array) -> jax.Array:
    """[side, side] int32, rounds of moves after which the rabbit may stand in a cell.

    It is cautious: `side**2` where a rabbit cannot get by whole cells, of which each way is checked
    in full. From the ground it walks, falls off, or rises up to six cells straight up; falling it
    may step onto ground beside it, or drift a cell aside for every two rows.

    Args:
      walls: [side, side] bool; the border is wall.
      spikes: [side, side] bool.
      start: [] int32, the cell where it stands, `row * side + column`.
    """
    side = walls.shape[0]
    free, stand = ~walls & ~spikes, standing(walls) & ~spikes
    move = lambda x, down, right: jnp.roll(x, (down, right), (0, 1)) & free  # noqa: E731

    def again(loop: tuple) -> tuple:
        turn, rounds, air, _ = loop
        ground = rounds < side**2
        old, rising = air, ground
        for _ in range(HEIGHT):
            rising = move(rising, -1, 0)
            air |= rising
        air |= move(air, 1, 0)
        landed = air
        for way in (-1, 1):
            walked, beside = move(ground, 0, way), move(air, 0, way)
            drifted = move(move(air, 1, 0), 0, way) & move(beside, 1, 0)
            landed |= walked | beside | drifted
            air |= move((walked & ~stand) | drifted, 1, 0)
        new = jnp.where(landed & stand & ~ground, turn, rounds)
        return turn + 1, new, air, jnp.any(new != rounds) | jnp.any(air != old)

    rounds = jnp.where(jnp.arange(side**2).reshape(side, side) == start, 0, side**2)
    loop = (jnp.int32(1), rounds, jnp.zeros((side, side), bool), jnp.bool_(True))
    return jax.lax.while_loop(lambda loop: loop[3], again, loop)[1]


def _any(flags: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """[] bool, whether the rabbit overlaps a marked cell with its corner at half cells."""
    rows, columns = jnp.stack([row, row + 1]) >> 1, jnp.stack([column, column + 1]) >> 1
    index = rows[:, None] * flags.shape[1] + columns
    return flags.ravel().at[index].get(mode="clip").any()


def _far_cell(word: jax.Array, rounds: jax.Array) -> jax.Array:
    """A random cell at least half as many rounds away as the farthest."""
    rounds = jnp.where(rounds < rounds.size, rounds, -1)
    return any_of(word, 2 * rounds >= jnp.maximum(rounds.max(), 1))

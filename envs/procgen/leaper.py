"""Leaper: hop across roads and ride logs over water (ProcGen's Leaper, Cobbe et al. 2020).

The numbers are those of ProcGen's source. Simplified: what leaves a lane at one side comes back at
the other, so that traffic repeats itself, while in the original every car and log is new; how many
there are in a lane is drawn about the original's mean. The original has no memory mode; here it is
a larger world with up to seven lanes of a sort and more logs in each, of which four cells to all
sides are seen.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.procgen import game
from metarl.envs.procgen.scene import Scene, Sprites, atlas_of, mirrored, turned
from metarl.ops import keys
from metarl.types import Key

GROUND, ROAD, WATER, FINISH, CAR, LOG, FROG = 0, 1, 2, 3, 4, 6, 8  # kinds, left or upwards first
NONE = 255  # no car or log here
HOP = 5  # steps of one
_FROG, _CAR, _LOG = 0.4, (0.25, 0.5), 0.45  # half sides in cells; of a car, height and length
_PARTS = 8  # of a cell, where a car or log may start


@dataclass(frozen=True)
class Size:
    """What the modes differ in."""

    side: int  # cells of a side of the world
    difficulty: int  # so many lanes of each sort at most
    spread: int  # lanes of ground between, and lanes more of one sort, 0 or up to this
    cars: tuple[int, int]  # in a lane, least and most
    logs: tuple[int, int]
    car_speed: tuple[float, float]  # cells a step
    log_speed: tuple[float, float]


_SIZES = {
    "easy": Size(9, 3, 0, (1, 2), (3, 5), (0.03, 0.12), (0.025, 0.075)),
    "hard": Size(15, 4, 1, (1, 4), (4, 7), (0.05, 0.2), (0.05, 0.1)),
    "memory": Size(20, 6, 1, (1, 5), (8, 10), (0.05, 0.2), (0.05, 0.1)),
}


class Lanes(struct.PyTreeNode):
    """The `L` lanes of one sort; each is a ring two cells longer than the world is wide."""

    row: jax.Array  # [] uint8, of the lowest lane; the others lie above it
    count: jax.Array  # [] uint8, lanes in use
    speed: jax.Array  # [L] float32, cells a step, positive to the right
    place: jax.Array  # [L, M] uint8, centres at the start, in eighths of a cell; or `NONE`

    def rows(self) -> jax.Array:
        """[L, 1] float32, the middle of each lane."""
        lane = jnp.arange(self.speed.shape[0])
        return (self.row.astype(jnp.float32) + 0.5 - lane)[:, None]

    def columns(self, time: jax.Array, side: int) -> jax.Array:
        """[L, M] float32, the centres now; far to the left of the world where there is none."""
        run = self.place / _PARTS + self.speed[:, None] * time.astype(jnp.float32)
        turned = run - jnp.floor(run / (side + 2)) * (side + 2)
        return jnp.where(self.place == NONE, -9.0, turned - 1)


class Level(struct.PyTreeNode):
    """Lanes, and where the frog starts."""

    road: Lanes
    water: Lanes
    start: jax.Array  # [] float32, column


class World(struct.PyTreeNode):
    """One moment; positions are of centres, in cells."""

    level: Level
    time: jax.Array  # [] int32
    row: jax.Array  # [] float32
    column: jax.Array  # [] float32
    facing: jax.Array  # [] uint8: up, right, down, left
    hop: jax.Array  # [] uint8, steps until the frog has landed


@dataclass(frozen=True)
class Leaper(game.Game):
    """A frog, then lanes of cars, then lanes of logs, then the finish; 500 steps.

    10 for standing on the finish, which ends the episode, as do touching a car, landing in the
    water, and leaving the world on a log. A hop goes one cell up, down or to a side (which wins)
    and takes 5 steps; till then actions do nothing. A log carries the frog along. The world has 9
    cells a side in easy mode and up to 3 lanes of each sort; 15 in hard mode and up to 4 lanes,
    5 of one sort, all faster; 20 in memory mode and up to 6, or 7. Gauge: what is left of a hop.
    """

    kinds = (
        *("ground", "road", "water", "finish", "car left", "car right", "log left", "log right"),
        *("frog up", "frog right", "frog down", "frog left"),
    )
    sides = {mode: size.side for mode, size in _SIZES.items()}
    radius = 4
    signs = " :~=<>()^}v{"
    gauges = ("hop",)

    @property
    def size(self) -> Size:
        """What this mode sets."""
        return _SIZES[self.mode]

    def generate(self, key: Key) -> Level:
        """As many lanes of both sorts, or one more of one of them, and the frog anywhere."""
        size = self.size
        road_key, water_key, word_key = keys.split(key, 3)
        drawn = keys.words(word_key, 6)
        below, between = (keys.below(word, size.spread + 1) for word in drawn[:2])
        lanes = keys.below(drawn[2], size.difficulty + 1)
        option = keys.below(drawn[3], 4) if size.spread else 0
        roads, waters = lanes + (option == 2), lanes + (option == 3)
        road = size.side - 2 - below
        water = road - roads - between - 1
        first = 2 * keys.below(drawn[4], 2) - 1  # logs of neighbouring lanes run against each other
        flip = first * jnp.array([1, -1] * size.side)[: size.difficulty + size.spread]
        cars = self._lanes(road_key, road, roads, size.cars, size.car_speed)
        logs = self._lanes(water_key, water, waters, size.logs, size.log_speed)
        logs = logs.replace(speed=jnp.abs(logs.speed) * flip)
        return Level(cars, logs, self._start(drawn[5]))

    def edit(self, key: Key, level: Level) -> Level:
        """Moves the frog's start, or what is in one lane along it; three ways, equally often."""
        choice, lane_word, turn_word, start_word = keys.words(key, 4)
        choice = keys.below(choice, 3)

        def shifted(lanes: Lanes, chosen: jax.Array) -> Lanes:
            ring = _PARTS * (self.side + 2)
            lane = keys.below(lane_word, jnp.maximum(lanes.count, 1).astype(jnp.uint32))
            here = chosen & (jnp.arange(lanes.speed.shape[0]) == lane)[:, None]
            place = (lanes.place + 1 + keys.below(turn_word, ring - 1)) % ring
            here &= lanes.place != NONE
            return lanes.replace(place=jnp.where(here, place.astype(jnp.uint8), lanes.place))

        moved = (choice == 0) | (level.road.count + level.water.count == 0)
        return Level(
            road=shifted(level.road, choice == 1),
            water=shifted(level.water, choice == 2),
            start=jnp.where(moved, self._start(start_word), level.start),
        )

    def begin(self, level: Level) -> World:
        """The frog at the lower edge."""
        row, zero = jnp.float32(self.side - 0.5), jnp.uint8(0)
        return World(level, jnp.int32(0), row, level.start, zero, zero)

    def advance(self, world: World, action: jax.Array) -> tuple[World, jax.Array, jax.Array]:
        """Moves the frog, then cars and logs, then what is on a log."""
        side, level, time = self.side, world.level, world.time + 1
        world = self._hopped(world, action)
        standing = world.hop == 0
        row, column = world.row, world.column
        cars, logs = level.road.columns(time, side), level.water.columns(time, side)
        hit = jnp.abs(level.road.rows() - row) < _FROG + _CAR[0]
        hit = jnp.any(hit & (jnp.abs(cars - column) < _FROG + _CAR[1]))
        above = (jnp.abs(level.water.rows() - row) < _LOG) & (jnp.abs(logs - column) < _LOG)
        rides = jnp.any(above, axis=1)  # [L]
        drift = jnp.sum(jnp.where(rides, level.water.speed, 0))
        lane = level.water.row - jnp.floor(row)
        drowned = standing & ~jnp.any(rides) & (lane >= 0) & (lane < level.water.count)
        column = column + drift
        lost = (column < -_FROG) | (column > side + _FROG)
        won = standing & (lane == level.water.count) & ~(hit | lost)
        world = world.replace(time=time, column=column)
        return world, 10.0 * won.astype(jnp.float32), won | hit | drowned | lost

    def scene(self, world: World) -> Scene:
        """Lanes as tiles, everything else as sprites."""
        side, level = self.side, world.level
        row = jnp.arange(side)

        def inside(lanes: Lanes) -> jax.Array:
            return (row <= lanes.row) & (row + lanes.count > lanes.row)

        strip = jnp.where(inside(level.road), ROAD, jnp.where(inside(level.water), WATER, GROUND))
        finish = level.water.row.astype(jnp.int32) - level.water.count
        strip = jnp.where(row == finish, FINISH, strip).astype(jnp.uint8)
        sprites = (
            _sprites(level.water, world.time, side, LOG, 2 * _LOG),
            _sprites(level.road, world.time, side, CAR, 2 * _CAR[1]),
            Sprites(
                row=world.row[None],
                column=world.column[None],
                size=jnp.full(1, 2 * _FROG),
                kind=FROG + world.facing[None],
                among=(FROG, FROG + 1, FROG + 2, FROG + 3),
            ),
        )
        tiles = jnp.broadcast_to(strip[:, None], (side, side))
        more = {"sprites": sprites, "gauges": world.hop[None] / jnp.float32(HOP)}
        return self.seen(tiles, world.row, world.column, outside=GROUND, **more)

    @staticmethod
    def atlas() -> np.ndarray:
        """Grass, asphalt, waves, a chequered line, cars, logs and a frog."""
        colours = {
            "a": (74, 76, 84),
            "l": (140, 140, 120),
            "u": (48, 96, 168),
            "U": (84, 136, 200),
            "w": (236, 236, 236),
            "k": (24, 24, 28),
            "r": (206, 60, 54),
            "y": (236, 190, 60),
            "b": (120, 190, 230),
            "n": (132, 92, 52),
            "m": (170, 124, 76),
            "g": (120, 220, 90),
            "e": (250, 250, 210),
        }
        ground = "........ " * 8
        road = "aaaaaaaa aaaaaaaa aaaaaaaa aaaaaaaa aaaaaaaa aaaaaaaa aaaaaaaa llaallaa"
        water = "uuuuuuuu uuUUuuuu uUuuUuuu uuuuuuuu uuuuuuuu uuuuuUUu uuuuUuuU uuuuuuuu"
        finish = "wwkkwwkk wwkkwwkk kkwwkkww kkwwkkww wwkkwwkk wwkkwwkk kkwwkkww kkwwkkww"
        car = "........ ........ ..rrrrr. .rbrrbrr yrbrrbrr ..rrrrr. .k...k.. ........"
        log = "........ .nnnnnn. nnmmmmnn mnnnmmmn mnnmmnnn nmmmmmmn .nnnnnn. ........"
        frog = "........ g.e..e.g .gggggg. ..gggg.. ..gggg.. .gggggg. gg.gg.gg g......g"
        frogs = [turned(frog, quarters) for quarters in range(4)]
        return atlas_of(
            (ground, road, water, finish, car, mirrored(car), log, mirrored(log), *frogs),
            colours,
            ground=(70, 110, 60),
        )

    def _hopped(self, world: World, action: jax.Array) -> World:
        """The world with the frog where its hop, new or begun, has brought it."""
        down, right = game.four_moves(action)
        way = jnp.where(right != 0, 2 - right, 1 + down).astype(jnp.uint8)
        starts = (world.hop == 0) & ((down != 0) | (right != 0))
        facing = jnp.where(starts, way, world.facing)
        hop = jnp.where(starts, jnp.uint8(HOP), world.hop)
        shift = jnp.maximum(hop.astype(jnp.float32) - 1, 0) * 0.1  # 0.4, 0.3, 0.2, 0.1 and 0
        row = world.row + shift * ((facing == 2) * 1 - (facing == 0) * 1)
        column = world.column + shift * ((facing == 1) * 1 - (facing == 3) * 1)
        hops, side = hop > 0, self.side
        hop = jnp.maximum(hop, 1) - 1
        row = jnp.where(hop == 0, jnp.floor(row) + 0.5, row)
        return world.replace(
            row=jnp.where(hops, jnp.clip(row, 0.5, side - 0.5), world.row),
            column=jnp.where(hops, jnp.clip(column, _FROG, side - _FROG), world.column),
            facing=facing,
            hop=hop,
        )

    def _start(self, word: jax.Array) -> jax.Array:
        return _FROG + keys.unit(word) * (self.side - 2 * _FROG)

    def _lanes(
        self,
        key: Key,
        row: jax.Array,
        count: jax.Array,
        things: tuple[int, int],
        speeds: tuple[float, float],
    ) -> Lanes:
        """`count` lanes upwards from `row`, each with its own speed and one of `things` numbers."""
        size = self.size
        lanes, most = size.difficulty + size.spread, things[1]
        ring = _PARTS * (size.side + 2)
        drawn = jax.random.bits(key, (lanes, most + 3), jnp.uint32)
        number = things[0] + keys.below(drawn[:, :1], most - things[0] + 1)  # [L, 1]
        free = ring - number * _PARTS
        # Where things of one cell may stand on a ring: any gaps, then one turn of it all.
        index = jnp.arange(most)
        gaps = jnp.where(index < number, keys.below(drawn[:, 3:], free.astype(jnp.uint32)), ring)
        place = jnp.sort(gaps, axis=1) + index * _PARTS + keys.below(drawn[:, 1:2], ring)
        used = (index < number) & (jnp.arange(lanes) < count)[:, None]
        place = jnp.where(used, place % ring, NONE)
        sign = jnp.where(drawn[:, 2] & 1 == 1, 1.0, -1.0)
        speed = sign * (speeds[0] + keys.unit(drawn[:, 2]) * (speeds[1] - speeds[0]))
        place, row, count = (x.astype(jnp.uint8) for x in (place, row, count))
        return Lanes(row, count, speed.astype(jnp.float32), place)


def _sprites(lanes: Lanes, time: jax.Array, side: int, left: int, size: float) -> Sprites:
    """All in some lanes."""
    column = lanes.columns(time, side)
    kind = jnp.where(lanes.speed > 0, left + 1, left).astype(jnp.uint8)[:, None]
    return Sprites(
        row=jnp.broadcast_to(lanes.rows(), column.shape).ravel(),
        column=column.ravel(),
        size=jnp.full(column.size, size),
        kind=jnp.where(lanes.place == NONE, jnp.uint8(0), kind).ravel(),
        among=(left, left + 1),
    )

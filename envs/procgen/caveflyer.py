"""CaveFlyer: steer a ship through a cave to its goal (ProcGen's CaveFlyer, Cobbe et al. 2020).

Simplified: the ship turns in steps of 22.5 degrees and stops at walls; enemies fly to and fro
between two places; shots go through obstacles and enemies; what kills keeps a cell away from one
way to the goal, so every level can be won. That the view follows the ship in every mode, not in
memory mode alone, is a memory of the original. The art is our own.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.procgen import game, motion
from metarl.envs.procgen.caves import cave, largest, widened
from metarl.envs.procgen.scene import Scene, Sprites, atlas_of, turned
from metarl.envs.ways import distances, shortest_ways
from metarl.ops import keys
from metarl.ops.control import apart
from metarl.ops.sampling import any_of
from metarl.types import Key

WALL, GOAL, TARGET, OBSTACLE, ENEMY, SHOT, SHIP = range(
    1, 8
)  # the ship's kinds: up, then clockwise
HEADINGS = 16
SIZE, SHOT_SIZE, OTHER_SIZE = 0.6, 0.3, 0.9  # sides of squares, in cells
THRUST, DRAG, SHOT_SPEED, ENEMY_SPEED = 0.05, 0.9, 0.8, 0.25  # cells a step
COOL_DOWN = 4
HITS = 5  # that a target takes
_HIT, _TOUCH = (OTHER_SIZE + SHOT_SIZE) / 2, (OTHER_SIZE + SIZE) / 2
_SHOTS = 4  # that may fly at once
_STROLL = 6  # cells that an enemy flies at most
_TARGETS = {"easy": 3, "hard": 5, "memory": 8}
_OBSTACLES = {"easy": 4, "hard": 8, "memory": 16}
_ENEMIES = {"easy": 3, "hard": 6, "memory": 12}


class Level(struct.PyTreeNode):
    """Where all begins; cells are row and column, and the corner's where there was no room."""

    walls: jax.Array  # [side, side] bool
    ship: jax.Array  # [2] uint8
    heading: jax.Array  # [] uint8
    goal: jax.Array  # [2] uint8
    target: jax.Array  # [T, 2] uint8
    danger: jax.Array  # [D, 2] uint8, obstacles, then one end of every enemy's flight
    stroll: jax.Array  # [D, 2] int8, cells from there to the other end, along one axis
    phase: jax.Array  # [D] uint8, steps that an enemy is ahead of time 0


class World(struct.PyTreeNode):
    """One moment."""

    level: Level
    time: jax.Array  # [] int32
    row: jax.Array  # [] float32, the ship's centre
    column: jax.Array  # [] float32
    down: jax.Array  # [] float32, its speed
    right: jax.Array  # [] float32
    heading: jax.Array  # [] uint8, 0 is up, then clockwise
    wait: jax.Array  # [] uint8, steps until it can shoot
    health: jax.Array  # [T] uint8, hits that a target still takes; 0: there is none
    shot_row: jax.Array  # [4] float32, newest first
    shot_column: jax.Array  # [4] float32
    shot: jax.Array  # [4] uint8, one more than its heading; 0: no shot


@dataclass(frozen=True)
class CaveFlyer(game.Game):
    """A ship in a cave: moves to the sides turn it, up thrusts, down thrusts back, 9 shoots.

    10 for the goal, which ends the episode, as does touching an obstacle or an enemy; 3 for a
    target that was hit five times. 1000 steps. A turn is 22.5 degrees; the ship keeps nine tenths
    of its speed and stops at walls. Between two shots lie 4 steps, and the fourth next ends one.

    The world has 30 cells a side in easy mode with 3 targets, 4 obstacles and 3 enemies; 40 in hard
    mode with 5, 8 and 6; 60 in memory mode with 8, 16 and 12, where caves stay that no way leads
    to. In every mode 8 cells to all sides of the ship are seen. Gauges show its heading and speed:
    half is none, more is down or right.
    """

    kinds = (
        *("free", "wall", "goal", "target", "obstacle", "enemy", "shot"),
        *(f"ship heading {45 * i} degrees" for i in range(8)),
    )
    sides = {"easy": 30, "hard": 40, "memory": 60}
    signs = " #GTxe.^/>\\v/<\\"
    gauges = ("heading down", "heading right", "speed down", "speed right", "cool-down")
    horizon = dict.fromkeys(("easy", "hard", "memory"), 1000)

    @property
    def span(self) -> int:
        """The ship's surroundings."""
        return 2 * self.radius + 1

    def generate(self, key: Key) -> Level:
        """The largest cave, the goal far from the ship in it."""
        side = self.side
        cave_key, danger_key, word_key = keys.split(key, 3)
        ship_word, goal_word, heading_word = keys.words(word_key, 3)
        free = cave(cave_key, side, walls=0.46)
        inside = largest(free)
        ship = any_of(ship_word, inside)
        goal = _far_cell(goal_word, inside, ship)
        return Level(
            ~(free if self.mode == "memory" else inside),
            motion.cell_of(ship, side),
            keys.below(heading_word, HEADINGS).astype(jnp.uint8),
            motion.cell_of(goal, side),
            **self._things(danger_key, inside, ship, goal),
        )

    def edit(self, key: Key, level: Level) -> Level:
        """Moves the goal, and what kills with it, or the targets."""
        thing_key, word_key = keys.split(key)
        choice, goal_word = keys.words(word_key, 2)
        side = level.walls.shape[0]
        ship, goal = (x @ jnp.array([side, 1]) for x in (level.ship, level.goal))
        inside = distances(~level.walls, ship) < side**2
        moves = choice >> 31 == 1
        goal = jnp.where(moves, _far_cell(goal_word, inside, ship), goal)
        new = self._things(thing_key, inside, ship, goal)
        new = {k: jnp.where(moves == (k != "target"), x, getattr(level, k)) for k, x in new.items()}
        return level.replace(goal=motion.cell_of(goal, side), **new)

    def begin(self, level: Level) -> World:
        """The ship stands still."""
        zeros = jnp.zeros(_SHOTS, jnp.float32)
        row, column = level.ship.astype(jnp.float32) + 0.5
        return World(
            level=level,
            time=jnp.int32(0),
            row=row,
            column=column,
            down=jnp.float32(0),
            right=jnp.float32(0),
            heading=level.heading,
            wait=jnp.uint8(0),
            health=jnp.where(level.target.any(axis=1), HITS, 0).astype(jnp.uint8),
            shot_row=zeros,
            shot_column=zeros,
            shot=zeros.astype(jnp.uint8),
        )

    def advance(self, world: World, action: jax.Array) -> tuple[World, jax.Array, jax.Array]:
        """Turns and moves the ship, then shots and enemies; then all hits and touches."""
        level, time = world.level, world.time + 1
        back, turn = game.moves(action)
        heading = ((world.heading + turn) % HEADINGS).astype(jnp.uint8)
        north, east = (back * THRUST * x for x in _way(heading))
        down, right = DRAG * world.down + north, DRAG * world.right - east
        stops = motion.touches(level.walls, world.row + down, world.column, SIZE)
        row, down = world.row + jnp.where(stops, 0, down), jnp.where(stops, 0, down)
        stops = motion.touches(level.walls, row, world.column + right, SIZE)
        column, right = world.column + jnp.where(stops, 0, right), jnp.where(stops, 0, right)
        shoots = (action == game.FIRE) & (world.wait == 0)
        wait = jnp.where(shoots, COOL_DOWN - 1, jnp.maximum(world.wait, 1) - 1).astype(jnp.uint8)
        shot_row, shot_column, shot = _flown(world, shoots)
        here = level.target.astype(jnp.float32) + 0.5
        near = motion.meet(shot_row, shot_column, *here.T, within=_HIT)
        hit = near & (shot > 0)[:, None] & (world.health > 0)  # [4, T]
        health = jnp.maximum(world.health.astype(jnp.int32) - hit.sum(axis=0), 0).astype(jnp.uint8)
        shot = jnp.where(hit.any(axis=1), 0, shot).astype(jnp.uint8)
        reward = 3 * jnp.sum((health == 0) & (world.health > 0))
        rows, columns = dangers(level, time)
        dead = jnp.any(motion.meet(row[None], column[None], rows, columns, within=_TOUCH))
        goal = level.goal.astype(jnp.float32)[:, None] + 0.5
        won = motion.meet(row[None], column[None], *goal, within=_TOUCH)[0, 0] & ~dead
        world = world.replace(
            time=time,
            row=row,
            column=column,
            down=down,
            right=right,
            heading=heading,
            wait=wait,
            health=health,
            shot_row=shot_row,
            shot_column=shot_column,
            shot=shot,
        )
        return world, (reward + 10 * won).astype(jnp.float32), dead | won

    def scene(self, world: World) -> Scene:
        """Walls and the goal as tiles, all else as sprites."""
        level = world.level
        cells = jnp.arange(level.walls.shape[0], dtype=jnp.uint8)
        goal = (cells == level.goal[0])[:, None] & (cells == level.goal[1])
        tiles = jnp.where(goal, GOAL, level.walls.astype(jnp.uint8)).astype(jnp.uint8)
        rows, columns = dangers(level, world.time)
        target = level.target.astype(jnp.float32) + 0.5
        numbers = [len(target) + len(rows), _SHOTS, 1]
        size = np.repeat([OTHER_SIZE, SHOT_SIZE, 1.0], numbers).astype(np.float32)
        danger = np.where(np.arange(len(rows)) < _OBSTACLES[self.mode], OBSTACLE, ENEMY)
        kind = [
            jnp.where(world.health > 0, jnp.uint8(TARGET), 0),
            jnp.where(level.danger.any(axis=1), danger, 0),
            jnp.where(world.shot > 0, jnp.uint8(SHOT), 0),
            SHIP + ((world.heading + 1) // 2 % 8)[None],
        ]
        sprites = Sprites(
            jnp.concatenate([target[:, 0], rows, world.shot_row, world.row[None]]),
            jnp.concatenate([target[:, 1], columns, world.shot_column, world.column[None]]),
            jnp.asarray(size),
            jnp.concatenate([x.astype(jnp.uint8) for x in kind]),
        )
        north, east = _way(world.heading)
        shown = jnp.stack([-north, east, world.down * 2, world.right * 2])
        gauges = jnp.append((shown + 1) / 2, world.wait / jnp.float32(COOL_DOWN))
        more = {"sprites": sprites, "gauges": gauges}
        return self.seen(tiles, world.row, world.column, outside=WALL, **more)

    def _things(
        self, key: Key, inside: jax.Array, ship: jax.Array, goal: jax.Array
    ) -> dict[str, jax.Array]:
        """What kills, by name, a cell away from one way to the goal; and the targets."""
        side = self.side
        goal = jnp.arange(side**2).reshape(side, side) == goal
        way = shortest_ways(distances(inside, ship), goal)
        row, column = (jnp.abs(jnp.arange(side) - x) > 4 for x in jnp.divmod(ship, side))
        away = row[:, None] | column
        place = inside & ~widened(way) & away
        still = _OBSTACLES[self.mode]
        number = still + _ENEMIES[self.mode]
        words = jax.random.bits(key, (number + _TARGETS[self.mode], 4), jnp.uint32)
        kills, targets = words[:number], words[number:]
        flight = jax.vmap(lambda w: motion.any_stroll(w, place, place, _STROLL))
        danger, stroll = flight(kills)
        moves = np.arange(number)[:, None] >= still
        return {
            "danger": danger,
            "stroll": jnp.where(moves, stroll, 0).astype(jnp.int8),
            "phase": keys.below(kills[:, 3], 256).astype(jnp.uint8),
            "target": jax.vmap(lambda w: motion.cell_of(any_of(w, inside & away), side))(
                targets[:, 0]
            ),
        }

    @staticmethod
    def atlas() -> np.ndarray:
        """Rock, a landing pad, a bull's-eye, mines, saucers, a ship."""
        colours = {
            "r": (104, 92, 84),
            "s": (80, 70, 66),
            "g": (90, 210, 120),
            "w": (236, 236, 230),
            "t": (220, 60, 60),
            "m": (150, 60, 160),
            "k": (30, 30, 36),
            "e": (236, 150, 50),
            "y": (250, 230, 110),
            "b": (90, 160, 240),
            "f": (240, 120, 40),
        }
        ground = "........ " * 8
        wall = "rrrrrrrr rsrrrrsr rrrrrrrr rrrssrrr rrrrsrrr rsrrrrrr rrrrrrsr rrrrrrrr"
        goal = "gggggggg g......g g.wwww.g g.w..w.g g.w..w.g g.wwww.g g......g gggggggg"
        target = "..tttt.. .twwwwt. twwttwwt twtwwtwt twtwwtwt twwttwwt .twwwwt. ..tttt.."
        obstacle = "m..mm..m .mmmmmm. .mkkkkm. mmkmmkmm mmkmmkmm .mkkkkm. .mmmmmm. m..mm..m"
        enemy = "........ ..eeee.. .eyyyye. eeeeeeee ekekekee .eeeeee. ..e..e.. ........"
        shot = "........ ........ ..yyyy.. ..yyyy.. ..yyyy.. ..yyyy.. ........ ........"
        north = "...bb... ...bb... ..bwwb.. ..bwwb.. .bbbbbb. bbbbbbbb bb.ff.bb ...ff..."
        east = "....bbbb ..bbbwwb .bbbwwbb ..bbbbb. ...bbbb. .f.bbbb. ff..bb.. f....b.."
        ship = [turned((north, east)[i % 2], i // 2) for i in range(8)]
        return atlas_of((ground, wall, goal, target, obstacle, enemy, shot, *ship), colours)


def dangers(level: Level, time: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows and columns [D] float32 of what kills, at a time."""
    ahead = time + level.phase.astype(jnp.float32)
    return apart(motion.to_and_fro(level.danger, level.stroll, ahead, speed=ENEMY_SPEED))


def _way(heading: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How far up and right a heading leads, float32, of length 1."""
    angle = np.arange(HEADINGS) * (2 * np.pi / HEADINGS)
    up, right = np.round([np.cos(angle), np.sin(angle)], 6).astype(np.float32)
    return jnp.asarray(up)[heading], jnp.asarray(right)[heading]


def _flown(world: World, shoots: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rows, columns and `shot` [4] of the shots a step later, a new one among them."""
    with_new = functools.partial(motion.pushed, shoots)
    shot = with_new(world.shot, world.heading + jnp.uint8(1))
    north, east = _way((shot + HEADINGS - 1) % HEADINGS)
    flies = SHOT_SPEED * (shot > 0)
    row = with_new(world.shot_row, world.row) - flies * north
    column = with_new(world.shot_column, world.column) + flies * east
    return apart((row, column, jnp.where(motion.at(world.level.walls, row, column), 0, shot)))


def _far_cell(word: jax.Array, inside: jax.Array, start: jax.Array) -> jax.Array:
    """A random cell at least half as many moves from the start as the farthest."""
    far = jnp.where(inside, distances(inside, start), -1)
    return any_of(word, 2 * far >= far.max())

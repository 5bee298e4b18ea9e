"""Dodgeball: hit every enemy with a ball, then leave by the door (ProcGen's Dodgeball, 2020).

Simplified: the player moves half a cell a step and balls fly along rows and columns; enemies walk
to and fro between two places, whatever the player does, and throw along the axis on which the
player is farther; the third next throw ends a ball that still flies. The art is our own.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.procgen import game, motion
from metarl.envs.procgen.rooms import rooms
from metarl.envs.procgen.scene import Scene, Sprites, atlas_of, turned
from metarl.ops import keys
from metarl.ops.control import apart
from metarl.ops.sampling import any_of
from metarl.types import Key

LAVA, SHUT, OPEN, ENEMY, BALL, OWN, PLAYER = range(
    1, 8
)  # the player's kinds: up, right, down, left
UP, RIGHT, DOWN, LEFT = 1, 2, 3, 4  # ways of balls; 0: no ball
SIZE, BALL_SIZE = 0.9, 0.4  # of players, enemies and the door; of balls: sides of squares, in cells
SPEED, ENEMY_SPEED, BALL_SPEED, OWN_SPEED = 0.5, 0.25, 0.5, 1.0  # cells a step
COOL_DOWN = 7
_STRIKE = (SIZE + BALL_SIZE) / 2
_OWN = 3  # balls of the player that may fly at once
_STROLL = 4  # cells that an enemy walks at most
_SPLITS = {"easy": 2, "hard": 4, "memory": 16}
_ENEMIES = {"easy": 6, "hard": 6, "memory": 19}  # at most; at least 3


class Level(struct.PyTreeNode):
    """Where all begins; cells are row and column."""

    lava: jax.Array  # [side, side] bool
    player: jax.Array  # [2] uint8, cell
    door: jax.Array  # [2] uint8, cell
    enemy: jax.Array  # [M, 2] uint8, cell, one end of a stroll
    stroll: jax.Array  # [M, 2] int8, cells from there to the other end, along one axis
    phase: jax.Array  # [M] uint8, steps that an enemy is ahead of time 0
    pause: jax.Array  # [M] uint8, steps between two throws; 0: there is no such enemy


class World(struct.PyTreeNode):
    """One moment."""

    level: Level
    time: jax.Array  # [] int32
    row: jax.Array  # [] float32, the player's centre
    column: jax.Array  # [] float32
    facing: jax.Array  # [] uint8, UP, RIGHT, DOWN or LEFT
    wait: jax.Array  # [] uint8, steps until a ball can be thrown
    alive: jax.Array  # [M] bool
    ball_row: jax.Array  # [3 + M] float32, the player's balls, newest first, then every enemy's
    ball_column: jax.Array  # [3 + M] float32
    way: jax.Array  # [3 + M] uint8


@dataclass(frozen=True)
class Dodgeball(game.Game):
    """Enemies among walls of lava throw balls; so does the player, with action 9, where it faces.

    2 for every enemy hit; 10 at the door once no enemy is left, which ends the episode, as does
    touching lava, an enemy or an enemy's ball. 1000 steps. Between two throws lie 7 steps. The
    player faces where it moved last, of a diagonal move to the side.

    Easy mode has 20 cells a side, 2 walls of lava and 3 to 6 enemies; hard mode 4 walls; memory
    mode 40 cells, 16 walls and 3 to 19 enemies, of which 8 cells to all sides are seen. Gauges say
    also whether the player lies between two rows or columns of cells.
    """

    kinds = (
        *("free", "lava", "shut door", "open door", "enemy", "ball", "own ball"),
        *(f"player facing {way}" for way in ("up", "right", "down", "left")),
    )
    sides = {"easy": 20, "hard": 20, "memory": 40}
    signs = " #DOeo.^>v<"
    gauges = ("cool-down", "between rows", "between columns")
    horizon = dict.fromkeys(("easy", "hard", "memory"), 1000)

    def generate(self, key: Key) -> Level:
        """Rooms; the door at the world's edge; enemies and door at a distance from the player."""
        side, most = self.side, _ENEMIES[self.mode]
        room_key, enemy_key, word_key = keys.split(key, 3)
        player_word, door_word, count_word = keys.words(word_key, 3)
        lava = rooms(room_key, side, _SPLITS[self.mode])
        player = motion.cell_of(any_of(player_word, ~lava), side)
        count = 3 + keys.below(count_word, most - 2)
        enemy, stroll, phase, pause = _enemies(enemy_key, lava, player, most)
        pause = jnp.where(jnp.arange(most) < count, pause, 0).astype(jnp.uint8)
        return Level(lava, player, _door(door_word, lava, player), enemy, stroll, phase, pause)

    def edit(self, key: Key, level: Level) -> Level:
        """Moves the door or one enemy."""
        enemy_key, word_key = keys.split(key)
        choice, door_word, which = keys.words(word_key, 3)
        most = level.pause.shape[0]
        moves = choice >> 31 == 1
        this = (jnp.arange(most) == keys.below(which, (level.pause > 0).sum())) & moves
        new = _enemies(enemy_key, level.lava, level.player, most)
        old = level.enemy, level.stroll, level.phase, level.pause
        moved = jax.tree.map(lambda x, y: jax.vmap(jnp.where)(this, x, y), new, old)
        door = jnp.where(moves, level.door, _door(door_word, level.lava, level.player))
        return Level(level.lava, level.player, door, *moved)

    def begin(self, level: Level) -> World:
        """The player faces up, no ball flies."""
        most = level.pause.shape[0]
        zeros = jnp.zeros(_OWN + most, jnp.float32)
        row, column = level.player.astype(jnp.float32) + 0.5
        return World(
            level=level,
            time=jnp.int32(0),
            row=row,
            column=column,
            facing=jnp.uint8(UP),
            wait=jnp.uint8(0),
            alive=level.pause > 0,
            ball_row=zeros,
            ball_column=zeros,
            way=zeros.astype(jnp.uint8),
        )

    def advance(self, world: World, action: jax.Array) -> tuple[World, jax.Array, jax.Array]:
        """Moves the player, the balls and the enemies, in this order; then all hits and touches."""
        level, time = world.level, world.time + 1
        down, right = game.moves(action)
        row, column = world.row + SPEED * down, world.column + SPEED * right
        ahead = jnp.where(down > 0, DOWN, jnp.where(down < 0, UP, world.facing))
        facing = jnp.where(right > 0, RIGHT, jnp.where(right < 0, LEFT, ahead)).astype(jnp.uint8)
        throws = (action == game.FIRE) & (world.wait == 0)
        wait = jnp.where(throws, COOL_DOWN - 1, jnp.maximum(world.wait, 1) - 1).astype(jnp.uint8)
        ball_row, ball_column, way = _flown(world, throws, level.lava)
        enemy_row, enemy_column = apart(strollers(level, time))
        near = motion.meet(ball_row, ball_column, enemy_row, enemy_column, within=_STRIKE)
        hit = near[:_OWN] & world.alive & (way[:_OWN, None] > 0)  # [3, M]
        alive = world.alive & ~hit.any(axis=0)
        way = jnp.where(jnp.pad(hit.any(axis=1), (0, alive.shape[0])), 0, way)
        reward = 2 * jnp.sum(alive != world.alive)
        body = motion.meet(row[None], column[None], enemy_row, enemy_column, within=SIZE)[0] & alive
        struck = motion.meet(row[None], column[None], ball_row, ball_column, within=_STRIKE)[0]
        struck = struck[_OWN:] & (way[_OWN:] > 0)
        dead = motion.touches(level.lava, row, column, SIZE) | jnp.any(body | struck)
        door = level.door.astype(jnp.float32)[:, None] + 0.5
        there = motion.meet(row[None], column[None], *door, within=SIZE)[0, 0]
        won = there & ~alive.any() & ~dead
        thrown = _thrown(
            level, time, alive & (way[_OWN:] == 0), (enemy_row, enemy_column), (row, column)
        )
        put = lambda x, new: jnp.where(jnp.pad(thrown > 0, (_OWN, 0)), jnp.pad(new, (_OWN, 0)), x)  # noqa: E731
        world = world.replace(
            time=time,
            row=row,
            column=column,
            facing=facing,
            wait=wait,
            alive=alive,
            ball_row=put(ball_row, enemy_row),
            ball_column=put(ball_column, enemy_column),
            way=put(way, thrown),
        )
        return world, (reward + 10 * won).astype(jnp.float32), dead | won

    def scene(self, world: World) -> Scene:
        """Lava and the door as tiles, all else as sprites."""
        level = world.level
        cells = jnp.arange(level.lava.shape[0], dtype=jnp.uint8)
        door = (cells == level.door[0])[:, None] & (cells == level.door[1])
        shown = jnp.where(world.alive.any(), SHUT, OPEN).astype(jnp.uint8)
        tiles = jnp.where(door, shown, level.lava.astype(jnp.uint8))
        enemy_row, enemy_column = strollers(level, world.time)
        most = world.alive.shape[0]
        size = np.repeat([SIZE, BALL_SIZE, SIZE], [most, _OWN + most, 1]).astype(np.float32)
        ball = np.repeat([OWN, BALL], [_OWN, most]).astype(np.uint8)
        kind = jnp.concatenate(
            [
                jnp.where(world.alive, jnp.uint8(ENEMY), 0),
                jnp.where(world.way > 0, ball, jnp.uint8(0)),
                world.facing[None] + jnp.uint8(PLAYER - UP),
            ]
        )
        sprites = Sprites(
            jnp.concatenate([enemy_row, world.ball_row, world.row[None]]),
            jnp.concatenate([enemy_column, world.ball_column, world.column[None]]),
            jnp.asarray(size),
            kind,
        )
        half = [(x % 1 == 0).astype(jnp.float32) for x in (world.row, world.column)]
        gauges = jnp.stack([world.wait / jnp.float32(COOL_DOWN), *half])
        rest = {"sprites": sprites, "gauges": gauges}
        return self.seen(tiles, world.row, world.column, outside=LAVA, **rest)

    @staticmethod
    def atlas() -> np.ndarray:
        """Glowing rock, a door, two camps in orange and blue."""
        colours = {
            "r": (196, 58, 30),
            "y": (246, 150, 40),
            "d": (110, 74, 44),
            "g": (92, 200, 110),
            "e": (232, 120, 50),
            "k": (28, 28, 32),
            "w": (238, 238, 230),
            "b": (70, 130, 220),
            "c": (150, 200, 250),
        }
        ground = "........ " * 8
        lava = "rrrrrrrr rryrrrrr ryyrrryr rrrrryyr rrrrrrrr ryrrryrr yyrryyrr rrrrrrrr"
        shut = ".dddddd. .dkkkkd. .dkkkkd. .dkkkkd. .dkkykd. .dkkkkd. .dkkkkd. .dddddd."
        enemy = "..eeee.. .eeeeee. eekeekee eeeeeeee .eekkee. ..eeee.. .ee..ee. .kk..kk."
        ball = "........ ..yyyy.. .yyrryy. .yrryry. .yryrry. .yyrryy. ..yyyy.. ........"
        up = "...cc... ..cccc.. .bccccb. bbbbbbbb bbbbbbbb .bbbbbb. .bbbbbb. .kk..kk."
        player = [turned(up, quarters) for quarters in range(4)]
        own = ball.replace("y", "c").replace("r", "b")
        return atlas_of(
            (ground, lava, shut, shut.replace("k", "g"), enemy, ball, own, *player), colours
        )


def strollers(level: Level, time: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows and columns [M] float32 of the enemies' centres at a time."""
    ahead = time + level.phase.astype(jnp.float32)
    return motion.to_and_fro(level.enemy, level.stroll, ahead, speed=ENEMY_SPEED)


def _flown(
    world: World, throws: jax.Array, lava: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rows, columns and ways [3 + M] of the balls a step later, the player's new one too."""

    def with_new(balls: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.concatenate([motion.pushed(throws, balls[:_OWN], new), balls[_OWN:]])

    way = with_new(world.way, world.facing)
    speed = np.full(way.shape, BALL_SPEED, np.float32)
    speed[:_OWN] = OWN_SPEED
    down = (way == DOWN).astype(jnp.float32) - (way == UP)
    right = (way == RIGHT).astype(jnp.float32) - (way == LEFT)
    row = with_new(world.ball_row, world.row) + speed * down
    column = with_new(world.ball_column, world.column) + speed * right
    ends = motion.at(lava, row, column)
    return apart((row, column, jnp.where(ends, 0, way).astype(jnp.uint8)))


def _thrown(
    level: Level,
    time: jax.Array,
    can: jax.Array,
    enemy: tuple[jax.Array, jax.Array],
    player: tuple[jax.Array, jax.Array],
) -> jax.Array:
    """[M] uint8, the ways of the balls that enemies throw at this time; 0: none."""
    down, right = player[0] - enemy[0], player[1] - enemy[1]
    pause = jnp.maximum(level.pause, 1).astype(jnp.float32)
    due = motion.remainder(time + level.phase.astype(jnp.float32), pause) == 0
    upright = jnp.abs(down) > jnp.abs(right)
    way = jnp.where(upright, jnp.where(down > 0, DOWN, UP), jnp.where(right > 0, RIGHT, LEFT))
    return jnp.where(can & due, way, 0).astype(jnp.uint8)


def _away(lava: jax.Array, player: jax.Array, least: int) -> jax.Array:
    """[side, side] bool, free cells at least so many rows or columns from the player."""
    place = jnp.arange(lava.shape[0])
    row, column = (jnp.abs(place - x.astype(jnp.int32)) for x in player)
    return ~lava & (jnp.maximum(row[:, None], column) >= least)


def _door(word: jax.Array, lava: jax.Array, player: jax.Array) -> jax.Array:
    """[2] uint8, a cell along the world's edge, at least 6 cells from the player."""
    place = jnp.arange(lava.shape[0])
    edge = (place == 1) | (place == lava.shape[0] - 2)
    return motion.cell_of(
        any_of(word, _away(lava, player, 6) & (edge[:, None] | edge)), lava.shape[0]
    )


def _enemies(
    key: Key, lava: jax.Array, player: jax.Array, most: int
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Places, strolls, phases and pauses of enemies at least 7 cells from the player."""
    far = _away(lava, player, 7)
    words = jax.random.bits(key, (most, 5), jnp.uint32)
    enemy, stroll = jax.vmap(lambda w: motion.any_stroll(w, far, far, _STROLL))(words[:, :3])
    phase, pause = keys.below(words[:, 3], 64), 24 + keys.below(words[:, 4], 17)
    return enemy, stroll, phase.astype(jnp.uint8), pause.astype(jnp.uint8)

"""Heist: collect keys, open the doors of their colours, steal the gem (ProcGen's Heist).

Cobbe et al. 2020, https://arxiv.org/abs/1912.01588. Simplified: the thief moves from cell to cell,
not freely with a top speed of 0.75; doors stand on the one way from the thief to the gem, while the
original puts them at forks. The art is our own.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.procgen import game
from metarl.envs.procgen.mazes import kruskal, odd_size
from metarl.envs.procgen.scene import Scene, atlas_of
from metarl.envs.ways import ahead, break_wall, distances
from metarl.ops import keys
from metarl.ops.sampling import any_of
from metarl.types import Key

WALL, GEM, THIEF, DOOR, KEY = 1, 2, 3, 4, 7  # doors are kinds 4, 5, 6 and keys 7, 8, 9
COLOURS = 3
_GONE = -1


class World(struct.PyTreeNode):
    """One moment, and as a level its first; a cell is `row * side + column`."""

    walls: jax.Array  # [side, side] bool
    thief: jax.Array  # [] int32, cell
    gem: jax.Array  # [] int32, cell
    doors: jax.Array  # [3] int32, cells; -1: none, or opened
    keys: jax.Array  # [3] int32, cells; -1: none, or taken
    held: jax.Array  # [3] bool


@dataclass(frozen=True)
class Heist(game.Game):
    """A thief in a maze of 0 to 3 doors; 10 for the gem, which ends the episode; 1000 steps.

    Touching a key takes it; a door opens to who has the key of its colour, and else is a wall.
    Key `k` lies where doors `0 .. k - 1` lead. The world has 9 cells a side in easy mode, 13 in
    hard mode and 23 in memory mode, where 8 cells to all sides of the thief are seen. The gauges
    say which keys are held. Of a diagonal move only the part to a side counts.
    """

    kinds = (
        *("free", "wall", "gem", "thief"),
        *("red door", "green door", "blue door", "red key", "green key", "blue key"),
    )
    sides = {"easy": 9, "hard": 13, "memory": 23}
    signs = " #*@RGBrgb"
    gauges = ("red key", "green key", "blue key")
    horizon = dict.fromkeys(game.Game.modes, 1000)

    def generate(self, key: Key) -> World:
        """A maze, the gem in its farther half, doors along the way, each key before its door."""
        side = self.side
        maze_key, place_key, word_key = keys.split(key, 3)
        words = keys.words(word_key, 3 + COLOURS)
        walls = kruskal(maze_key, side, odd_size(words[0], 5, side))
        thief = any_of(words[1], ~walls)
        far = distances(~walls, thief).ravel()
        free = ~walls.ravel()
        deepest = jnp.max(jnp.where(free, far, 0))
        gem = any_of(words[2], free & (far >= deepest // 2) & (far > 0))
        doors = _doors(place_key, walls, gem, far)
        placed = jnp.full(COLOURS, _GONE, jnp.int32)
        cell = jnp.arange(side**2)
        for k in range(COLOURS):  # a key lies where the doors before its own lead
            shut = jnp.isin(cell, jnp.where(jnp.arange(COLOURS) >= k, doors, _GONE))
            reached = distances((free & ~shut).reshape(side, side), thief).ravel() < side**2
            taken = jnp.isin(cell, jnp.concatenate([placed, doors, jnp.stack([thief, gem])]))
            chosen = any_of(words[3 + k], free & reached & ~shut & ~taken)
            placed = placed.at[k].set(jnp.where(doors[k] < 0, _GONE, chosen))
        return World(walls, thief, gem, doors, placed, jnp.zeros(COLOURS, bool))

    def edit(self, key: Key, level: World) -> World:
        """Breaks a wall between two passages, which never closes a way."""
        return level.replace(walls=break_wall(keys.words(key, 1)[0], level.walls))

    def begin(self, level: World) -> World:
        """A level is the first moment of its episodes."""
        return level

    def advance(self, world: World, action: jax.Array) -> tuple[World, jax.Array, jax.Array]:
        """Moves the thief, who opens doors and takes what is touched."""
        height, width = world.walls.shape
        way = game.four_moves(action)
        target, _ = ahead(world.thief, *way, height=height, width=width)
        locked = jnp.any((world.doors == target) & ~world.held)
        blocked = world.walls.ravel().at[target].get(mode="promise_in_bounds") | locked
        thief = jnp.where(blocked, world.thief, target)
        found = thief == world.gem
        world = world.replace(
            thief=thief,
            doors=jnp.where(world.doors == thief, _GONE, world.doors),
            keys=jnp.where(world.keys == thief, _GONE, world.keys),
            held=world.held | (world.keys == thief),
        )
        return world, 10.0 * found.astype(jnp.float32), found

    def scene(self, world: World) -> Scene:
        """Everything as tiles; the keys held as gauges."""
        side = world.walls.shape[0]
        cell = jnp.arange(side**2).reshape(side, side)
        tiles = world.walls.astype(jnp.uint8)
        things = ((GEM, world.gem), *((DOOR + k, world.doors[k]) for k in range(COLOURS)))
        things += (*((KEY + k, world.keys[k]) for k in range(COLOURS)), (THIEF, world.thief))
        for kind, place in things:
            tiles = jnp.where(cell == place, jnp.uint8(kind), tiles)
        gauges = world.held.astype(jnp.float32)
        row, column = jnp.divmod(world.thief, side)
        return self.seen(tiles, row + 0.5, column + 0.5, outside=WALL, gauges=gauges)

    @staticmethod
    def atlas() -> np.ndarray:
        """Stones, a gem, a masked thief; doors and keys in three colours."""
        colours = {
            "s": (96, 98, 112),
            "d": (70, 72, 84),
            "c": (120, 230, 240),
            "w": (230, 255, 255),
            "k": (28, 28, 34),
            "f": (232, 190, 150),
            "y": (240, 220, 120),
            "1": (214, 70, 62),
            "2": (80, 180, 90),
            "3": (80, 120, 226),
        }
        ground = "........ " * 8
        wall = "sssdssss sssdssss dddddddd sssssssd sssssssd dddddddd sssdssss dddddddd"
        gem = "........ ..cccc.. .cwwccc. .cwcccc. ..cccc.. ...cc... ........ ........"
        thief = "..kkkk.. .kkkkkk. .ffffff. .kkffkk. .ffffff. ..ffff.. .kkkkkk. .kkkkkk."
        door = "x......x xxxxxxxx x.xxxx.x xxxxxxxx xxxyyxxx xxxxxxxx x.xxxx.x xxxxxxxx"
        key = "........ ..xx.... .x..x... .x..xxxx .x..x..x ..xx...x ........ ........"
        tinted = [art.replace("x", str(c)) for art in (door, key) for c in (1, 2, 3)]
        return atlas_of((ground, wall, gem, thief, *tinted), colours)


def _doors(key: Key, walls: jax.Array, gem: jax.Array, far: jax.Array) -> jax.Array:
    """[3] int32 cells of 0 to 3 doors on the way to the gem, the nearest first, -1 for none.

    Between two doors, and before the first, at least one cell stays for a key.

    Args:
      key: consumed.
      walls: [side, side] bool of a perfect maze.
      gem: [] int32, cell.
      far: [cells] int32, moves from the thief.
    """
    cells = far.shape[0]
    count_key, order_key = keys.split(key)
    length = far.at[gem].get(mode="promise_in_bounds")  # doors may stand at steps 2 .. length - 1
    wanted = keys.below(keys.words(count_key, 1)[0], COLOURS + 1)
    count = jnp.minimum(wanted, jnp.maximum(length - 1, 0) // 2)
    # `count` of the numbers below `slots`, then stretched apart: steps with one between any two.
    slots = length - 2 - (count - 1)
    score = keys.shuffled(order_key, cells) + jnp.where(jnp.arange(cells) < slots, 0, cells)
    rank = jnp.argsort(jnp.argsort(score))
    chosen = jnp.nonzero(rank < count, size=COLOURS, fill_value=cells)[0]  # rising
    step = jnp.where(chosen < cells, 2 + chosen + jnp.arange(COLOURS), -1)
    on_way = far + distances(~walls, gem).ravel() == length
    here = on_way & (far == step[:, None])  # [3, cells], one cell each
    return jnp.where(step > 0, jnp.argmax(here, axis=1), _GONE).astype(jnp.int32)

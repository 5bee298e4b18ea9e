"""Maze: find the cheese, one cell at a time (ProcGen's Maze, Cobbe et al. 2020).

Simplified: nothing. Mazes are Kruskal's, of a random odd size up to the world's; the mouse starts
in a corner, the cheese lies in any other room or passage. The art is our own.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.procgen import game
from metarl.envs.procgen.mazes import kruskal, odd_size
from metarl.envs.procgen.scene import Scene, atlas_of
from metarl.envs.ways import ahead, break_wall
from metarl.ops import keys
from metarl.ops.sampling import any_of
from metarl.types import Key

WALL, CHEESE, MOUSE = 1, 2, 3


class World(struct.PyTreeNode):
    """One moment, and as a level its first; a cell is `row * side + column`."""

    walls: jax.Array  # [side, side] bool
    mouse: jax.Array  # [] int32, cell
    cheese: jax.Array  # [] int32, cell


@dataclass(frozen=True)
class Maze(game.Game):
    """A mouse in a maze; 10 for the cheese, which ends the episode; 500 steps.

    The world has 15 cells a side in easy mode, 25 in hard mode, 31 in memory mode, where 8 cells to
    all sides of the mouse are seen. A move into a wall does nothing; of a diagonal move only the
    part to a side counts.
    """

    kinds = ("free", "wall", "cheese", "mouse")
    sides = {"easy": 15, "hard": 25, "memory": 31}
    signs = " #*@"

    def generate(self, key: Key) -> World:
        """A maze of random size with both somewhere in it."""
        side = self.side
        maze_key, word_key = keys.split(key)
        size_word, corner_word, cheese_word = keys.words(word_key, 3)
        size = odd_size(size_word, 3, side)
        walls = kruskal(maze_key, side, size)
        near, far = (side - size) // 2, (side + size) // 2 - 1
        corner = keys.below(corner_word, 4)
        row, column = jnp.where(corner // 2, far, near), jnp.where(corner % 2, far, near)
        mouse = (row * side + column).astype(jnp.int32)
        free = ~walls.ravel() & (jnp.arange(side**2) != mouse)
        return World(walls, mouse, any_of(cheese_word, free))

    def edit(self, key: Key, level: World) -> World:
        """Breaks a wall between two passages, or moves the cheese, each half of the times."""
        choice, wall_word, cheese_word = keys.words(key, 3)
        place = ~level.walls.ravel() & (jnp.arange(level.walls.size) != level.mouse)
        moves = choice >> 31 == 1
        return World(
            walls=jnp.where(moves, level.walls, break_wall(wall_word, level.walls)),
            mouse=level.mouse,
            cheese=jnp.where(moves, any_of(cheese_word, place), level.cheese),
        )

    def begin(self, level: World) -> World:
        """A level is the first moment of its episodes."""
        return level

    def advance(self, world: World, action: jax.Array) -> tuple[World, jax.Array, jax.Array]:
        """Moves the mouse."""
        height, width = world.walls.shape
        way = game.four_moves(action)
        target, _ = ahead(world.mouse, *way, height=height, width=width)
        blocked = world.walls.ravel().at[target].get(mode="promise_in_bounds")
        mouse = jnp.where(blocked, world.mouse, target)
        found = mouse == world.cheese
        return world.replace(mouse=mouse), 10.0 * found.astype(jnp.float32), found

    def scene(self, world: World) -> Scene:
        """Walls, cheese and mouse as tiles."""
        side = world.walls.shape[0]
        cell = jnp.arange(side**2).reshape(side, side)
        tiles = jnp.where(cell == world.cheese, CHEESE, world.walls.astype(jnp.uint8))
        tiles = jnp.where(cell == world.mouse, MOUSE, tiles).astype(jnp.uint8)
        row, column = jnp.divmod(world.mouse, side)
        return self.seen(tiles, row + 0.5, column + 0.5, outside=WALL)

    @staticmethod
    def atlas() -> np.ndarray:
        """Bricks, a wedge of cheese, a mouse from above."""
        colours = {
            "b": (120, 84, 70),
            "m": (84, 58, 50),
            "y": (240, 200, 70),
            "o": (200, 150, 40),
            "g": (170, 172, 180),
            "p": (230, 150, 160),
            "k": (30, 30, 34),
        }
        ground = "........ " * 8
        wall = "bbbmbbbb bbbmbbbb bbbmbbbb mmmmmmmm bbbbbbbm bbbbbbbm bbbbbbbm mmmmmmmm"
        cheese = "........ .....yy. ...yyyy. ..yyoyy. .yyyyyy. yyoyyyoy yyyyyyyy ........"
        mouse = "........ .p....p. .pggggp. ..gkgk.. ..gggg.. ..gppg.. ...gg... ...p...."
        return atlas_of((ground, wall, cheese, mouse), colours)

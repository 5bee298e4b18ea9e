"""BigFish: eat what is smaller, flee from what is larger (ProcGen's BigFish, Cobbe et al. 2020).

The numbers are those of ProcGen's source. Simplified: a fish comes at a random one of every ten
steps, not with chance a tenth at each; all other fish are three quarters as high as they are long,
where the original's vary (planes mark squares); whether one may be eaten is seen, which in the
original its size alone tells. The original has no memory mode; here it is a larger sea with faster
fish, of which six cells to all sides are seen.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.procgen import game
from metarl.envs.procgen.scene import Scene, Sprites, atlas_of, mirrored
from metarl.ops import keys
from metarl.types import Key

SMALL, LARGE, SELF = 1, 3, 5  # kinds, left first
QUOTA = 30  # fish
_LEAST, _MOST = 0.25, 2.0  # half sides in cells
_HEIGHT = 0.75  # of other fish, of their length; the original's is that of its pictures


@dataclass(frozen=True)
class Size:
    """What the modes differ in."""

    side: int  # cells of a side of the sea
    start: float  # half the player's side
    every: int  # steps in which one fish comes
    slots: int  # a fish has left, at the latest, when its slot is needed again
    speed: tuple[float, float]  # cells a step


_SIZES = {
    "easy": Size(20, 1.0, 10, 17, (0.15, 0.4)),
    "hard": Size(20, 0.5, 10, 17, (0.15, 0.4)),
    "memory": Size(30, 0.5, 6, 24, (0.25, 0.4)),
}


class Level(struct.PyTreeNode):
    """What decides which fish come, and where the player starts."""

    seeds: jax.Array  # [M] uint32, of the fish in each slot
    start: jax.Array  # [] float32, column


class Shoal(struct.PyTreeNode):
    """The fish in `M` slots; positions are of centres, in cells."""

    row: jax.Array  # [M] float32
    column: jax.Array  # [M] float32
    speed: jax.Array  # [M] float32, cells a step, positive to the right
    size: jax.Array  # [M] float32, half a side in cells; 0: no fish


class World(struct.PyTreeNode):
    """One moment."""

    seeds: jax.Array  # [M] uint32
    fish: Shoal
    row: jax.Array  # [] float32, of the player
    column: jax.Array  # [] float32
    pace: jax.Array  # [2] float32, cells down and right a step
    eaten: jax.Array  # [] int32
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class BigFish(game.Game):
    """A fish that eats its way up; 6000 steps.

    To touch a fish of its own size or less is to eat it: 1, and the player grows. To touch a larger
    one is death. With 30 eaten there are 10 more, and the episode ends. Fish swim across, straight,
    from either side. The player moves in eight directions, soon at 0.41 cells a step, and cannot
    leave the sea, which has 20 cells a side, 30 in memory mode. It starts 2 cells high in easy mode
    and 1 otherwise; with its meal over it would be 4. Gauge: its size.
    """

    kinds = ("sea", "smaller left", "smaller right", "larger left", "larger right", "self")
    sides = {mode: size.side for mode, size in _SIZES.items()}
    radius = 6
    signs = " <>{}@"
    gauges = ("size",)
    horizon = dict.fromkeys(game.Game.modes, 6000)

    @property
    def size(self) -> Size:
        """What this mode sets."""
        return _SIZES[self.mode]

    def generate(self, key: Key) -> Level:
        """Random seeds for all slots, and the player anywhere near the floor."""
        seed_key, start_key = keys.split(key)
        seeds = jax.random.bits(seed_key, (self.size.slots,), jnp.uint32)
        return Level(seeds, self._start(keys.words(start_key, 1)[0]))

    def edit(self, key: Key, level: Level) -> Level:
        """Other fish in one slot, or another start, each half of the times."""
        choice, slot_word, seed, start = keys.words(key, 4)
        slots = jnp.arange(self.size.slots)
        moved = choice >> 31 == 1
        here = (slots == keys.below(slot_word, self.size.slots)) & ~moved
        return Level(
            seeds=jnp.where(here, seed, level.seeds),
            start=jnp.where(moved, self._start(start), level.start),
        )

    def begin(self, level: Level) -> World:
        """The player alone in the sea, one cell above the floor."""
        none = jnp.zeros(self.size.slots)
        row = jnp.float32(self.side - 1 - self.size.start)
        zero = jnp.int32(0)
        shoal = Shoal(none, none, none, none)
        return World(level.seeds, shoal, row, level.start, jnp.zeros(2), zero, zero)

    def advance(self, world: World, action: jax.Array) -> tuple[World, jax.Array, jax.Array]:
        """Moves all, lets the player eat or be eaten, then a fish may come."""
        side, own = self.side, self.girth(world)
        pace = 0.45 * world.pace + 0.225 * jnp.stack(game.moves(action))
        ahead = jnp.stack([world.row, world.column]) + pace
        row, column = at = jnp.clip(ahead, own, side - own)
        pace = jnp.where(at == ahead, pace, 0)
        fish = world.fish
        fish = fish.replace(column=fish.column + fish.speed)
        touches = jnp.abs(fish.row - row) < own + _HEIGHT * fish.size
        touches &= jnp.abs(fish.column - column) < own + fish.size
        touches &= fish.size > 0
        meal = touches & (fish.size <= own)
        died = jnp.any(touches & ~meal)
        count = jnp.sum(meal, dtype=jnp.int32)
        eaten = world.eaten + count
        full = (eaten >= QUOTA) & ~died
        gone = meal | (fish.column < -fish.size) | (fish.column > side + fish.size)
        fish = fish.replace(size=jnp.where(gone, 0, fish.size))
        fish = self._joined(fish, world.seeds, world.time)
        world = World(world.seeds, fish, row, column, pace, eaten, world.time + 1)
        return world, count.astype(jnp.float32) + 10.0 * full, full | died

    def girth(self, world: World) -> jax.Array:
        """[] float32, half the player's side in cells."""
        start = self.size.start
        return start + world.eaten.astype(jnp.float32) * ((_MOST - start) / QUOTA)

    def scene(self, world: World) -> Scene:
        """Sprites in an empty sea."""
        side, own, fish = self.side, self.girth(world), world.fish
        kind = jnp.where(fish.size <= own, SMALL, LARGE) + (fish.speed > 0)
        kind = jnp.where(fish.size > 0, kind, 0)
        sprites = Sprites(
            row=jnp.append(fish.row, world.row),
            column=jnp.append(fish.column, world.column),
            size=2 * jnp.append(jnp.where(fish.size > 0, fish.size, 1.0), own),
            kind=jnp.append(kind, SELF).astype(jnp.uint8),
        )
        sea = jnp.zeros((side, side), jnp.uint8)
        more = {"sprites": sprites, "gauges": own[None] / _MOST}
        return self.seen(sea, world.row, world.column, outside=0, **more)

    @staticmethod
    def atlas() -> np.ndarray:
        """Fish of three colours, from the side."""
        fish = "........ f...ff.. ff.ffff. .fffffef .fffffff ff.fffl. f...ff.. ........"
        colours = {
            "g": (110, 210, 120),
            "r": (226, 96, 76),
            "y": (250, 200, 60),
            "e": (16, 20, 30),
            "l": (240, 240, 240),
        }
        green, red, yellow = (fish.replace("f", colour) for colour in "gry")
        art = ("........ " * 8, mirrored(green), green, mirrored(red), red, yellow)
        return atlas_of(art, colours, ground=(30, 70, 120))

    def _start(self, word: jax.Array) -> jax.Array:
        size = self.size
        return size.start + keys.unit(word) * (size.side - 2 * size.start)

    def _joined(self, fish: Shoal, seeds: jax.Array, time: jax.Array) -> Shoal:
        """The shoal and, if it is time, the fish that these steps bring."""
        size = self.size
        turn = time // size.every
        here = jnp.arange(size.slots) == turn % size.slots
        seed = jnp.sum(jnp.where(here, seeds, 0), dtype=jnp.uint32)
        counter = 2 * turn.astype(jnp.uint32)
        when, girth = keys.threefry(seed, jnp.uint32(0), counter)
        row, speed = keys.threefry(seed, jnp.uint32(0), counter + 1)
        here &= time % size.every == keys.below(when, size.every)
        half = _LEAST + (_MOST - _LEAST) * keys.unit(girth) ** 1.4
        pace = size.speed[0] + keys.unit(speed) * (size.speed[1] - size.speed[0])
        right = speed & 1 == 1
        return Shoal(
            row=jnp.where(here, half + keys.unit(row) * (size.side - 2 * half), fish.row),
            column=jnp.where(here, jnp.where(right, -half, size.side + half), fish.column),
            speed=jnp.where(here, jnp.where(right, pace, -pace), fish.speed),
            size=jnp.where(here, half, fish.size),
        )

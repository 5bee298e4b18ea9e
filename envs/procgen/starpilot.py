"""StarPilot: fly, shoot what comes, and reach the end of the level (ProcGen's StarPilot).

Cobbe et al. 2020, https://arxiv.org/abs/1912.01588. Simplified: every enemy falls to one hit; no
clouds hide anything; meteors cannot be shot; the level ends after a number of steps instead of at
a finishing line. The original has no memory mode: here its world is twice as high and wide and only
the ship's surroundings are seen. The art is our own.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.procgen import game
from metarl.envs.procgen.motion import meet
from metarl.envs.procgen.scene import Scene, Sprites, atlas_of
from metarl.ops import keys
from metarl.types import Key

SHIP, SHOT, FLYER, RACER, TURRET, METEOR, BULLET = range(1, 8)
COOL_DOWN = 4  # steps from shot to shot
_SPEED = np.array([0, 0, 0, 0.25, 0.5, 0.1875, 0.25, 0.5], np.float32)  # by kind, to the left
_SIZE = np.array([1, 1, 0.5, 1, 1, 1, 2, 0.5], np.float32)  # by kind, sides in cells
_SHIP_SPEED, _SHOT_SPEED = 0.5, 1.0  # cells a step
_SHOTS = 6  # slots: a shot crosses 16 cells before the seventh can be fired, 32 cells are cut short


class Setting(NamedTuple):
    """A mode's sizes."""

    side: int  # cells
    slots: int  # for enemies: more than come while the slowest crosses the world
    period: int  # steps from enemy to enemy
    reload: int  # steps from enemy bullet to enemy bullet
    steps: int  # until the end


SETTINGS = {
    "easy": Setting(16, 10, 8, 12, 240),
    "hard": Setting(16, 18, 5, 8, 320),
    "memory": Setting(32, 36, 5, 6, 400),
}


class Level(struct.PyTreeNode):
    """What comes when, as the random words that it is drawn from."""

    words: jax.Array  # [2, 2] uint32, of the first half of the steps and of the second


class Things(struct.PyTreeNode):
    """`M` enemies or bullets in slots."""

    row: jax.Array  # [M] float32, of the centre
    column: jax.Array  # [M] float32
    kind: jax.Array  # [M] uint8, 0: none


class World(struct.PyTreeNode):
    """One moment."""

    level: Level
    ship: jax.Array  # [2] float32, row and column of the centre
    enemies: Things  # [M]
    bullets: Things  # [B], the enemies'
    drift: jax.Array  # [B] float32, rows that a bullet moves in a step
    shots: Things  # [S], the ship's
    heat: jax.Array  # [] int32, steps until it can fire again
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class StarPilot(game.Game):
    """A ship among enemies; 1 for each one shot, 10 for reaching the end, which ends the episode.

    Enemies enter at the right and fly to the left: flyers, and in hard and memory mode also racers,
    twice as fast, turrets, whose bullets aim at the ship, and meteors, twice as big and not to be
    shot. Whatever touches the ship ends the episode. Action 9 fires to the right, every 4 steps at
    most. The end comes after 240 steps in easy mode, 320 in hard mode, both in a world of 16 by 16
    cells, and 400 in memory mode, in a world of 32 by 32 of which 8 cells to all sides are seen.
    Gauges: the part of the way that is done, and whether the ship can fire.
    """

    kinds = ("space", "ship", "shot", "flyer", "racer", "turret", "meteor", "bullet")
    sides = {mode: setting.side for mode, setting in SETTINGS.items()}
    signs = " >-fFTO*"
    gauges = ("way done", "ready to fire")
    horizon = dict.fromkeys(game.Game.modes, 1000)

    def generate(self, key: Key) -> Level:
        """Two random schedules, one after the other."""
        return Level(jnp.stack(keys.words(key, 4)).reshape(2, 2))

    def edit(self, key: Key, level: Level) -> Level:
        """Another second half."""
        return Level(level.words.at[1].set(jnp.stack(keys.words(key, 2))))

    def begin(self, level: Level) -> World:
        """The ship alone, at the left."""
        side, slots = SETTINGS[self.mode][:2]
        ship = jnp.array([side / 2, 2.5], jnp.float32)
        bullets = _nothing(8)
        return World(
            level=level,
            ship=ship,
            enemies=_nothing(slots),
            bullets=bullets,
            drift=jnp.zeros_like(bullets.row),
            shots=_nothing(_SHOTS),
            heat=jnp.int32(0),
            time=jnp.int32(0),
        )

    def advance(self, world: World, action: jax.Array) -> tuple[World, jax.Array, jax.Array]:
        """Everything moves, then enters; then shots hit enemies, and enemies the ship."""
        setting = SETTINGS[self.mode]
        down, right = game.moves(action)
        ship = world.ship + _SHIP_SPEED * jnp.stack([down, right])
        ship = jnp.clip(ship, 0.5, setting.side - 0.5)
        fires = (action == game.FIRE) & (world.heat == 0)
        shots = _moved(world.shots, 0.0, _SHOT_SPEED, setting.side)
        shots = _put(shots, world.time // COOL_DOWN % _SHOTS, ship[0], ship[1] + 0.5, SHOT, fires)
        enemies = _moved(world.enemies, 0.0, -_at(_SPEED, world.enemies.kind), setting.side)
        bullets = _moved(world.bullets, world.drift, -_SPEED[BULLET], setting.side)
        enemies, bullets, drift = self._enter(world, enemies, bullets)
        size = _at(_SIZE, enemies.kind)
        hits = meet(shots.row, shots.column, enemies.row, enemies.column, within=(size + 0.6) / 2)
        hits &= (shots.kind > 0)[:, None] & (enemies.kind > 0)
        shot = hits.any(axis=0) & (enemies.kind != METEOR)
        alive = jnp.where(shot, jnp.uint8(0), enemies.kind)
        near = meet(ship[:1], ship[1:], enemies.row, enemies.column, within=(size + 0.5) / 2)[0]
        struck = meet(ship[:1], ship[1:], bullets.row, bullets.column, within=0.5)[0]
        touched = jnp.any(near & (alive > 0)) | jnp.any(struck & (bullets.kind > 0))
        time = world.time + 1
        done = ~touched & (time >= setting.steps)
        world = World(
            level=world.level,
            ship=ship,
            enemies=enemies.replace(kind=alive),
            bullets=bullets,
            drift=drift,
            shots=shots.replace(kind=jnp.where(hits.any(axis=1), jnp.uint8(0), shots.kind)),
            heat=jnp.where(fires, COOL_DOWN - 1, jnp.maximum(world.heat - 1, 0)),
            time=time,
        )
        reward = jnp.sum(shot, dtype=jnp.float32) + 10.0 * done
        return world, reward, touched | done

    def scene(self, world: World) -> Scene:
        """Empty space with sprites."""
        setting = SETTINGS[self.mode]
        ship = Things(world.ship[:1], world.ship[1:], jnp.full(1, SHIP, jnp.uint8))
        parts = (world.enemies, world.bullets, world.shots, ship)
        all_: Things = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
        sprites = Sprites(all_.row, all_.column, _at(_SIZE, all_.kind), all_.kind)
        ready = (world.heat == 0).astype(jnp.float32)
        gauges = jnp.stack([world.time / setting.steps, ready])
        tiles = jnp.zeros((setting.side, setting.side), jnp.uint8)
        return self.seen(tiles, *world.ship, outside=0, sprites=sprites, gauges=gauges)

    def _enter(
        self, world: World, enemies: Things, bullets: Things
    ) -> tuple[Things, Things, jax.Array]:
        """A new enemy and a new bullet, where it is time for one; and the bullets' drift."""
        setting = SETTINGS[self.mode]
        half = jnp.where(2 * world.time < setting.steps, 0, 1)
        seed = world.level.words[half]
        place, what = keys.threefry(seed[0], seed[1], world.time.astype(jnp.uint32))
        kind = _kind(what >> 16) if self.mode != "easy" else jnp.uint8(FLYER)
        row = 1 + (setting.side - 2) * keys.unit(place)
        comes = (world.time % setting.period == 0) & (world.time < setting.steps - 60)
        slot = world.time // setting.period % setting.slots
        enemies = _put(enemies, slot, row, jnp.float32(setting.side + 0.5), kind, comes)
        shooter = keys.below(keys.mix(what), setting.slots)
        from_row, from_column, from_kind = (x[shooter] for x in jax.tree.leaves(enemies))
        fires = (world.time % setting.reload == 0) & (from_kind > 0) & (from_kind != METEOR)
        fires &= from_column > world.ship[1] + 5  # never from so near that nobody could dodge
        steps = jnp.maximum(from_column - world.ship[1], 1) / _SPEED[BULLET]
        aimed = jnp.clip((world.ship[0] - from_row) / steps, -0.25, 0.25)
        slot = world.time // setting.reload % bullets.row.shape[0]
        drift = jnp.where(from_kind == TURRET, aimed, 0.0)
        here = (jnp.arange(bullets.row.shape[0]) == slot) & fires
        bullets = _put(bullets, slot, from_row, from_column - 0.5, BULLET, fires)
        return enemies, bullets, jnp.where(here, drift, world.drift)

    @staticmethod
    def atlas() -> np.ndarray:
        """A rocket, its enemies, stones and what flies between them."""
        colours = {
            "w": (225, 230, 240),
            "b": (90, 150, 240),
            "o": (250, 160, 60),
            "g": (110, 200, 120),
            "d": (60, 120, 70),
            "r": (230, 80, 80),
            "m": (150, 50, 60),
            "p": (180, 120, 230),
            "k": (40, 40, 50),
            "s": (128, 122, 116),
            "t": (98, 92, 88),
            "y": (250, 235, 120),
        }
        space = "........ " * 8
        ship = "........ owww.... obwwww.. oowwwbww oowwwbww obwwww.. owww.... ........"
        shot = "........ ........ ........ yyyyyyyy yyyyyyyy ........ ........ ........"
        flyer = "........ ....ggg. ..gggdg. .gkggggg .gkggggg ..gggdg. ....ggg. ........"
        racer = "........ .....rrr ...rrrm. rrkrrrrr rrkrrrrr ...rrrm. .....rrr ........"
        turret = "...pp... ...pp... ppppp... kkpppp.. ..pppppp .pppppp. pppppppp pppppppp"
        meteor = "..ssss.. .sssstt. sstsssst ssssstst stssssst sssstsst .tsssst. ..tttt.."
        bullet = "........ ..rrrr.. .rroorr. .royyor. .royyor. .rroorr. ..rrrr.. ........"
        arts = (space, ship, shot, flyer, racer, turret, meteor, bullet)
        return atlas_of(arts, colours, ground=(14, 15, 28))


def _kind(word: jax.Array) -> jax.Array:
    """Of ten enemies five are flyers, two racers, two turrets and one is a meteor, uint8."""
    tenth = keys.below(word << 16, 10)
    late = jnp.where(tenth < 7, RACER, jnp.where(tenth < 9, TURRET, METEOR))
    return jnp.where(tenth < 5, FLYER, late).astype(jnp.uint8)


def _nothing(slots: int) -> Things:
    empty = jnp.zeros(slots, jnp.float32)
    return Things(empty, empty, jnp.zeros(slots, jnp.uint8))


def _at(table: np.ndarray, kind: jax.Array) -> jax.Array:
    """[M] float32, a kind's entry."""
    return jnp.asarray(table).at[kind].get(mode="promise_in_bounds")


def _moved(things: Things, down: jax.Array | float, right: jax.Array | float, side: int) -> Things:
    """Moved by so many cells; gone where they have left the world."""
    row, column = things.row + down, things.column + right
    there = (column > -1) & (column < side + 1) & (row > -1) & (row < side + 1)
    return Things(row, column, jnp.where(there, things.kind, jnp.uint8(0)))


def _put(
    things: Things,
    slot: jax.Array,
    row: jax.Array,
    column: jax.Array,
    kind: jax.Array | int,
    when: jax.Array,
) -> Things:
    """With a thing in a slot, if `when`."""
    here = (jnp.arange(things.row.shape[0]) == slot) & when
    new = (row, column, jnp.asarray(kind, jnp.uint8))
    return Things(
        *(jnp.where(here, n, old) for n, old in zip(new, jax.tree.leaves(things), strict=True))
    )

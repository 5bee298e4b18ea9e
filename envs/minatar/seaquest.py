"""Seaquest of MinAtar: shoot fish and submarines, fetch divers, and come up for air in time.

Young & Tian 2019, https://arxiv.org/abs/1903.03176, equal step for step to the authors' package
1.0.15, which was run as a reference. The differences are those of all five games, see
`metarl.envs.minatar.common`. Followed as released: bringing in six divers leaves the counter at -1,
so that the boat may come up without a diver, again and again, until it has fetched one.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.drawing import Colour
from metarl.envs.minatar import boards
from metarl.envs.minatar import seaquest_slots as slots
from metarl.envs.minatar.common import RampingGame, RampingParams, shown
from metarl.envs.minatar.seaquest_slots import CREW, Drifters, Enemies
from metarl.ops import keys
from metarl.ops.control import apart
from metarl.types import Key, TimeStep

AIR = 200  # oxygen of a full tank
_GUN, _DIVER_EVERY = 5, 30  # steps


class State(struct.PyTreeNode):
    """One episode in progress. Rows count downwards from the surface, columns to the right."""

    x: jax.Array  # [] uint8, the boat's column
    y: jax.Array  # [] uint8, its row, 0 to 8
    right: jax.Array  # [] bool, which way it faces
    oxygen: jax.Array  # [] int32
    crew: jax.Array  # [] int32, divers on board
    up: jax.Array  # [] bool, at the surface since a step before
    gun: jax.Array  # [] uint8, steps until the boat can shoot
    next_enemy: jax.Array  # [] uint8, steps until one comes
    next_diver: jax.Array  # [] uint8, steps until one comes
    ramps: jax.Array  # [] uint8, how often the game became faster, 0 to 19
    enemies: Enemies
    divers: Drifters
    bullets: Drifters
    enemy: jax.Array  # [] uint8, the slot of the last enemy to come
    diver: jax.Array  # [] uint8, the slot of the last diver to come
    bullet: jax.Array  # [] uint8, the slot of the boat's last bullet
    last: jax.Array  # [] uint8, action played last
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Seaquest(RampingGame):
    """A boat under water among fish, enemy submarines and divers, with a tank of air.

    The boat moves one cell in four directions, or shoots the way it faces, at most every 5 steps.
    Every 20 steps an enemy enters at either side in a random row, unless one that goes the other
    way is in that row: a submarine with probability 1/3, which shoots every 11 steps, or a fish.
    Every 30 steps a diver enters; one whom the boat meets comes on board, where there is room for
    six. Enemies move every 6 steps, divers too, bullets every step. Shooting an enemy gives 1.

    Meeting an enemy or its bullet ends the game, and so does a lack of oxygen, of which a step
    below the surface takes 1 of 200, and coming up without a diver. Coming up with one to five
    costs a diver and fills the tank; with six it pays the tenths of the tank that are left, at
    most 10, and takes all. Each time the game becomes faster: enemies come one step sooner, down
    to every step, and every second time they move one step sooner, down to every 3 steps.

    Actions: nothing, left, up, right, down, shoot. Planes: boat, its stern, its bullet, trail
    (where fish, submarine or diver came from), enemy bullet, fish, enemy submarine, oxygen gauge,
    diver gauge, diver. Params: `max_steps` (endless), `sticky` (0.1), `ramping` (on).
    """

    keys_used: ClassVar[str] = "nlurdf"
    planes: ClassVar[dict[str, tuple[str, Colour]]] = {
        "sub_front": ("@", (245, 215, 90)),
        "sub_back": ("=", (185, 150, 50)),
        "friendly_bullet": ("-", (250, 250, 250)),
        "trail": ("'", (70, 80, 110)),
        "enemy_bullet": ("*", (240, 120, 90)),
        "enemy_fish": ("f", (110, 190, 110)),
        "enemy_sub": ("s", (205, 80, 80)),
        "oxygen_gauge": ("o", (120, 200, 240)),
        "diver_gauge": ("d", (160, 120, 220)),
        "diver": ("D", (200, 150, 250)),
    }

    def reset(self, key: Key, params: RampingParams) -> tuple[State, TimeStep]:
        """The boat at the surface and nobody else. The key is not used."""
        zero = jnp.uint8(0)
        state = State(
            x=jnp.uint8(5),
            y=zero,
            right=jnp.bool_(False),
            oxygen=jnp.int32(AIR),
            crew=jnp.int32(0),
            up=jnp.bool_(True),
            gun=zero,
            next_enemy=jnp.uint8(20),
            next_diver=jnp.uint8(_DIVER_EVERY),
            ramps=zero,
            enemies=slots.no_enemies(),
            divers=slots.no_drifters(slots.DIVERS),
            bullets=slots.no_drifters(slots.BULLETS),
            enemy=zero,
            diver=zero,
            bullet=zero,
            last=zero,
            time=jnp.int32(0),
        )
        return state, self.first(state, params)

    def step(
        self, key: Key, state: State, action: jax.Array, params: RampingParams
    ) -> tuple[State, TimeStep]:
        """Everybody moves, the boat first. The key is consumed."""
        kind, word = keys.words(key, 2)
        played = self.played(word, state.last, action, params)  # by the word's upper 24 bits
        state = self._steer(_arrive(state, keys.below(kind, 3) == 0, word), played)
        age = slots.ages(state.enemy)
        # A bullet that flies into several enemies takes a fish first, and the first that came.
        enemies, bullets = state.enemies, slots.fly(state.bullets)
        order = 32 * (~enemies.armed).astype(jnp.uint8) + age
        enemies, bullets, shot = slots.hit(enemies, bullets, slots.there(enemies), order)
        room = CREW - state.crew
        divers, aboard = slots.swim(state.divers, state.diver, state.x, state.y, room)
        enemies, moved, dies = slots.advance(enemies, _pace(state.ramps), state.x, state.y)
        # Of several that move into a bullet it takes a submarine first, and the last that came.
        order = 32 * enemies.armed.astype(jnp.uint8) + (slots.ENEMIES - 1) - age
        enemies, bullets, ran_into = slots.hit(enemies, bullets, moved, order)
        state = state.replace(
            enemies=enemies,
            bullets=bullets,
            divers=divers,
            crew=state.crew + aboard,
            last=played,
            time=state.time + 1,
        )
        state, paid, drowns = _breathe(state, params)
        return state, self.timestep(state, params, shot + ran_into + paid, dies | drowns)

    def observe(self, state: State, params: RampingParams) -> tuple[jax.Array, None]:
        """The planes."""
        del params
        enemies, divers, bullets = state.enemies, state.divers, state.bullets
        alive, drift = slots.there(enemies), slots.there(divers)
        wake, trail = enemies.x - slots.way(enemies), divers.x - slots.way(divers)
        front = 10 * state.y + state.x
        air = 90 + (jnp.maximum(state.oxygen, 0) * 10 // AIR).astype(jnp.uint8)
        seats = 99 - jnp.clip(state.crew, 0, CREW).astype(jnp.uint8)
        planes = (
            boards.spot(front),
            boards.spot(front + jnp.where(state.right, np.uint8(255), np.uint8(1))),
            slots.spots(bullets.x, bullets.row, slots.there(bullets)),
            apart(
                slots.plane(wake, enemies.row, alive & (wake < 10))
                | slots.spots(trail, divers.row, drift & (trail < 10))
            ),
            slots.plane(enemies.shot, enemies.row, enemies.shot < 10),
            slots.plane(enemies.x, enemies.row, alive & ~enemies.armed),
            slots.plane(enemies.x, enemies.row, alive & enemies.armed),
            boards.run(jnp.uint8(90), air),
            boards.run(seats, jnp.uint8(99)),
            slots.spots(divers.x, divers.row, drift),
        )
        return shown(planes), None

    def _steer(self, state: State, played: jax.Array) -> State:
        """Moves the boat or shoots."""
        left, up, right, down, fire = (self.pressed(played, letter) for letter in "lurdf")
        x = jnp.clip(state.x.astype(jnp.int8) + right - left, 0, 9).astype(jnp.uint8)
        y = jnp.clip(state.y.astype(jnp.int8) + down - up, 0, 8).astype(jnp.uint8)
        facing = (state.right | right) & ~left
        fires = fire & (state.gun == 0)
        slot = (state.bullet + fires) % slots.BULLETS
        here = fires & (np.arange(slots.BULLETS) == slot)
        return state.replace(
            x=x,
            y=y,
            right=facing,
            gun=jnp.where(fires, np.uint8(_GUN), state.gun),
            bullets=slots.put(state.bullets, here, Drifters(x, y, facing, jnp.uint8(0))),
            bullet=slot,
        )


def _arrive(state: State, armed: jax.Array, word: jax.Array) -> State:
    """Who enters; at which side and in which row say the lowest eight bits of `word`."""
    right, diver_right = (word & 1) == 1, (word & 16) == 16
    row, diver_row = (1 + ((word >> shift) & 7).astype(jnp.uint8) for shift in (1, 5))
    edge, diver_edge = (jnp.where(w, np.uint8(0), np.uint8(9)) for w in (right, diver_right))
    enemies, due, diver_due = state.enemies, state.next_enemy == 0, state.next_diver == 0
    against = slots.there(enemies) & (enemies.row == row) & (enemies.right != right)
    comes = due & ~against.any()
    slot = (state.enemy + comes) % slots.ENEMIES
    diver_slot = (state.diver + diver_due) % slots.DIVERS
    aim, none, wait = (jnp.uint8(n) for n in (slots.AIM, slots.GONE, slots.DIVER_WAIT))
    new = Enemies(edge, row, right, armed, _pace(state.ramps), aim, none)
    diver = Drifters(diver_edge, diver_row, diver_right, wait)
    return state.replace(
        enemies=slots.put(enemies, comes & (np.arange(slots.ENEMIES) == slot), new),
        divers=slots.put(state.divers, diver_due & (np.arange(slots.DIVERS) == diver_slot), diver),
        enemy=slot,
        diver=diver_slot,
        next_enemy=jnp.where(due, 20 - state.ramps, state.next_enemy),
        next_diver=jnp.where(diver_due, np.uint8(_DIVER_EVERY), state.next_diver),
    )


def _breathe(state: State, params: RampingParams) -> tuple[State, jax.Array, jax.Array]:
    """Clocks and air: the state, what coming up pays, and whether it or the lack of air ends it."""
    deep = state.y > 0
    surfaces = ~deep & ~state.up
    alone = surfaces & (state.crew == 0)
    comes = surfaces & ~alone
    full = comes & (state.crew == CREW)
    faster = comes & params.ramping & (state.ramps < 19)
    after = state.replace(
        oxygen=jnp.where(comes, AIR, state.oxygen - deep),
        crew=jnp.where(full, 0, state.crew) - comes,
        up=~deep & (state.up | comes),
        gun=_down(state.gun),
        next_enemy=_down(state.next_enemy),
        next_diver=_down(state.next_diver),
        ramps=state.ramps + faster,
    )
    return after, jnp.where(full, state.oxygen * 10 // AIR, 0), alone | (state.oxygen <= 0)


def _pace(ramps: jax.Array) -> jax.Array:
    """[] uint8, steps that an enemy waits between moves."""
    return 5 - jnp.minimum(ramps // 2, 3)


def _down(clock: jax.Array) -> jax.Array:
    return clock - jnp.minimum(clock, 1)

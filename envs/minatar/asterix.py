"""Asterix of MinAtar: collect the gold that crosses the board and keep clear of the enemies.

Young & Tian 2019, https://arxiv.org/abs/1903.03176, equal step for step to the authors' package
1.0.15. The differences are those of all five games, see `metarl.envs.minatar.common`.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from metarl.envs.drawing import Colour
from metarl.envs.minatar import boards, lanes
from metarl.envs.minatar.common import RampingGame, RampingParams, shown
from metarl.ops import keys
from metarl.types import Key, TimeStep


class State(struct.PyTreeNode):
    """One episode in progress; lanes are rows 1 to 8, their words those of `lanes`."""

    x: jax.Array  # [] int8, the player's column
    y: jax.Array  # [] int8, its row, 1 to 8
    columns: jax.Array  # [] uint32, eight numbers: where in its lane something crosses
    present: jax.Array  # [] uint32, eight flags: whether anything does
    right: jax.Array  # [] uint32, eight flags: whether it moves to the right
    gold: jax.Array  # [] uint32, eight flags: whether it is gold
    spawn_speed: jax.Array  # [] int8, steps between two spawns
    spawn_timer: jax.Array  # [] int8, steps until the next one
    move_speed: jax.Array  # [] int8, steps between two moves of all slots
    move_timer: jax.Array  # [] int8, steps until the next one
    ramp_timer: jax.Array  # [] int8, steps until the game becomes faster, one less
    last: jax.Array  # [] uint8, action played last
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Asterix(RampingGame):
    """The player walks rows 1 to 8, each of which at most one enemy or piece of gold crosses.

    Every `spawn_speed` steps (10) something enters a random empty row, if there is one, from a
    random side: gold with probability 1/3, else an enemy. Every `move_speed` steps (5) all of them
    move by one cell, and leave at the other side. Gold that meets the player pays 1 and is gone; an
    enemy ends the game. In a step, first comes the spawn, then the player, then the others. With
    `ramping`, after every 102 steps the time between spawns is one step less, and after every 204
    so is the time between moves, down to 1 for both.

    Actions: nothing, left, up, right, down. Planes: player, enemy, trail (the cell behind whatever
    crosses), gold. Params: `max_steps` (endless), `sticky` (0.1), `ramping` (on).
    """

    keys_used: ClassVar[str] = "nlurd"
    planes: ClassVar[dict[str, tuple[str, Colour]]] = {
        "player": ("@", (90, 170, 240)),
        "enemy": ("x", (225, 80, 80)),
        "trail": ("-", (90, 90, 100)),
        "gold": ("$", (240, 200, 80)),
    }

    def reset(self, key: Key, params: RampingParams) -> tuple[State, TimeStep]:
        """The player alone, at row 5 and column 5. The key is not used."""
        del key
        state = State(
            x=jnp.int8(5),
            y=jnp.int8(5),
            columns=jnp.uint32(0),
            present=jnp.uint32(0),
            right=jnp.uint32(0),
            gold=jnp.uint32(0),
            spawn_speed=jnp.int8(10),
            spawn_timer=jnp.int8(10),
            move_speed=jnp.int8(5),
            move_timer=jnp.int8(5),
            ramp_timer=jnp.int8(100),
            last=jnp.uint8(0),
            time=jnp.int32(0),
        )
        return state, self.first(state, params)

    def step(
        self, key: Key, state: State, action: jax.Array, params: RampingParams
    ) -> tuple[State, TimeStep]:
        """Spawns, moves the player, moves the others. The key is consumed."""
        sticky_word, slot_word, kind_word = keys.words(key, 3)
        played = self.played(sticky_word, state.last, action, params)
        state = _spawn(state, slot_word, kind_word)
        across = self.pressed(played, "r").astype(jnp.int8) - self.pressed(played, "l")
        along = self.pressed(played, "d").astype(jnp.int8) - self.pressed(played, "u")
        state = state.replace(
            x=jnp.clip(state.x + across, 0, 9), y=jnp.clip(state.y + along, 1, 8), last=played
        )
        state, found, caught = _meet(state, jnp.bool_(True))
        moves = state.move_timer == 0
        state, found_later, caught_later = _meet(_cross(state, moves), moves)
        state = _tick(state, params)
        reward = found | found_later
        return state, self.timestep(state, params, reward, caught | caught_later)

    def observe(self, state: State, params: RampingParams) -> tuple[jax.Array, None]:
        """Planes player, enemy, trail, gold."""
        del params
        behind, trail = lanes.step(state.columns, state.present, state.right ^ lanes.ALL)
        enemy = lanes.board(state.columns, state.present & ~state.gold)
        gold = lanes.board(state.columns, state.present & state.gold)
        crossing = map(boards.plane, (enemy, lanes.board(behind, trail), gold))
        return shown((boards.spot(10 * state.y + state.x), *crossing)), None


def _spawn(state: State, slot_word: jax.Array, kind_word: jax.Array) -> State:
    """Something enters a random empty slot when it is time to."""
    empty = ~state.present & lanes.ALL
    count = jax.lax.population_count(empty)
    lane = lanes.nth(empty, keys.below(slot_word, count))
    enters = jnp.where(state.spawn_timer == 0, lane, 0)
    kind = keys.below(kind_word, 6)  # bit 0: to the right; 0 and 1: gold
    right, gold = jnp.where(kind % 2 == 1, enters, 0), jnp.where(kind < 2, enters, 0)
    column = lanes.each(jnp.where(kind % 2 == 1, 0, 9))
    return state.replace(
        columns=lanes.pick(enters, column, state.columns),
        present=state.present | enters,
        right=(state.right & ~enters) | right,
        gold=(state.gold & ~enters) | gold,
        spawn_timer=jnp.where(state.spawn_timer == 0, state.spawn_speed, state.spawn_timer),
    )


def _cross(state: State, moves: jax.Array) -> State:
    """Everything moves by one cell, or off the board, when it is time to."""
    columns, present = lanes.step(state.columns, state.present, state.right)
    return state.replace(
        columns=jnp.where(moves, columns, state.columns),
        present=jnp.where(moves, present, state.present),
    )


def _meet(state: State, counts: jax.Array) -> tuple[State, jax.Array, jax.Array]:
    """Takes gold off the player's cell; whether there was any, and whether an enemy is there."""
    here = lanes.lane(state.y - 1) & lanes.are(state.columns, state.x) & state.present
    here = jnp.where(counts, here, 0)
    found = here & state.gold
    return state.replace(present=state.present ^ found), found != 0, here != found


def _tick(state: State, params: RampingParams) -> State:
    """The timers, and the ramping of what they are set to."""
    move_timer = jnp.where(state.move_timer == 0, state.move_speed, state.move_timer)
    can_ramp = params.ramping & ((state.spawn_speed > 1) | (state.move_speed > 1))
    ramps = can_ramp & (state.ramp_timer < 0)
    second = state.spawn_speed % 2 == 1  # every second time
    moves_faster = ramps & second & (state.move_speed > 1)
    ramp_timer = jnp.where(ramps, jnp.int8(100), state.ramp_timer - (can_ramp & ~ramps))
    return state.replace(
        spawn_speed=state.spawn_speed - (ramps & (state.spawn_speed > 1)),
        spawn_timer=state.spawn_timer - 1,
        move_speed=state.move_speed - moves_faster,
        move_timer=move_timer - 1,
        ramp_timer=ramp_timer,
        time=state.time + 1,
    )

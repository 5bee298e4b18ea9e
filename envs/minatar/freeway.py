"""Freeway of MinAtar: cross eight lanes of traffic as often as you can.

Young & Tian 2019, https://arxiv.org/abs/1903.03176, equal step for step to the authors' package
1.0.15 but for the end: an episode lasts as long as theirs, 2501 steps, but truncates, since only
the clock ran out. The other differences are those of all games, see `metarl.envs.minatar.common`.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from metarl.envs.drawing import Colour
from metarl.envs.minatar import boards, lanes
from metarl.envs.minatar.common import Game, Params, shown
from metarl.ops import keys
from metarl.ops.control import apart
from metarl.types import Key, TimeStep

_COLUMN = 4  # the chicken's
_START = 9  # its row
_PACE = 3  # steps between two of its moves


class State(struct.PyTreeNode):
    """One episode in progress; lanes are rows 1 to 8, their words those of `lanes`."""

    row: jax.Array  # [] int8, the chicken's
    rest: jax.Array  # [] int8, steps until it can move again
    columns: jax.Array  # [] uint32, eight numbers: where the cars are
    timers: jax.Array  # [] uint32, eight numbers: steps until they move
    speeds: jax.Array  # [] uint32, eight numbers, 1 to 5: what the timers are set to
    right: jax.Array  # [] uint32, eight flags: whether a car moves to the right
    last: jax.Array  # [] uint8, action played last
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Freeway(Game):
    """The chicken walks up and down column 4, from row 9; a car drives on each of rows 1 to 8.

    The chicken moves at most once in three steps. On the top row it earns 1, goes back to row 9 and
    all cars get new speeds; a car on its cell, before or after the cars moved, sends it back for
    nothing. A car of speed `s` moves by one cell every `s + 1` steps, round and round; speeds are
    uniform over 1 to 5 and both directions, and all cars start in column 0.

    Actions: nothing, up, down. Planes: chicken, car, and for each speed from 1 to 5 the cell behind
    the cars that have it. Params: `max_steps` (2501), `sticky` (0.1).
    """

    keys_used: ClassVar[str] = "nud"
    planes: ClassVar[dict[str, tuple[str, Colour]]] = {
        "chicken": ("@", (245, 220, 110)),
        "car": ("x", (215, 80, 80)),
        "speed1": ("1", (150, 110, 120)),
        "speed2": ("2", (125, 95, 105)),
        "speed3": ("3", (100, 80, 90)),
        "speed4": ("4", (80, 66, 74)),
        "speed5": ("5", (60, 52, 58)),
    }

    def default_params(self) -> Params:
        """The published setting: actions stick with probability 0.1; 2501 steps."""
        return Params(jnp.int32(2501), jnp.float32(0.1))

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Draws the speeds. The key is consumed."""
        speeds, right = _speeds(*keys.words(key, 2))
        state = State(
            row=jnp.int8(_START),
            rest=jnp.int8(_PACE),
            columns=jnp.uint32(0),
            timers=speeds,
            speeds=speeds,
            right=right,
            last=jnp.uint8(0),
            time=jnp.int32(0),
        )
        return state, self.first(state, params)

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Moves the chicken, then the cars. The key is consumed."""
        sticky_word, *speed_words = keys.words(key, 3)
        played = self.played(sticky_word, state.last, action, params)
        up, down = self.pressed(played, "u"), self.pressed(played, "d")
        walks = (state.rest == 0) & (up | down)
        row = jnp.where(walks, jnp.clip(state.row - up + down, 0, 9), state.row)
        rest = jnp.where(walks, _PACE, state.rest)
        won = row == 0
        row = jnp.where(won, _START, row)
        new_speeds, new_right = apart(_speeds(*speed_words))
        speeds = jnp.where(won, new_speeds, state.speeds)
        right = jnp.where(won, new_right, state.right)
        timers = jnp.where(won, speeds, state.timers)
        due = lanes.are(timers, 0)
        columns = lanes.turn(state.columns, due, right)
        hits = lanes.are(state.columns, _COLUMN) | lanes.are(columns, _COLUMN)
        hit = (hits & lanes.lane(row - 1)) != 0
        after = State(
            row=jnp.where(hit, _START, row).astype(jnp.int8),
            rest=rest - (rest > 0),
            columns=columns,
            timers=lanes.pick(due, speeds, timers - (lanes.ALL ^ due)),
            speeds=speeds,
            right=right,
            last=played,
            time=state.time + 1,
        )
        return after, self.timestep(after, params, won, jnp.bool_(False))

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """Planes chicken, car, speed1, ..., speed5."""
        del params
        every = jnp.uint32(lanes.ALL)
        behind = lanes.turn(state.columns, every, state.right ^ every)
        trails = (lanes.board(behind, lanes.are(state.speeds, speed)) for speed in range(1, 6))
        cars = map(boards.plane, (lanes.board(state.columns, every), *trails))
        return shown((boards.spot(10 * state.row + _COLUMN), *cars)), None


def _speeds(*words: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eight speeds from 1 to 5 and eight directions, of four decimal digits of each word."""
    drawn = jnp.uint32(0)
    for word in words:
        number = keys.below(word, 10**4).astype(jnp.uint32)
        for _ in range(4):
            drawn = (drawn << 4) | (number % 10)
            number = number // 10
    right = ((drawn + lanes.each(3)) >> 3) & lanes.ALL  # a digit from 5 to 9
    return drawn + lanes.ALL - right * 5, right

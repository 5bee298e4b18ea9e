"""Space Invaders of MinAtar: shoot the aliens before they, or what they drop, reach the cannon.

Young & Tian 2019, https://arxiv.org/abs/1903.03176, equal step for step to the authors' package
1.0.15, its last picture included: aliens that would leave the bottom row show at the top. The
differences are those of all five games, see `metarl.envs.minatar.common`.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.drawing import Colour
from metarl.envs.minatar import boards
from metarl.envs.minatar.boards import Board
from metarl.envs.minatar.common import RampingGame, RampingParams, shown
from metarl.ops import keys
from metarl.types import Key, TimeStep

_COOL_DOWN = 5  # steps between two shots of the cannon
_SHOTS = 10  # steps between two shots of the aliens
_SLOWEST, _FASTEST = (
    12,
    6,
)  # most steps between two moves of the aliens, in the first waves and last
_WAVE = tuple(np.uint32(w) for w in (0b11111100 * 0x100401, 0b11111100, 0, 0))  # rows 0 to 3


class State(struct.PyTreeNode):
    """One episode in progress."""

    cannon: jax.Array  # [] int8, its column
    aliens: Board
    right: jax.Array  # [] bool, whether the aliens move to the right
    friendly: Board  # the cannon's bullets
    enemy: Board  # the aliens' bullets
    cool_down: jax.Array  # [] int8, steps until the cannon can fire
    interval: jax.Array  # [] int8, most steps between two moves of the aliens
    move_timer: jax.Array  # [] int8, steps until the aliens move
    shot_timer: jax.Array  # [] int8, steps until the aliens shoot
    last: jax.Array  # [] uint8, action played last
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class SpaceInvaders(RampingGame):
    """A cannon on the bottom row, 4 rows of 6 aliens above.

    The aliens march together, one cell every `min(aliens left, interval)` steps, to the left at
    first; instead of leaving the board they turn and come one row down. Every 10 steps the lowest
    alien of the column nearest to the cannon, the left one of two, drops a bullet. The cannon fires
    at most once in 5 steps; bullets move one row a step. Each alien shot is worth 1. The game ends
    when an alien or its bullet is on the cannon, or when aliens on the bottom row would come down.
    After the last alien the next wave comes; with `ramping` its interval is one step shorter, from
    12 down to 6. Nothing but sticky actions is random.

    Actions: nothing, left, right, fire. Planes: cannon, alien, alien_left and alien_right (the
    aliens again, in the plane of their direction), friendly_bullet, enemy_bullet. Params:
    `max_steps` (endless), `sticky` (0.1), `ramping` (on).
    """

    keys_used: ClassVar[str] = "nlrf"
    planes: ClassVar[dict[str, tuple[str, Colour]]] = {
        "cannon": ("A", (110, 210, 130)),
        "alien": ("w", (200, 110, 220)),
        "alien_left": ("<", (190, 100, 210)),
        "alien_right": (">", (150, 110, 225)),
        "friendly_bullet": ("'", (235, 235, 235)),
        "enemy_bullet": ("!", (240, 120, 80)),
    }

    def reset(self, key: Key, params: RampingParams) -> tuple[State, TimeStep]:
        """The first wave and the cannon at column 5. The key is not used."""
        del key
        state = State(
            cannon=jnp.int8(5),
            aliens=tuple(jnp.uint32(word) for word in _WAVE),
            right=jnp.bool_(False),
            friendly=boards.empty(),
            enemy=boards.empty(),
            cool_down=jnp.int8(0),
            interval=jnp.int8(_SLOWEST),
            move_timer=jnp.int8(_SLOWEST),
            shot_timer=jnp.int8(_SHOTS),
            last=jnp.uint8(0),
            time=jnp.int32(0),
        )
        return state, self.first(state, params)

    def step(
        self, key: Key, state: State, action: jax.Array, params: RampingParams
    ) -> tuple[State, TimeStep]:
        """Moves the cannon, the bullets, the aliens. The key is consumed."""
        played = self.played(keys.words(key, 1)[0], state.last, action, params)
        fires = self.pressed(played, "f") & (state.cool_down == 0)
        move = self.pressed(played, "r").astype(jnp.int8) - self.pressed(played, "l")
        cannon = jnp.clip(state.cannon + move, 0, 9)
        place = jnp.uint32(1) << cannon.astype(jnp.uint32)  # in its row
        *above, low, last = boards.up(state.friendly)
        friendly = (*above, low | jnp.where(fires, place << 20, 0), last)  # it is in row 8 already
        enemy = boards.down(state.enemy)
        caught = (boards.row(enemy, 9) | boards.row(state.aliens, 9)) & place
        state, landed = _march(state)
        caught = caught | (boards.row(state.aliens, 9) & place)
        shoots = state.shot_timer == 0
        shot = boards.where(shoots, _shot(state.aliens, cannon), boards.empty())
        killed = boards.both(state.aliens, friendly)
        after = state.replace(
            cannon=cannon,
            aliens=boards.without(state.aliens, killed),
            friendly=boards.without(friendly, killed),
            enemy=boards.either(enemy, shot),
            cool_down=jnp.maximum(jnp.where(fires, _COOL_DOWN, state.cool_down) - 1, 0),
            move_timer=state.move_timer - 1,
            shot_timer=jnp.where(shoots, _SHOTS, state.shot_timer) - 1,
            last=played,
            time=state.time + 1,
        )
        after = _next_wave(after, params)
        return after, self.timestep(after, params, boards.count(killed), landed | (caught != 0))

    def observe(self, state: State, params: RampingParams) -> tuple[jax.Array, None]:
        """Planes cannon, alien, alien_left, alien_right, friendly_bullet, enemy_bullet."""
        del params
        left = boards.where(state.right, boards.empty(), state.aliens)
        right = boards.without(state.aliens, left)
        planes = map(boards.plane, (state.aliens, left, right, state.friendly, state.enemy))
        return shown((boards.spot(90 + state.cannon), *planes)), None


def _march(state: State) -> tuple[State, jax.Array]:
    """The aliens' move, when it is time to, and whether they come down from the bottom row."""
    moves = state.move_timer == 0
    edge = jnp.where(state.right, jnp.uint32(1 << 9), jnp.uint32(1))
    turns = (boards.columns(state.aliens) & edge) != 0
    first, *rest = boards.down(state.aliens)
    lowered = (first | state.aliens[3], *rest)
    sideways = boards.where(state.right, boards.right(state.aliens), boards.left(state.aliens))
    moved = boards.where(turns, lowered, sideways)
    timer = jnp.minimum(boards.count(state.aliens), state.interval).astype(jnp.int8)
    landed = moves & turns & (state.aliens[3] != 0)
    return state.replace(
        aliens=boards.where(moves, moved, state.aliens),
        right=state.right ^ (moves & turns),
        move_timer=jnp.where(moves, timer, state.move_timer),
    ), landed


def _shot(aliens: Board, cannon: jax.Array) -> Board:
    """The cell of the lowest alien in the column nearest to the cannon, the left one of two."""
    occupied = boards.columns(aliens)
    column = cannon.astype(jnp.uint32)
    left = _highest(occupied & (jnp.uint32(2) << column) - 1)  # the cannon's column included
    beyond = occupied >> (column + 1) << (column + 1)
    right = beyond & (~beyond + 1)  # its lowest bit
    # Which is nearer? Twice the cannon's place is between their product's halves.
    leftwards = (left != 0) & ((right == 0) | (left * right >= jnp.uint32(1) << (2 * column)))
    files = jnp.where(leftwards, left, right) * np.uint32(0x100401)  # that column in three rows
    shot, found = [], jnp.bool_(False)
    for word in reversed(aliens):
        lowest = _highest(word & files)
        shot.append(jnp.where(found, jnp.uint32(0), lowest))
        found = found | (lowest != 0)
    return tuple(reversed(shot))


def _highest(word: jax.Array) -> jax.Array:
    """The highest bit of a word alone; 0 for 0."""
    return jnp.where(word == 0, 0, jnp.uint32(1) << (31 - jax.lax.clz(word | 1)))


def _next_wave(state: State, params: RampingParams) -> State:
    """Replaces aliens that are all gone."""
    cleared = ~boards.some(state.aliens)
    faster = cleared & params.ramping & (state.interval > _FASTEST)
    wave = tuple(jnp.uint32(word) for word in _WAVE)
    return state.replace(
        aliens=boards.where(cleared, wave, state.aliens), interval=state.interval - faster
    )

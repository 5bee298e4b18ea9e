"""Breakout of MinAtar: keep the ball in play with the paddle and break the bricks.

Young & Tian 2019, https://arxiv.org/abs/1903.03176, equal step for step to the authors' package
1.0.15. The differences are those of all five games, see `metarl.envs.minatar.common`.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.drawing import Colour
from metarl.envs.minatar import boards
from metarl.envs.minatar.common import Game, Params, shown
from metarl.envs.steps import ENDLESS
from metarl.ops import keys
from metarl.types import Key, TimeStep

_WALL = np.uint32(2**30 - 1)  # three full rows


class State(struct.PyTreeNode):
    """One episode in progress. Rows count downwards, columns to the right."""

    paddle: jax.Array  # [] int8, its column
    x: jax.Array  # [] int8, the ball's column
    y: jax.Array  # [] int8, its row
    dx: jax.Array  # [] int8, 1 to the right, -1 to the left
    dy: jax.Array  # [] int8, 1 down, -1 up
    trail: jax.Array  # [] int8, cell number `10 * row + column` where the ball was
    bricks: jax.Array  # [] uint32, thirty bits: rows 1 to 3, ten columns each
    strike: jax.Array  # [] bool, whether the ball has met a brick in the step before
    last: jax.Array  # [] uint8, action played last
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Breakout(Game):
    """Three rows of bricks, a ball that moves one cell diagonally each step, a paddle below.

    Side walls and the ceiling reflect the ball. It breaks a brick that it would enter, for a reward
    of 1, and turns back vertically, but never breaks bricks in two steps running: it flies through
    the second. A ball that would enter the bottom row is reflected vertically by a paddle under the
    column it comes from, and both ways by one under the column it goes to; without a paddle there,
    the game ends. If no brick is left when it comes down, the wall is filled up again. The ball
    starts at the left or the right end of row 3, moving down and inwards, the paddle at column 4.

    Actions: nothing, left, right. Planes: paddle, ball, trail (where the ball was), brick. Nothing
    but the start and sticky actions is random. Params: `max_steps` (endless), `sticky` (0.1).
    """

    keys_used: ClassVar[str] = "nlr"
    planes: ClassVar[dict[str, tuple[str, Colour]]] = {
        "paddle": ("=", (110, 190, 230)),
        "ball": ("o", (245, 245, 245)),
        "trail": ("'", (120, 120, 130)),
        "brick": ("#", (205, 95, 70)),
    }

    def default_params(self) -> Params:
        """The published setting: actions stick with probability 0.1, no time limit."""
        return Params(jnp.int32(ENDLESS), jnp.float32(0.1))

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """A full wall and the ball on either side. The key is consumed."""
        right = (keys.words(key, 1)[0] >> 31).astype(jnp.int8)
        x = 9 * right
        state = State(
            paddle=jnp.int8(4),
            x=x,
            y=jnp.int8(3),
            dx=1 - 2 * right,
            dy=jnp.int8(1),
            trail=30 + x,
            bricks=jnp.uint32(_WALL),
            strike=jnp.bool_(False),
            last=jnp.uint8(0),
            time=jnp.int32(0),
        )
        return state, self.first(state, params)

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Moves the paddle, then the ball. The key is consumed."""
        played = self.played(keys.words(key, 1)[0], state.last, action, params)
        move = self.pressed(played, "r").astype(jnp.int8) - self.pressed(played, "l")
        paddle = jnp.clip(state.paddle + move, 0, 9)
        ahead, y = state.x + state.dx, state.y + state.dy
        x = jnp.clip(ahead, 0, 9)
        dx = jnp.where(ahead == x, state.dx, -state.dx)
        brick = boards.bit(10 * y.astype(jnp.int32) + x - 10) & state.bricks
        met = brick != 0
        breaks = met & ~state.strike
        bottom = y >= 9
        straight = bottom & (state.x == paddle)
        corner = bottom & (x == paddle) & ~straight
        returned = breaks | straight | corner
        ceiling = y < 0
        bricks = jnp.where(breaks, state.bricks ^ brick, state.bricks)
        after = State(
            paddle=paddle,
            x=x,
            y=jnp.where(returned, state.y, jnp.clip(y, 0, 9)),
            dx=jnp.where(corner, -dx, dx),
            dy=jnp.where(returned | ceiling, -state.dy, state.dy),
            trail=10 * state.y + state.x,
            bricks=jnp.where(bottom & (bricks == 0), _WALL, bricks),
            strike=met,
            last=played,
            time=state.time + 1,
        )
        return after, self.timestep(after, params, breaks, bottom & ~straight & ~corner)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """Planes paddle, ball, trail, brick."""
        del params
        none = jnp.zeros_like(state.bricks)
        wall = boards.down((state.bricks, none, none, none))
        ball = 10 * state.y + state.x
        spots = (boards.spot(place) for place in (90 + state.paddle, ball, state.trail))
        return shown((*spots, boards.plane(wall))), None

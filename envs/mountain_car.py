"""Mountain car: too weak to climb, a car must swing in a valley until it reaches the top.

Physics of gymnasium's MountainCar-v0 (Moore 1990, Sutton & Barto).
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.drawing import disc
from metarl.envs.physics import uniform
from metarl.envs.spaces import Choices
from metarl.envs.steps import opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep

LOW, HIGH = -1.2, 0.6  # ends of the valley
SPEED = 0.07  # the fastest, per step


class Params(struct.PyTreeNode):
    """Dynamic settings: the physics of a task."""

    force: jax.Array  # [] float32, of the motor, per step
    gravity: jax.Array  # [] float32, per step
    goal: jax.Array  # [] float32, position to reach
    goal_speed: jax.Array  # [] float32, the least speed there
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    position: jax.Array  # [] float32
    speed: jax.Array  # [] float32, per step
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class MountainCar(Choices):
    """Actions drive left, roll, drive right; every step costs 1.

    The episode terminates at the goal, position 0.5, and is truncated after 200 steps. It starts at
    rest, at a position uniform in -0.6..-0.4. The left end stops the car. The observation is
    position and speed. An action number out of range is clipped.
    """

    num_actions: ClassVar[int] = 3  # left, none, right

    @property
    def observation_space(self) -> Box:
        """Position, speed."""
        low, high = np.array([[LOW, -SPEED], [HIGH, SPEED]], np.float32)
        return Box(low, high, dtype=np.float32)

    def default_params(self) -> Params:
        """The published setting."""
        return Params(
            force=jnp.float32(0.001),
            gravity=jnp.float32(0.0025),
            goal=jnp.float32(0.5),
            goal_speed=jnp.float32(0),
            max_steps=jnp.int32(200),
        )

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Starts at rest near the bottom. The key is consumed."""
        position = uniform(keys.words(key, 1)[0], -0.6, -0.4)
        state = State(position, jnp.float32(0), jnp.int32(0))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Drives for one step. The key is not used."""
        drive = (jnp.clip(action, 0, 2) - 1) * params.force
        speed = state.speed + drive - params.gravity * jnp.cos(3 * state.position)
        speed = jnp.clip(speed, -SPEED, SPEED)
        position = jnp.clip(state.position + speed, LOW, HIGH)
        stopped = (position == jnp.float32(LOW)) & (speed < 0)
        state = State(position, jnp.where(stopped, 0, speed), state.time + 1)
        reached = (position >= params.goal) & (state.speed >= params.goal_speed)
        late = state.time >= params.max_steps
        return state, outcome(self.observe(state, params)[0], jnp.float32(-1), reached, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """Position and speed, [2] float32."""
        del params
        return jnp.stack([state.position, state.speed]), None

    def render(self, state: State, params: Params) -> jax.Array:
        """The valley from end to end, 96 pixels wide: ground grey, goal green, car blue."""
        columns = jnp.linspace(LOW, HIGH, 96)
        ground = jnp.arange(64)[:, None] > _row(columns)  # [64, 96]
        picture = jnp.where(ground[..., None], 150, 235).astype(jnp.uint8)
        picture = jnp.broadcast_to(picture, (64, 96, 3))
        for position, colour in ((params.goal, (72, 158, 92)), (state.position, (50, 90, 200))):
            at = jnp.stack([_row(position) - 3, (position - LOW) / (HIGH - LOW) * 95])
            picture = disc(picture, at, 3, colour)
        return picture

    def render_text(self, state: State, params: Params) -> str:
        """A line such as `step 3  position -0.52  speed 0.003`."""
        return f"step {int(state.time)}  position {state.position:.2f}  speed {state.speed:.3f}"


def _row(position: jax.Array) -> jax.Array:
    """The height of the valley, in pixels from the top."""
    return 34 - 24 * jnp.sin(3 * position)

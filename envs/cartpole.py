"""CartPole: balance a pole on a cart by pushing the cart left and right.

Physics of gymnasium's CartPole-v1 (Barto, Sutton & Anderson 1983). The intended differences: the
observation is clipped to its bounds, which only matters past the end of an episode.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.drawing import line
from metarl.envs.physics import uniform, varied
from metarl.envs.spaces import Choices
from metarl.envs.steps import opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep

TRACK = 2.4  # metres from the middle at which the episode ends
TILT = 12 * np.pi / 180  # radians from upright at which it ends


class Params(struct.PyTreeNode):
    """Dynamic settings: the physics of a task."""

    gravity: jax.Array  # [] float32, m/s^2
    cart_mass: jax.Array  # [] float32, kg
    pole_mass: jax.Array  # [] float32, kg
    half_length: jax.Array  # [] float32, m, from the joint to the pole's centre
    force: jax.Array  # [] float32, N, of a push
    time_step: jax.Array  # [] float32, s
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    position: jax.Array  # [] float32, m, of the cart
    speed: jax.Array  # [] float32, m/s
    angle: jax.Array  # [] float32, radians from upright
    spin: jax.Array  # [] float32, radians/s
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class CartPole(Choices):
    """Actions push left (0) and right (1); every step pays 1, the last one too.

    The episode terminates when the cart leaves the track, 2.4 m to either side, or the pole is more
    than 12 degrees from upright. It starts with all four numbers uniform in -0.05..0.05 and is
    truncated after 500 steps, so the best return is 500. The observation is position, speed, angle
    and spin. An action number out of range is clipped.
    """

    num_actions: ClassVar[int] = 2  # left, right

    @property
    def observation_space(self) -> Box:
        """Position and angle, bounded by twice what ends an episode; speed and spin, unbounded."""
        high = np.array([2 * TRACK, np.inf, 2 * TILT, np.inf], np.float32)
        return Box(-high, high, dtype=np.float32)

    def default_params(self) -> Params:
        """The published setting."""
        return Params(
            gravity=jnp.float32(9.8),
            cart_mass=jnp.float32(1),
            pole_mass=jnp.float32(0.1),
            half_length=jnp.float32(0.5),
            force=jnp.float32(10),
            time_step=jnp.float32(0.02),
            max_steps=jnp.int32(500),
        )

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """Both masses and the length, each 0.5 to 1.5 times the default. The key is consumed."""
        return varied(self.default_params(), ("cart_mass", "pole_mass", "half_length"), key, split)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Starts near upright. The key is consumed."""
        x, speed, angle, spin = (uniform(word, -0.05, 0.05) for word in keys.words(key, 4))
        state = State(x, speed, angle, spin, jnp.int32(0))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Pushes for one time step (Euler's method). The key is not used."""
        force = jnp.where(action > 0, params.force, -params.force)
        sine, cosine = jnp.sin(state.angle), jnp.cos(state.angle)
        mass = params.cart_mass + params.pole_mass
        moment = params.pole_mass * params.half_length
        drive = (force + moment * state.spin**2 * sine) / mass
        lever = params.half_length * (4 / 3 - params.pole_mass * cosine**2 / mass)
        turning = (params.gravity * sine - cosine * drive) / lever
        driving = drive - moment * turning * cosine / mass
        state = State(
            position=state.position + params.time_step * state.speed,
            speed=state.speed + params.time_step * driving,
            angle=state.angle + params.time_step * state.spin,
            spin=state.spin + params.time_step * turning,
            time=state.time + 1,
        )
        falls = (abs(state.position) > TRACK) | (abs(state.angle) > TILT)
        late = state.time >= params.max_steps
        return state, outcome(self.observe(state, params)[0], jnp.float32(1), falls, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """The four numbers, [4] float32."""
        del params
        position = jnp.clip(state.position, -2 * TRACK, 2 * TRACK)
        angle = jnp.clip(state.angle, -2 * TILT, 2 * TILT)
        return jnp.stack([position, state.speed, angle, state.spin]), None

    def render(self, state: State, params: Params) -> jax.Array:
        """The track from end to end, 96 pixels wide: cart dark, pole orange."""
        picture = jnp.full((64, 96, 3), 235, jnp.uint8)
        picture = line(picture, jnp.array([52.0, 0]), jnp.array([52.0, 95]), 1, (120, 124, 132))
        joint = jnp.stack([jnp.float32(50), 47.5 + state.position * 47.5 / TRACK])
        up = jnp.stack([-jnp.cos(state.angle), jnp.sin(state.angle)])
        half = jnp.array([0.0, 6])
        picture = line(picture, joint - half, joint + half, 4, (40, 44, 52))
        return line(picture, joint, joint + 80 * params.half_length * up, 2, (230, 140, 40))

    def render_text(self, state: State, params: Params) -> str:
        """A line such as `step 3  position -0.02 m  angle 1.3 degrees`."""
        angle = float(state.angle) * 180 / np.pi
        return f"step {int(state.time)}  position {state.position:.2f} m  angle {angle:.1f} degrees"

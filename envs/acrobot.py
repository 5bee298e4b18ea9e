"""Acrobot: two links hang from a bar, the joint between them has a motor; swing the tip up.

Physics of gymnasium's Acrobot-v1 (Sutton 1996), in the form of Sutton & Barto's book.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.drawing import disc, line
from metarl.envs.physics import uniform, wrapped
from metarl.envs.spaces import Choices
from metarl.envs.steps import opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep

SPIN_1, SPIN_2 = 4 * np.pi, 9 * np.pi  # the fastest, radians/s


class Params(struct.PyTreeNode):
    """Dynamic settings: the physics of a task."""

    gravity: jax.Array  # [] float32, m/s^2
    mass_1: jax.Array  # [] float32, kg
    mass_2: jax.Array  # [] float32, kg
    length_1: jax.Array  # [] float32, m, of the first link; the second's has no effect
    centre_1: jax.Array  # [] float32, m, from the joint to the centre of mass
    centre_2: jax.Array  # [] float32, m
    inertia: jax.Array  # [] float32, kg m^2, of each link
    torque: jax.Array  # [] float32, N m, of the motor
    time_step: jax.Array  # [] float32, s
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    angle_1: jax.Array  # [] float32, radians from hanging, in [-pi, pi)
    angle_2: jax.Array  # [] float32, radians from the first link's direction, in [-pi, pi)
    spin_1: jax.Array  # [] float32, radians/s
    spin_2: jax.Array  # [] float32, radians/s
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Acrobot(Choices):
    """Actions turn the motor back, leave it, turn it forth; every step costs 1 but the last one.

    The episode terminates when the tip is more than one link's length above the bar, and is
    truncated after 500 steps. It starts with all four numbers uniform in -0.1..0.1. The observation
    is cosine and sine of both angles, then both spins, clipped to 4 pi and 9 pi. An action number
    out of range is clipped.
    """

    num_actions: ClassVar[int] = 3  # torque -1, 0, 1

    @property
    def observation_space(self) -> Box:
        """Cosine and sine of both angles, both spins."""
        high = np.array([1, 1, 1, 1, SPIN_1, SPIN_2], np.float32)
        return Box(-high, high, dtype=np.float32)

    def default_params(self) -> Params:
        """The published setting."""
        return Params(
            gravity=jnp.float32(9.8),
            mass_1=jnp.float32(1),
            mass_2=jnp.float32(1),
            length_1=jnp.float32(1),
            centre_1=jnp.float32(0.5),
            centre_2=jnp.float32(0.5),
            inertia=jnp.float32(1),
            torque=jnp.float32(1),
            time_step=jnp.float32(0.2),
            max_steps=jnp.int32(500),
        )

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Starts near hanging. The key is consumed."""
        one, two, spin_1, spin_2 = (uniform(word, -0.1, 0.1) for word in keys.words(key, 4))
        state = State(one, two, spin_1, spin_2, jnp.int32(0))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Swings for one time step (one Runge-Kutta step of order 4). The key is not used."""
        torque = (jnp.clip(action, 0, 2) - 1) * params.torque
        now = jnp.stack([state.angle_1, state.angle_2, state.spin_1, state.spin_2])
        half = params.time_step / 2
        k1 = _slope(now, torque, params)
        k2 = _slope(now + half * k1, torque, params)
        k3 = _slope(now + half * k2, torque, params)
        k4 = _slope(now + params.time_step * k3, torque, params)
        after = now + params.time_step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        state = State(
            wrapped(after[0]),
            wrapped(after[1]),
            jnp.clip(after[2], -SPIN_1, SPIN_1),
            jnp.clip(after[3], -SPIN_2, SPIN_2),
            state.time + 1,
        )
        height = -jnp.cos(state.angle_1) - jnp.cos(state.angle_1 + state.angle_2)
        reached = height > 1
        late = state.time >= params.max_steps
        reward = jnp.where(reached, jnp.float32(0), -1)
        return state, outcome(self.observe(state, params)[0], reward, reached, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """Cosines, sines and spins, [6] float32."""
        del params
        turns = [f(a) for a in (state.angle_1, state.angle_2) for f in (jnp.cos, jnp.sin)]
        return jnp.stack([*turns, state.spin_1, state.spin_2]), None

    def render(self, state: State, params: Params) -> jax.Array:
        """Both links on their joints and the height to reach, 96 pixels a side."""
        picture = jnp.full((96, 96, 3), 235, jnp.uint8)
        goal = jnp.array([47.5 - 22, 0])
        picture = line(picture, goal, goal + jnp.array([0.0, 95]), 0.5, (72, 158, 92))
        joint = jnp.array([47.5, 47.5])
        for angle in (state.angle_1, state.angle_1 + state.angle_2):
            end = joint + 22 * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
            picture = line(picture, joint, end, 3, (70, 150, 170))
            picture = disc(picture, joint, 3, (226, 180, 60))
            joint = end
        return picture

    def render_text(self, state: State, params: Params) -> str:
        """A line such as `step 3  angles 12.1 -40.0 degrees`."""
        angles = [float(angle) * 180 / np.pi for angle in (state.angle_1, state.angle_2)]
        return f"step {int(state.time)}  angles {angles[0]:.1f} {angles[1]:.1f} degrees"


def _slope(now: jax.Array, torque: jax.Array, p: Params) -> jax.Array:
    """[4] float32, the time derivative of angles and spins."""
    angle_1, angle_2, spin_1, spin_2 = now
    coupling = p.mass_2 * p.length_1 * p.centre_2
    sine, cosine = jnp.sin(angle_2), jnp.cos(angle_2)
    own = p.mass_2 * p.centre_2**2 + p.inertia
    d1 = p.mass_1 * p.centre_1**2 + p.mass_2 * p.length_1**2 + 2 * coupling * cosine
    d1 = d1 + own + p.inertia
    d2 = own + coupling * cosine
    # cos(x - pi / 2) of the published formula is sin(x).
    weight_2 = p.mass_2 * p.centre_2 * p.gravity * jnp.sin(angle_1 + angle_2)
    weight_1 = (p.mass_1 * p.centre_1 + p.mass_2 * p.length_1) * p.gravity * jnp.sin(angle_1)
    turning = -coupling * sine * (spin_2**2 + 2 * spin_2 * spin_1)
    phi = turning + weight_1 + weight_2
    force = torque + d2 / d1 * phi - coupling * spin_1**2 * sine - weight_2
    faster_2 = force / (own - d2**2 / d1)
    return jnp.stack([spin_1, spin_2, -(d2 * faster_2 + phi) / d1, faster_2])

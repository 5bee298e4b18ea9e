"""Pendulum: swing a pole up with too weak a motor, and hold it there.

Physics and cost of gymnasium's Pendulum-v1.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.drawing import disc, line
from metarl.envs.physics import uniform, varied, wrapped
from metarl.envs.steps import opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep

TORQUE = 2.0  # the strongest, N m
SPIN = 8.0  # the fastest, radians/s


class Params(struct.PyTreeNode):
    """Dynamic settings: the physics of a task."""

    gravity: jax.Array  # [] float32, m/s^2
    mass: jax.Array  # [] float32, kg
    length: jax.Array  # [] float32, m
    time_step: jax.Array  # [] float32, s
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    angle: jax.Array  # [] float32, radians from upright, in [-pi, pi)
    spin: jax.Array  # [] float32, radians/s
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Pendulum:
    """The action is a torque, clipped to -2..2; the spin is clipped to -8..8.

    A step costs `angle**2 + 0.1 * spin**2 + 0.001 * torque**2`, as they were before it. Nothing
    terminates; the clock truncates after 200 steps. It starts at a uniform angle with a spin
    uniform in -1..1. The observation is the angle's cosine and sine, and the spin.
    """

    @property
    def action_space(self) -> Box:
        """A torque."""
        return Box(-TORQUE, TORQUE, (1,), np.float32)

    @property
    def observation_space(self) -> Box:
        """Cosine, sine, spin."""
        high = np.array([1, 1, SPIN], np.float32)
        return Box(-high, high, dtype=np.float32)

    def default_params(self) -> Params:
        """The published setting."""
        return Params(
            gravity=jnp.float32(10),
            mass=jnp.float32(1),
            length=jnp.float32(1),
            time_step=jnp.float32(0.05),
            max_steps=jnp.int32(200),
        )

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """Mass and length, each 0.5 to 1.5 times the default. The key is consumed."""
        return varied(self.default_params(), ("mass", "length"), key, split)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Starts at any angle. The key is consumed."""
        words = keys.words(key, 2)
        angle, spin = uniform(words[0], -np.pi, np.pi), uniform(words[1], -1, 1)
        state = State(angle, spin, jnp.int32(0))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Turns for one time step. The key is not used."""
        torque = jnp.clip(action[0], -TORQUE, TORQUE)
        cost = state.angle**2 + 0.1 * state.spin**2 + 0.001 * torque**2
        falling = 3 * params.gravity / (2 * params.length) * jnp.sin(state.angle)
        pushed = 3 / (params.mass * params.length**2) * torque
        spin = jnp.clip(state.spin + (falling + pushed) * params.time_step, -SPIN, SPIN)
        angle = wrapped(state.angle + spin * params.time_step)
        state = State(angle, spin, state.time + 1)
        late = state.time >= params.max_steps
        return state, outcome(self.observe(state, params)[0], -cost, jnp.bool_(False), late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """Cosine, sine and spin, [3] float32."""
        del params
        return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.spin]), None

    def render(self, state: State, params: Params) -> jax.Array:
        """A red pole on a dark joint, upright at the top, 96 pixels a side."""
        picture = jnp.full((96, 96, 3), 235, jnp.uint8)
        joint = jnp.array([47.5, 47.5])
        up = jnp.stack([-jnp.cos(state.angle), -jnp.sin(state.angle)])
        picture = line(picture, joint, joint + 28 * params.length * up, 4, (200, 80, 76))
        return disc(picture, joint, 2, (40, 44, 52))

    def render_text(self, state: State, params: Params) -> str:
        """A line such as `step 3  angle -170.2 degrees  spin 0.31 /s`."""
        angle = float(state.angle) * 180 / np.pi
        return f"step {int(state.time)}  angle {angle:.1f} degrees  spin {state.spin:.2f} /s"

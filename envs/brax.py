"""Brax's continuous control (Freeman et al. 2021, https://arxiv.org/abs/2106.13281), run by Brax.

The dynamics, observations, rewards and endings are those of the installed Brax (0.14 was seen to
work), which is imported when an environment is first used. What differs from `brax.envs.create`:

- every episode starts from a draw of its own, not from one cached start for ever;
- the last observation of an episode is kept, and the time limit truncates (`params.max_steps`);
- actions are clipped to [-1, 1] before Brax sees them, so an action outside costs no more control
  than the bound itself, and `action_repeat` pays nothing past the end;
- a step whose numbers are no longer finite terminates with reward 0 where it began.
"""

import contextlib
import importlib.util
import inspect
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.steps import opening, outcome
from metarl.envs.sticks import Camera, Scene, draw
from metarl.types import Key, PyTree, TimeStep

SIZES = {  # numbers in an observation and an action, so that listing environments loads no Brax
    "ant": (27, 8),
    "fast": (2, 1),
    "halfcheetah": (17, 6),
    "hopper": (11, 3),
    "humanoid": (244, 17),
    "humanoidstandup": (244, 17),
    "inverted_double_pendulum": (8, 1),
    "inverted_pendulum": (4, 1),
    "pusher": (23, 7),
    "reacher": (11, 2),
    "swimmer": (8, 2),
    "walker2d": (17, 6),
}
BACKENDS = ("generalized", "positional", "spring")
_CAMERAS = {  # where the usual one, nearly from the side, does not suit
    "ant": Camera(30, 4.0, 0.4),
    "fast": Camera(90, 4.0, 0.0),
    "humanoidstandup": Camera(15, 3.0, 0.5),
    "humanoid": Camera(15, 3.0, 0.9),
    "inverted_double_pendulum": Camera(10, 3.6, 0.6, follow=False),
    "inverted_pendulum": Camera(10, 3.0, 0.2, follow=False),
    "pusher": Camera(60, 2.4, 0.0, follow=False),
    "reacher": Camera(90, 0.6, 0.0, follow=False),
    "swimmer": Camera(90, 5.0, 0.0),
}


class Params(struct.PyTreeNode):
    """Dynamic settings."""

    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    physics: PyTree  # Brax's pipeline state
    obs: jax.Array  # [D] float32
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Brax:
    """The Brax environment called `name`; actions are one number in [-1, 1] for each actuator.

    The backend `generalized` is Brax's own default, nearest to MuJoCo, and the only one that all
    environments have (swimmer has no other). For ant `spring` makes about twice the steps a
    CPU-second; rewards of different backends do not compare. An action is held for `action_repeat`
    steps of Brax, whose rewards are added up, and `max_steps` counts actions.

    A state is Brax's own: with `generalized` 5464 bytes for ant, 512 for inverted_pendulum and
    15216 for humanoidstandup; with `spring` 2384, 520 and 2960. Brax's metrics and info are not
    carried. A reset costs a share of a step, and every step of a batch pays for one: where that
    matters, start from a pool (`metarl.rollout.pool`).
    """

    name: str = "ant"
    backend: str = "generalized"
    action_repeat: int = 1

    def __post_init__(self):
        if self.name not in SIZES:
            raise ValueError(f"Brax has no {self.name!r}; it has {', '.join(SIZES)}")
        if self.backend not in BACKENDS:
            raise ValueError(f"backend must be one of {BACKENDS}, got {self.backend!r}")
        if self.name == "swimmer" and self.backend != "generalized":
            raise ValueError("Brax's swimmer runs on the backend 'generalized' alone")
        if self.action_repeat < 1:
            raise ValueError(f"action_repeat must be at least 1, got {self.action_repeat}")
        if importlib.util.find_spec("brax") is None:
            raise ImportError(f"brax/{self.name} needs Brax: pip install brax")

    @property
    def observation_space(self) -> Box:
        """Positions and velocities, without bounds."""
        return Box(-np.inf, np.inf, SIZES[self.name][:1], np.float32)

    @property
    def action_space(self) -> Box:
        """Between -1 and 1; other actions are clipped."""
        return Box(-1, 1, SIZES[self.name][1:], np.float32)

    def default_params(self) -> Any:
        """Brax's time limit of 1000 of its own steps."""
        return Params(jnp.int32(max(1, 1000 // self.action_repeat)))

    def reset(self, key: Key, params: Any) -> tuple[State, TimeStep]:
        """Starts an episode by Brax's own `reset`. The key is consumed."""
        start = load(self.name, self.backend).reset(key)
        state = State(_strong(start.pipeline_state), _strong(start.obs), jnp.int32(0))
        return state, opening(state.obs)

    def step(self, key: Key, state: State, action: jax.Array, params: Any):
        """Holds the action for `action_repeat` steps of Brax. The key is not used."""
        action = jnp.clip(jnp.asarray(action, jnp.float32), -1, 1)

        def once(loop: tuple, _: None) -> tuple[tuple, None]:
            *before, total = loop
            physics, obs, reward, ended = self._advance(before[0], before[1], action, params)
            held = lambda old, new: jnp.where(before[2], old, new)  # noqa: E731
            after = jax.tree.map(held, tuple(before), (physics, obs, ended))
            return (*after, total + jnp.where(before[2], 0, reward)), None

        if self.action_repeat == 1:
            physics, obs, reward, ended = self._advance(state.physics, state.obs, action, params)
        else:
            loop = (state.physics, state.obs, jnp.bool_(False), jnp.float32(0))
            loop, _ = jax.lax.scan(once, loop, None, length=self.action_repeat)
            physics, obs, ended, reward = loop
        state = State(physics, obs, state.time + 1)
        return state, outcome(obs, reward, ended, state.time >= params.max_steps)

    def observe(self, state: State, params: Any) -> tuple[jax.Array, None]:
        """What the last step showed."""
        return state.obs, None

    def render(self, state: State, params: Any) -> jax.Array:
        """A plain drawing of the bodies, 128 by 128, in the style of `metarl.envs.sticks`."""
        position, rotation = state.physics.x.pos, state.physics.x.rot
        if self.name == "fast":  # one point that moves along x
            position, rotation = position[None], jnp.array([[1.0, 0, 0, 0]])
        camera = _CAMERAS.get(self.name, Camera(5, 3.0, 0.8))
        return draw(scene(self.name), camera, position, rotation)

    def reward(self, before: PyTree, after: Any, action: jax.Array, params: Any) -> jax.Array:
        """Brax's own; tasks with a goal override it.

        Args:
          before: Brax's pipeline state before the step.
          after: Brax's environment state after it.
          action: what was played, [A] float32 in [-1, 1].
          params: of this environment.
        """
        return after.reward

    def _advance(self, before: PyTree, obs: jax.Array, action: jax.Array, params: Any) -> tuple:
        """One step of Brax: pipeline state, observation, reward, whether the task ended."""
        from brax.envs import State as BraxState

        zero = jnp.float32(0)
        blank = BraxState(before, obs, zero, zero, {}, {"time_out": zero})
        after = load(self.name, self.backend).step(blank, action)
        reward = jnp.asarray(self.reward(before, after, action, params), jnp.float32)
        finite = jnp.isfinite(reward) & jnp.all(jnp.isfinite(after.obs))
        keep = lambda new, old: jnp.where(finite, new, old)  # noqa: E731
        new = (_strong(after.pipeline_state), _strong(after.obs))
        physics, obs = jax.tree.map(keep, new, (before, obs))
        return physics, obs, keep(reward, zero), (after.done > 0) | ~finite


@lru_cache
def load(name: str, backend: str = "generalized") -> Any:
    """Brax's environment of that name, made once.

    Its arrays are made at once even where this is first called while something is traced.
    """
    with jax.ensure_compile_time_eval(), _quietly():
        from brax import envs

        _mend_fluid()
        return envs.get_environment(name, **({} if name == "fast" else {"backend": backend}))


def _mend_fluid() -> None:
    """Lets swimmer, which alone swims, run: Brax 0.14 calls `jnp.clip` in a way JAX has dropped."""
    from brax import fluid

    if "a_min" not in inspect.signature(jnp.clip).parameters:
        clip = lambda x, a_min: jnp.clip(x, a_min)  # noqa: E731
        fluid.jp = SimpleNamespace(**{**vars(jnp), "clip": clip})


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps to itself what is said on import, and MuJoCo from writing MUJOCO_LOG.TXT here."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mujoco

        said = mujoco.get_mju_user_warning()
        mujoco.set_mju_user_warning(lambda text: None)
        try:
            yield
        finally:
            mujoco.set_mju_user_warning(said)


@lru_cache
def scene(name: str) -> Scene:
    """The shapes to draw."""
    if name == "fast":
        return Scene.ball(0.2)
    return Scene.of(load(name).sys)


def _strong(tree: PyTree) -> PyTree:
    """The same arrays with dtypes that promotion cannot change."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), tree)

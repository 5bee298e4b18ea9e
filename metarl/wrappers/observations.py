"""Wrappers of observations: normalised by measured statistics, and the last few stacked."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.ops import keys
from metarl.ops.sampling import random_action
from metarl.rollout import vectorize
from metarl.types import Environment, Key, PyTree, TimeStep
from metarl.wrappers.base import Inner, WithLeaves, Wrapper


class NormaliseParams(struct.PyTreeNode):
    """Dynamic settings."""

    env: PyTree
    mean: jax.Array  # float32, of the observation's shape
    std: jax.Array  # float32, of the observation's shape, positive


@dataclass(frozen=True)
class NormaliseObs(WithLeaves):
    """See `normalise_obs`."""

    clip: float = 10.0

    @property
    def observation_space(self) -> Box:
        """Float32 within `clip` of zero."""
        return Box(-self.clip, self.clip, self.env.observation_space.shape, np.float32)

    def extend(self, params: PyTree) -> NormaliseParams:
        """Adds statistics that change nothing but what exceeds `clip`."""
        shape = self.env.observation_space.shape
        return NormaliseParams(params, jnp.zeros(shape), jnp.ones(shape))

    def measured(self, params: NormaliseParams, key: Key, steps: int = 1024) -> NormaliseParams:
        """The same params with statistics of random play (`obs_statistics`)."""
        mean, std = obs_statistics(self.env, params.env, key, steps)
        return params.replace(mean=mean, std=std)

    def reset(self, key: Key, params: NormaliseParams) -> tuple[Inner, TimeStep]:
        """Starts an episode. The key is consumed."""
        env, ts = self.env.reset(key, params.env)
        return Inner(env), ts.replace(obs=self._normalised(ts.obs, params))

    def step(
        self, key: Key, state: Inner, action: jax.Array, params: NormaliseParams
    ) -> tuple[Inner, TimeStep]:
        """Advances one step. The key is consumed."""
        env, ts = self.env.step(key, state.env, action, params.env)
        return Inner(env), ts.replace(obs=self._normalised(ts.obs, params))

    def observe_inner(self, state: Inner, params: NormaliseParams) -> tuple[jax.Array, PyTree]:
        """The inner `observe`, normalised."""
        obs, mask = super().observe_inner(state, params)
        return self._normalised(obs, params), mask

    def _normalised(self, obs: jax.Array, params: NormaliseParams) -> jax.Array:
        obs = (obs.astype(jnp.float32) - params.mean) / params.std
        return jnp.clip(obs, -self.clip, self.clip)


def normalise_obs(env: Environment, clip: float = 10.0) -> NormaliseObs:
    """Shifts and scales observations to mean 0 and deviation 1, then clips them to `clip`.

    `params.mean` and `params.std` are leaves, 0 and 1 until set:
    `params = env.measured(params, key)` sets them from random play. They stay as they are while an
    agent learns. Running statistics would be hidden state that every environment of a batch, every
    seed and the evaluation would have to share, and the same observation would mean something else
    at every step.

    Raises:
      ValueError: observations are no `Box`, or `clip` is not positive.
    """
    _check_box("normalise_obs", env)
    if not clip > 0:
        raise ValueError(f"normalise_obs needs a positive clip, got {clip}")
    return NormaliseObs(env, float(clip))


@partial(jax.jit, static_argnames=("env", "steps", "num_envs"))
def obs_statistics(
    env: Environment, params: PyTree, key: Key, steps: int = 1024, num_envs: int = 16
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of each number of an observation under random play.

    A number that never varies gets the deviation 1. The key is consumed.

    Args:
      env: whose observations are a `Box`.
      params: of the environment.
      key: of the play.
      steps: of each of `num_envs` environments, episode after episode.
      num_envs: environments played side by side.
    """
    venv = vectorize(env, num_envs)
    start_key, play_key = jax.random.split(key)
    draw = jax.vmap(partial(random_action, env.action_space))

    def step(state: PyTree, key: Key) -> tuple[PyTree, tuple[jax.Array, jax.Array]]:
        act_key, step_key = keys.split(key)
        obs = state.inputs.obs.astype(jnp.float32)  # [N, ...]
        action = draw(keys.split(act_key, num_envs), state.inputs.action_mask)
        state, _ = venv.step(step_key, state, action, params)
        return state, (obs.mean(axis=0), obs.var(axis=0))

    state = venv.init(start_key, params)
    _, (means, variances) = jax.lax.scan(step, state, jax.random.split(play_key, steps))
    std = jnp.sqrt(variances.mean(axis=0) + means.var(axis=0))
    return means.mean(axis=0), jnp.where(std > 1e-6, std, 1.0)


class FrameState(struct.PyTreeNode):
    """One episode in progress."""

    env: PyTree
    frames: jax.Array  # [n, ...], the newest last


@dataclass(frozen=True)
class FrameStack(Wrapper):
    """See `frame_stack`."""

    count: int = 4

    @property
    def observation_space(self) -> Box:
        """The inner box, `count` times along its first axis."""
        space = self.env.observation_space
        low, high = (np.concatenate([x] * self.count) for x in (space.low, space.high))
        return Box(low, high, dtype=space.dtype)

    def reset(self, key: Key, params: PyTree) -> tuple[FrameState, TimeStep]:
        """Starts an episode: the first frame `count` times. The key is consumed."""
        env, ts = self.env.reset(key, params)
        return _stacked(FrameState(env, jnp.stack([ts.obs] * self.count)), ts)

    def step(
        self, key: Key, state: FrameState, action: jax.Array, params: PyTree
    ) -> tuple[FrameState, TimeStep]:
        """Advances one step. The key is consumed."""
        env, ts = self.env.step(key, state.env, action, params)
        return _stacked(FrameState(env, jnp.concatenate([state.frames[1:], ts.obs[None]])), ts)

    def observe_inner(self, state: FrameState, params: PyTree) -> tuple[jax.Array, PyTree]:
        """The stored frames and the inner action mask."""
        return _joined(state.frames), super().observe_inner(state, params)[1]


def frame_stack(env: Environment, count: int) -> FrameStack:
    """Shows the last `count` observations joined along their first axis, the newest last.

    Planes `[C, H, W]` become `[count * C, H, W]`. At the start the first one stands for those
    before it.

    Raises:
      ValueError: observations are no `Box` with an axis, or `count` is not positive.
    """
    _check_box("frame_stack", env)
    if count < 1 or not env.observation_space.shape:
        raise ValueError(f"frame_stack needs count >= 1 and an axis, got {count}")
    return FrameStack(env, count)


def _stacked(state: FrameState, ts: TimeStep) -> tuple[FrameState, TimeStep]:
    return state, ts.replace(obs=_joined(state.frames))


def _joined(frames: jax.Array) -> jax.Array:
    """[n, C, ...] -> [n * C, ...]."""
    return frames.reshape(-1, *frames.shape[2:])


def _check_box(what: str, env: Environment) -> None:
    if not isinstance(env.observation_space, Box):
        raise ValueError(f"{what} needs observations in a Box, got {env.observation_space}")

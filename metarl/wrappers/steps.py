"""Wrappers of actions, time and reward: sticky actions, time limit, statistics, scaling."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from metarl.ops import keys
from metarl.ops.sampling import no_action
from metarl.types import Environment, Key, PyTree, TimeStep
from metarl.wrappers.base import Inner, WithLeaves, Wrapper


class StickyParams(struct.PyTreeNode):
    """Dynamic settings."""

    env: PyTree
    probability: jax.Array  # [] float32, of playing the previous action again


class StickyState(struct.PyTreeNode):
    """One episode in progress."""

    env: PyTree
    action: jax.Array  # the action last played, of the action space's shape
    started: jax.Array  # [] bool, whether there is one


@dataclass(frozen=True)
class StickyActions(WithLeaves):
    """See `sticky_actions`."""

    probability: float = 0.25

    def extend(self, params: PyTree) -> StickyParams:
        """Adds `probability`."""
        return StickyParams(params, jnp.float32(self.probability))

    def reset(self, key: Key, params: StickyParams) -> tuple[StickyState, TimeStep]:
        """Starts an episode. The key is consumed."""
        env, ts = self.env.reset(key, params.env)
        return StickyState(env, no_action(self.action_space), jnp.bool_(False)), ts

    def step(
        self, key: Key, state: StickyState, action: jax.Array, params: StickyParams
    ) -> tuple[StickyState, TimeStep]:
        """Plays `action` or the previous one. The key is consumed."""
        word_key, step_key = keys.split(key)
        uniform = keys.unit(keys.words(word_key, 1)[0])
        again = state.started & (uniform < params.probability)
        action = jnp.where(again, state.action, jnp.asarray(action, state.action.dtype))
        env, ts = self.env.step(step_key, state.env, action, params.env)
        return StickyState(env, action, jnp.bool_(True)), ts


def sticky_actions(env: Environment, probability: float = 0.25) -> StickyActions:
    """Plays the action played last instead of the chosen one, with a probability.

    The agent is not told. The first action of an episode is played as it is. 0.25 is the advice of
    Machado et al. 2018 (https://arxiv.org/abs/1709.06009) for Atari. `params.probability` is a
    leaf, `probability` its default.

    Raises:
      ValueError: no probability.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"sticky_actions needs a probability in 0..1, got {probability}")
    return StickyActions(env, probability)


class LimitParams(struct.PyTreeNode):
    """Dynamic settings."""

    env: PyTree
    max_steps: jax.Array  # [] int32, steps until truncation


class LimitState(struct.PyTreeNode):
    """One episode in progress."""

    env: PyTree
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class TimeLimit(WithLeaves):
    """See `time_limit`."""

    steps: int = 1000

    def extend(self, params: PyTree) -> LimitParams:
        """Adds `max_steps`."""
        return LimitParams(params, jnp.int32(self.steps))

    def reset(self, key: Key, params: LimitParams) -> tuple[LimitState, TimeStep]:
        """Starts an episode. The key is consumed."""
        env, ts = self.env.reset(key, params.env)
        return LimitState(env, jnp.int32(0)), ts

    def step(
        self, key: Key, state: LimitState, action: jax.Array, params: LimitParams
    ) -> tuple[LimitState, TimeStep]:
        """Advances one step. The key is consumed."""
        env, ts = self.env.step(key, state.env, action, params.env)
        time = state.time + 1
        truncated = ts.truncated | (~ts.terminated & (time >= params.max_steps))
        return LimitState(env, time), ts.replace(truncated=truncated)


def time_limit(env: Environment, steps: int) -> TimeLimit:
    """Truncates episodes after `steps` steps; a shorter limit of the environment's own stays.

    `params.max_steps` is a leaf, `steps` its default.

    Raises:
      ValueError: no positive number.
    """
    if not 1 <= steps < 2**31:
        raise ValueError(f"time_limit needs at least 1 step and less than 2**31, got {steps}")
    return TimeLimit(env, steps)


class EpisodeState(struct.PyTreeNode):
    """One episode in progress."""

    env: PyTree
    ret: jax.Array  # [] float32
    length: jax.Array  # [] int32


@dataclass(frozen=True)
class EpisodeStatistics(Wrapper):
    """See `episode_statistics`."""

    def reset(self, key: Key, params: PyTree) -> tuple[EpisodeState, TimeStep]:
        """Starts an episode. The key is consumed."""
        env, ts = self.env.reset(key, params)
        return _counted(EpisodeState(env, jnp.float32(0), jnp.int32(0)), ts)

    def step(
        self, key: Key, state: EpisodeState, action: jax.Array, params: PyTree
    ) -> tuple[EpisodeState, TimeStep]:
        """Advances one step. The key is consumed."""
        env, ts = self.env.step(key, state.env, action, params)
        return _counted(EpisodeState(env, state.ret + ts.reward, state.length + 1), ts)


def episode_statistics(env: Environment) -> EpisodeStatistics:
    """Puts `episode_return` and `episode_length` into `info`: of the episode so far.

    On the step that ends an episode they are the whole episode's.
    """
    return EpisodeStatistics(env)


def _counted(state: EpisodeState, ts: TimeStep) -> tuple[EpisodeState, TimeStep]:
    counts = {"episode_return": state.ret, "episode_length": state.length}
    return state, ts.replace(info={**ts.info, **counts})


class ScaleParams(struct.PyTreeNode):
    """Dynamic settings."""

    env: PyTree
    factor: jax.Array  # [] float32


@dataclass(frozen=True)
class ScaleReward(WithLeaves):
    """See `scale_reward`."""

    factor: float = 1.0

    def extend(self, params: PyTree) -> ScaleParams:
        """Adds `factor`."""
        return ScaleParams(params, jnp.float32(self.factor))

    def reset(self, key: Key, params: ScaleParams) -> tuple[Inner, TimeStep]:
        """Starts an episode. The key is consumed."""
        env, ts = self.env.reset(key, params.env)
        return Inner(env), ts

    def step(
        self, key: Key, state: Inner, action: jax.Array, params: ScaleParams
    ) -> tuple[Inner, TimeStep]:
        """Advances one step. The key is consumed."""
        env, ts = self.env.step(key, state.env, action, params.env)
        return Inner(env), ts.replace(reward=ts.reward * params.factor)


def scale_reward(env: Environment, factor: float) -> ScaleReward:
    """Multiplies every reward; `params.factor` is a leaf, `factor` its default."""
    return ScaleReward(env, factor)

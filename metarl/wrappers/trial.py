"""Trials: several episodes of one task, with the agent's memory kept from one to the next.

An agent that can learn within its memory (RL^2: https://arxiv.org/abs/1611.02779) does better at
the second attempt than at the first; `pass_at` counts how often it needs how many.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box, Dict

from metarl.ops import keys
from metarl.types import Environment, Key, PyTree, TimeStep
from metarl.wrappers.base import Wrapper


class TrialState(struct.PyTreeNode):
    """One trial in progress."""

    env: PyTree  # the attempt in progress
    start: PyTree  # state that attempts start from, or () where each starts anew
    shown: PyTree  # its (obs, action mask), or () where `observe` tells
    task: PyTree  # params drawn for this trial, or ()
    attempt: jax.Array  # [] int32, number of attempts that have ended
    turn: jax.Array  # [] int32, steps of the attempt in progress
    opened: jax.Array  # [] bool, the step before ended an attempt
    returns: jax.Array  # [n] float32, of each attempt so far
    success: jax.Array  # [n] bool


@dataclass(frozen=True)
class Trial(Wrapper):
    """See `trial`."""

    episodes: int = 3
    stop_on_success: bool = True
    same_start: bool = True
    sample_task: bool = False
    split: str | None = None

    @property
    def observation_space(self) -> Dict:
        """`obs` of the environment, and the three numbers of `trial`."""
        return Dict({"obs": self.env.observation_space, "trial": Box(0, 1, (3,), np.float32)})

    def inner(self, state: TrialState, params: PyTree) -> tuple[PyTree, PyTree]:
        """State of the attempt and params of the trial's task."""
        return state.env, state.task if self.sample_task else params

    def reset(self, key: Key, params: PyTree) -> tuple[TrialState, TimeStep]:
        """Starts a trial: draws its task, if asked to, and its start. The key is consumed."""
        task_key, start_key = keys.split(key)
        task: PyTree = ()
        if self.sample_task:
            task = params = limited(self.env.sample_params(task_key, self.split), params)
        env, ts = self.env.reset(start_key, params)
        start = env if self.same_start else ()
        shown = () if hasattr(self.env, "observe") else (ts.obs, ts.action_mask)
        blank = jnp.zeros(self.episodes)
        zero = jnp.int32(0)
        state = TrialState(
            env, start, shown, task, zero, zero, jnp.bool_(False), blank, blank.astype(bool)
        )
        return state, self._timestep(state, params, ts, (ts.obs, ts.action_mask))

    def step(
        self, key: Key, state: TrialState, action: jax.Array, params: PyTree
    ) -> tuple[TrialState, TimeStep]:
        """Advances the attempt; where it ends, shows the next at once. The key is consumed."""
        step_key, start_key = keys.split(key)
        params = state.task if self.sample_task else params
        env, ts = self.env.step(step_key, state.env, action, params)
        now = jnp.arange(self.episodes) == state.attempt  # [n]
        won = success(ts) & ts.last
        state = state.replace(
            env=env,
            attempt=jnp.minimum(state.attempt + ts.last, self.episodes),
            turn=jnp.where(ts.last, 0, state.turn + 1),
            opened=ts.last,
            returns=state.returns + jnp.where(now, ts.reward, 0),
            success=state.success | (now & won),
        )
        over = ts.last & ((state.attempt == self.episodes) | (self.stop_on_success & won))
        state, view = self._restarted(start_key, state, params, ts, ts.last & ~over)
        return state, self._timestep(state, params, ts, view, over)

    def observe_inner(self, state: TrialState, params: PyTree) -> tuple[PyTree, Any]:
        """The inner `observe` with the trial's own three numbers."""
        obs, mask = super().observe_inner(state, params)
        return self._view(state, self.inner(state, params)[1], obs), mask

    def _restarted(
        self, key: Key, state: TrialState, params: PyTree, ts: TimeStep, again: jax.Array
    ) -> tuple[TrialState, tuple[PyTree, Any]]:
        """The start of the next attempt if `again`, and what is seen (obs, action mask)."""
        start, shown = state.start, state.shown
        if not self.same_start:
            start, first = self.env.reset(key, params)
            shown = (first.obs, first.action_mask)
        pick = lambda a, b: jax.tree.map(lambda x, y: jnp.where(again, x, y), a, b)  # noqa: E731
        state = state.replace(env=pick(start, state.env))
        if hasattr(self.env, "observe"):
            return state, self.env.observe(state.env, params)
        return state, pick(shown, (ts.obs, ts.action_mask))

    def _timestep(
        self,
        state: TrialState,
        params: PyTree,
        ts: TimeStep,
        view: tuple[PyTree, Any],
        over: jax.Array | None = None,
    ) -> TimeStep:
        obs, mask = view
        info = {
            **ts.info,
            "episode_terminated": ts.terminated,
            "episode_truncated": ts.truncated,
            "episode_obs": ts.obs,
            "attempt_return": state.returns,
            "attempt_success": state.success,
        }
        no = jnp.bool_(False)
        terminated = no if over is None else over
        return TimeStep(self._view(state, params, obs), ts.reward, terminated, no, mask, info)

    def _view(self, state: TrialState, params: PyTree, obs: PyTree) -> dict[str, PyTree]:
        limit = _limit(params)
        turn = jnp.float32(0) if limit is None else jnp.minimum(state.turn / limit, 1)
        numbers = [state.attempt / self.episodes, turn, state.opened]
        return {"obs": obs, "trial": jnp.stack([jnp.float32(x) for x in numbers])}


def trial(
    env: Environment,
    episodes: int = 3,
    *,
    stop_on_success: bool = True,
    same_start: bool = True,
    sample_task: bool = False,
    split: str | None = None,
) -> Trial:
    """Makes one episode of up to `episodes` attempts at the same task.

    The task is the start, the params, or both: with `same_start` every attempt starts from the
    very state of the first, kept and restored without another reset; with `sample_task` every
    trial draws params of its own by `sample_params(key, split)`, of the given params only
    `max_steps` stays. Without `same_start` each attempt is another start, and `env.reset` runs at
    every step.

    There are two ends. The end of an attempt is `info["episode_terminated"]` and
    `info["episode_truncated"]`; the next attempt is shown at once, and what the old one showed last
    is `info["episode_obs"]`. The end of the trial is `terminated`: nothing is left to gain, so it
    is never a truncation. So `AgentInput.first` is true at the first step of a trial alone, and
    that is where an agent with `reset_memory` forgets. Between attempts the agent learns from the
    observation that one has ended: `obs["trial"]` is [attempt / n, turn / limit, an attempt has
    just ended], where the limit is the first `max_steps` of the params and the turn 0 without one.

    `info["attempt_return"]` [n] and `info["attempt_success"]` [n] tell of each attempt, 0 and False
    of those not played. An attempt succeeds where the environment says `info["success"]` or
    `info["solved"]` at its end; where it says neither, one that terminates with a positive last
    reward does.

    Args:
      env: any environment.
      episodes: n, attempts at most.
      stop_on_success: end the trial with the first success.
      same_start: restore the first start.
      sample_task: draw params for each trial.
      split: of the tasks drawn: "train", "heldout" or None.

    Raises:
      ValueError: `episodes` is not positive, or the environment draws no tasks.
    """
    if episodes < 1:
        raise ValueError(f"a trial needs at least 1 episode, got {episodes}")
    if sample_task and not hasattr(env, "sample_params"):
        raise ValueError(f"{type(env).__name__} has no `sample_params`, so no tasks can be drawn")
    return Trial(env, episodes, stop_on_success, same_start, sample_task, split)


def pass_at(success: jax.Array) -> jax.Array:
    """pass@1 to pass@n, [..., n] bool, from `info["attempt_success"]` [..., n] of whole trials."""
    return jnp.cumsum(success, axis=-1) > 0


def success(ts: TimeStep) -> jax.Array:
    """[] bool, whether an episode that ends with `ts` is won."""
    for name in ("success", "solved"):
        if name in ts.info:
            return ts.info[name]
    return ts.terminated & (ts.reward > 0)


def _limit(params: PyTree) -> jax.Array | None:
    """The outermost `max_steps` of wrapped params."""
    while not hasattr(params, "max_steps"):
        if not hasattr(params, "env"):
            return None
        params = params.env
    return params.max_steps


def limited(task: PyTree, params: PyTree) -> PyTree:
    """`task` with the time limits of `params`."""
    if hasattr(task, "max_steps"):
        task = task.replace(max_steps=params.max_steps)
    return task.replace(env=limited(task.env, params.env)) if hasattr(task, "env") else task

"""Wrappers: functions from an environment to an environment, applied in one fixed order.

From the inside out (`ORDER`):

  sticky_actions      what the environment really plays
  permute_actions     what the numbers of actions mean
  time_limit          when an episode is cut off
  episode_statistics  of the rewards as the environment pays them
  scale_reward        what the agent is paid
  normalise_obs       statistics of one observation
  frame_stack         of normalised observations
  trial               repeats all of it, stacked frames included

`wrap` keeps to it, so the order in which its arguments are written means nothing. Each wrapper is
also a function of its own for whoever wants another order. All take and return environments as in
`metarl.types`: frozen dataclasses, equal by value, so equal stacks share one compiled programme.
The numbers of a wrapper are leaves of its params; those given to the function are their defaults.
"""

from collections.abc import Callable, Mapping
from typing import Any

from metarl.registry import did_you_mean
from metarl.types import Environment, Key, PyTree
from metarl.wrappers.actions import permute_actions
from metarl.wrappers.attempts import attempt_ended, forgetful
from metarl.wrappers.base import Wrapper
from metarl.wrappers.observations import NormaliseObs, frame_stack, normalise_obs, obs_statistics
from metarl.wrappers.steps import episode_statistics, scale_reward, sticky_actions, time_limit
from metarl.wrappers.trial import pass_at, trial

__all__ = [
    "ORDER",
    "NormaliseObs",
    "Wrapper",
    "attempt_ended",
    "episode_statistics",
    "forgetful",
    "frame_stack",
    "normalise_obs",
    "obs_statistics",
    "params_for",
    "pass_at",
    "permute_actions",
    "scale_reward",
    "sticky_actions",
    "time_limit",
    "trial",
    "wrap",
]

ORDER: Mapping[str, Callable[..., Wrapper]] = {  # from the inside out
    "sticky_actions": sticky_actions,
    "permute_actions": permute_actions,
    "time_limit": time_limit,
    "episode_statistics": episode_statistics,
    "scale_reward": scale_reward,
    "normalise_obs": normalise_obs,
    "frame_stack": frame_stack,
    "trial": trial,
}


def wrap(env: Environment, **wrappers: Any) -> Any:
    """Applies any of the wrappers in the order of `ORDER`.

        wrap(env, frame_stack=4, time_limit=100, trial={"episodes": 3, "stop_on_success": False})

    Args:
      env: any environment.
      **wrappers: the name of a wrapper and its argument, or a dict of its arguments, or True for
        its defaults; False and None leave it out.

    Raises:
      ValueError: no such wrapper, or an argument that it refuses.
    """
    for name in wrappers:
        if name not in ORDER:
            raise ValueError(
                f"no wrapper {name!r}{did_you_mean(name, [*ORDER])} known: {', '.join(ORDER)}"
            )
    for name, build in ORDER.items():
        given = wrappers.get(name)
        if given is None or given is False:
            continue
        if isinstance(given, Mapping):
            env = build(env, **given)
        else:
            env = build(env) if given is True else build(env, given)
    return env


def params_for(env: Any, params: PyTree, key: Key) -> PyTree:
    """Params of a stack of wrappers around given params of the innermost environment.

    The numbers of each wrapper are its defaults; the statistics of `normalise_obs` are measured.
    The key is consumed.
    """
    if not isinstance(env, Wrapper):
        return params
    params = env.extend(params_for(env.env, params, key))
    return env.measured(params, key) if isinstance(env, NormaliseObs) else params

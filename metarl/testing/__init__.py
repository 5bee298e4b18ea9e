"""Checks offered to everybody who writes a part: does it keep the contract of `metarl.types`?"""

from collections.abc import Iterable
from typing import Any

import jax

from metarl.ops.sampling import random_action
from metarl.testing import behaviour, shapes, tasks
from metarl.types import PyTree

__all__ = ["ContractError", "check_env", "random_action"]


class ContractError(AssertionError):
    """An environment breaks the contract; the message lists what is wrong and what to do."""


def check_env(env: Any, params: PyTree = None, *, steps: int = 128, seed: int = 0) -> None:
    """Checks one environment in a few seconds, most of them compilation.

    Four stages, each on the ground of the one before: the form of the class, the shapes of what
    its methods return, random play, and the same steps run in other ways. Of `sample_params` and
    `mutate`, where there are such, it checks that they give tasks that can be played. Unseen stays
    whether the rules of the game are right, and, where no episode ends within `steps` steps, what
    follows the end; pass `params` with a short time limit then.

    Args:
      env: the environment.
      params: its dynamic settings; `env.default_params()` unless given.
      steps: length of play, past the end of the episode too.
      seed: of the random play.

    Raises:
      ContractError: something is wrong; all problems of the first stage that finds any are named.
    """
    _report(env, shapes.form_problems(env))
    params = env.default_params() if params is None else params
    _report(env, [*shapes.shape_problems(env, params), *tasks.task_problems(env, params)])
    played, many = behaviour.play(env, params, steps, jax.random.key(seed))
    _report(env, behaviour.play_problems(env, params, played, many))
    _report(env, behaviour.repeat_problems(env, params, played))


def _report(env: Any, problems: Iterable[str]) -> None:
    found = [f"\n- {problem}" for problem in problems]
    if found:
        raise ContractError(f"{env!r} breaks the contract of an environment:{''.join(found)}")

"""What an agent earns on a level: of every environment the first episode, and nothing else.

`metarl.evaluate` is the same for people who look at scores; this is for outer loops, which judge a
life by what its agent earns at the end.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metarl.inner import act, birth
from metarl.rollout import VectorEnv
from metarl.types import Agent, Key, Params, PyTree, UpdateRule

Return = Callable[[Params, PyTree, Key], jax.Array]  # mean return of params on a level

_IDLE = UpdateRule({}, lambda key: (), lambda params: (), lambda eta, *rest: (*rest[:2], {}))


def first_returns(
    agent: Agent,
    venv: VectorEnv,
    *,
    max_steps: int,
    piece: int = 20,
    env_params: Callable[[PyTree], PyTree] = lambda level: level,
) -> Return:
    """Builds `(params, level, key) -> mean undiscounted return` over the environments of `venv`.

    All start afresh, and play until the last of their first episodes has ended. Under `vmap` the
    longest counts.

    Args:
      agent, venv: the parts; an environment that never resets (`metarl.rollout.none`) is cheapest.
      max_steps: where an episode is cut off; it counts with what it earned until then.
      piece: steps between looks at whether all have ended, at most so many too many.
      env_params: from a level to its params.

    Raises:
      ValueError: no steps.
    """
    if max_steps < 1 or piece < 1:
        raise ValueError(f"max_steps and piece must be at least 1, got {max_steps} and {piece}")

    def ret(params: Params, level: PyTree, key: Key) -> jax.Array:
        start_key, play_key = jax.random.split(key)
        born = birth(agent, _IDLE, venv, env_params(level), start_key)
        count = len(born.episode.ret)

        def unfinished(loop: tuple) -> jax.Array:
            return (loop[0].age * piece < max_steps) & ~jnp.all(loop[2])

        def further(loop: tuple) -> tuple[Any, ...]:
            learner, total, over = loop
            act_key = jax.random.fold_in(play_key, learner.age)
            rollout, after = act(agent, venv, learner, act_key, length=piece)
            ends = jnp.cumsum(rollout.last, axis=1)  # [N, piece]
            counts = (ends - rollout.last == 0) & ~over[:, None]
            counts &= learner.age * piece + jnp.arange(piece) < max_steps
            total += jnp.sum(jnp.where(counts, rollout.reward, 0), axis=1)
            return after.replace(age=learner.age + 1), total, over | (ends[:, -1] > 0)

        start = (born.replace(params=params), jnp.zeros(count), jnp.zeros(count, bool))
        return jnp.mean(jax.lax.while_loop(unfinished, further, start)[1])

    return ret

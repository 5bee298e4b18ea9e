"""How good an agent is: whole episodes, and of each environment the first alone.

Counting all episodes within so many steps would favour the short ones.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from metarl.ops import keys
from metarl.ops.distributions import policy
from metarl.rollout import apply_all, first_inputs, none, successor, vectorize
from metarl.types import Agent, Environment, Key, Params, PyTree


class Scores(struct.PyTreeNode):
    """Outcomes of `E` episodes, which are trials of up to `n` attempts each in `trial`."""

    ret: jax.Array  # [E] float32, undiscounted returns
    length: jax.Array  # [E] int32
    terminated: jax.Array  # [E] bool, the task ended
    finished: jax.Array  # [E] bool, false where `max_steps` cut the episode off
    attempts: jax.Array | None = None  # [E] int32, attempts that ended; None outside of trials
    attempt_return: jax.Array | None = None  # [E, n] float32, 0 of those not played
    attempt_success: jax.Array | None = None  # [E, n] bool


@partial(jax.jit, static_argnames=("agent", "env", "episodes", "max_steps", "greedy"))
def evaluate(
    agent: Agent,
    env: Environment,
    params: Params,
    env_params: PyTree,
    key: Key,
    *,
    episodes: int,
    max_steps: int = 10_000,
    greedy: bool = False,
) -> Scores:
    """Plays `episodes` episodes side by side until all have ended. The key is consumed.

    Args:
      agent, env: the parts.
      params: of the agent.
      env_params: the task.
      key: draw it apart from training's.
      episodes: E.
      max_steps: where an episode without an end of its own is cut off.
      greedy: take the likeliest action instead of sampling.
    """
    venv = vectorize(env, episodes, none)
    start_key, play_key = jax.random.split(key)
    carry = jax.tree.map(lambda x: jnp.broadcast_to(x, (episodes, *x.shape)), agent.carry())
    zero = jnp.zeros(episodes, bool)
    scores = Scores(jnp.zeros(episodes), jnp.zeros(episodes, jnp.int32), zero, zero)
    told = jax.eval_shape(env.reset, key, env_params)[1].info
    scores = scores.replace(**_blank_attempts(told, episodes))

    def unfinished(loop: tuple) -> jax.Array:
        return (loop[0] < max_steps) & ~jnp.all(loop[-1].finished)

    def step(loop: tuple) -> tuple:
        time, state, carry, scores = loop
        act_key, step_key = keys.split(jax.random.fold_in(play_key, time))
        heads, carry = apply_all(agent, params, carry, state.inputs)
        pi = policy(heads)
        draw = jax.vmap(lambda pi, key: pi.sample(key))
        action = pi.mode() if greedy else draw(pi, keys.spread(act_key, episodes))
        state, ts = venv.step(step_key, state, action, env_params)
        inputs = state.inputs.replace(first=jnp.zeros(episodes, bool))  # nothing starts anew
        live = ~scores.finished
        scores = scores.replace(
            ret=scores.ret + jnp.where(live, ts.reward, 0),
            length=scores.length + live,
            terminated=scores.terminated | (live & ts.terminated),
            finished=scores.finished | ts.last,
            **_attempts(scores, ts.info, live),
        )
        return time + 1, state.replace(inputs=inputs), carry, scores

    loop = (jnp.int32(0), venv.init(start_key, env_params), carry, scores)
    return jax.lax.while_loop(unfinished, step, loop)[-1]


def _blank_attempts(info: dict[str, Any], episodes: int) -> dict[str, jax.Array]:
    """What is known of attempts before any, if the environment tells of them."""
    if "attempt_return" not in info:
        return {}
    blank = lambda x: jnp.zeros((episodes, *x.shape), x.dtype)  # noqa: E731
    told = {"attempt_return": info["attempt_return"], "attempt_success": info["attempt_success"]}
    return {"attempts": jnp.zeros(episodes, jnp.int32), **jax.tree.map(blank, told)}


def _attempts(scores: Scores, info: dict[str, jax.Array], live: jax.Array) -> dict[str, jax.Array]:
    """The same after one more step of the episodes that are `live` [E]."""
    if scores.attempts is None:
        return {}
    ended = info["episode_terminated"] | info["episode_truncated"]
    latest = lambda name: jnp.where(live[:, None], info[name], getattr(scores, name))  # noqa: E731
    return {
        "attempts": scores.attempts + (live & ended),
        "attempt_return": latest("attempt_return"),
        "attempt_success": latest("attempt_success"),
    }


def record(
    agent: Agent, env: Environment, params: Params, env_params: PyTree, key: Key, *, steps: int
) -> tuple[PyTree, jax.Array]:
    """Plays one episode for pictures. The key is consumed.

    Returns:
      The environment's states [steps + 1, ...], frozen after the end, and the number of steps
      [] int32 that the episode lasted.
    """
    reset_key, play_key = jax.random.split(key)
    state, ts = env.reset(reset_key, env_params)

    def step(loop: tuple, key: Key) -> tuple:
        state, inputs, carry, done = loop
        act_key, step_key = jax.random.split(key)
        heads, carry = agent.apply(params, carry, inputs)
        action = policy(heads).sample(act_key)
        after, ts = env.step(step_key, state, action, env_params)
        state = jax.tree.map(lambda old, new: jnp.where(done, old, new), state, after)
        return (state, successor(ts, action), carry, done | ts.last), (state, ~done)

    loop = (state, first_inputs(env, ts), agent.carry(), jnp.bool_(False))
    rest: PyTree
    alive: jax.Array
    _, (rest, alive) = jax.lax.scan(step, loop, jax.random.split(play_key, steps))
    states = jax.tree.map(lambda first, more: jnp.concatenate([first[None], more]), state, rest)
    return states, jnp.sum(alive)


@partial(jax.jit, static_argnames=("agent", "env", "steps"))
def pictures(
    agent: Agent, env: Any, params: Params, env_params: PyTree, key: Key, *, steps: int
) -> tuple[jax.Array, jax.Array]:
    """What is to be seen of one episode: frames [steps + 1, H, W, 3] uint8, and `record`'s length.

    The environment needs `render`. The key is consumed.
    """
    states, length = record(agent, env, params, env_params, key, steps=steps)
    return jax.vmap(env.render, in_axes=(0, None))(states, env_params), length

"""How good an agent is: whole episodes, and of each environment the first alone.

Counting all episodes within so many steps would favour the short ones.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from metarl.ops import keys
from metarl.ops.distributions import policy
from metarl.rollout import first_inputs, none, successor, vectorize
from metarl.types import Agent, Environment, Key, Params, PyTree


class Scores(struct.PyTreeNode):
    """Outcomes of `E` episodes."""

    ret: jax.Array  # [E] float32, undiscounted returns
    length: jax.Array  # [E] int32
    terminated: jax.Array  # [E] bool, the task ended
    finished: jax.Array  # [E] bool, false where `max_steps` cut the episode off


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

    def unfinished(loop: tuple) -> jax.Array:
        return (loop[0] < max_steps) & ~jnp.all(loop[-1].finished)

    def step(loop: tuple) -> tuple:
        time, state, carry, scores = loop
        act_key, step_key = keys.split(jax.random.fold_in(play_key, time))
        heads, carry = jax.vmap(agent.apply, in_axes=(None, 0, 0))(params, carry, state.inputs)
        pi = policy(heads)
        draw = jax.vmap(lambda pi, key: pi.sample(key))
        action = pi.mode() if greedy else draw(pi, keys.spread(act_key, episodes))
        state, ts = venv.step(step_key, state, action, env_params)
        inputs = state.inputs.replace(first=jnp.zeros(episodes, bool))  # nothing starts anew
        live = ~scores.finished
        scores = Scores(
            scores.ret + jnp.where(live, ts.reward, 0),
            scores.length + live,
            scores.terminated | (live & ts.terminated),
            scores.finished | ts.last,
        )
        return time + 1, state.replace(inputs=inputs), carry, scores

    loop = (jnp.int32(0), venv.init(start_key, env_params), carry, scores)
    return jax.lax.while_loop(unfinished, step, loop)[-1]


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

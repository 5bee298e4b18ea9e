"""The inner loop: an agent is born, acts, and learns. Plain functions, so `jax.grad` goes through.

The key of an update is `fold_in(key, learner.age)`: a life may be lived in pieces of any length,
with one key and no key stored, and comes out the same to the bit.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from metarl.ops import keys
from metarl.ops.distributions import policy
from metarl.ops.statistics import episodes
from metarl.rollout import Experience, VectorEnv, successor
from metarl.types import (
    Agent,
    EpisodeStats,
    Eta,
    Key,
    Learner,
    Metrics,
    PyTree,
    Rollout,
    UpdateRule,
)

Gradient = Literal["none", "unrolled", "checkpointed"]


def birth(agent: Agent, rule: UpdateRule, venv: VectorEnv, env_params: PyTree, key: Key) -> Learner:
    """A new-born learner in fresh environments. The key is consumed."""
    params_key, env_key = jax.random.split(key)
    params = agent.init(params_key)
    env_state = venv.init(env_key, env_params)
    num_envs = env_state.inputs.first.shape[0]
    carry = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_envs, *x.shape)), agent.carry())
    episode = EpisodeStats(jnp.zeros(num_envs), jnp.zeros(num_envs, jnp.int32))
    state = rule.init(params)
    return Learner(params, state, env_params, env_state, carry, episode, jnp.int32(0))


def act(
    agent: Agent, venv: VectorEnv, learner: Learner, key: Key, *, length: int
) -> tuple[Rollout, Learner]:
    """Collects experience without learning. The key is consumed.

    Returns:
      A rollout with leaves [N, T, ...] (carry [N, ...]), and the learner `length` steps later.
    """

    def step(loop: tuple, key: Key):
        env_state, carry = loop
        act_key, step_key = keys.split(key)
        inputs = env_state.inputs
        heads, carry = jax.vmap(agent.apply, in_axes=(None, 0, 0))(learner.params, carry, inputs)
        sample = jax.vmap(lambda heads, key: policy(heads).sample(key))
        action = sample(heads, keys.spread(act_key, inputs.first.shape[0]))
        env_state, ts = venv.step(step_key, env_state, action, learner.env_params)
        flags = (ts.terminated, ts.truncated)
        after = successor(ts, action)
        return (env_state, carry), Experience(inputs, action, ts.reward, *flags, after, heads)

    loop = (learner.env_state, learner.carry)
    (env_state, carry), steps = jax.lax.scan(step, loop, jax.random.split(key, length))
    steps = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), steps)  # [N, T, ...]
    return Rollout(**vars(steps), carry=learner.carry), learner.replace(
        env_state=env_state, carry=carry
    )


def live(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    eta: Eta,
    learner: Learner,
    key: Key,
    *,
    updates: int,
    length: int,
    gradient: Gradient = "none",
) -> tuple[Learner, Metrics]:
    """`updates` times: act for `length` steps, then learn. Differentiable in `eta`.

    Calling it again with the same key and the learner it returned goes on with new randomness.

    Args:
      agent, rule, venv: the parts.
      eta: the rule's meta-parameters.
      learner: the life in progress.
      key: of the whole life.
      updates: how many.
      length: T, steps per update and environment.
      gradient: how derivatives pass: `"unrolled"` keeps every intermediate, `"checkpointed"`
        recomputes each update in the backward pass, `"none"` lets none pass.

    Returns:
      The learner, and metrics [updates]: the rule's own, and those of `ops.statistics.episodes`.
    """

    def step(learner: Learner, _: None) -> tuple[Learner, Metrics]:
        act_key, update_key = jax.random.split(jax.random.fold_in(key, learner.age))
        rollout, learner = act(agent, venv, learner, act_key, length=length)
        params, state, metrics = rule.update(
            eta, learner.params, learner.rule_state, rollout, update_key
        )
        episode, counts = episodes(learner.episode, rollout.reward, rollout.last)
        learner = learner.replace(params=params, rule_state=state, episode=episode)
        return learner.replace(age=learner.age + 1), {**metrics, **counts}

    if gradient == "checkpointed":
        step = partial(jax.checkpoint, prevent_cse=False)(step)
    elif gradient == "none":
        eta, learner = jax.lax.stop_gradient((eta, learner))  # asked for by the caller
    return jax.lax.scan(step, learner, None, length=updates)

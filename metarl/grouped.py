"""Environments stepped in groups that play the same tasks, for rules that compare within them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from metarl.ops import keys
from metarl.rollout import VectorEnv, first_inputs, none, vectorize, where
from metarl.types import Environment, Key, PyTree, TimeStep, VectorState
from metarl.wrappers.attempts import shows_trials


class Turns(struct.PyTreeNode):
    """Which task each stream is at, [N]."""

    seed: jax.Array  # uint32, the same in a group
    count: jax.Array  # int32, trials of the stream that have ended


def grouped(env: Environment, num_envs: int, size: int) -> VectorEnv:
    """As `vectorize`, but `size` consecutive streams form a group that plays the same tasks.

    The `k`-th trial of a stream starts with a key that depends on the group and on `k` alone. So
    the k-th trials of a group are the same task from the same start, though some come to them
    sooner. What happens within a trial is random for each stream, later starts included.

    Observations get an entry `task` [] int32, the same for the k-th trials of a group and for no
    others (until `2**31` trials have been played). It is not in the environment's observation
    space, so agents do not read it; `metarl.rules.grpo` does.

    Args:
      env: of trials (`metarl.wrappers.trial`); of single episodes with `trial(env, 1)`.
      num_envs: N.
      size: streams of a group; it divides N.

    Raises:
      ValueError: no trials, or groups of another size.
    """
    if not shows_trials(getattr(env.observation_space, "spaces", None)):
        raise ValueError("groups play trials: wrap the environment, in trial(env, 1) at least")
    if size < 1 or num_envs % size:
        raise ValueError(f"groups of {size} do not divide {num_envs} environments")
    stepped = vectorize(env, num_envs, none)  # starts are drawn here
    groups = num_envs // size
    group = jnp.arange(num_envs) // size

    def start(turns: Turns, params: PyTree) -> tuple[PyTree, TimeStep]:
        base = jax.random.key(0)  # every seed is its own stream of keys
        key = jax.vmap(lambda seed, k: keys.fold_in(keys.fold_in(base, seed), k))(
            turns.seed, turns.count
        )
        return jax.vmap(env.reset, in_axes=(0, None))(key, params)

    def named(turns: Turns, obs: Any) -> Any:
        return {**obs, "task": turns.count * groups + group}

    def init(key: Key, params: PyTree) -> VectorState:
        seed = jax.random.bits(key, (groups,), jnp.uint32)
        turns = Turns(jnp.repeat(seed, size), jnp.zeros(num_envs, jnp.int32))
        state, ts = start(turns, params)
        inputs = jax.vmap(lambda ts: first_inputs(env, ts))(ts)
        return VectorState(state, inputs.replace(obs=named(turns, ts.obs)), turns)

    def step(
        key: Key, state: VectorState, actions: jax.Array, params: PyTree
    ) -> tuple[VectorState, TimeStep]:
        before = state.starts
        state, ts = stepped.step(key, state, actions, params)
        turns = before.replace(count=before.count + ts.last)
        env_state, first = start(turns, params)
        env_state = where(ts.last, env_state, state.env)
        shown, mask = where(ts.last, (first.obs, first.action_mask), (ts.obs, ts.action_mask))
        inputs = state.inputs.replace(obs=named(turns, shown), action_mask=mask)
        return VectorState(env_state, inputs, turns), ts.replace(obs=named(before, ts.obs))

    return VectorEnv(init, step)

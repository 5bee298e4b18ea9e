"""Stepping many environments at once, with the only auto-reset there is, and replaying heads."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from metarl.ops import keys
from metarl.ops.sampling import no_action
from metarl.types import (
    Agent,
    AgentInput,
    Environment,
    Heads,
    Key,
    Params,
    PyTree,
    Rollout,
    TimeStep,
    VectorState,
)

_TOGETHER = 8  # rows of an agent without memory that its `unroll` takes side by side


class VectorEnv(NamedTuple):
    """`num_envs` copies of an environment as two pure functions over the whole batch.

    `init(key, params) -> state` and `step(key, state, actions, params) -> (state, ts)`. Act on
    `state.inputs.obs`, which is past any reset; learn from `ts`, which is the outcome before it:
    no final observation is ever overwritten.
    """

    init: Callable[[Key, PyTree], VectorState]
    step: Callable[[Key, VectorState, jax.Array, PyTree], tuple[VectorState, TimeStep]]


@dataclass(frozen=True)
class Fresh:
    """Every episode starts from its own call of `env.reset`: exact, and as costly as that call."""

    def init(self, env: Environment, key: Key, params: PyTree) -> PyTree:
        """Nothing to remember."""
        return ()

    def draw(
        self, env: Environment, starts: PyTree, key: Key, params: PyTree, count: int
    ) -> tuple[PyTree, PyTree, PyTree]:
        """`count` starts: states, what they show (`_starts`), and the strategy's next state."""
        return *_starts(env, keys.spread(key, count), params), starts


@dataclass(frozen=True)
class Pool:
    """Episodes start from `size` stored starts, of which `refresh` are renewed at each step.

    Fast where `reset` is slow. With `refresh=0` the set of starts never changes.
    """

    size: int
    refresh: int = 0

    def __post_init__(self):
        if not 0 <= self.refresh <= self.size or not 1 <= self.size <= 65536:
            raise ValueError(
                f"a pool needs 1 <= size <= 65536 and 0 <= refresh <= size, got {self}"
            )

    def init(self, env: Environment, key: Key, params: PyTree) -> PyTree:
        """Fills the pool."""
        return _starts(env, jax.random.split(key, self.size), params), jnp.int32(0)

    def draw(
        self, env: Environment, starts: PyTree, key: Key, params: PyTree, count: int
    ) -> tuple[PyTree, PyTree, PyTree]:
        """`count` random rows of the pool; then the next `refresh` rows are made anew."""
        rows, oldest = starts
        row_key, fresh_key = keys.split(key)
        pick = lambda k: keys.below(keys.words(k, 1)[0], self.size)  # noqa: E731
        index = jax.vmap(pick)(keys.spread(row_key, count))
        state, shown = jax.tree.map(lambda x: jnp.take(x, index, axis=0, mode="clip"), rows)
        if self.refresh:
            new = _starts(env, keys.spread(fresh_key, self.refresh), params)
            where = (oldest + jnp.arange(self.refresh)) % self.size
            rows = jax.tree.map(lambda x, y: x.at[where].set(y), rows, new)
            oldest = (oldest + self.refresh) % self.size
        return state, shown, (rows, oldest)


@dataclass(frozen=True)
class Never:
    """No reset: what follows the end of an episode is meaningless. For evaluation."""

    def init(self, env: Environment, key: Key, params: PyTree) -> PyTree:
        """Nothing to remember."""
        return ()


Reset = Fresh | Pool | Never
fresh, pool, none = Fresh(), Pool, Never()


def vectorize(env: Environment, num_envs: int, reset: Reset = fresh) -> VectorEnv:
    """Steps `num_envs` environments together and starts the next episode where one has ended.

    Args:
      env: any environment; its `observe`, where it has one, is called once, after the reset.
      num_envs: N, at least 1.
      reset: `fresh`, `pool(size, refresh)` or `none`.

    Raises:
      ValueError: `num_envs` is not positive.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")

    def init(key: Key, params: PyTree) -> VectorState:
        start_key, pool_key = jax.random.split(key)
        state, ts = jax.vmap(env.reset, in_axes=(0, None))(
            jax.random.split(start_key, num_envs), params
        )
        inputs = jax.vmap(lambda ts: first_inputs(env, ts))(ts)
        return VectorState(state, inputs, reset.init(env, pool_key, params))

    def step(
        key: Key, state: VectorState, actions: jax.Array, params: PyTree
    ) -> tuple[VectorState, TimeStep]:
        step_key, reset_key = keys.split(key)
        env_state, ts = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            keys.spread(step_key, num_envs), state.env, actions, params
        )
        starts, obs, mask = state.starts, ts.obs, ts.action_mask
        if not isinstance(reset, Never):
            start_state, shown, starts = reset.draw(env, starts, reset_key, params, num_envs)
            env_state = where(ts.last, start_state, env_state)
            obs, mask = _view(env, env_state, params, ts, shown)
        inputs = AgentInput(obs, actions, ts.reward, ts.last, mask)
        return VectorState(env_state, inputs, starts), ts

    return VectorEnv(init, step)


def first_inputs(env: Environment, ts: TimeStep) -> AgentInput:
    """What an agent sees at the start of its life: no action and no reward yet."""
    zero = no_action(env.action_space)
    return AgentInput(ts.obs, zero, jnp.float32(0), jnp.bool_(True), ts.action_mask)


def successor(ts: TimeStep, action: jax.Array) -> AgentInput:
    """What an agent would see after a step if no reset followed: the input to bootstrap from."""
    return AgentInput(ts.obs, action, ts.reward, jnp.zeros_like(ts.terminated), ts.action_mask)


def replay(agent: Agent, params: Params, rollout: Rollout) -> tuple[Heads, Heads]:
    """Heads at every step and at its true successor, [T, ...], with gradients through the memory.

    Agents with an `unroll` of their own use it for the steps themselves; others are batched over
    time if they have no memory. What the caller does not use is not computed.
    """

    def step(carry: PyTree, x: tuple[AgentInput, AgentInput]):
        now, after = x
        heads, carry = agent.apply(params, carry, now)
        return carry, (heads, agent.apply(params, carry, after)[0])

    steps = (rollout.inputs, rollout.next_inputs)
    if jax.tree.leaves(rollout.carry):
        each, after = jax.lax.scan(step, rollout.carry, steps)[1]
        if agent.unroll is None:
            return each, after
        return agent.unroll(params, rollout.carry, rollout.inputs)[0], after
    if agent.unroll is None:
        return jax.vmap(lambda x: step((), x)[1])(steps)
    now, after = (agent.unroll(params, rollout.carry, x)[0] for x in steps)
    return now, after


def apply_all(
    agent: Agent, params: Params, carry: PyTree, inputs: AgentInput
) -> tuple[Heads, PyTree]:
    """Heads of rows of inputs, [R, ...], and the memories behind them.

    Without memory a row is like a step of a stream, so that an `unroll` may take several at once.
    """
    if agent.unroll is None or jax.tree.leaves(carry):
        return jax.vmap(agent.apply, in_axes=(None, 0, 0))(params, carry, inputs)
    rows = len(inputs.first)
    side = next(n for n in range(_TOGETHER, 0, -1) if rows % n == 0)
    streams = jax.tree.map(lambda x: x.reshape(side, rows // side, *x.shape[1:]), inputs)
    heads, _ = jax.vmap(partial(agent.unroll, params, carry))(streams)
    return jax.tree.map(lambda x: x.reshape(rows, *x.shape[2:]), heads), carry


def replay_streams(agent: Agent, params: Params, rollout: Rollout) -> Heads:
    """Heads at every step of N streams, [N, T, ...]; see `replay`."""
    return jax.vmap(lambda stream: replay(agent, params, stream)[0])(rollout)


def unroll(agent: Agent, params: Params, rollout: Rollout) -> tuple[Heads, PyTree]:
    """Heads at every step [T, ...] and the memory behind the last, along one stream."""
    if agent.unroll is not None:
        return agent.unroll(params, rollout.carry, rollout.inputs)

    def step(carry: PyTree, inputs: AgentInput):
        heads, carry = agent.apply(params, carry, inputs)
        return carry, heads

    carry, heads = jax.lax.scan(step, rollout.carry, rollout.inputs)
    return heads, carry


def next_values(agent: Agent, params: Params, rollout: Rollout, value: jax.Array) -> jax.Array:
    """V of the true successors, [N, T], of a whole batch `[N, T, ...]`.

    That is the next step's own value, unless the episode was cut off: only then are successors
    evaluated, so outside `vmap` it costs one row of `T`, and with a memory one pass along it.

    Args:
      agent, params: who values.
      rollout: leaves [N, T, ...].
      value: [N, T], what `params` say at each step.
    """

    def evaluate(carry: PyTree, inputs: AgentInput) -> jax.Array:  # [N, ...] -> [N]
        return apply_all(agent, params, carry, inputs)[0]["value"][..., 0]

    def each() -> jax.Array:
        if jax.tree.leaves(rollout.carry):
            return jax.vmap(lambda r: replay(agent, params, r)[1]["value"][..., 0])(rollout)
        return jax.vmap(evaluate, in_axes=(None, 1), out_axes=1)((), rollout.next_inputs)

    carry = rollout.carry
    if jax.tree.leaves(carry):
        carry = jax.vmap(lambda r: unroll(agent, params, r)[1])(rollout)
    final = evaluate(carry, jax.tree.map(lambda x: x[:, -1], rollout.next_inputs))
    shifted = jnp.concatenate([value[:, 1:], final[:, None]], axis=1)
    return jax.lax.cond(
        jnp.any(rollout.truncated[:, :-1]),
        lambda: jnp.where(rollout.truncated, each(), shifted),
        lambda: shifted,
    )


def without_truncation(rollout: Rollout) -> Rollout:
    """The same experience, every time-out of which counts as a termination."""
    never = jnp.zeros_like(rollout.truncated)
    return rollout.replace(terminated=rollout.last, truncated=never)


def _starts(env: Any, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
    """Starts of keys [K]: states [K, ...] and (obs, action mask), or () where `observe` tells."""
    state, ts = jax.vmap(env.reset, in_axes=(0, None))(key, params)
    return state, () if hasattr(env, "observe") else (ts.obs, ts.action_mask)


def _view(env: Any, state: PyTree, params: PyTree, ts: TimeStep, shown: PyTree) -> Any:
    """Observations and masks after the reset, [N, ...]."""
    if hasattr(env, "observe"):
        return jax.vmap(env.observe, in_axes=(0, None))(state, params)
    return where(ts.last, shown, (ts.obs, ts.action_mask))


def where(condition: jax.Array, a: PyTree, b: PyTree) -> Any:
    """Rows of `a` where `condition` [N], else rows of `b`."""

    def pick(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.where(condition.reshape(-1, *(1,) * (x.ndim - 1)), x, y)

    return jax.tree.map(pick, a, b)


class Experience(struct.PyTreeNode):
    """What one step of acting leaves behind, [N, ...]; stacked over time it is a `Rollout`."""

    inputs: AgentInput
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    next_inputs: AgentInput
    heads: Heads

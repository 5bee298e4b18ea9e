"""Auto-reset: what is shown, what is kept, and which starts follow, against plain loops."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnasium.spaces import Box, Discrete

import metarl
from metarl.ops import keys
from metarl.rollout import fresh, none, pool, successor, vectorize
from metarl.types import TimeStep

N = 5


class Params(struct.PyTreeNode):
    max_steps: jax.Array
    pay: jax.Array


class State(struct.PyTreeNode):
    name: jax.Array  # [] uint32, drawn at reset: tells episodes apart
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Clock:
    """Action 1 terminates, the clock truncates; the observation is the episode's name and time."""

    observation_space = Box(0, 2**32 - 1, (2,), np.uint32)
    action_space = Discrete(2)

    def default_params(self):
        return Params(jnp.int32(3), jnp.float32(1))

    def reset(self, key, params):
        state = State(keys.words(key, 1)[0], jnp.int32(0))
        return state, self._timestep(state, jnp.float32(0), jnp.bool_(False), params)

    def step(self, key, state, action, params):
        del key
        state = state.replace(time=state.time + 1)
        return state, self._timestep(state, params.pay, action == 1, params)

    def _timestep(self, state, reward, terminated, params):
        truncated = ~terminated & (state.time >= params.max_steps)
        return TimeStep(
            self._see(state),
            reward,
            terminated,
            truncated,
            state.time < 2**30 * (1 + jnp.arange(2)),
        )

    def _see(self, state):
        return jnp.stack([state.name, state.time.astype(jnp.uint32)])


@dataclass(frozen=True)
class Seen(Clock):
    """The same with `observe`."""

    def observe(self, state, params):
        return self._see(state), self._timestep(state, 0.0, jnp.bool_(False), params).action_mask


@cache
def compiled(env, reset) -> Any:
    venv = vectorize(env, N, reset)
    return jax.jit(venv.init), jax.jit(venv.step)


def run(env, reset, actions):
    """States before and after each step, and what each step returned."""
    params = env.default_params()
    init, step = compiled(env, reset)
    states, steps = [init(jax.random.key(0), params)], []
    for t, action in enumerate(actions):
        action = jnp.broadcast_to(jnp.asarray(action, jnp.int32), N)
        state, ts = step(jax.random.key(100 + t), states[-1], action, params)
        states.append(state)
        steps.append(ts)
    assert step._cache_size() == 1
    return jax.device_get(states), jax.device_get(steps)


ENDS: list[Any] = [
    [0, 1, 0, 0, 0],
    0,
    0,
    [0, 0, 0, 0, 1],
]  # who terminates when; the clock ends the others


PLAYED = [(Clock(), fresh), (Seen(), fresh), (Clock(), pool(8, 3)), (Seen(), pool(8, 3))]


@pytest.fixture(scope="module", params=PLAYED, ids=str)
def played(request):
    env, reset = request.param
    return run(env, reset, ENDS)


def test_the_outcome_is_never_overwritten(played):
    states, steps = played
    for before, ts, after in zip(states, steps, states[1:], strict=False):
        np.testing.assert_array_equal(ts.obs[:, 0], before.env.name)  # the episode that was played
        np.testing.assert_array_equal(ts.obs[:, 1], before.env.time + 1)
        np.testing.assert_array_equal(after.inputs.obs[:, 0], after.env.name)
        np.testing.assert_array_equal(after.inputs.obs[:, 1], after.env.time)


def test_who_ended_starts_anew_and_nobody_else(played):
    states, steps = played
    ended = 0
    for before, ts, after in zip(states, steps, states[1:], strict=False):
        new = after.env.name != before.env.name
        np.testing.assert_array_equal(new, ts.last)
        np.testing.assert_array_equal(after.inputs.first, ts.last)
        np.testing.assert_array_equal(after.env.time, np.where(ts.last, 0, before.env.time + 1))
        ended += ts.last.sum()
    assert ended == 7


def test_endings_are_told_apart(played):
    _, steps = played
    np.testing.assert_array_equal(
        [ts.terminated for ts in steps],
        np.array([[0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]], bool),
    )
    np.testing.assert_array_equal(
        [ts.truncated for ts in steps],
        np.array([[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 1, 1, 1], [0, 1, 0, 0, 0]], bool),
    )


def test_inputs_carry_what_was_done_and_earned(played):
    states, steps = played
    assert states[0].inputs.first.all()
    assert not states[0].inputs.prev_reward.any()
    for action, ts, after in zip(ENDS, steps, states[1:], strict=True):
        np.testing.assert_array_equal(after.inputs.prev_action, np.broadcast_to(action, N))
        np.testing.assert_array_equal(after.inputs.prev_reward, ts.reward)


def test_what_follows_an_end_is_not_a_first_step():
    ts = run(Clock(), fresh, [1])[1][0]
    after = successor(ts, jnp.ones(N, jnp.int32))
    assert ts.last.all()
    assert not np.asarray(after.first).any()
    np.testing.assert_array_equal(after.obs, ts.obs)


@pytest.mark.parametrize("env", [Clock(), Seen()], ids=str)
def test_fresh_is_a_loop_over_single_environments(env):
    states, _ = run(env, fresh, ENDS)
    params, single, begin = env.default_params(), jax.jit(env.step), jax.jit(env.reset)
    for i in range(N):
        now = jax.tree.map(lambda x, i=i: x[i], states[0].env)
        for t, action in enumerate(ENDS):
            step_key, reset_key = keys.split(jax.random.key(100 + t))
            act = jnp.int32(np.broadcast_to(action, N)[i])
            now, ts = single(keys.spread(step_key, N)[i], now, act, params)
            if ts.last:
                now, ts = begin(keys.spread(reset_key, N)[i], params)
            assert int(now.name) == states[t + 1].env.name[i]
            np.testing.assert_array_equal(ts.obs, states[t + 1].inputs.obs[i])


def test_snakes_are_a_loop_over_single_snakes():
    env = metarl.make("Snake-v0", size=3)
    params = env.default_params()
    states, steps = run(env, fresh, [0, 1, 1, 2, 3])
    single, begin = jax.jit(env.step), jax.jit(env.reset)
    assert sum(ts.last.sum() for ts in steps) >= 3
    for i in range(N):
        now = jax.tree.map(lambda x, i=i: x[i], states[0].env)
        for t, action in enumerate([0, 1, 1, 2, 3]):
            step_key, reset_key = keys.split(jax.random.key(100 + t))
            now, ts = single(keys.spread(step_key, N)[i], now, jnp.int32(action), params)
            np.testing.assert_array_equal(ts.obs, steps[t].obs[i])
            if ts.last:
                now, ts = begin(keys.spread(reset_key, N)[i], params)
            np.testing.assert_array_equal(ts.obs, states[t + 1].inputs.obs[i])
            np.testing.assert_array_equal(ts.action_mask, states[t + 1].inputs.action_mask[i])


def names(state):
    return state.starts[0][0].name


@pytest.fixture(scope="module")
def pooled():
    return run(Seen(), pool(8, 3), [1] * 12)[0]


def test_pool_starts_come_from_the_pool_before_its_refresh(pooled):
    drawn = set()
    for before, after in zip(pooled, pooled[1:], strict=False):
        assert np.isin(after.env.name, names(before)).all()
        drawn |= {list(names(before)).index(name) for name in after.env.name}
    assert drawn == set(range(8))  # 60 draws of 8 rows: one is missed once in 400 seeds


def test_the_pool_is_refreshed_round_robin(pooled):
    for t, (before, after) in enumerate(zip(pooled, pooled[1:], strict=False)):
        changed = np.flatnonzero(names(before) != names(after))
        assert set(changed) == {(3 * t + i) % 8 for i in range(3)}
    assert len({name for state in pooled for name in names(state)}) == 8 + 3 * 12


def test_a_pool_without_refresh_stays():
    states, _ = run(Seen(), pool(8), [1] * 3)
    np.testing.assert_array_equal(names(states[0]), names(states[-1]))


def test_none_never_resets():
    states, steps = run(Seen(), none, [1, 0, 0, 0])
    assert steps[0].terminated.all()
    for t, (ts, after) in enumerate(zip(steps, states[1:], strict=True)):
        np.testing.assert_array_equal(after.env.name, states[0].env.name)
        np.testing.assert_array_equal(after.env.time, t + 1)
        np.testing.assert_array_equal(after.inputs.obs, ts.obs)


def test_params_may_be_batched_from_outside():
    venv = vectorize(Clock(), N)
    tasks = Params(jnp.array([1, 2]), jnp.array([0.5, 4.0]))
    init, step = jax.jit(jax.vmap(venv.init)), jax.jit(jax.vmap(venv.step))
    state = init(jax.random.split(jax.random.key(0)), tasks)
    actions = jnp.zeros((2, N), jnp.int32)
    _, ts = step(jax.random.split(jax.random.key(1)), state, actions, tasks)
    np.testing.assert_array_equal(ts.truncated, [[True] * N, [False] * N])
    np.testing.assert_array_equal(ts.reward, [[0.5] * N, [4.0] * N])


def test_equal_environments_share_a_programme():
    step: Any = jax.jit(lambda env, *args: vectorize(env, N).step(*args), static_argnums=0)
    for _ in range(2):
        env = Clock()
        params = env.default_params()
        state = vectorize(env, N).init(jax.random.key(0), params)
        step(env, jax.random.key(0), state, jnp.zeros(N, jnp.int32), params)
    assert step._cache_size() == 1


@pytest.mark.parametrize("num_envs", [0, -3])
def test_no_environments_are_refused(num_envs):
    with pytest.raises(ValueError, match=f"at least 1, got {num_envs}"):
        vectorize(Clock(), num_envs)


@pytest.mark.parametrize("size, refresh", [(0, 0), (4, 5), (4, -1), (65537, 0)])
def test_impossible_pools_are_refused(size, refresh):
    with pytest.raises(ValueError, match="0 <= refresh <= size"):
        pool(size, refresh)

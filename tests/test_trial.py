"""Trials against a plain loop over the same environment, and by hand-worked cases."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box, Discrete

import metarl
from metarl.agents.gru import gru
from metarl.inner import act, birth
from metarl.ops import keys
from metarl.rollout import vectorize
from metarl.rules.a2c import a2c, heads
from metarl.testing import check_env
from metarl.types import TimeStep
from metarl.wrappers import pass_at, time_limit, trial

KEY = jax.random.key(3)


class Task(struct.PyTreeNode):
    secret: jax.Array
    max_steps: jax.Array


@dataclass(frozen=True)
class Guess:
    """Guess `params.secret` in `params.max_steps` turns; shows the turn and a random start."""

    num_actions: int = 4

    @property
    def action_space(self):
        return Discrete(self.num_actions)

    @property
    def observation_space(self):
        return Box(-np.inf, np.inf, (2,), np.float32)

    def default_params(self):
        return Task(jnp.int32(2), jnp.int32(3))

    def sample_params(self, key, split=None):
        return Task(jax.random.randint(key, (), 0, 4), jnp.int32(3))

    def reset(self, key, params):
        state = (jnp.int32(0), jax.random.uniform(key))
        no = jnp.bool_(False)
        return state, TimeStep(jnp.stack([0.0, state[1]]), jnp.float32(0), no, no)

    def step(self, key, state, action, params):
        state = (state[0] + 1, state[1])
        right = action == params.secret
        out = ~right & (state[0] >= params.max_steps)
        obs = jnp.stack([state[0].astype(jnp.float32), state[1]])
        reward = jnp.where(right, jnp.float32(1), jnp.float32(-0.25))
        return state, TimeStep(obs, reward, right, out)


def run(env, actions, params=None):
    params = env.default_params() if params is None else params
    step = jax.jit(env.step)
    state, ts = env.reset(KEY, params)
    steps = [ts]
    for t, action in enumerate(actions):
        state, ts = step(jax.random.fold_in(KEY, t), state, jnp.int32(action), params)
        steps.append(ts)
    return state, steps


def test_three_attempts_by_hand():
    """The secret is 2. Three wrong guesses, a right one at the second turn, three wrong ones."""
    env = trial(Guess(), 3, stop_on_success=False)
    _, steps = run(env, [0, 1, 3, 0, 2, 1, 1, 1])
    start = steps[0].obs["obs"][1]
    assert all(ts.obs["obs"][1] == start for ts in steps)  # the same start in every attempt
    assert [float(ts.obs["obs"][0]) for ts in steps] == [0, 1, 2, 0, 1, 0, 1, 2, 3]
    third = 1 / 3
    numbers: list = [
        *([0, 0, 0], [0, third, 0], [0, 2 * third, 0]),
        *([third, 0, 1], [third, third, 0]),
        *([2 * third, 0, 1], [2 * third, third, 0], [2 * third, 2 * third, 0], [1, 0, 1]),
    ]
    shown = np.stack([ts.obs["trial"] for ts in steps])
    np.testing.assert_allclose(shown, np.array(numbers), atol=1e-6)
    ends = [
        int(ts.info["episode_terminated"]) + 2 * int(ts.info["episode_truncated"]) for ts in steps
    ]
    assert ends == [0, 0, 0, 2, 0, 1, 0, 0, 2]
    assert [bool(ts.terminated) for ts in steps] == [False] * 8 + [True]
    assert not any(ts.truncated for ts in steps)
    assert float(steps[5].reward) == 1 and float(steps[5].info["episode_obs"][0]) == 2
    np.testing.assert_allclose(steps[-1].info["attempt_return"], [-0.75, 0.75, -0.75])
    assert steps[-1].info["attempt_success"].tolist() == [False, True, False]
    assert pass_at(steps[-1].info["attempt_success"]).tolist() == [False, True, True]


def test_success_ends_a_trial():
    _, steps = run(trial(Guess(), 3), [0, 1, 3, 2])
    assert [bool(ts.terminated) for ts in steps] == [False] * 4 + [True]
    assert steps[-1].obs["obs"][0] == 1  # what the last attempt showed, no new start


def test_an_environment_may_say_itself_what_success_is():
    class Says(Guess):
        def step(self, key, state, action, params):
            state, ts = super().step(key, state, action, params)
            return state, ts.replace(info={"success": ts.truncated})

    steps = run(trial(Says(), 2, stop_on_success=False), [2, 0, 0, 0])[1]
    assert steps[-1].info["attempt_success"].tolist() == [False, True]


def test_without_the_same_start_each_attempt_has_its_own():
    _, steps = run(trial(Guess(), 3, same_start=False), [0, 0, 0, 0])
    starts = [float(ts.obs["obs"][1]) for ts in steps]
    assert starts[0] == starts[2] != starts[3] == starts[4]


def test_a_trial_draws_one_task_for_all_its_attempts():
    env = trial(Guess(), 2, sample_task=True)
    params = env.default_params().replace(max_steps=jnp.int32(2))
    states = jax.vmap(lambda key: env.reset(key, params)[0])(jax.random.split(KEY, 200))
    counts = np.bincount(states.task.secret, minlength=4)
    assert counts.min() > 25 and (states.task.max_steps == 2).all()
    state, ts = env.reset(KEY, params)
    secret = state.task.secret
    for action in (secret + 1, secret + 1, secret):  # of the second attempt, where it still holds
        state, ts = env.step(KEY, state, action % 4, params)
    assert ts.terminated and ts.info["attempt_success"].tolist() == [False, True]


def test_trials_equal_a_plain_loop():
    """Random legal play of 3 attempts, the loop restoring the saved start by assignment."""
    env = time_limit(metarl.make("GridWorld-v0", size=3), 6)
    params = env.default_params()
    tried = trial(env, 3, stop_on_success=False)
    step, tried_step = jax.jit(env.step), jax.jit(tried.step)
    state, ts = jax.jit(tried.reset)(KEY, params)
    start = plain = state.env
    returns: list[float] = [0.0]
    rng = np.random.default_rng(0)
    for key in jax.random.split(KEY, 30):
        action = jnp.int32(rng.choice(np.flatnonzero(ts.action_mask)))
        state, ts = tried_step(key, state, action, params)
        plain, expected = step(keys.split(key)[0], plain, action, params)
        returns[-1] += float(expected.reward)
        assert ts.reward == expected.reward
        assert (ts.info["episode_obs"] == expected.obs).all()
        if expected.last:
            plain = start if len(returns) < 3 else plain
            obs, mask = env.observe(plain, params)
            assert (ts.obs["obs"] == obs).all() and (ts.action_mask == mask).all()
            if len(returns) == 3:
                break
            returns.append(0.0)
        assert not ts.last
    assert ts.terminated and len(returns) == 3
    np.testing.assert_allclose(ts.info["attempt_return"], returns, atol=1e-6)


def test_the_contract_holds():
    check_env(trial(Guess(), 2, same_start=False, sample_task=True), steps=16)


def test_memory_lives_as_long_as_a_trial():
    """An agent that forgets at `first` forgets between trials, not between attempts."""
    env = trial(Guess(), 2, stop_on_success=False)
    params, needed = env.default_params(), heads(env)
    agent = gru(env, needed, hidden=4)
    venv = vectorize(env, 2)
    learner = birth(agent, a2c(agent, needed), venv, params, KEY)
    rollout, _ = jax.jit(partial(act, agent, venv, length=24))(learner, KEY)
    first, last = np.asarray(rollout.inputs.first), np.asarray(rollout.last)
    ended = np.asarray(rollout.next_inputs.obs["trial"][..., 2]) > 0
    assert (first[:, 1:] == last[:, :-1]).all()
    assert ended.sum() > last.sum() > 0 and (ended | ~last).all()

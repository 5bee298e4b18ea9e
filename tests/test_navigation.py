import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl


@pytest.fixture(scope="module")
def env():
    return metarl.make("Navigation-v0")


@pytest.fixture(scope="module")
def step(env):
    return jax.jit(env.step)


def play(env, step, params, actions):
    state, _ = env.reset(jax.random.key(0), params)
    steps = []
    for action in actions:
        state, ts = step(jax.random.key(0), state, jnp.array(action, jnp.float32), params)
        steps.append(jax.device_get(ts))
    return steps


def test_walking_straight_to_the_goal_costs_the_distances_on_the_way(env, step):
    steps = play(env, step, env.default_params(), [(1.0, 1.0)] * 5)  # each clipped to 0.1
    rewards = [float(ts.reward) for ts in steps]
    np.testing.assert_allclose(rewards, -np.sqrt(2) * np.array([4, 3, 2, 1, 0]) / 10, atol=1e-6)
    assert [bool(ts.terminated) for ts in steps] == [False] * 4 + [True]
    np.testing.assert_allclose(steps[1].obs, [0.2, 0.2], rtol=1e-6)


def test_both_axes_must_be_near(env, step):
    params = env.default_params().replace(goal=jnp.array([0.05, -0.03]))
    ends = []
    for action in ((0.05, -0.045), (0.059, -0.021), (0.0, 0.0)):
        (ts,) = play(env, step, params, [action])
        ends.append(bool(ts.terminated))
        np.testing.assert_allclose(
            ts.reward, -np.hypot(action[0] - 0.05, action[1] + 0.03), rtol=1e-5
        )
    assert ends == [False, True, False]


def test_the_clock_truncates(env, step):
    params = env.default_params().replace(max_steps=jnp.int32(3))
    steps = play(env, step, params, [(0.0, -0.1)] * 3)
    assert [bool(ts.truncated) for ts in steps] == [False, False, True]
    assert not steps[-1].terminated


def test_goals_are_uniform_in_the_square(env):
    keys = jax.random.split(jax.random.key(0), 2000)
    goals = {
        split: np.asarray(jax.vmap(lambda key, s=split: env.sample_params(key, s))(keys).goal)
        for split in ("train", "heldout", None)
    }
    for xy in goals.values():
        assert xy.shape == (2000, 2) and -0.5 <= xy.min() and xy.max() < 0.5
        square = 4 * np.floor(4 * xy[:, 0] + 2) + np.floor(4 * xy[:, 1] + 2)
        counts = np.bincount(square.astype(int), minlength=16)
        assert abs(counts - 125).max() < 4.5 * np.sqrt(125)
    train, heldout = (set(map(tuple, goals[s].tolist())) for s in ("train", "heldout"))
    assert not train & heldout


def test_it_can_be_looked_at(env):
    params = env.default_params()
    state, _ = env.reset(jax.random.key(0), params)
    state, _ = env.step(jax.random.key(0), state, jnp.array([0.1, -0.05]), params)
    assert env.render_text(state, params) == "at (0.10, -0.05), goal (0.50, 0.50), step 1"
    picture = np.asarray(jax.jit(env.render)(state, params))
    assert picture.shape == (96, 96, 3)
    assert picture[24, 71].tolist() == [72, 158, 92] and picture[50, 52].tolist() == [50, 90, 200]

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.tabular import Params, State, optimal_return


@pytest.fixture(scope="module")
def env():
    return metarl.make("TabularMDP-v0")


@pytest.fixture(scope="module")
def tasks(env):
    """Sampled params [400, ...] of each split."""
    keys = jax.random.split(jax.random.key(0), 200)
    return {
        split: jax.device_get(jax.jit(jax.vmap(lambda k, s=split: env.sample_params(k, s)))(keys))
        for split in ("train", "heldout")
    }


def task_of(tasks):
    return jax.tree.map(lambda x: jnp.asarray(x[0]), tasks["train"])


def value_of(plan, params):
    """The expected return of `plan[t][s]` from state 0, forwards from the state's distribution."""
    where, total = np.array([1.0, 0.0]), 0.0
    for actions in plan:
        for s, a in enumerate(actions):
            total += where[s] * params.rewards[s, a]
        where = sum(where[s] * params.transitions[s, a] for s, a in enumerate(actions))
    return total


def test_the_best_return_is_that_of_the_best_of_all_plans():
    draw = np.random.default_rng(0)
    best_return = jax.jit(optimal_return)
    rules = list(itertools.product(range(2), repeat=2))
    for _ in range(5):
        params = Params(
            transitions=jnp.asarray(draw.dirichlet([1, 1], (2, 2)), jnp.float32),
            rewards=jnp.asarray(draw.normal(1, 1, (2, 2)), jnp.float32),
            noise=jnp.float32(1),
            horizon=jnp.int32(3),
            max_steps=jnp.int32(9),
        )
        best = max(
            value_of(plan, jax.device_get(params)) for plan in itertools.product(rules, repeat=3)
        )
        np.testing.assert_allclose(best_return(params), best, rtol=1e-5)


def test_rewards_and_states_have_the_distributions_of_the_task(env, tasks):
    params = task_of(tasks).replace(noise=jnp.float32(0.5))
    keys, at = jax.random.split(jax.random.key(1), 20_000), State(jnp.int32(4), jnp.int32(2))
    step = jax.jit(jax.vmap(env.step, in_axes=(0, None, None, None)))
    for action, clipped in ((2, 2), (-4, 0), (99, 4)):
        state, ts = step(keys, at, jnp.int32(action), params)
        expected = np.asarray(params.transitions[4, clipped])
        shares = np.bincount(state.state, minlength=10) / 20_000
        assert (abs(shares - expected) < 4.5 * np.sqrt(expected / 20_000) + 1e-4).all()
        assert abs(ts.reward.mean() - params.rewards[4, clipped]) < 4.5 * 0.5 / np.sqrt(20_000)
        assert abs(ts.reward.std() / 0.5 - 1) < 0.03
        np.testing.assert_array_equal(ts.obs, state.state)


def test_episodes_start_in_state_0_and_terminate_after_ten_steps(env, tasks):
    params = task_of(tasks)
    state, ts = env.reset(jax.random.key(0), params)
    assert int(ts.obs) == 0 and float(optimal_return(params.replace(horizon=jnp.int32(0)))) == 0
    step, ends = jax.jit(env.step), []
    for key in jax.random.split(jax.random.key(0), 10):
        state, ts = step(key, state, jnp.int32(0), params)
        ends.append((bool(ts.terminated), bool(ts.truncated)))
    assert ends == [(False, False)] * 9 + [(True, False)]


def test_tasks_are_drawn_as_published(tasks):
    for params in tasks.values():
        np.testing.assert_allclose(params.transitions.sum(axis=-1), 1, rtol=1e-5)
        # Of a flat Dirichlet over 10, each has the mean 1/10 and the variance 9/1100.
        assert abs(params.transitions.mean() - 0.1) < 1e-6
        assert abs(params.transitions.var() / (9 / 1100) - 1) < 0.05
        assert abs(params.rewards.mean() - 1) < 4.5 / np.sqrt(10_000)
        assert abs(params.rewards.std() - 1) < 0.03
    train, heldout = (set(tasks[split].rewards[:, 0, 0].tolist()) for split in ("train", "heldout"))
    assert len(train) == len(heldout) == 200 and not train & heldout


def test_it_can_be_looked_at(env, tasks):
    params = task_of(tasks)
    state = State(jnp.int32(3), jnp.int32(2))
    assert env.render_text(state, params).startswith("step 2  state 3  rewards ")
    picture = np.asarray(jax.jit(env.render)(state, params))
    assert picture.shape == (160, 96, 3) and picture[56, 8].tolist() == [50, 90, 200]


def test_nothing_to_choose_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        metarl.make("TabularMDP-v0", states=0)

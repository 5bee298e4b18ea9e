"""Permuted actions against a plain loop over the inner environment, and the tasks they make."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.testing import check_env
from metarl.wrappers import permute_actions, time_limit, trial, wrap

KEY = jax.random.key(0)
MANY = 2400


@pytest.fixture(scope="module")
def grid():
    """Its mask tells moves against a wall, and it observes apart."""
    return time_limit(metarl.make("GridWorld-v0", size=3), 6)


@pytest.mark.parametrize("masked", [True, False])
def test_equal_to_a_plain_loop(grid, masked):
    env = permute_actions(grid, masked=masked)
    order = np.array([2, 0, 3, 1])
    params = env.default_params().replace(permutation=jnp.array(order))
    step, plain_step = jax.jit(env.step), jax.jit(grid.step)
    (state, ts), (plain, expected) = env.reset(KEY, params), grid.reset(KEY, params.env)
    rng, seen = np.random.default_rng(0), set()
    for key in jax.random.split(KEY, 60):
        assert (ts.obs == expected.obs).all() and ts.reward == expected.reward
        assert (ts.terminated, ts.truncated) == (expected.terminated, expected.truncated)
        obs, mask = env.observe(state, params)
        assert (obs == ts.obs).all()
        if masked:
            wanted = [bool(expected.action_mask[order[a]]) for a in range(4)]
            assert np.asarray(ts.action_mask).tolist() == np.asarray(mask).tolist() == wanted
        else:
            assert ts.action_mask is None and mask is None
        action = int(rng.integers(0, 4))
        seen.add(action)
        state, ts = step(key, state, jnp.int32(action), params)
        plain, expected = plain_step(key, plain, jnp.int32(order[action]), params.env)
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), state.env, plain))
        if expected.last:
            (state, ts), (plain, expected) = env.reset(key, params), grid.reset(key, params.env)
    assert seen == {0, 1, 2, 3}


def test_the_default_is_the_identity_and_wrong_numbers_are_clipped(grid):
    env = permute_actions(grid)
    params = env.default_params()
    assert params.permutation.tolist() == [0, 1, 2, 3]
    turned = params.replace(permutation=jnp.array([3, 2, 1, 0]))
    state, _ = env.reset(KEY, params)
    for wrong, right in ((-5, 0), (9, 3)):
        ours, theirs = (env.step(KEY, state, jnp.int32(a), turned)[1] for a in (wrong, right))
        assert (ours.obs == theirs.obs).all()


def test_tasks_have_uniform_permutations_and_inner_tasks_of_the_split():
    env = permute_actions(metarl.make("Sokoban-v0", height=6, width=6, boxes=2))
    draw = jax.jit(jax.vmap(env.sample_params, in_axes=(0, None)), static_argnums=1)
    levels = []
    for split in ("train", "heldout"):
        tasks = jax.device_get(draw(jax.random.split(KEY, MANY), split))
        counts = Counter(map(tuple, tasks.permutation.tolist()))
        assert len(counts) == 24
        chi2 = sum((n - MANY / 24) ** 2 / (MANY / 24) for n in counts.values())
        assert chi2 < 50  # of 23 degrees of freedom: 99.9 % lie below 50
        levels.append(set(map(bytes, tasks.env.levels.board)))
    assert not levels[0] & levels[1]
    pole = permute_actions(metarl.make("CartPole-v0"))  # draws no tasks of its own
    tasks = jax.vmap(pole.sample_params)(jax.random.split(KEY, 50))
    assert {tuple(p) for p in tasks.permutation.tolist()} == {(0, 1), (1, 0)}


def test_a_trial_keeps_its_permutation():
    """Every attempt of a trial by the same actions visits the same cells."""
    env = trial(
        wrap(metarl.make("DarkRoom-v0", size=5), permute_actions=True, time_limit=4),
        2,
        sample_task=True,
        stop_on_success=False,
    )
    assert env.env.env == permute_actions(metarl.make("DarkRoom-v0", size=5))
    step = jax.jit(env.step)
    orders = set()
    for seed in range(6):
        key = jax.random.key(seed)
        state, _ = jax.jit(env.reset)(key, env.default_params())
        orders.add(tuple(state.task.env.permutation.tolist()))
        seen = []
        for action in (0, 1, 2, 3) * 2:
            state, ts = step(key, state, jnp.int32(action), env.default_params())
            seen.append(np.asarray(ts.info["episode_obs"]))
        assert len(seen) == 8 and (np.stack(seen[:4]) == np.stack(seen[4:])).all()
    assert len(orders) > 3


def test_the_contract_holds_and_other_actions_are_refused(grid):
    check_env(permute_actions(grid), steps=16)
    with pytest.raises(ValueError, match="Discrete"):
        permute_actions(metarl.make("Pendulum-v0"))

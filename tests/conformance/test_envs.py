"""What every registered environment inherits: the contract, an end, and one compilation in all."""

import copy
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import metarl
from metarl.testing import check_env, random_action

SMALL = {"Snake-v0": {"size": 4}}  # what compiles and ends sooner than the default


@pytest.fixture(scope="module")
def env(env_id):
    kwargs = SMALL.get(env_id, {})
    env = metarl.make(env_id, **kwargs)
    assert env == metarl.make(env_id, **kwargs)
    return env


@pytest.fixture(scope="module")
def params(env):
    """Its params, with the time limit, where there is one, brought down to 20 steps."""
    params = env.default_params()
    return params.replace(max_steps=jnp.int32(20)) if hasattr(params, "max_steps") else params


def test_contract(env, params):
    check_env(env, params, steps=64)


def test_an_episode_ends_and_nothing_compiles_twice(env, params):
    step: Any = jax.jit(lambda env, *args: env.step(*args), static_argnums=0)
    draw = jax.jit(partial(random_action, env.action_space))
    state, ts = jax.jit(env.reset)(jax.random.key(0), params)
    for key in jax.random.split(jax.random.key(1), 64):
        twin = copy.deepcopy(env)  # equal environments share one programme
        state, ts = step(twin, key, state, draw(key, ts.action_mask), params)
        if ts.last:
            break
    assert ts.last
    assert step._cache_size() == 1

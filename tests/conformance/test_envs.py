"""What every registered environment inherits: the contract, an end, and one compilation in all."""

import re
import warnings
from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check

import metarl
import metarl.gym.env
from metarl.checks import HARMLESS
from metarl.gym import gym_id
from metarl.testing import check_env

SMALL = {"Snake-v0": {"size": 4}}  # what compiles and ends sooner than the default


@pytest.fixture(scope="module")
def env(env_id):
    kwargs = SMALL.get(env_id, {})
    env = metarl.make(env_id, **kwargs)
    assert env == metarl.make(env_id, **kwargs)
    yield env
    if env_id.startswith("brax/"):
        # Plain steps of Brax compile thousands of small programmes, each mapped into memory: after
        # ten such environments a process of Linux has no map left, and XLA aborts.
        jax.clear_caches()


@pytest.fixture(scope="module")
def params(env):
    """Its params, with the time limit, where there is one, brought down to 20 steps."""
    params = env.default_params()
    return params.replace(max_steps=jnp.int32(20)) if hasattr(params, "max_steps") else params


def test_contract(env, params):
    check_env(env, params, steps=64)


def test_gymnasium_accepts_it_an_episode_ends_and_nothing_compiles_twice(env_id, env, params):
    advance: Any = metarl.gym.env.advance
    before = advance._cache_size()
    settings: Any = SMALL.get(env_id, {})
    make: Any = partial(gymnasium.make, gym_id(env_id), params=params, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gym_env: Any = make().unwrapped
        gymnasium_check(gym_env)
    told = [str(w.message) for w in caught if "WARN" in str(w.message)]  # by Gymnasium, not Brax
    assert not [text for text in told if not re.search(HARMLESS, text)]
    assert make().unwrapped.env == env
    gym_env.action_space.seed(0)
    _, info = gym_env.reset(seed=0)
    for _ in range(64):
        mask = {"mask": info["action_mask"].astype(np.int8)} if "action_mask" in info else {}
        *_, terminated, truncated, info = gym_env.step(gym_env.action_space.sample(**mask))
        if terminated or truncated:
            break
    assert terminated or truncated
    assert advance._cache_size() - before <= 1  # equal environments share one programme

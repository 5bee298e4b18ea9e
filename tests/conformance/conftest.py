"""A tiny task for all agents and rules: planes, illegal moves, episodes of at most 3 steps."""

import jax
import jax.numpy as jnp
import pytest

import metarl
from metarl.inner import act, birth
from metarl.rollout import vectorize


@pytest.fixture(scope="session")
def env():
    return metarl.make("GridWorld-v0", size=3)


@pytest.fixture(scope="session")
def experience(env):
    """`(agent, rule, num_envs, length, env=) -> (learner, rollout)` of a new-born learner."""

    def collect(agent, rule, num_envs, length, env=env):
        venv = vectorize(env, num_envs)
        env_params = env.default_params().replace(max_steps=jnp.int32(3))

        @jax.jit
        def run():
            learner = birth(agent, rule, venv, env_params, jax.random.key(0))
            return learner, act(agent, venv, learner, jax.random.key(1), length=length)[0]

        return run()

    return collect

"""GROOVE in small: a staggered population on LPG grids, with algorithmic regret and edits."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.agents.tabular import tabular
from metarl.curriculum.antagonist import antagonist, antagonist_rule, heads
from metarl.curriculum.replay import Settings, level_replay
from metarl.curriculum.scores import regret
from metarl.envs.lpg.edits import edit
from metarl.envs.lpg.grid import LPGGrid
from metarl.evaluate import evaluate
from metarl.inner import birth, live
from metarl.rollout import vectorize
from metarl.rules import a2c

ENV = LPGGrid("small")
LIVES, LIFETIME, STEPS = 3, 3, 15


@pytest.fixture(scope="module")
def population():
    """Levels, states, metrics and who ended, [2 seeds, STEPS, ...], of A2C lives."""
    venv, agent = vectorize(ENV, 2), tabular(ENV, heads(ENV), start="zeros")
    rule, eta = a2c.a2c(agent, heads(ENV)), a2c.hypers()

    def ret(params, level, key):
        return evaluate(agent, ENV, params, level, key, episodes=2, max_steps=8).ret.mean()

    rival = antagonist_rule(agent, heads(ENV))
    reference = antagonist(agent, rival, venv, ret, lifetime=LIFETIME, length=2)
    curriculum = level_replay(
        ENV.sample_params,
        regret(ret, reference),
        LIVES,
        settings=Settings(capacity=8, least=1, edited=0.5),
        edit=partial(edit, ENV),
    )

    def step(loop, _, key):
        learners, state, time = loop
        places = jax.random.split(jax.random.fold_in(key, time), LIVES)
        older = partial(live, agent, rule, venv, eta, updates=1, length=2)
        learners, _ = jax.vmap(older)(learners, places)
        ended = learners.age >= LIFETIME
        levels, state, told = curriculum.replace(state, ended, learners, key)
        new = jax.vmap(partial(birth, agent, rule, venv))(levels, places)
        pick = lambda a, b: jnp.where(ended.reshape(-1, *(1,) * (a.ndim - 1)), a, b)  # noqa: E731
        learners = jax.tree.map(pick, new, learners)
        return (learners, state, time + 1), (learners.env_params, state, told, ended)

    def run(key):
        first, second, third = jax.random.split(key, 3)
        levels, state = curriculum.init(first)
        keys = jax.random.split(second, LIVES)
        learners: Any = jax.vmap(partial(birth, agent, rule, venv))(levels, keys)
        loop = (learners.replace(age=jnp.arange(LIVES)), state, jnp.int32(0))
        return jax.lax.scan(partial(step, key=third), loop, None, length=STEPS)[1]

    seeds = jax.random.split(jax.random.key(1), 2)
    return jax.device_get(jax.jit(jax.vmap(run))(seeds))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_population_of_staggered_lives_is_served(population, seed):
    levels, states, told, ended = jax.tree.map(lambda x: x[seed], population)
    assert (ended.sum(axis=1) == 1).all()  # one life ends at each step
    buffer, time = states.buffer, np.arange(STEPS)[:, None]
    jax.tree.map(
        np.testing.assert_array_equal,
        levels,
        jax.tree.map(lambda x: x[time, states.slot], buffer.level),
    )
    for t in range(1, STEPS):  # an antagonist for a level that ended, unless one was there before
        (slot,) = states.slot[t - 1][ended[t]]
        assert told["references"][t] == np.isnan(buffer.reference[t - 1][slot])
    assert told["references"].sum() < STEPS
    score = buffer.score[buffer.scored]
    assert np.isfinite(score).all() and (score != 0).any()
    assert told["edits"].sum() > 0 and told["replays"].sum() > 0
    assert (told["replays"] + told["inserted"] == 1).all()

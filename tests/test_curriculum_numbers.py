"""The bandit that gives lives their numbers: its formula, what it finds, and who gets them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.agents.tabular import tabular
from metarl.curriculum.lives import on_levels
from metarl.curriculum.numbers import Bandit, learned, log_weights, numbered, table, with_numbers
from metarl.curriculum.replay import uniform
from metarl.inner import birth
from metarl.rollout import vectorize
from metarl.rules import a2c, lpg
from metarl.types import MetaLearner

ROWS = table(lpg.numbers(40.0, 4.0, 0.5), policy_rate=(20.0, 40.0, 80.0), y_cost=(0.1, 0.5))


def test_a_table_has_every_combination():
    assert ROWS.policy_rate.tolist() == [20, 20, 40, 40, 80, 80]
    np.testing.assert_allclose(ROWS.y_cost, [0.1, 0.5] * 3)
    assert ROWS.y_rate.tolist() == [4] * 6
    with pytest.raises(ValueError, match="no number 'rate' among"):
        table(lpg.numbers(1.0, 1.0, 1.0), rate=(1.0,))
    with pytest.raises(ValueError, match="y_cost has no values"):
        table(lpg.numbers(1.0, 1.0, 1.0), y_cost=())


def test_rows_are_as_likely_as_the_formula_says():
    means, counts = np.array([0.3, 0.5, 0.1]), np.array([4, 1, 25])
    bandit = Bandit(jnp.array(means, jnp.float32), jnp.array(counts))
    weight = np.exp((means + 0.2 / np.sqrt(counts)) / 0.1)
    found = jax.nn.softmax(log_weights(bandit, temperature=0.1, bonus=0.2))
    np.testing.assert_allclose(found, weight / weight.sum(), rtol=1e-5)
    some = bandit.replace(count=jnp.array([0, 7, 0]))
    found = jax.nn.softmax(log_weights(some, temperature=0.1, bonus=0.2))
    np.testing.assert_allclose(found, [0.5, 0, 0.5])


@pytest.mark.parametrize("memory", [0.0, 0.3])
def test_returns_are_averaged(memory):
    """One after the other in numpy; at once, the weights are those of equal returns in turn."""
    rng = np.random.default_rng(0)
    bandit, mean, count = Bandit(jnp.zeros(2), jnp.zeros(2, jnp.int32)), np.zeros(2), np.zeros(2)
    update = jax.jit(partial(learned, memory=memory))
    for _ in range(8):
        row, ended = rng.integers(2, size=3), rng.random(3) < 0.7
        value = rng.normal(size=2)[row]  # alike where the row is
        bandit = update(bandit, jnp.array(row), jnp.array(ended), jnp.array(value, jnp.float32))
        for k in range(2):
            new = (ended & (row == k)).sum()
            if new:
                share = max(new / (count[k] + new), 1 - (1 - memory) ** new)
                mean[k] += share * (value[row == k][0] - mean[k])
                count[k] += new
    np.testing.assert_allclose(bandit.mean, mean, rtol=1e-4, atol=1e-6)
    assert bandit.count.tolist() == count.tolist()
    plain = learned(Bandit(jnp.zeros(1), jnp.zeros(1, jnp.int32)), jnp.zeros(4, jnp.int32),
                    jnp.array([True, True, False, True]), jnp.arange(4.0), memory=0.0)  # fmt: skip
    np.testing.assert_allclose(plain.mean, [4 / 3], rtol=1e-6)


def test_the_best_row_is_found_where_returns_hang_on_the_numbers():
    """Synthetic returns with noise; nothing is trained. Draws follow the probabilities told."""
    lives, calls = 8, 300
    truth = jnp.array([0.1, 0.3, 0.2, 0.9, 0.4, 0.0])

    def earned(life, level, key):
        return truth[life] + 0.2 * jax.random.normal(key)

    below = uniform(jax.random.uniform, lives)
    curriculum = numbered(below, jnp.arange(6), earned, batch=3)  # the numbers are the row itself

    @jax.jit
    def run(key):
        given, state = curriculum.init(key)

        def call(loop, ended):
            given, state = loop
            given, state, told = curriculum.replace(state, ended, given.numbers, key)
            return (given, state), (given.numbers, state, told)

        endings = jax.random.bernoulli(jax.random.key(8), 0.5, (calls, lives))
        out = jax.lax.scan(call, (given, state), endings)[1]
        return given.numbers, out, endings

    first, (rows, states, told), endings = jax.device_get(run(jax.random.key(7)))
    before = np.concatenate([first[None], rows[:-1]])
    assert (rows == before)[~endings].all()  # a life keeps its numbers
    np.testing.assert_array_equal(states.row, rows)
    count = states.bandit.count[-1]
    assert count.sum() == endings.sum() and (count > 0).all()
    late = rows[-100:][endings[-100:]]
    share = (late == 3).mean()
    assert share > 0.9 and states.bandit.mean[-1].argmax() == 3
    told_p = np.stack([told[f"row_{k}"] for k in range(6)], axis=1)  # [calls, K]
    np.testing.assert_allclose(told_p.sum(axis=1), 1, rtol=1e-5)
    drawn = np.stack([((rows == k) & endings).sum() for k in range(6)])
    births = endings.sum(axis=1, keepdims=True)
    spread = np.sqrt((told_p * (1 - told_p) * births).sum(axis=0))
    assert (np.abs(drawn - (told_p * births).sum(axis=0)) < 3.5 * spread).all()
    np.testing.assert_allclose(told["row_3_return"][-1], 0.9, atol=0.25)


def test_lives_have_the_numbers_that_were_drawn():
    env, lives = metarl.make("LPGSmall-v0"), 4
    heads = lpg.heads(env, 3)
    agent = tabular(env, heads)
    rule = lpg.lpg(agent, heads, hidden=4, embedding=3)
    born = partial(birth, agent, rule, vectorize(env, 2))

    def older(state, learners, key):
        return state, learners.replace(age=learners.age + 1), {}

    idle = MetaLearner(lambda key, learners: (), older)  # time passes and nobody learns
    earned = lambda life, level, key: life.rule_state.numbers.policy_rate / 100  # noqa: E731
    loop = on_levels(
        idle, with_numbers(born), numbered(uniform(env.sample_params, lives), ROWS, earned),
        lifetime=lambda given: jnp.int32(2),
    )  # fmt: skip
    state, learners = jax.jit(loop.begin)(jax.random.key(0))
    step, seen = jax.jit(loop.update), []
    for _ in range(60):
        before = state.curriculum.row
        state, learners, told = step(state, learners, jax.random.key(1))
        chosen = state.curriculum.row
        for name in ("policy_rate", "y_rate", "y_cost"):
            own, column = getattr(learners.rule_state.numbers, name), getattr(ROWS, name)
            np.testing.assert_array_equal(own, column[chosen])
        jax.tree.map(np.testing.assert_array_equal, state.levels.level, learners.env_params)
        seen.append((before != chosen).sum())
        assert int(told["births"]) == 2
    assert sum(seen) > 5 and max(seen) <= 2  # only for newborns
    mean = state.curriculum.bandit.mean
    np.testing.assert_allclose(mean, ROWS.policy_rate / 100, rtol=1e-5)


def test_mistakes_are_explained():
    below: Any = uniform(jax.random.uniform, 2)
    for wrong in ({"temperature": 0.0}, {"bonus": -1.0}, {"memory": 2.0}, {"batch": 0}):
        options: Any = wrong
        with pytest.raises(ValueError, match="temperature must be above 0"):
            numbered(below, ROWS, lambda *x: jnp.float32(0), **options)
    env = metarl.make("LPGSmall-v0")
    agent = tabular(env, a2c.heads(env))
    born = partial(birth, agent, a2c.a2c(agent, a2c.heads(env)), vectorize(env, 2))
    given = numbered(uniform(env.sample_params, 2), ROWS, lambda *x: jnp.float32(0))
    one = jax.eval_shape(
        lambda k: jax.tree.map(lambda x: x[0], given.init(k)[0]), jax.random.key(0)
    )
    with pytest.raises(TypeError, match="the rule keeps no numbers of a life"):
        jax.eval_shape(with_numbers(born), one, jax.random.key(0))

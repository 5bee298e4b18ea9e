"""Bandit players: published indices, posteriors by fractions, optima by plain enumeration."""

import math
from fractions import Fraction
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.evaluate import evaluate
from metarl.players import beliefs, gittins
from metarl.players.bandits import (
    Counts,
    bayes_player,
    gittins_player,
    thompson_player,
    ucb1_player,
)
from metarl.types import AgentInput
from metarl.wrappers import trial

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def two():
    return metarl.make("Bandit-v0", num_actions=2)


def heads_at(player, paid, not_paid):
    """The heads of a player who has counted so much: a new pull that did not pay is added."""
    counts = Counts(jnp.array(paid, jnp.int32), jnp.array(not_paid, jnp.int32).at[0].add(-1))
    inputs = AgentInput(jnp.ones(1), jnp.int32(0), jnp.float32(0), jnp.bool_(False))
    return jax.jit(player.apply)({}, counts, inputs)[0]["logits"]


def test_indices_are_the_published_ones():
    """Gittins, Glazebrook & Weber 2011, table 8.1; rows of a uniform prior."""
    table = gittins.discounted(0.9, 3)
    wanted = [[0.7029, 0.5001, 0.3796], [0.8001, 0.6346], [0.8452]]
    for successes, row in enumerate(wanted):
        np.testing.assert_allclose(table[successes, : len(row)], row, atol=6e-5)
    np.testing.assert_allclose(gittins.discounted(0.99, 1), [[0.8699]], atol=6e-5)


def test_indices_are_those_of_bisection():
    """One sure pay at a time, memoised over (successes, failures), with discount 0.7."""

    def gain(pay, start):
        @lru_cache(None)
        def value(s, f):
            if s + f > start[0] + start[1] + 40:
                return pay / 0.3
            return max(pay / 0.3, go_on(s, f))

        def go_on(s, f):
            mean = (s + 1) / (s + f + 2)
            return mean + 0.7 * (mean * value(s + 1, f) + (1 - mean) * value(s, f + 1))

        return go_on(*start) - pay / 0.3

    table = gittins.discounted(0.7, 5)
    for start in ((0, 0), (1, 2), (0, 3), (4, 0)):
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if gain(middle, start) > 0 else (low, middle)
        np.testing.assert_allclose(table[start], low, atol=2e-5)


def test_finite_horizons_by_hand():
    table = gittins.finite(5)
    mean = [[(s + 1) / (s + f + 2) if s + f <= 4 else 0 for f in range(5)] for s in range(5)]
    np.testing.assert_allclose(table[1], mean, atol=1e-6)  # a single pull
    # Two pulls: 2 l = 1/2 + 1/2 * 2/3 + 1/2 * l.
    np.testing.assert_allclose(table[2, 0, 0], 5 / 9, atol=1e-6)
    assert (np.diff(table[1:, 0, 0]) > 0).all()


def beta(x, y):
    """The beta function of whole numbers."""
    return Fraction(math.factorial(x - 1) * math.factorial(y - 1), math.factorial(x + y - 1))


def chance_of_more(a, b, c, d):
    """P(X > Y) of X ~ Beta(a, b), Y ~ Beta(c, d), whole numbers, exactly."""
    terms = (beta(c + i, b + d) / ((b + i) * beta(1 + i, b) * beta(c, d)) for i in range(a))
    return sum(terms)


def test_thompson_plays_by_the_chance_of_being_best(two):
    player = thompson_player(two, pulls=60)
    for paid, not_paid in (((0, 0), (1, 0)), ((3, 1), (2, 5)), ((20, 11), (9, 18))):
        logits = heads_at(player, paid, not_paid)
        a, c = (1 + x for x in paid)
        b, d = (1 + x for x in not_paid)
        first = 1 - float(chance_of_more(c, d, a, b))
        np.testing.assert_allclose(jax.nn.softmax(logits)[0], first, atol=2e-5)
        np.testing.assert_allclose(jnp.exp(logits).sum(), 1, atol=1e-4)


def test_ucb1_is_its_formula():
    player = ucb1_player(metarl.make("Bandit-v0", num_actions=3))
    assert np.flatnonzero(heads_at(player, [1, 0, 0], [3, 0, 0]) == 0).tolist() == [1, 2]
    for paid, not_paid in (([5, 1, 3], [6, 1, 3]), ([0, 0, 9], [4, 1, 9])):
        tried = np.add(paid, not_paid)
        index = np.array(paid) / tried + np.sqrt(2 * np.log(tried.sum()) / tried)
        assert heads_at(player, paid, not_paid).argmax() == index.argmax()


def best_return(arms, pulls):
    """The exact optimum by recursion over histories' counts."""

    @lru_cache(None)
    def value(counts, left):
        if left == 0:
            return Fraction(0)
        options = []
        for arm in range(arms):
            paid, not_paid = counts[arm]
            mean = Fraction(paid + 1, paid + not_paid + 2)
            one = (*counts[:arm], (paid + 1, not_paid), *counts[arm + 1 :])
            none = (*counts[:arm], (paid, not_paid + 1), *counts[arm + 1 :])
            options.append(mean * (1 + value(one, left - 1)) + (1 - mean) * value(none, left - 1))
        return max(options)

    return value(((0, 0),) * arms, pulls)


@pytest.mark.parametrize("arms, pulls", [(1, 4), (2, 7), (3, 4)])
def test_the_optimum_is_that_of_full_enumeration(arms, pulls):
    found = beliefs.optimum(arms, pulls)
    np.testing.assert_allclose(found.value, float(best_return(arms, pulls)), rtol=1e-12)


def test_beliefs_are_numbered_one_by_one():
    table = beliefs.binomials(4, 6)
    every = beliefs._all(4, 6)
    assert (every.sum(axis=1) == 4).all() and len(np.unique(every, axis=0)) == math.comb(9, 5)
    assert sorted(beliefs.number(every, table, np)) == list(range(math.comb(9, 5)))


def test_the_bayes_player_reaches_the_optimum(two):
    """The expected return of its own choices over all histories of 5 pulls, exactly."""
    player = bayes_player(two, pulls=5)
    heads = jax.jit(player.apply)

    def value(counts, action, reward, first, left):
        inputs = AgentInput(jnp.ones(1), jnp.int32(action), jnp.float32(reward), jnp.bool_(first))
        logits, counts = heads({}, counts, inputs)
        if left == 0:
            return 0.0
        arm = int(logits["logits"].argmax())
        paid, not_paid = int(counts.paid[arm]), int(counts.not_paid[arm])
        mean = (paid + 1) / (paid + not_paid + 2)
        one, none = (value(counts, arm, r, False, left - 1) for r in (1, 0))
        return mean * (1 + one) + (1 - mean) * none

    np.testing.assert_allclose(value(player.carry(), 0, 0, True, 5), float(best_return(2, 5)))


def test_players_are_agents_whose_counts_last_as_long_as_a_life(two):
    """A sure arm and one that never pays; in a trial of two attempts it is known in the second."""
    params = two.default_params().replace(arms=jnp.array([0.0, 1.0]), max_steps=jnp.int32(6))
    for player in (gittins_player(two, pulls=12), gittins_player(two, pulls=12, discount=0.9)):
        scores = evaluate(player, two, {}, params, KEY, episodes=40)
        assert set(scores.ret.tolist()) <= {5.0, 6.0}
        tried = trial(two, 2, stop_on_success=False)
        scores = evaluate(player, tried, {}, params, KEY, episodes=40)
        assert set(scores.ret.tolist()) <= {11.0, 12.0}
    inputs = AgentInput(jnp.ones(1), jnp.int32(1), jnp.float32(1), jnp.bool_(True))
    counts = player.apply({}, Counts(jnp.ones(2, jnp.int32), jnp.ones(2, jnp.int32)), inputs)[1]
    assert not counts.paid.any() and not counts.not_paid.any()


def test_what_has_no_table_is_refused(two):
    with pytest.raises(ValueError, match="beliefs"):
        bayes_player(two, pulls=500)
    with pytest.raises(ValueError, match="200"):
        gittins_player(two, pulls=500)
    with pytest.raises(ValueError, match="discount"):
        gittins_player(two, pulls=5, discount=1.0)
    with pytest.raises(ValueError, match="Bandit"):
        ucb1_player(metarl.make("Snake-v0"))

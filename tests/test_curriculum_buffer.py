"""Prioritised replay by its formula, and the buffer of levels slot by slot."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from metarl.curriculum import prioritised
from metarl.curriculum.buffer import (
    empty,
    eviction_order,
    insert,
    record,
    replayable,
    settle,
    stamped,
)

SCORES = np.array([3.0, 0.5, 2.0, -1.0, 7.0, 2.5], np.float32)
DRAWN = np.array([9, 2, 5, 8, 10, 0], np.int32)
AMONG = np.array([True, True, True, True, False, True])
RANK = np.array([1, 4, 3, 5, np.inf, 2])  # among those that may be drawn
CLOCK = 10
MANY = 20_000


def likely(priority, staleness=0.0, scores=SCORES, among=AMONG, drawn=DRAWN):
    log_p = prioritised.log_probabilities(
        priority,
        score=jnp.asarray(scores),
        drawn=jnp.asarray(drawn),
        clock=jnp.int32(CLOCK),
        among=jnp.asarray(among),
        staleness=staleness,
    )
    return np.exp(np.asarray(log_p, np.float64))


def normal(weights):
    return np.asarray(weights, np.float64) / np.sum(weights, dtype=np.float64)


BY_RANK = normal(RANK**-2.0)
BY_AGE = normal((CLOCK - DRAWN) * AMONG)
EXPECTED = {
    "rank": (prioritised.rank(0.5), 0.0, BY_RANK),
    "rank, sharp": (prioritised.rank(0.1), 0.0, normal(RANK**-10.0)),
    "proportional": (prioritised.proportional(2.0), 0.0, normal(AMONG * SCORES.clip(0) ** 0.5)),
    "softmax": (prioritised.softmax(2.0), 0.0, normal(AMONG * np.exp(SCORES / 2.0))),
    "top": (prioritised.top(3), 0.0, normal(1.0 * (RANK <= 3))),
    "alike": (prioritised.equally, 0.0, normal(1.0 * AMONG)),
    "staleness": (prioritised.rank(0.5), 0.3, 0.7 * BY_RANK + 0.3 * BY_AGE),
    "only staleness": (prioritised.rank(0.5), 1.0, BY_AGE),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_probabilities_are_the_formula(name):
    priority, staleness, expected = EXPECTED[name]
    np.testing.assert_allclose(likely(priority, staleness), expected, rtol=2e-5, atol=1e-9)


@partial(jax.jit, static_argnames=("count", "distinct", "many"))
def draws(key, log_p, *, count, distinct, many):
    one = partial(prioritised.draw, count=count, distinct=distinct)
    return jax.vmap(one, in_axes=(0, None))(jax.random.split(key, many), log_p)


@pytest.mark.parametrize("name", EXPECTED)
def test_frequencies_are_the_formula(name):
    """Of many draws with repetition, and of the first of each draw without."""
    *_, expected = EXPECTED[name]
    log_p = jnp.log(jnp.asarray(expected, jnp.float32))
    possible = expected > 1e-4
    for distinct in (False, True):
        index, valid = draws(jax.random.key(3), log_p, count=4, distinct=distinct, many=MANY)
        index = np.asarray(index[:, 0] if distinct else index).ravel()
        counts = np.bincount(index, minlength=6)
        assert np.asarray(valid)[:, 0].all() and not counts[expected == 0].any()
        share = normal(expected[possible])
        assert chisquare(counts[possible], share * counts[possible].sum()).pvalue > 1e-3


def test_draws_without_repetition_are_each_from_what_is_left():
    """The frequency of every ordered pair, and nothing twice."""
    p = np.array([0.5, 0.3, 0.15, 0.05])
    log_p = jnp.log(jnp.asarray(p, jnp.float32))
    index, valid = draws(jax.random.key(4), log_p, count=5, distinct=True, many=MANY)
    index, valid = np.asarray(index), np.asarray(valid)
    assert valid[:, :4].all() and not valid[:, 4:].any()  # four levels, five wanted
    assert (np.sort(index[:, :4], axis=1) == np.arange(4)).all()
    pairs = np.zeros((4, 4))
    np.add.at(pairs, (index[:, 0], index[:, 1]), 1)
    expected = p[:, None] * p / (1 - p[:, None])
    off = ~np.eye(4, dtype=bool)
    assert chisquare(pairs[off], expected[off] * MANY).pvalue > 1e-3


def test_there_may_be_nothing_to_draw():
    none = np.zeros(6, bool)
    for distinct in (False, True):
        log_p = jnp.log(jnp.asarray(likely(prioritised.rank(), 0.3, among=none), jnp.float32))
        assert not draws(jax.random.key(0), log_p, count=4, distinct=distinct, many=MANY)[1].any()


@pytest.mark.parametrize("name", EXPECTED)
def test_extreme_scores_keep_their_order_and_stay_probabilities(name):
    priority, staleness, _ = EXPECTED[name]
    huge = np.array([1e6, -1e6, 3.4e38, 0.0, -3.4e38, 5.0], np.float32)
    p = likely(priority, staleness, scores=huge, among=np.ones(6, bool))
    assert np.isfinite(p).all() and abs(p.sum() - 1) < 1e-5
    if staleness == 0 and priority is not prioritised.equally:
        assert p[2] == p.max()
        assert p[0] >= p[5] >= p[3] >= p[1] >= p[4]
    # Regrets of a hundred and more, at which exp overflows: the order decides, as it should.
    if name == "softmax":
        p = likely(prioritised.softmax(1.0), scores=SCORES + 1000)
        np.testing.assert_allclose(p, likely(prioritised.softmax(1.0)), rtol=1e-3)


def test_equal_scores_go_by_who_was_drawn_longest_ago_and_no_positive_one_means_alike():
    equal = np.zeros(6, np.float32)
    order = prioritised.ranks(jnp.asarray(equal), jnp.asarray(DRAWN))
    assert (np.argsort(order) == np.argsort(DRAWN)).all()
    np.testing.assert_allclose(likely(prioritised.proportional(), scores=equal), AMONG / 5)
    np.testing.assert_allclose(likely(prioritised.proportional(), scores=equal - 1), AMONG / 5)
    new = np.full(6, CLOCK)  # all drawn just now: staleness has no preference
    np.testing.assert_allclose(likely(prioritised.rank(), 1.0, drawn=new), AMONG / 5)


def levels(*numbers):
    """Levels that are a number and a few walls."""
    x = jnp.asarray(numbers, jnp.int32)
    return {"number": x, "walls": (x[:, None] >> jnp.arange(3)) & 1 == 1}


add = jax.jit(lambda buffer, fresh: insert(buffer, fresh, jnp.ones(len(fresh["number"]), bool)))


give = jax.jit(stamped)


@jax.jit
def ended(buffer, slot, outcome, reference=0.0):
    """All lives on `slot` end; their levels have a reference."""
    buffer = record(buffer, slot, jnp.ones(len(slot), bool), outcome, outcome)
    return settle(buffer.replace(reference=buffer.reference.at[slot].set(reference)))


@pytest.fixture(scope="module")
def filled():
    """Eight slots: five scored levels 10..14, one, 15, that a life is on, and two empty ones."""
    like = jax.tree.map(lambda x: x[0], levels(0))
    start = jax.jit(lambda: empty(like, 8))()
    buffer, slot, new = add(start, levels(10, 11, 12, 13, 14))
    assert new.all() and len({*slot.tolist()}) == 5
    buffer = ended(buffer, slot, jnp.array([2.0, -3.0, 0.0, 5.0, jnp.nan]))
    buffer = give(buffer, slot, jnp.ones(5, bool))
    return add(buffer, levels(15))[0]


def scores(buffer):
    """{level: score} of the scored ones."""
    b = jax.device_get(buffer)
    return {
        int(n): float(s) for n, s, k in zip(b.level["number"], b.score, b.scored, strict=True) if k
    }


def test_scores_are_recorded_and_nan_is_the_worst(filled):
    assert scores(filled) == {10: 2, 11: -3, 12: 0, 13: 5, 14: -np.inf}
    may = {int(n) for n in filled.level["number"][replayable(filled)]}
    assert may == {10, 11, 12, 13}  # neither the one in use nor the one without a verdict
    assert filled.used.tolist().count(1) == 1 and not filled.waiting.any()
    slot = jnp.argmax(filled.level["number"] == 10)[None]
    assert scores(ended(filled, slot, jnp.array([jnp.inf])))[10] == np.finfo(np.float32).max
    assert scores(ended(filled, slot, jnp.array([1e6])))[10] == 1e6


def test_new_levels_take_empty_slots_then_the_lowest_scores(filled):
    gone, kept = [], filled
    for number in range(20, 27):
        before = {*np.asarray(kept.level["number"])[np.asarray(kept.filled)].tolist()}
        kept, slot, new = add(kept, levels(number))
        assert new.all() and kept.used[slot[0]] == 1 and not kept.scored[slot[0]]
        assert np.isnan(kept.reference[slot[0]]) and kept.score[slot[0]] == -np.inf
        after = {*np.asarray(kept.level["number"])[np.asarray(kept.filled)].tolist()}
        gone.append((before - after).pop() if before - after else None)
    assert gone == [None, None, 14, 11, 12, 10, 13]  # never 15, whose life goes on


def test_levels_that_were_never_scored_do_not_outrank_bad_scores(filled):
    """Unscored and idle: the first to go after empty slots, before the lowest score."""
    slot = jnp.argmax(filled.level["number"] == 15)
    left = filled.replace(used=filled.used * 0)
    assert 15 not in scores(left) and not replayable(left)[slot]
    order = eviction_order(left).tolist()
    assert order.index(int(slot)) == 2
    waiting = left.replace(waiting=left.waiting.at[slot].set(True))
    assert eviction_order(waiting).tolist()[-1] == slot
    assert not replayable(waiting)[slot]


def test_equal_levels_share_a_slot_and_what_is_known_of_it(filled):
    buffer, slot, new = add(filled, levels(13, 30, 30, 15, 31))
    assert new.tolist() == [False, True, False, False, True]
    assert slot[1] == slot[2] and len({*slot.tolist()}) == 4
    assert buffer.level["number"][slot].tolist() == [13, 30, 30, 15, 31]
    assert buffer.used[slot].tolist() == [1, 2, 2, 2, 1]
    assert scores(buffer)[13] == 5
    numbers = np.asarray(buffer.level["number"])[np.asarray(buffer.filled)]
    assert len({*numbers.tolist()}) == len(numbers)
    only = jax.jit(insert)(filled, levels(13, 40, 40), jnp.array([False, False, True]))
    assert only[2].tolist() == [False, False, True] and only[0].used.sum() == 2


def test_lives_that_end_together_on_one_level_count_by_their_mean(filled):
    buffer, slot, _ = add(filled, levels(50, 50, 51))
    buffer = ended(buffer, slot, jnp.array([1.0, 4.0, 7.0]), 10.0)
    assert scores(buffer)[50] == 12.5 and scores(buffer)[51] == 17
    assert buffer.best[slot].tolist() == [4, 4, 7] and not buffer.used[slot].any()


def test_the_clock_counts_levels_given_out(filled):
    assert filled.clock == 5
    slot = jnp.array([2, 4, 6])
    buffer = give(filled, slot, jnp.array([True, False, True]))
    assert buffer.clock == 7 and buffer.drawn.tolist() == [5, 5, 7, 5, 5, 0, 7, 0]

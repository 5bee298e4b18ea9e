"""GROOVE's buffer as released, against its steps in numpy, and what each of its defects does."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.curriculum.released import Released, _best, released_replay
from metarl.curriculum.scores import Scoring

LIVES, CAPACITY, CALLS = 3, 10, 24
ENDINGS = np.resize(
    np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1], [1, 1, 1], [0, 1, 0]], bool), (CALLS, LIVES)
)


def outcome(life, level, best, key):
    """Minus what the life earned, as regret has it; levels are numbers from -1 to 1."""
    return level["number"] - 1, jnp.maximum(best, level["number"])


def reference(level, key):
    return jnp.float32(0.5)


def history(**settings):
    """States before and after each of many calls, stacked; levels given, and metrics."""
    sample = lambda key: {"number": jax.random.uniform(key, minval=-1.0)}  # noqa: E731
    chosen = Released(capacity=CAPACITY, **settings)
    curriculum = released_replay(sample, Scoring(outcome, reference), LIVES, settings=chosen)

    @jax.jit
    def run():
        _, state = curriculum.init(jax.random.key(0))

        def call(state, ended):
            levels, state, told = curriculum.replace(state, ended, jnp.zeros(LIVES), key)
            return state, (state, levels, told)

        key = jax.random.key(1)
        _, (later, levels, told) = jax.lax.scan(call, state, jnp.asarray(ENDINGS))
        joined = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), state, later)
        return joined, levels, told

    return jax.device_get(run())


@pytest.mark.parametrize("forget_new", [False, True])
def test_each_call_is_that_of_the_code(forget_new):
    """Flags, scores and replays worked out one slot at a time; chance alone is taken over."""
    states, levels, told = history(forget_new=forget_new)
    number, replayed = states.level["number"], 0
    for t, ended in enumerate(ENDINGS):
        old, new = (jax.tree.map(lambda x, t=t: x[t], states) for t in (t, t + 1))
        score, active, fresh = old.score.copy(), old.active.copy(), old.new.copy()
        order = sorted(
            range(CAPACITY), key=lambda b: (active[b], -np.inf if fresh[b] else score[b], b)
        )
        lost = order[:LIVES]
        assert not active[lost].any()
        if forget_new:
            fresh = active.copy()
        score[lost], fresh[lost] = 0, True
        assert {*np.flatnonzero(number[t] != number[t + 1])} == {*lost}
        for place in np.flatnonzero(ended).tolist():
            slot = old.slot[place]
            score[slot] = np.float32(levels_before(states, levels, t, place) - 1) + np.float32(0.5)
            active[slot], fresh[slot] = False, False
        free = ~(active | fresh)
        best = sorted(np.flatnonzero(free), key=lambda b: (-score[b], -b))
        for place in range(LIVES):
            slot = new.slot[place]
            if not ended[place]:
                assert slot == old.slot[place]
            elif free[slot]:
                assert free.sum() >= LIVES and slot == best[place]
                replayed += 1
            else:
                assert fresh[slot] and not active[slot]
        active[new.slot] = True
        np.testing.assert_array_equal(new.active, active)
        np.testing.assert_array_equal(new.new, fresh)
        np.testing.assert_allclose(new.score, score, rtol=1e-6)
        np.testing.assert_array_equal(levels["number"][t], new.level["number"][new.slot])
    assert replayed == told["replays"].sum() > 5
    assert (told["births"] == ENDINGS.sum(axis=1)).all()
    assert (told["references"] == told["births"]).all()


def levels_before(states, levels, t, place):
    """The level that a life in this place was on at call t."""
    return levels["number"][t - 1][place] if t else states.levels["number"][0][place]


def test_with_forgotten_flags_levels_without_a_score_count_as_scored():
    """As released even what no life was ever on is free to be replayed, after the first call."""
    seen = {}
    for forget_new in (False, True):
        states, _, told = history(forget_new=forget_new)
        ever = np.zeros(CAPACITY, bool)  # slots whose level some life has ended on
        unseen = 0
        for t in range(CALLS):
            old, new = (jax.tree.map(lambda x, t=t: x[t], states) for t in (t, t + 1))
            ever &= old.level["number"] == new.level["number"]
            ever[old.slot[ENDINGS[t]]] = True
            unseen += (~ever & ~new.new & ~new.active).sum()
        seen[forget_new] = (unseen, told["levels_scored"][0])
    assert seen[False] == (0, 1)  # the first call ends one life
    # All but the lives left and the new levels: also slots that no life was ever on.
    assert seen[True][1] == CAPACITY - (LIVES - 1) - LIVES and seen[True][0] > 20


def best(score, free, count=LIVES, **settings):
    chosen = Released(capacity=len(score), **settings)
    free = jnp.array(free, bool)
    choose: Any = jax.jit(
        lambda key: _best(jnp.array(score, jnp.float32), free, count, key, chosen)
    )
    return choose


def test_exponentials_that_overflow_lose_the_order():
    score, free = [100.0, 200.0, 5.0, 300.0, -1.0, 400.0], [1, 1, 1, 1, 1, 0]
    key = jax.random.key(0)
    assert best(score, free)(key).tolist() == [3, 1, 0]
    # exp of 100, 200 and 300 is infinite, their share NaN, which sorts last, in order of place;
    # behind it there are only zeros, the level that may not be replayed among them.
    assert best(score, free, overflow=True)(key).tolist() == [3, 1, 0]
    swapped = [300.0, 200.0, 5.0, 100.0, -1.0, 400.0]
    assert best(swapped, free)(key).tolist() == [0, 1, 3]
    assert best(swapped, free, overflow=True)(key).tolist() == [3, 1, 0]
    assert best(score, free, 4)(key).tolist() == [3, 1, 0, 2]
    assert best(score, free, 4, overflow=True)(key).tolist() == [3, 1, 0, 5]
    small = [0.3, 0.2, -5.0, 0.1, -1.0, 0.4]
    for overflow in (False, True):
        assert best(small, free, overflow=overflow)(key).tolist() == [0, 1, 3]


@pytest.mark.parametrize("overflow", [False, True])
def test_proportional_draws_follow_the_exponential(overflow):
    score, free = np.array([0.0, 1.0, 2.0, 3.0]), [1, 1, 1, 0]
    choose = best(score, free, 2, transform="proportional", temperature=2.0, overflow=overflow)
    drawn = np.asarray(jax.vmap(choose)(jax.random.split(jax.random.key(3), 4000)))
    p = np.exp(score / 2) * free
    p /= p.sum()
    np.testing.assert_allclose(np.bincount(drawn[:, 0], minlength=4) / 4000, p, atol=0.025)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    second = sum(p[a] * p / (1 - p[a]) * (np.arange(4) != a) for a in range(3))
    np.testing.assert_allclose(np.bincount(drawn[:, 1], minlength=4) / 4000, second, atol=0.025)


def test_proportional_draws_that_overflow_are_no_draws():
    """The infinite have no probability at all, and of the zeros the first places come first."""
    score, free = [500.0, 1.0, 400.0, 2.0, 600.0], [1, 1, 1, 1, 0]
    keys = jax.random.split(jax.random.key(4), 50)
    exact, overflown = (
        np.asarray(jax.vmap(best(score, free, 2, transform="proportional", overflow=x))(keys))
        for x in (False, True)
    )
    assert (exact == [0, 2]).all() and (overflown == [1, 3]).all()


def test_settings_that_cannot_work_are_refused():
    cases: dict[str, dict[str, Any]] = {
        "no transform 'ranks'; did you mean rank": {"transform": "ranks"},
        "replay must lie in 0..1": {"replay": -0.5},
        "temperature must be above 0": {"temperature": 0.0},
        "batch must be at least 1": {"batch": 0},
        "capacity of 6": {"capacity": 5},
    }
    for words, fields in cases.items():
        with pytest.raises(ValueError, match=words):
            Released(**fields).check(LIVES)

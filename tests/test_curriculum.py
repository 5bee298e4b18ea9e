"""Prioritised replay of levels whose scores are stubs: what is drawn, counted, kept and lost."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.curriculum.prioritised import rank
from metarl.curriculum.replay import Settings, level_replay, uniform
from metarl.curriculum.scores import Scoring

LIVES, CAPACITY = 4, 12
ENDINGS = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]], bool)


def said(life, level, best, key):
    """A stub's outcome: what the life says."""
    return life, best


def lottery(level, key):
    """A stub's reference, which would be another number each time it is computed."""
    return level["number"] + 0.5 * jax.random.uniform(key)


STUB = Scoring(said, lottery)
MANY = 50_000


def programme(scoring=STUB, calls=24, **parts):
    """Levels and states before and after each of many calls, stacked, metrics, who ended.

    A function of how many different levels there are.
    """

    @jax.jit
    def run(most):
        def sample(key):
            return {"number": jnp.floor(most * jax.random.uniform(key))}

        curriculum = level_replay(sample, scoring, LIVES, **parts)
        levels, state = curriculum.init(jax.random.key(0))

        def call(state, ended):
            levels, state, told = curriculum.replace(state, ended, lives, jax.random.key(1))
            return state, (levels, state, told)

        lives, endings = jnp.zeros(LIVES), jnp.tile(ENDINGS, (calls // 4, 1))
        _, (later, states, told) = jax.lax.scan(call, state, endings)
        first = (levels, state)
        joined = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, (later, states))
        return *joined, told, endings

    return lambda most: jax.device_get(run(most))


SETTINGS = Settings(capacity=CAPACITY, least=1, priority=rank(1.0))


@pytest.fixture(scope="module")
def stubbed():
    return programme(settings=SETTINGS)(MANY)


def test_only_lives_that_ended_get_another_level(stubbed):
    levels, states, told, endings = stubbed
    assert (told["births"] == endings.sum(axis=1)).all()
    same = states.slot[1:] == states.slot[:-1]
    assert same[~endings].all() and not same[endings].all()
    on = np.take_along_axis(states.buffer.level["number"], states.slot, axis=1)
    np.testing.assert_array_equal(levels["number"], on)
    assert (np.diff(levels["number"], axis=0)[~endings] == 0).all()
    for slot, used in zip(states.slot, states.buffer.used, strict=True):
        assert (np.bincount(slot, minlength=CAPACITY) == used).all()
    assert told["replays"].sum() > 5 and told["inserted"].sum() > 5
    assert (told["replays"] + told["inserted"] == told["births"]).all()
    assert (states.buffer.used <= 1).all()  # all distinct


def test_a_reference_is_computed_once_for_a_level_whose_life_ended_and_kept(stubbed):
    _, states, told, endings = stubbed
    buffer = states.buffer
    for t, ended in enumerate(endings):
        played = states.slot[t][ended]
        unknown = played[np.isnan(buffer.reference[t][played])]
        assert told["references"][t] == len(unknown)  # no replay among them
    assert 0 < told["references"].sum() < endings.sum()
    assert (buffer.scored == (buffer.score > -np.inf)).all()
    assert (buffer.scored == ~np.isnan(buffer.reference)).all()
    reference = buffer.reference[buffer.scored]
    np.testing.assert_array_equal(reference, buffer.score[buffer.scored])  # the outcome is 0
    np.testing.assert_array_equal(np.floor(reference), buffer.level["number"][buffer.scored])
    stays = buffer.scored[1:] & (buffer.level["number"][1:] == buffer.level["number"][:-1])
    stays &= buffer.scored[:-1]
    assert (buffer.reference[1:] == buffer.reference[:-1])[stays].all()
    assert (buffer.drawn[1:] > buffer.drawn[:-1])[stays].sum() > 5  # replays among them


@pytest.fixture(scope="module")
def batched():
    return programme(settings=Settings(capacity=CAPACITY, least=1, priority=rank(1.0), batch=3))


def test_batches_change_no_bit(stubbed, batched):
    other = batched(MANY)
    jax.tree.map(np.testing.assert_array_equal, stubbed[:2], other[:2])
    exactly, whole = stubbed[2]["references"], other[2]["references"]
    assert (whole == -(-exactly // 3) * 3).all()  # none where none is needed


def test_of_four_levels_each_is_in_the_buffer_once(batched):
    levels, states, told, _ = batched(4)
    assert states.buffer.filled[-1].sum() == 4 == len({*levels["number"].ravel().tolist()})
    assert told["inserted"].sum() + states.buffer.filled[0].sum() == 4
    assert states.buffer.used.max() > 1  # new levels that are none


def test_a_quorum_lets_levels_wait_without_a_score():
    settings = Settings(capacity=CAPACITY, least=1, batch=3, quorum=3)
    _, states, told, endings = programme(settings=settings)(MANY)
    buffer = states.buffer
    assert told["levels_waiting"].max() == 2
    assert (told["levels_waiting"] == buffer.waiting[1:].sum(axis=1)).all()
    assert {*told["references"].tolist()} == {0, 3}  # whole batches, or none
    stays = buffer.waiting[:-1] & buffer.waiting[1:]
    assert stays.any()
    assert (buffer.level["number"][:-1] == buffer.level["number"][1:])[stays].all()
    assert not buffer.used[1:][stays].any() and not buffer.scored[1:][stays].any()


def test_high_scores_stay_and_are_replayed():
    """The outcome is the level's number."""

    def outcome(life, level, best, key):
        return level["number"], best

    settings = Settings(capacity=CAPACITY, least=1, priority=rank(0.1), staleness=0.0, replay=0.3)
    levels, states, told, _ = programme(Scoring(outcome), calls=60, settings=settings)(MANY)
    last = jax.tree.map(lambda x: x[-1], states.buffer)
    assert (last.score == last.level["number"])[last.scored].all()
    assert told["score_mean"][-1] > 0.65 * MANY  # half is the mean of all levels
    assert told["score_max"][-1] == last.score.max()
    assert (told["references"] == 0).all()
    assert (levels["number"][-20:] == last.score.max()).mean() > 0.1


def test_replayed_levels_are_edited_and_shared_as_asked():
    settings = Settings(
        capacity=CAPACITY,
        least=1,
        priority=rank(1.0),
        replay=0.8,
        edited=0.5,
        edits=3,
        distinct=False,
    )

    def edit(key, level):
        return {"number": level["number"] + 0.125}

    levels, states, told, endings = programme(calls=200, settings=settings, edit=edit)(MANY)
    old = told["edits"].sum() + told["replays"].sum()
    assert 0.4 < told["edits"].sum() / old < 0.6
    assert 0.7 < old / endings.sum() < 0.85
    names = np.unique(levels["number"])
    children = names[names % 1 > 0]
    assert len(children) > 20 and np.isin(children - 0.375, names).all()
    assert states.buffer.used.max() > 1


def test_uniform_gives_new_levels():
    key, curriculum = jax.random.key(3), uniform(jax.random.uniform, LIVES)
    replace: Any = jax.jit(lambda state, ended: curriculum.replace(state, ended, None, key))
    history: list[float] = []
    levels, state = jax.device_get(jax.jit(curriculum.init)(key))
    for ended in ENDINGS:
        old, (levels, state, told) = levels, jax.device_get(replace(state, ended))
        assert ((levels != old) == ended).all() and told["births"] == ended.sum()
        history += levels[ended].tolist()
    assert len({*history}) == len(history) == 7


def test_settings_that_cannot_work_are_refused():
    sample = jax.random.uniform
    cases = {
        "capacity of 6": {"capacity": 5, "quorum": 2},
        "replay must lie in 0..1": {"replay": 1.5},
        "quorum must be at least 1": {"quorum": 0},
        "needs a function": {"edited": 0.5},
    }
    for words, fields in cases.items():
        options: Any = fields
        with pytest.raises(ValueError, match=words):
            level_replay(sample, STUB, LIVES, settings=Settings(**options))

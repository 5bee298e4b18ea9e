"""Answers with their returns over the attempts of a trial."""

import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.ops.trial_returns import trial_returns
from metarl.text import (
    Attempt,
    Prompt,
    RandomTextPolicy,
    TrialLog,
    Turn,
    codec_for,
    lessons,
    run_text_trials,
)


def turn(attempt, number, *rewards, answer="x", trial=0):
    return Turn(Prompt("", "", trial, attempt, number), answer, True, (), rewards)


def thought(attempt, after, answer="r", trial=0):
    return Turn(Prompt("", "", trial, attempt, after, reflect=True), answer, True)


def example(trial=0, **options):
    """Rewards 0, 0 and then 0, 10, with a reflection between."""
    first = turn(0, 0, 0, trial=trial), turn(0, 1, 0, trial=trial)
    second = turn(1, 0, 0, trial=trial), turn(1, 1, 4, 6, trial=trial)
    reflection = thought(0, 2, trial=trial, **options)
    return Attempt(first, False, reflection), Attempt(second, True)


@pytest.mark.parametrize(
    "chained, expected", [(False, [5.7, 5.7, 9.5, 9.5, 10]), (True, [5.415, 5.7, 9.5, 9.5, 10])]
)
def test_the_worked_example(chained, expected):
    found = lessons(TrialLog((example(),), 3), chained=chained)
    assert [lesson.ret for lesson in found] == pytest.approx(expected)
    assert [lesson.answer for lesson in found] == ["x", "x", "r", "x", "x"]
    assert [lesson.adv for lesson in found] == [0] * 5  # there is one board


def test_boards_are_compared_at_the_same_place_and_share_nothing():
    alone = (Attempt((turn(0, 0, 1.0, trial=1),), True),)
    log = TrialLog((example(), alone, example(2, answer=None)), 3)
    found = lessons(log)
    assert [x.ret for x in found] == pytest.approx([5.7, 5.7, 9.5, 9.5, 10, 1, 5.7, 5.7, 9.5, 10])
    mean = (5.7 + 1 + 5.7) / 3
    places = [0, 5, 6]  # the first turns
    assert [found[i].adv for i in places] == pytest.approx([5.7 - mean, 1 - mean, 5.7 - mean])
    assert all(abs(x.adv) < 1e-6 for i, x in enumerate(found) if i not in places)


def test_a_played_log_is_counted_as_arrays_are():
    """With several moves a turn, against the function applied trial by trial."""
    env = metarl.make("Sokoban-v0", height=6, width=6, boxes=2)
    log = run_text_trials(
        env, codec_for(env), RandomTextPolicy(moves=3), boards=2, turns=2, attempts=2
    )
    found = [lesson for lesson in lessons(log, discount=0.9) if not lesson.prompt.reflect]
    for board, trial in enumerate(log.trials):
        rewards = [turn.reward for attempt in trial for turn in attempt.turns]
        ended = [turn is a.turns[-1] for a in trial for turn in a.turns]
        last = np.arange(len(rewards)) == len(rewards) - 1
        how = jnp.array(rewards), jnp.array(ended), jnp.array(last)
        own = [lesson.ret for lesson in found if lesson.prompt.trial == board]
        np.testing.assert_allclose(own, trial_returns(*how, discount=0.9), rtol=1e-6)
    assert sum(lesson.prompt.reflect for lesson in lessons(log)) == 2

"""Statistics over seeds and tasks: by hand, by closed forms, by counting how often they hold."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm, trim_mean

from metarl.ops import aggregate

SCORES = np.array([[0.0, 1.0, 4.0], [0.2, 3.0, 8.0], [0.4, 2.0, 6.0], [0.6, 2.0, 6.0]])  # [4, 3]
STATISTICS = (aggregate.mean, aggregate.median, aggregate.iqm, aggregate.optimality_gap)


def drawn(shape, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, shape)


def test_statistics_by_hand():
    assert aggregate.mean(SCORES) == pytest.approx((1.2 + 8 + 24) / 12)
    assert aggregate.median(SCORES) == 2.0  # of the tasks' means .3, 2, 6
    assert aggregate.iqm(SCORES) == pytest.approx((0.6 + 1 + 2 + 2 + 3 + 4) / 6)
    assert aggregate.optimality_gap(SCORES) == pytest.approx((1 + 0.8 + 0.6 + 0.4) / 12)
    assert aggregate.optimality_gap(SCORES, 0.5) == pytest.approx(0.5 - (0.0 + 0.6 + 4.5) / 12)


def test_a_few_wild_runs_move_the_mean_and_not_the_interquartile_mean():
    wild = SCORES.copy()
    wild[1, 2] = 1e6
    assert aggregate.iqm(wild) == aggregate.iqm(SCORES)
    assert aggregate.mean(wild) > 1e4


def test_leading_axes_are_points_of_a_curve():
    curves = drawn((5, 2, 6, 3))
    for statistic in STATISTICS:
        alone = [[statistic(x) for x in row] for row in curves]
        np.testing.assert_allclose(statistic(curves), alone)
    flat = curves[0, 0].ravel()
    assert aggregate.iqm(curves)[0, 0] == pytest.approx(trim_mean(flat, 0.25))


def test_probability_of_improvement_by_hand():
    a, b = np.array([[1.0, 5.0], [2.0, 5.0]]), np.array([[1.0, 6.0], [3.0, 6.0], [0.0, 6.0]])
    assert aggregate.probability_of_improvement(a, b) == pytest.approx((3.5 / 6 + 0) / 2)
    assert aggregate.probability_of_improvement(a, a) == 0.5


def test_probability_of_improvement_of_normals():
    a, b = drawn((1500, 2), 1, shift=0.7), drawn((1200, 2), 2)
    wanted = norm.cdf(0.7 / np.sqrt(2))
    assert aggregate.probability_of_improvement(a, b) == pytest.approx(wanted, abs=0.02)


def test_profiles_fall_from_one_to_zero():
    thresholds = np.array([-1.0, 0.3, 2.0, 8.0])
    profile = aggregate.profile(SCORES, thresholds)
    np.testing.assert_allclose(profile, [1, 10 / 12, 5 / 12, 0])
    inside = aggregate.interval(lambda x: aggregate.profile(x, thresholds), SCORES)
    assert inside.low.shape == (4,) and np.all(inside.low <= inside.high)
    assert np.all((inside.low <= profile) & (profile <= inside.high))


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_order_of_seeds_and_tasks_does_not_matter(statistic):
    scores = drawn((5, 4))
    rng = np.random.default_rng(0)
    shuffled = rng.permuted(scores, axis=0)[:, rng.permutation(4)]  # seeds within each task
    assert statistic(shuffled) == pytest.approx(statistic(scores))
    here, there = (aggregate.interval(statistic, x, resamples=4000) for x in (scores, shuffled))
    width = here.high - here.low
    np.testing.assert_allclose((here.low, here.high), (there.low, there.high), atol=0.1 * width)


def test_intervals_are_those_of_a_plain_loop():
    scores = drawn((4, 3))
    found = aggregate.interval(aggregate.iqm, scores, resamples=3000, seed=7)
    rng, values = np.random.default_rng(1), []
    for _ in range(3000):
        columns = [scores[rng.integers(4, size=4), task] for task in range(3)]
        values.append(trim_mean(np.concatenate(columns), 0.25))
    np.testing.assert_allclose(found[1:], np.quantile(values, [0.025, 0.975]), atol=0.06)
    again = aggregate.interval(aggregate.iqm, scores, resamples=3000, seed=7)
    assert found == again


def test_intervals_of_large_arrays_come_in_batches(monkeypatch):
    scores = drawn((3, 5, 2))
    whole = aggregate.interval(aggregate.mean, scores, resamples=50)
    monkeypatch.setattr(aggregate, "_AT_ONCE", 100)
    parts = aggregate.interval(aggregate.mean, scores, resamples=50)
    np.testing.assert_array_equal(parts.value, whole.value)
    assert parts.low.shape == (3,) and np.all(parts.low < parts.high)


def coverage(statistic, truth, seeds, tasks, times=300):
    held = 0
    shift = np.arange(tasks)  # tasks differ; strata keep that out of the interval
    for trial in range(times):
        scores = drawn((seeds, tasks), seed=trial) + shift
        found = aggregate.interval(statistic, scores, resamples=400, seed=trial)
        held += found.low <= truth <= found.high
    return held / times


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    assert 0.88 <= coverage(aggregate.mean, 2.0, seeds=12, tasks=5) <= 0.98
    assert 0.88 <= coverage(aggregate.iqm, 2.0, seeds=12, tasks=5) <= 1.0


def test_three_seeds_on_one_task_give_intervals_too_narrow_as_the_text_says():
    assert 0.65 <= coverage(aggregate.mean, 0.0, seeds=3, tasks=1) <= 0.85


def test_curves_resample_whole_runs():
    run = drawn((6, 2))
    curves = np.stack([run, 2 * run, 3 * run])
    found = aggregate.interval(aggregate.mean, curves)
    np.testing.assert_allclose(found.low, found.low[0] * np.array([1, 2, 3]))


def test_one_seed_has_no_interval_and_one_task_has():
    alone = aggregate.interval(aggregate.iqm, SCORES[:1])
    assert np.isfinite(alone.value) and np.isnan(alone.low) and np.isnan(alone.high)
    pair = aggregate.interval(aggregate.probability_of_improvement, SCORES, SCORES[:1])
    assert np.isfinite(pair.value) and np.isnan(pair.low)
    task = aggregate.interval(aggregate.iqm, SCORES[:, :1])
    assert task.low < task.value < task.high


def test_summary_has_the_four_numbers():
    told = aggregate.summary(SCORES)
    assert list(told) == ["iqm", "median", "mean", "optimality_gap"]
    assert all(x.low <= x.value <= x.high for x in told.values())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused_with_their_place(bad):
    scores = SCORES.copy()
    scores[2, 1] = bad
    for call in (aggregate.summary, lambda x: aggregate.paired_test(x, SCORES)):
        with pytest.raises(ValueError, match="1 of 12 .* seed 2 on task 1"):
            call(scores)


def test_scores_of_another_form_are_refused():
    for bad in (np.zeros(3), np.zeros((0, 3))):
        with pytest.raises(ValueError, match="seeds, tasks"):
            aggregate.interval(aggregate.mean, bad)
    with pytest.raises(ValueError, match="unpaired_test"):
        aggregate.paired_test(SCORES, SCORES[:3])
    with pytest.raises(ValueError, match="same tasks"):
        aggregate.unpaired_test(SCORES, SCORES[:, :2])


def test_holms_correction_by_hand():
    """Times 4, 3, 2 and 1 from the smallest on; never below one before it, never above 1."""
    found = aggregate.holm([0.03, 0.01, 0.4, 0.02])
    np.testing.assert_allclose(found, [0.06, 0.04, 0.4, 0.06])
    np.testing.assert_allclose(aggregate.holm([0.9, 0.6]), [1, 1])
    assert aggregate.holm([0.3]) == [0.3] and aggregate.holm([]).shape == (0,)


def test_one_pair_says_nothing():
    """Neither of its two arrangements is more extreme."""
    assert aggregate.paired_test(np.array([[0.0]]), np.array([[1.0]])) == (-1.0, 1.0, True)


def test_the_paired_test_by_enumeration():
    a, b = drawn((3, 2), 3, shift=0.8), drawn((3, 2), 4)
    found = aggregate.paired_test(a, b)
    gaps = (a - b).ravel()
    means = np.array([np.mean(gaps * s) for s in itertools.product([1, -1], repeat=6)])
    assert found.exact and found.difference == pytest.approx(gaps.mean())
    assert found.p == pytest.approx(np.mean(np.abs(means) >= abs(gaps.mean()) - 1e-12))


def test_pairs_see_what_the_noise_of_seeds_hides():
    luck = 5 * drawn((8, 3), 5)
    a, b = luck + 0.3, luck + 0.1 * drawn((8, 3), 6)
    assert aggregate.paired_test(a, b).p < 0.001 and not aggregate.paired_test(a, b).exact
    assert aggregate.unpaired_test(a, b, resamples=500).p > 0.2


@pytest.mark.parametrize("test", [aggregate.paired_test, aggregate.unpaired_test])
def test_tests_err_as_rarely_as_they_say(test):
    p = [test(drawn((4, 2), n), drawn((4, 2), 1000 + n), resamples=199).p for n in range(200)]
    assert 0.02 <= np.mean(np.array(p) <= 0.1) <= 0.17
    assert test(drawn((6, 3), 0, shift=2.0), drawn((6, 3), 1), resamples=499).p < 0.02


def test_shuffling_stays_within_tasks():
    easy_and_hard = np.array([[0.0, 100.0], [0.1, 100.1], [0.2, 100.2], [0.3, 100.3]])
    better = easy_and_hard + 1
    assert aggregate.unpaired_test(better, easy_and_hard, resamples=999).p < 0.01

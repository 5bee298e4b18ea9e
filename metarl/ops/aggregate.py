"""How good a method is on several tasks, from few seeds: Agarwal et al. 2021.

https://arxiv.org/abs/2108.13264. Scores are [..., S, K]: `S` seeds on each of `K` tasks, normalised
so that tasks can be averaged; statistics are [...]. Everything here runs on the host, in numpy.
Intervals resample seeds within each task, so they speak of these tasks alone and of other seeds.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_AT_ONCE = 2_000_000  # numbers of one batch of resamples


class Interval(NamedTuple):
    """A statistic and its interval, each of the statistic's own shape."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Outcome(NamedTuple):
    """Outcome of a test of A against B."""

    difference: float  # mean over tasks of A's mean score less B's
    p: float  # two-sided; at least 1 / (number of rearrangements tried + 1)
    exact: bool  # whether all rearrangements were tried


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean over all runs."""
    return np.mean(scores, axis=(-2, -1))


def median(scores: np.ndarray) -> np.ndarray:
    """Median over tasks of the means over seeds: blind to nearly half of the tasks."""
    return np.median(np.mean(scores, axis=-2), axis=-1)


def iqm(scores: np.ndarray) -> np.ndarray:
    """Mean of the middle half of all runs: a quarter of them is cut off at either end."""
    from scipy.stats import trim_mean

    return np.asarray(trim_mean(scores.reshape(*scores.shape[:-2], -1), 0.25, axis=-1))


def optimality_gap(scores: np.ndarray, target: float = 1.0) -> np.ndarray:
    """By how much runs miss `target` on average; what exceeds it makes up for nothing."""
    return target - np.mean(np.minimum(scores, target), axis=(-2, -1))


def probability_of_improvement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How often a run of A beats one of B on the same task, a tie being half; mean over tasks.

    Args:
      a: [..., S, K].
      b: [..., R, K]; numbers of seeds may differ.
    """
    a, b = a[..., :, None, :], b[..., None, :, :]  # [..., S, R, K]
    return np.mean((a > b) + 0.5 * (a == b), axis=(-3, -2, -1))


def profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of runs that score above each of the thresholds [Q]; [..., Q]."""
    above = scores[..., None, :, :] > np.asarray(thresholds)[:, None, None]
    return np.mean(above, axis=(-2, -1))


def interval(
    statistic: Callable[..., np.ndarray],
    *scores: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic with its stratified bootstrap interval, by percentiles.

    Seeds are drawn with replacement, within each task and apart from other tasks'; all leading axes
    share a draw, so that a run stays one curve. With few seeds such intervals are too narrow: of 3
    seeds on one task, those of 95 % hold the truth some 75 % of the time; many tasks help.

    Args:
      statistic: of this module, or any other of as many arguments as there are `scores`.
      *scores: [..., S, K] each; one for each method. Each is resampled apart.
      confidence: coverage aimed at.
      resamples: how many; their spread makes the interval.
      seed: of the resampling.

    Returns:
      The statistic and its bounds. Bounds are NaN where a method has one seed only; one task is no
      obstacle, but then the interval tells nothing of other tasks.

    Raises:
      ValueError: scores that are no [..., S, K], or not all finite.
    """
    scores = tuple(checked(x) for x in scores)
    value = np.asarray(statistic(*scores), float)
    if any(x.shape[-2] < 2 for x in scores):
        return Interval(value, np.full(value.shape, np.nan), np.full(value.shape, np.nan))
    rng = np.random.default_rng(seed)
    size = max(1, _AT_ONCE // sum(x.size for x in scores))
    parts = [min(size, resamples - start) for start in range(0, resamples, size)]
    drawn = [statistic(*(_resampled(rng, x, count) for x in scores)) for count in parts]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail], axis=0)
    return Interval(value, low, high)


def summary(scores: np.ndarray, *, seed: int = 0) -> dict[str, Interval]:
    """The four single numbers with their intervals; raises as `interval`."""
    statistics = (("iqm", iqm), ("median", median), ("mean", mean))
    told = {name: interval(statistic, scores, seed=seed) for name, statistic in statistics}
    return {**told, "optimality_gap": interval(optimality_gap, scores, seed=seed)}


def holm(p: Sequence[float]) -> np.ndarray:
    """[K] p-values of K tests by Holm's correction (1979), which holds however they depend.

    To call all differences real whose value is below .05 is wrong anywhere in 5 % of such families.
    """
    values = np.asarray(p, float)
    order = np.argsort(values)
    factors = np.arange(len(values), 0, -1)
    raised = np.maximum.accumulate(np.minimum(factors * values[order], 1))
    adjusted = np.empty_like(values)
    adjusted[order] = raised
    return adjusted


def paired_test(a: np.ndarray, b: np.ndarray, *, resamples: int = 9999, seed: int = 0) -> Outcome:
    """Whether A and B differ, when the same seed on the same task means the same luck for both.

    A permutation test of the mean difference: A and B are swapped within pairs at random, or in all
    2**(S * K) ways where these are no more than `resamples` (`scipy.stats.permutation_test`). It
    assumes that pairs are independent and that, were A and B alike, swapping them in a pair would
    change nothing; no normality. All pairs weigh the same, so normalise the scores.

    Args:
      a, b: [S, K] each, row `s` of both being the same seed.
      resamples: rearrangements tried at most.
      seed: of their choice.

    Raises:
      ValueError: shapes that differ, scores that are not finite.
    """
    from scipy.stats import permutation_test

    a, b = checked(a), checked(b)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(
            f"pairs need the same seeds and tasks: got scores {list(a.shape)} and {list(b.shape)}; "
            "compare different seeds by `unpaired_test`"
        )
    if a.size == 1:  # both ways to swap one pair are as extreme; scipy takes two pairs or more
        return Outcome(float(np.mean(a - b)), 1.0, True)
    tested = permutation_test(
        (a.ravel(), b.ravel()),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    exact = a.size < 63 and 2**a.size <= resamples
    return Outcome(float(np.mean(a - b)), float(tested.pvalue), exact)


def unpaired_test(a: np.ndarray, b: np.ndarray, *, resamples: int = 9999, seed: int = 0) -> Outcome:
    """Whether A and B differ, by other seeds for each: the stratified alternative of `paired_test`.

    Runs of both are shuffled within each task, and the mean over tasks of the difference of means
    is compared with what that gives. It assumes independent runs and, were A and B alike, the same
    distribution of both on each task.

    Args:
      a: [S, K].
      b: [R, K].
      resamples: shuffles.
      seed: of the shuffles.

    Raises:
      ValueError: other numbers of tasks, scores that are not finite.
    """
    a, b = checked(a), checked(b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"A and B need the same tasks, got {list(a.shape)} and {list(b.shape)}")
    rng, count, pooled = np.random.default_rng(seed), len(a), np.concatenate([a, b])

    def difference(x: np.ndarray) -> float:
        return float(np.mean(x[:count]) - np.mean(x[count:]))

    found = difference(pooled)
    drawn = np.array([difference(rng.permuted(pooled, axis=0)) for _ in range(resamples)])
    extreme = np.sum(np.abs(drawn) >= abs(found) * (1 - 1e-12))
    return Outcome(found, float((1 + extreme) / (1 + resamples)), False)


def checked(scores: np.ndarray) -> np.ndarray:
    """Scores [..., S, K] as float64.

    Raises:
      ValueError: another form, or one that is not finite, whose place is told.
    """
    scores = np.asarray(scores, float)
    if scores.ndim < 2 or 0 in scores.shape:
        raise ValueError(f"scores are [..., seeds, tasks], none of them empty; got {scores.shape}")
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad):
        *_, seed, task = bad[0]
        raise ValueError(
            f"{len(bad)} of {scores.size} scores are not finite, first that of seed {seed} on task "
            f"{task} (counted from 0); leave such runs out by choice, not by accident"
        )
    return scores


def _resampled(rng: np.random.Generator, scores: np.ndarray, count: int) -> np.ndarray:
    """[count, ..., S, K], seeds drawn anew within each task."""
    seeds, tasks = scores.shape[-2:]
    index = rng.integers(seeds, size=(count, seeds, tasks))
    middle = (1,) * (scores.ndim - 2)
    index = index.reshape(count, *middle, seeds, tasks)
    return np.take_along_axis(scores[None], index, axis=-2)

"""Bernoulli arms with uniform priors, a known number of pulls: the exact optimum over all beliefs.

A belief is how often each arm has paid and has not: `2 * arms` numbers that add up to the pulls so
far. All of them are numbered (by the combinatorial number system), and the best value of each
follows from those of one pull more.
"""

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

MOST = 3_000_000  # beliefs


class Optimum(NamedTuple):
    """What to play in every belief."""

    value: float  # the best expected sum of rewards
    best: np.ndarray  # [beliefs, arms] bool, the arms that reach it
    start: np.ndarray  # [pulls] int32, the first belief after so many pulls


@functools.lru_cache(maxsize=4)
def optimum(arms: int, pulls: int) -> Optimum:
    """The Bayes-optimal player of `arms` arms and `pulls` pulls.

    Raises:
      ValueError: there are too many beliefs.
    """
    beliefs = math.comb(pulls - 1 + 2 * arms, 2 * arms)
    if arms < 1 or pulls < 1 or beliefs > MOST:
        raise ValueError(
            f"{arms} arms and {pulls} pulls have {beliefs} beliefs; the exact optimum takes at "
            f"least one of each and up to {MOST} beliefs"
        )
    table = binomials(pulls, 2 * arms)
    best, value = [], np.zeros(math.comb(pulls + 2 * arms - 1, pulls))
    for count in range(pulls - 1, -1, -1):
        belief = _all(count, 2 * arms)  # [B, 2 * arms]
        paid, not_paid = belief[:, ::2], belief[:, 1::2]
        mean = (paid + 1) / (paid + not_paid + 2)
        one = np.eye(2 * arms, dtype=int)
        after = [value[number(belief + one[i], table, np)] for i in range(2 * arms)]
        good, bad = np.stack(after[::2], axis=1), np.stack(after[1::2], axis=1)
        each = mean * (1 + good) + (1 - mean) * bad  # [B, arms]
        top = each.max(axis=1)
        value = np.empty(len(belief))
        rows = number(belief, table, np)
        value[rows] = top
        marked = np.empty((len(belief), arms), bool)
        marked[rows] = each >= top[:, None] - 1e-9
        best.append(marked)
    sizes = [len(rows) for rows in best[::-1]]
    start = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    return Optimum(float(value[0]), np.concatenate(best[::-1]), start)


def number(belief: Any, table: Any, xp: Any) -> Any:
    """The number [...] of a belief [..., 2 * arms] among those of as many pulls, in either numpy.

    Args:
      belief: counts.
      table: of `binomials`.
      xp: `numpy` or `jax.numpy`.
    """
    parts = belief.shape[-1]
    order = xp.arange(parts - 1)
    bars = xp.cumsum(belief, axis=-1)[..., :-1] + order
    return table[bars, order + 1].sum(axis=-1)


def binomials(pulls: int, parts: int) -> np.ndarray:
    """[pulls + parts, parts] int32, `n` over `k`."""
    rows = [[math.comb(n, k) for k in range(parts)] for n in range(pulls + parts)]
    return np.array(rows, np.int32)


def _all(total: int, parts: int) -> np.ndarray:
    """[B, parts] int, all ways to write `total` as a sum."""
    bars = np.array([*itertools.combinations(range(total + parts - 1), parts - 1)], int)
    edges = np.pad(bars.reshape(-1, parts - 1), ((0, 0), (1, 1)), constant_values=-1)
    edges[:, -1] = total + parts - 1
    return np.diff(edges, axis=1) - 1

"""The Gittins index of a Bernoulli arm with a uniform prior, by dynamic programming on the host.

The index is the sure pay for each pull at which a player of this arm alone does not care whether to
go on or to take the sure pay for good (calibration: Gittins 1979, "Bandit processes and dynamic
allocation indices"). One recursion serves all histories at once for each of many sure pays; the
gain of going on is interpolated between them, where it crosses zero.
"""

import math

import numpy as np

_PAYS = np.linspace(0, 1, 1001)[:, None]  # [L, 1]
_NEGLIGIBLE = 1e-5  # weight of what comes after the last pull that a recursion looks at
MOST = 200  # pulls of a table for a finite horizon, which has pulls**3 entries


def discounted(discount: float, pulls: int) -> np.ndarray:
    """[pulls, pulls] float32, the index after so many successes and failures, of pulls without end.

    Exact to about 1e-5. Entries of more than `pulls - 1` pulls together are 0.

    Args:
      discount: of each pull, in (0, 1).
      pulls: histories shorter than that.

    Raises:
      ValueError: arguments out of range.
    """
    if not 0 < discount < 1 or pulls < 1:
        raise ValueError(f"give a discount in (0, 1) and at least a pull: {discount}, {pulls}")
    table = np.zeros((pulls, pulls), np.float32)
    depth = pulls + math.ceil(math.log(_NEGLIGIBLE) / math.log(discount))
    ends = 1 / (1 - discount)
    mean = _means(depth)
    value = np.maximum(mean, _PAYS) * ends  # [L, depth + 1], successes of `depth` pulls
    for count in range(depth - 1, -1, -1):
        mean = _means(count)
        goes_on = mean + discount * (mean * value[:, 1:] + (1 - mean) * value[:, :-1])
        value = np.maximum(goes_on, _PAYS * ends)
        if count < pulls:
            _enter(table, count, goes_on - _PAYS * ends)
    return table


def finite(pulls: int) -> np.ndarray:
    """[pulls + 1, pulls, pulls] float32, the index by pulls left, successes and failures.

    Pulls are not discounted: the index is the best mean pay of a pull until a stopping time of at
    most as many pulls as are left (the finite-horizon index; near to, but not the Bayes optimum).
    Entries of more than `pulls` pulls together are 0.

    Raises:
      ValueError: fewer than 1 pull or more than `MOST`.
    """
    if not 1 <= pulls <= MOST:
        raise ValueError(f"a table for a finite horizon needs 1 to {MOST} pulls, got {pulls}")
    table = np.zeros((pulls + 1, pulls, pulls), np.float32)
    values = [np.zeros((len(_PAYS), count + 1)) for count in range(pulls + 1)]
    for left in range(1, pulls + 1):
        later, values = values, []
        for count in range(pulls - left + 1):  # pulls of this arm so far
            mean, after = _means(count), later[count + 1]
            goes_on = mean + mean * after[:, 1:] + (1 - mean) * after[:, :-1]
            values.append(np.maximum(goes_on, _PAYS * left))
            _enter(table[left], count, goes_on - _PAYS * left)
    return table


def _means(count: int) -> np.ndarray:
    """[count + 1] mean of the posterior after 0 to `count` successes in `count` pulls."""
    return (np.arange(count + 1) + 1) / (count + 2)


def _enter(table: np.ndarray, count: int, gain: np.ndarray) -> None:
    """Writes the pays at which the gain [L, count + 1] of going on becomes zero."""
    after = np.clip((gain > 1e-12).sum(axis=0), 1, len(_PAYS) - 1)  # gains fall with the pay
    successes = np.arange(count + 1)
    low, high = gain[after - 1, successes], gain[after, successes]
    share = low / np.where(low > high, low - high, 1)
    pay = _PAYS[after - 1, 0] + share * (_PAYS[1, 0] - _PAYS[0, 0])
    table[successes, count - successes] = pay

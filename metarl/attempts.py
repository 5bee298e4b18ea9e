"""How well trials went: how many attempts it took, and what each earned, with intervals."""

from typing import Any

import numpy as np

from metarl.evaluate import Scores
from metarl.ops.statistics import mean_interval
from metarl.wrappers.trial import pass_at


def mean_of(samples: np.ndarray, **options: Any) -> dict[str, Any]:
    """Mean and interval of [S, E] samples: over seeds where there are several, else over episodes.

    Samples that are NaN do not exist; where there are none, both are None. `options` are those of
    `mean_interval`.
    """
    rows = [row[~np.isnan(row)] for row in samples]
    rows = [row for row in rows if row.size]
    if not rows:
        return {"mean": None, "interval": None}
    one = rows[0] if len(samples) == 1 else np.array([row.mean() for row in rows])
    mean, low, high = mean_interval(one, **options)
    return {"mean": mean, "interval": None if np.isnan(low) else [low, high]}


def attempt_summary(scores: Scores) -> dict[str, Any]:
    """Of scores [S, E] or [E] of trials: pass@1 to pass@n, and the return of each attempt.

    An attempt's return is that of the trials that played it to its end, of which `played` is the
    share: after a success there may be no further attempt.
    """
    success: Any = np.asarray(scores.attempt_success)
    ret: Any = np.asarray(scores.attempt_return, float)
    count = np.atleast_2d(np.asarray(scores.attempts))  # [S, E]
    shape = (*count.shape, success.shape[-1])
    passed = np.asarray(pass_at(success), float).reshape(shape)
    ret, attempts = ret.reshape(shape), range(shape[-1])
    played = [np.where(count > n, ret[..., n], np.nan) for n in attempts]
    return {
        "pass_at": [mean_of(passed[..., n], within=(0, 1)) for n in attempts],
        "attempt_returns": [
            {**mean_of(played[n]), "played": float(np.mean(count > n))} for n in attempts
        ],
    }

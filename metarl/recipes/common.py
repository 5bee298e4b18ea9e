"""What a recipe is made of.

A recipe is a module of this package with

  `PAPER`: its citation, and `CLAIM`: the published result in a sentence;
  `Settings`: a frozen dataclass of numbers whose defaults are the full form;
  `QUICK`: settings that take under three minutes on two cores;
  `LONG`, if there is one: settings of the published scale, for a GPU or a night;
  `arms(settings) -> [Arm]`: what is run, each apart from the others, all with the same budget;
  `conclude(settings, results) -> Outcome`: from the metrics of every arm to claims and panels.

Recipes write no files and print nothing: `metarl.reproduce` runs them, keeps what they say, and
resumes them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from metarl.ops.statistics import mean_interval
from metarl.types import Metrics, PyTree

INTERVALS = "95 %: Student's t, and a bootstrap from 20 samples on"  # as `mean_interval` makes them
SHARES, PERCENT = (0.0, 1.0), (0.0, 100.0)  # where their means can lie
Results = Mapping[str, Mapping[str, np.ndarray]]  # arm -> metric -> [S, rows, ...]


class Arm(NamedTuple):
    """One of the things compared, cut into chunks so that it can be interrupted.

    `start()` makes its state, and can be traced; `advance(state) -> (state, metrics)` is a function
    to be jitted, whose metrics are [S, rows, ...], one row a point in time, S seeds; `chunks` is
    how often to call it.
    """

    name: str
    start: Callable[[], PyTree]
    advance: Callable[[PyTree], tuple[PyTree, Metrics]]
    chunks: int = 1


class Line(NamedTuple):
    """A line of a panel; with several seeds, their mean and a shaded 95 % interval."""

    label: str
    x: np.ndarray  # [T]
    y: np.ndarray  # [S, T]


class Bar(NamedTuple):
    """A bar of a panel: a mean and its interval."""

    label: str
    mean: float
    low: float
    high: float


class Map(NamedTuple):
    """What a panel shows as colours, with contours; white is zero where signs differ."""

    x: np.ndarray  # [X]
    y: np.ndarray  # [Y]
    z: np.ndarray  # [Y, X]
    limit: float  # where colours end, on either side of zero


@dataclass(frozen=True)
class Panel:
    """One pair of axes: lines, bars or a map."""

    title: str
    xlabel: str = ""
    ylabel: str = ""
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()
    levels: Mapping[str, float] = field(default_factory=dict)  # name -> height of a dashed line
    logarithmic: bool = False  # the vertical axis
    map: Map | None = None


@dataclass(frozen=True)
class Claim:
    """What a paper says, what was measured, and whether that agrees."""

    text: str
    published: str
    measured: str
    held: bool


@dataclass(frozen=True)
class Outcome:
    """The result of a recipe."""

    claims: Sequence[Claim]
    panels: Sequence[Panel]
    numbers: Mapping[str, Any]  # arm or quantity -> numbers that JSON can hold
    notes: Sequence[str] = ()  # what a reader must know: reconstructions, reduced sizes


def interval(samples: np.ndarray, **options: Any) -> dict[str, Any]:
    """Mean, interval and number of seeds, for `numbers`; `options` are those of `mean_interval`."""
    mean, low, high = mean_interval(np.asarray(samples), **options)
    return {"mean": mean, "low": low, "high": high, "seeds": int(np.size(samples))}


def told(samples: np.ndarray, digits: int = 3, **options: Any) -> str:
    """`1.23 [1.1, 1.3], 5 seeds`."""
    found = interval(samples, **options)
    number = lambda x: f"{found[x]:.{digits}g}"  # noqa: E731
    if found["seeds"] == 1:
        return f"{number('mean')}, 1 seed"
    return f"{number('mean')} [{number('low')}, {number('high')}], {found['seeds']} seeds"


def above(samples: np.ndarray, bound: float = 0.0) -> bool:
    """Whether the interval of the mean lies above a number; of one sample it does not."""
    return bool(interval(samples)["low"] > bound)


def ahead(ours: np.ndarray, others: Mapping[str, np.ndarray]) -> tuple[str, bool]:
    """By how much ours are more than each of the others, and whether by more than chance; [S]."""
    gaps = {name: ours - theirs for name, theirs in others.items()}
    text = ", ".join(f"{told(gap)} more than {name}" for name, gap in gaps.items())
    return text, all(map(above, gaps.values()))


def last_share(values: np.ndarray, share: float = 0.1) -> np.ndarray:
    """[S] the mean of each seed's last rows, of [S, rows]; what is NaN does not count."""
    rows = max(1, round(values.shape[1] * share))
    return np.nanmean(values[:, -rows:], axis=1)

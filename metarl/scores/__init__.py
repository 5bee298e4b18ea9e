"""Scores of the random policy and of a reference for each environment, with their provenance.

`table.json`, made by `benchmarks/reference_scores.py`, says who earned them, with which budget and
by which command. A normalised score is 0 where an agent plays at random and 1 where it earns as
much as the reference, which may be an exact optimum, more than can be had, or no more than what
somebody reached: see its `kind` before you read anything into a 1.
"""

import functools
import json
import math
import pathlib
from typing import NamedTuple, TypeVar

import numpy as np

from metarl import registry

Number = TypeVar("Number", float, np.ndarray)

FILE = pathlib.Path(__file__).parent / "table.json"
KINDS = (
    "optimum",  # the best possible expected return, exactly
    "complete",  # all that levels pay, which may be out of anybody's reach
    "threshold",  # what somebody calls solved
    "published",  # what somebody else reports, under their own conditions
    "measured",  # what an agent of this package earned
)
BEST = KINDS[:2]  # what nobody can earn more than


class Score(NamedTuple):
    """A mean return per episode, and where it comes from."""

    ret: float
    kind: str  # one of `KINDS`
    how: str  # who, which budget, which command


class Entry(NamedTuple):
    """What is known of an environment."""

    random: Score | None
    reference: Score | None

    @property
    def lacks(self) -> str:
        """What is missing for scores to be normalised, in words; empty where nothing is."""
        missing = [name for name in self._fields if getattr(self, name) is None]
        if missing:
            return f"no {' and no '.join(missing)} score is known"
        assert self.random and self.reference
        if not self.reference.ret > self.random.ret:
            return "the reference is no better than the random policy"
        return ""


def table() -> dict[str, Entry]:
    """All entries, by environment id."""
    return dict(_read(FILE))


def entry(name: str) -> Entry:
    """What is known of an environment: an id, alone or with settings as on the command line.

    Settings change an environment, so an id with settings is another one.
    """
    return _read(FILE).get(" ".join(name.split()), Entry(None, None))


def can_normalise(name: str) -> bool:
    """Whether both scores are known, and the reference is the better one."""
    return not entry(name).lacks


def normalise(name: str, score: Number) -> Number:
    """`(score - random) / (reference - random)` of an environment.

    Raises:
      ValueError: a score that it takes is not known, or the reference is no better than random.
    """
    known = entry(name)
    if known.lacks:
        ids = [other for other, e in table().items() if not e.lacks]
        near = registry.did_you_mean(name, ids)
        raise ValueError(f"scores of {name!r} cannot be normalised: {known.lacks}{near} {FILE}")
    assert known.random and known.reference
    return (score - known.random.ret) / (known.reference.ret - known.random.ret)


@functools.cache
def _read(path: pathlib.Path) -> dict[str, Entry]:
    told = json.loads(path.read_text())
    return {name: Entry(*(_score(name, e, x) for x in Entry._fields)) for name, e in told.items()}


def _score(name: str, told: dict, which: str) -> Score | None:
    if which not in told:
        return None
    score = Score(**told[which])
    if score.kind not in KINDS or not math.isfinite(score.ret) or not score.how:
        raise ValueError(f"{FILE}: the {which} score of {name} is no score: {score}")
    return score

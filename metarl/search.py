"""A search for the rates of an arm: the same trials, seeds and steps for every arm.

Trial 0 is the arm as it is; the others are points of a Halton sequence in the logarithms of the
settings of `RANGES` that the rule has and that nobody named. Every trial lives the whole budget, by
seeds that no evaluation shares. Trials live side by side where numbers can be arguments of a
programme, otherwise one after the other.
"""

import itertools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.stats import qmc, rankdata

from metarl import scores
from metarl.arms import Arm, active, with_numbers
from metarl.build import build
from metarl.cells import Cell, lives, read, write
from metarl.files import as_json
from metarl.named_rules import CannotAct
from metarl.registry import PUBLISHED

SEEDS = 3  # of every trial
LIVES = 24  # side by side; more need more memory


class Range(NamedTuple):
    """Where a setting is looked for, log-uniformly."""

    low: float
    high: float
    why: str


RANGES = {  # of a setting, or of a setting of one rule
    "learning_rate": Range(1e-4, 1e-1, "Adam's: networks like 1e-3, tables up to 1e-1"),
    "open_ppo learning_rate": Range(0.1, 10.0, "a factor on steps whose size was learned"),
    "entropy_cost": Range(1e-4, 1e-1, "from hardly any to where agents stay random"),
    "adam": Range(1e-5, 1e-2, "under networks that follow LPG; its code has 5e-4"),
    "policy_rate": Range(4.0, 400.0, "of tables that follow LPG; ten times about its code's 40"),
    "y_rate": Range(0.4, 40.0, "ten times about the 4 of LPG's code"),
}


class Trial(NamedTuple):
    """One candidate."""

    numbers: dict[str, float]  # settings
    returns: dict[str, float]  # environment -> mean at the end; NaN where an agent diverged
    score: float  # NaN where any agent diverged


class Search(NamedTuple):
    """What was tried and what is best."""

    trials: list[Trial]
    winner: int
    by: str  # what the score is
    about: dict[str, Any]


def search(
    arm: Arm, count: int, folder: pathlib.Path | None, report: Callable[[str], None]
) -> Search:
    """Tries `count` candidates for an arm on all its environments.

    Raises:
      ValueError: no setting to search, or agents that diverge by every candidate.
    """
    ranges = ranges_of(arm)
    others = (seed for seed in itertools.count(2**20) if seed not in arm.seeds)
    seeds = tuple(itertools.islice(others, SEEDS))
    arm = replace(arm, seeds=seeds, points=1)
    points = candidates(ranges, count - 1)
    returns, found, steps, why = {}, dict[str, float](), 0, ""
    for env in arm.convention.ids:
        try:
            cell = arm.cell(env)
        except CannotAct as error:
            why = f"{env}: {error}"
            continue
        used = active(cell.parts, tuple(ranges))
        found |= used
        own_points = points if used else []  # else they are all the same
        chosen = [used, *({name: p[name] for name in used} for p in own_points)]
        tried = _tried(cell, chosen, folder, report)
        returns[env] = np.broadcast_to(tried, (count, SEEDS))
        steps += len(chosen) * SEEDS * cell.steps[-1]
    by, scored = score_of(returns)
    if not found or np.isnan(scored).all():
        why = "agents diverge by every one" if found else why or f"{[*ranges]} do nothing here"
        raise ValueError(f"no candidate for {arm.title} is of use: {why}")
    numbers = [found, *({k: v for k, v in p.items() if k in found} for p in points)]
    means = {env: x.mean(axis=1) for env, x in returns.items()}
    trials = [
        Trial(own, {env: float(x[i]) for env, x in means.items()}, float(scored[i]))
        for i, own in enumerate(numbers)
    ]
    winner = int(np.nanargmax(scored))
    bounds = {name: [r.low, r.high] for name, r in ranges.items()}
    about = {"seeds": list(seeds), "steps": steps, "ranges": bounds}
    return Search(trials, winner, by, about)


def told(found: Search) -> dict[str, Any]:
    """A search as JSON can say it; None is where an agent diverged."""
    numbers = found.trials[found.winner].numbers
    about = {"winner": found.winner, "numbers": numbers, "by": found.by, "trials": found.trials}
    return as_json(about | found.about)


def ranges_of(arm: Arm) -> dict[str, Range]:
    """The ranges of what can be searched for an arm: what its rule has, less what is named.

    Raises:
      ValueError: nothing.
    """
    known = PUBLISHED.get(arm.rule.name)
    rule = known.rule.rpartition(".")[2] if known else arm.rule.name
    names = {n: RANGES.get(f"{rule} {n}", r) for n, r in RANGES.items() if n in arm.known}
    found = {name: r for name, r in names.items() if name not in arm.rule.fields}
    if not found:
        raise ValueError(
            f"{arm.title} has nothing to tune: of {', '.join(n for n in RANGES if ' ' not in n)} "
            f"its rule has {', '.join(names) or 'none'}, and settings that are named stay as named"
        )
    return found


def candidates(ranges: Mapping[str, Range], count: int) -> list[dict[str, float]]:
    """Points of a Halton sequence, the same at every call."""
    unit = qmc.Halton(len(ranges), scramble=False).random(count + 1)[1:]  # the first is a corner
    bounds = [(r.low, r.high) for r in ranges.values()]
    return [
        {
            name: float(f"{low * (high / low) ** u:.3g}")
            for name, u, (low, high) in zip(ranges, row, bounds, strict=True)
        }
        for row in unit
    ]


def score_of(returns: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray]:
    """What decides, and the scores [C] of candidates with returns [C, S]; NaN cannot win.

    The mean normalised score over environments that have a reference, or minus the mean rank where
    none has.
    """
    if not returns:
        return "nothing", np.zeros(0)
    scaled = [env for env in returns if scores.can_normalise(env)]
    if scaled:
        each = [scores.normalise(env, returns[env]).mean(axis=1) for env in scaled]
        by = "mean normalised score"
    else:
        means = [x.mean(axis=1) for x in returns.values()]
        each = [
            np.where(np.isnan(x), np.nan, -rankdata(-np.nan_to_num(x, nan=-np.inf))) for x in means
        ]
        by = "minus the mean rank"
    lost = np.any([np.isnan(x).any(axis=1) for x in returns.values()], axis=0)
    return by, np.where(lost, np.nan, np.mean(each, axis=0))


def _tried(
    cell: Cell,
    chosen: Sequence[Mapping[str, float]],
    folder: pathlib.Path | None,
    report: Callable[[str], None],
) -> np.ndarray:
    """Returns [C, S] at the end, of candidates kept in a folder or tried and put there."""
    cell.check()
    kept: dict[int, np.ndarray] = {}
    for i, numbers in enumerate(chosen):
        found = read(with_numbers(cell, numbers), folder) if folder else None
        if found:
            kept[i] = found[0][-1]
    before, left = len(kept), [i for i in range(len(chosen)) if i not in kept]
    width = max(1, LIVES // SEEDS)
    for start in range(0, len(left), width):
        some = left[start : start + width]
        begun = time.perf_counter()
        returns = _returns(cell, [chosen[i] for i in some])  # [2, C, S]
        seconds = round((time.perf_counter() - begun) / len(some), 1)
        for place, i in enumerate(some):
            kept[i] = returns[-1, place]
            if folder:
                write(with_numbers(cell, chosen[i]), folder, returns[:, place], seconds)
        report(f"{cell.env}: {len(kept)} of {len(chosen)} trials, {before} finished before")
    return np.stack([kept[i] for i in range(len(chosen))])


def _returns(cell: Cell, chosen: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Returns [2, C, S] at birth and at the end; NaN of agents that diverged."""
    untraced = (
        *(jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError),
        jax.errors.TracerIntegerConversionError,
    )
    if chosen[0]:
        try:
            return _lived(cell, chosen)
        except untraced:
            pass  # the rule needs to know them when it is built
    built = [cell._replace(parts=build(with_numbers(cell, n).parts.config)) for n in chosen]
    return np.concatenate([_lived(one, [{}]) for one in built], axis=1)


def _lived(cell: Cell, chosen: Sequence[Mapping[str, float]]) -> np.ndarray:
    stages = []
    for _, returns, finite, _ in lives(cell, chosen):
        good = [np.asarray(x).reshape(returns.shape) for x in jax.tree.leaves(finite)]
        stages.append(np.where(np.all(good, axis=0) if good else True, returns, np.nan))
    return np.stack(stages)

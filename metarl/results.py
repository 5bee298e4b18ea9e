"""Results of update rules on environments: one record a score, aggregates, files, a table view."""

import csv
import io
import itertools
import json
import math
import pathlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from metarl import registry, scores
from metarl.files import write_atomically, write_json
from metarl.ops import aggregate
from metarl.ops.aggregate import Interval, Outcome

VERSION = "metarl-results-1"
_TABLE, _TOLD, _COLUMNS = "results.csv", "results.json", "results.parquet"


class Record(NamedTuple):
    """What the agent of one seed earned after so many steps."""

    rule: str
    env: str
    seed: int
    steps: int  # environment steps learned from
    ret: float  # mean undiscounted return of whole episodes
    normalised: float  # see `metarl.scores`; NaN where no reference is known

    @classmethod
    def of(cls, rule: str, env: str, seed: int, steps: int, ret: float) -> "Record":
        """With the normalised score."""
        score = scores.normalise(env, float(ret)) if scores.can_normalise(env) else math.nan
        return cls(rule, env, int(seed), int(steps), float(ret), score)


class Contest(NamedTuple):
    """Rule A against rule B on the same environments, at the end of training."""

    improvement: Interval  # how often a run of A beats one of B on the same environment
    test: Outcome  # of the mean difference of normalised scores
    paired: bool  # whether pairs of the same seed were compared
    envs: tuple[str, ...]


class Pair(NamedTuple):
    """One of all contests between rules."""

    a: str
    b: str
    contest: Contest | None  # None: no environment with a reference score in common
    adjusted: float  # the test's p by Holm's correction for the number of contests


@dataclass(frozen=True)
class Results:
    """Scores of rules, and what there is to know beside."""

    records: tuple[Record, ...]
    skipped: dict[str, dict[str, str]]  # rule -> environment -> why it was not played
    about: dict[str, dict[str, Any]]  # rule -> how its results were made

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the rules, in the order of the records."""
        return tuple(dict.fromkeys(r.rule for r in self.records))

    def envs(self, *rules: str) -> tuple[str, ...]:
        """Environments that all of these rules were played on; by default, that any was."""
        played = list(dict.fromkeys(r.env for r in self.records))
        sets = [{r.env for r in self.records if r.rule == rule} for rule in rules]
        return tuple(env for env in played if all(env in s for s in sets))

    @property
    def unnormalised(self) -> dict[str, str]:
        """Environments that take no part in aggregates, and why."""
        return {env: lacks for env in self.envs() if (lacks := scores.entry(env).lacks)}

    def returns(self, rule: str, env: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seeds [S], steps [P] and mean returns [P, S] of a rule on an environment.

        Raises:
          ValueError: it was not played there, or not at the same steps for every seed.
        """
        own = [r for r in self.records if (r.rule, r.env) == (rule, env)]
        if not own:
            self._known(rule)
            raise registry.unknown(f"results of {rule} on", env, self.envs(rule))
        seeds, steps = (np.unique([getattr(r, name) for r in own]) for name in ("seed", "steps"))
        found = {(r.steps, r.seed): r.ret for r in own}
        if len(found) != len(own) or len(own) != len(seeds) * len(steps):
            raise ValueError(f"{rule} on {env}: every seed needs one score at each of {steps}")
        return seeds, steps, np.array([[found[t, s] for s in seeds] for t in steps])

    def normalised(
        self, rule: str, envs: Sequence[str] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Steps [P] and normalised scores [P, S, K] on `envs`, by default all that have a scale.

        Raises:
          ValueError: no environment has a scale, or seeds or steps differ between them.
        """
        self._known(rule)
        chosen = self.scaled(rule) if envs is None else tuple(envs)
        if not chosen:
            raise ValueError(f"no environment of {rule} has a reference score: {self.unnormalised}")
        found = [self.returns(rule, env) for env in chosen]
        for env, (seeds, steps, _) in zip(chosen, found, strict=True):
            for name, one, other in (("seeds", found[0][0], seeds), ("steps", found[0][1], steps)):
                if not np.array_equal(one, other):
                    raise ValueError(f"{rule}: {env} has {name} {other}, {chosen[0]} has {one}")
        columns = [scores.normalise(e, x) for e, (*_, x) in zip(chosen, found, strict=True)]
        return found[0][1], np.stack(columns, axis=-1)

    def scaled(self, *rules: str) -> tuple[str, ...]:
        """Of the environments that all of these rules were played on, those with a reference."""
        return tuple(env for env in self.envs(*rules) if scores.can_normalise(env))

    @property
    def scored(self) -> tuple[str, ...]:
        """Rules that were played on an environment with a reference."""
        return tuple(rule for rule in self.rules if self.scaled(rule))

    def aggregates(self, rule: str, envs: Sequence[str] | None = None) -> dict[str, Interval]:
        """Interquartile mean, median, mean and optimality gap at the end; as `normalised`."""
        return aggregate.summary(self.normalised(rule, envs)[1][-1])

    def curve(
        self,
        rule: str,
        statistic: Callable[..., np.ndarray] = aggregate.iqm,
        envs: Sequence[str] | None = None,
    ) -> tuple[np.ndarray, Interval]:
        """Sample efficiency: steps [P], and an aggregate with its interval at each of them."""
        steps, values = self.normalised(rule, envs)
        return steps, aggregate.interval(statistic, values)

    def profile(
        self, rule: str, thresholds: np.ndarray, envs: Sequence[str] | None = None
    ) -> Interval:
        """Share of runs that end above each of the thresholds [Q]."""
        last = self.normalised(rule, envs)[1][-1]
        return aggregate.interval(lambda x: aggregate.profile(x, thresholds), last)

    def compare(self, a: str, b: str) -> Contest:
        """A against B where both were played and a reference is known.

        Runs of the same seed have the same births and levels and are compared in pairs; where the
        seeds differ the unpaired test is used. Raises as `normalised`.
        """
        for rule in (a, b):
            self._known(rule)
        envs = self.scaled(a, b)
        if not envs:
            raise ValueError(f"{a} and {b} have no environment with a reference score in common")
        ours, theirs = (self.normalised(rule, envs)[1][-1] for rule in (a, b))
        paired = np.array_equal(self.returns(a, envs[0])[0], self.returns(b, envs[0])[0])
        test = aggregate.paired_test if paired else aggregate.unpaired_test
        improvement = aggregate.interval(aggregate.probability_of_improvement, ours, theirs)
        return Contest(improvement, test(ours, theirs), paired, envs)

    def contests(self) -> list[Pair]:
        """Every pair of rules that have a score."""
        pairs = list(itertools.combinations(self.scored, 2))
        found = [self.compare(*pair) if self.scaled(*pair) else None for pair in pairs]
        adjusted = iter(aggregate.holm([contest.test.p for contest in found if contest]))
        return [
            Pair(*pair, contest, float(next(adjusted)) if contest else math.nan)
            for pair, contest in zip(pairs, found, strict=True)
        ]

    def frame(self) -> Any:
        """The records as a pandas DataFrame, in long form.

        Raises:
          ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("a frame needs pandas: pip install metarl-jax[pandas]") from error
        return pandas.DataFrame(self.records, columns=list(Record._fields))

    def save(self, folder: str | pathlib.Path) -> pathlib.Path:
        """Writes results.csv and results.json, which `load` reads; returns the folder.

        With pandas and pyarrow the records are also in results.parquet.
        """
        folder, file = pathlib.Path(folder), io.StringIO(newline="")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([Record._fields, *self.records])
        write_atomically(folder / _TABLE, file.getvalue().encode())
        self._save_columns(folder / _COLUMNS)
        told = {
            "version": VERSION,
            "about": self.about,
            "skipped": self.skipped,
            "unnormalised": self.unnormalised,
            "aggregates": {rule: self._told(rule) for rule in self.scored},
        }
        write_json(folder / _TOLD, told)
        return folder

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> "Results":
        """Results from a folder. Scores are normalised anew, by the table of this version.

        Raises:
          ValueError: no results, or damaged ones.
        """
        folder = pathlib.Path(folder)
        try:
            told = json.loads((folder / _TOLD).read_text())
            with open(folder / _TABLE, newline="") as file:
                rows = list(csv.DictReader(file))
            records = tuple(
                Record.of(r["rule"], r["env"], int(r["seed"]), int(r["steps"]), float(r["ret"]))
                for r in rows
            )
            if told["version"] != VERSION:
                raise ValueError(f"they are {told['version']}, not {VERSION}")
            return cls(records, told["skipped"], told["about"])
        except FileNotFoundError as error:
            raise ValueError(f"{folder} holds no results: {error.filename} is missing") from error
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"the results in {folder} are damaged: {error}") from error

    @classmethod
    def merge(cls, results: Iterable["Results"]) -> "Results":
        """Results of several evaluations as one.

        Raises:
          ValueError: two of them played the same rule.
        """
        results = list(results)
        rules = [rule for one in results for rule in {*one.rules, *one.skipped}]
        twice = sorted({rule for rule in rules if rules.count(rule) > 1})
        if twice:
            raise ValueError(f"several of the results are of {', '.join(twice)}; keep one of each")
        return cls(
            tuple(r for one in results for r in one.records),
            {k: v for one in results for k, v in one.skipped.items()},
            {k: v for one in results for k, v in one.about.items()},
        )

    def _save_columns(self, path: pathlib.Path) -> None:
        """The frame as Parquet; without pandas or pyarrow there is no file, nor an old one."""
        file = io.BytesIO()
        try:
            self.frame().to_parquet(file, engine="pyarrow", index=False)
        except ImportError:
            path.unlink(missing_ok=True)
            return
        write_atomically(path, file.getvalue())

    def _known(self, rule: str) -> None:
        if rule not in self.rules:
            raise registry.unknown("results of", rule, self.rules)

    def _told(self, rule: str) -> dict[str, Any]:
        return {name: list(interval) for name, interval in self.aggregates(rule).items()}

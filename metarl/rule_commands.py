"""The commands that say how good update rules are."""

import pathlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from metarl.config import Part
from metarl.console import Console
from metarl.files import plain_name

if TYPE_CHECKING:
    from metarl.ops.aggregate import Interval
    from metarl.results import Results

_rule = tyro.conf.arg(metavar="RULE [SETTING=VALUE ...]", help_behavior_hint="(required)")
_inspected = tyro.conf.arg(help_behavior_hint="(default: that of a published rule, else mlp)")
_results = tyro.conf.arg(metavar="RESULT RESULT ...", help_behavior_hint="(required)")


@dataclass(frozen=True)
class EvaluateRule:
    """Say how good an update rule is: agents live by it on many environments and seeds.

    `metarl evaluate-rule lpg-grid --suite grid-heldout --seeds 10`. RULE is a name or shipped
    weights (`metarl parts`), a file of weights, the folder of a meta-training, or module:function.
    Writes results.csv, results.json, and report.html to look at. After Ctrl-C the same command with
    the same --out goes on, and plays no environment twice that was finished.
    """

    rule: Annotated[Part, tyro.conf.Positional, _rule]
    """Name, then settings: `a2c learning_rate=1e-3`."""
    suite: tuple[str, ...] = ("classic",)
    """atari, brax, bsuite-probes, classic, grid, grid-heldout, minatar or procgen; or ids."""
    seeds: int = 10
    """So many, from 0 on; rules that are compared should have the same."""
    budget: int | None = None
    """Environment steps of each seed; by default the suite's."""
    points: int = 10
    """Evaluations over a life, after that at birth."""
    episodes: int = 64
    """Of each evaluation and seed."""
    agent: Part = field(default_factory=lambda: Part("auto"))
    """Agent, then its settings. `auto`: tables where states have numbers, else networks; that of
    its authors for a published rule."""
    tune: int = 0
    """Trials of a search for learning rate, entropy cost or the rule's own rates, on seeds of its
    own and with the same budget each; settings that you name stay. 0: none."""
    films: bool = True
    """Film one episode of the first seed at the end, where an environment can be drawn."""
    out: pathlib.Path | None = None
    """Folder of the results; by default a new one in runs/."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.evaluation import evaluate_rule
        from metarl.io.report import write_report
        from metarl.io.runs import free_path

        named = _joined(self.suite)
        envs = named[0] if len(named) == 1 else named
        tuned = [f"tune {self.tune}"] if self.tune else []
        title = plain_name(" ".join([self.rule.title, *named, *tuned]))
        out = self.out or free_path(pathlib.Path("runs"), title)
        sizes: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("seeds", "budget", "points", "episodes", "agent", "films", "tune")
        }
        with Console() as report:
            results = evaluate_rule(self.rule, envs, folder=out, report=report.line, **sizes)
            for line in sentences(results):
                report.line(line)
            page = write_report({out: results}, out)
            report.line(f"{out / 'results.json'}, {out / 'results.csv'}, {page}")


@dataclass(frozen=True)
class Compare:
    """Compare results of `evaluate-rule`: aggregates with intervals, and tests of every pair.

    `metarl compare runs/a2c-minatar runs/lpg-grid-minatar`. Folders may be of one rule each or
    merged ones; `--out` keeps the merged results, with a report and films.
    """

    results: Annotated[tuple[pathlib.Path, ...], tyro.conf.Positional, _results]
    """Folders."""
    out: pathlib.Path | None = None
    """Folder of the merged results; by default they are not kept."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.io.films import found, gather
        from metarl.io.report import write_report

        parts, merged = _loaded(self.results)
        for line in [*sentences(merged), *contests(merged)]:
            print(line)
        if self.out:
            print(merged.save(self.out))
            gather(found(parts), self.out)
            print(write_report(parts, self.out))


@dataclass(frozen=True)
class Report:
    """Write a report on results of `evaluate-rule`: one HTML file with figures, tables and films.

    `metarl report runs/a2c-minatar runs/lpg-grid-minatar --out runs/both`. The file needs nothing
    beside it; its figures are also written apart, as PNGs.
    """

    results: Annotated[tuple[pathlib.Path, ...], tyro.conf.Positional, _results]
    """Folders."""
    out: pathlib.Path | None = None
    """Folder of the report; by default that of the results, if it is one."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.io.report import write_report

        out = self.out or self.results[0]
        if self.out is None and len(self.results) > 1:
            raise ValueError("say where the report on several results belongs: --out FOLDER")
        print(write_report(_loaded(self.results)[0], out))


def _loaded(folders: tuple[pathlib.Path, ...]) -> tuple[dict[pathlib.Path, "Results"], "Results"]:
    """Results by folder, and all as one, which no rule may be in twice."""
    from metarl.results import Results

    loaded = [Results.load(folder) for folder in folders]
    return dict(zip(folders, loaded, strict=True)), Results.merge(loaded)


@dataclass(frozen=True)
class Inspect:
    """Look inside an update rule: what it does to policies, and which inputs it listens to.

    `metarl inspect lpo-minatar`. RULE is as of `evaluate-rule`. Writes inspection.json and figures:
    push.png, how one update pushes an action by its reward, probability and ratio, and how far
    credit reaches; life.png, sizes of updates, KL and entropy over lives; of rules with a learned
    target targets.png; of PPO and its relatives drift.png; inputs.png, where a network has inputs.
    """

    rule: Annotated[Part, tyro.conf.Positional, _rule]
    """Name, then settings: `ppo clip=0.1`."""
    env: Part = field(default_factory=lambda: Part("Catch-v0"))
    """In which agents live by it; with settings."""
    agent: Annotated[Part, _inspected] = Part("")
    """Agent, then its settings, or `auto` as of `evaluate-rule`."""
    seeds: int = 5
    """Lives."""
    updates: int = 200
    """Of each life."""
    out: pathlib.Path | None = None
    """Folder of the results; by default a new one in runs/."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.inspection import inspect_rule
        from metarl.inspection.save import save
        from metarl.io.runs import free_path

        title = plain_name(f"inspect {self.rule.title}")
        sizes: dict[str, Any] = {name: getattr(self, name) for name in ("seeds", "updates")}
        with Console() as report:
            found = inspect_rule(self.rule, str(self.env), agent=self.agent, **sizes)
            for path in save(found, self.out or free_path(pathlib.Path("runs"), title)):
                report.line(str(path))
            for note in found.notes:
                report.line(note)


def _joined(words: tuple[str, ...]) -> list[str]:
    """Ids with their settings: `Snake-v0 size=6 Catch-v0` are two."""
    named: list[str] = []
    for word in words:
        if "=" in word and named:
            named[-1] += f" {word}"
        else:
            named.append(word)
    return named


def sentences(results: "Results") -> Iterator[str]:
    """Results in words: of each rule its aggregates, and what takes no part in them."""
    for rule in results.rules:
        scaled = results.scaled(rule)
        if not scaled:
            yield f"{rule}: no environment has a reference score, so nothing is aggregated"
            continue
        told = results.aggregates(rule).items()
        seeds = len(results.returns(rule, scaled[0])[0])
        yield (
            f"{rule}, {len(scaled)} environments, {seeds} seeds, 0 being random and 1 the "
            "reference: " + ", ".join(f"{k.replace('_', ' ')} {shown(v)}" for k, v in told)
        )
    for env, why in results.unnormalised.items():
        yield f"{env} takes no part in aggregates: {why}"
    for rule, envs in results.skipped.items():
        for env, why in envs.items():
            yield f"{rule} skipped {env}: {why}"


def contests(results: "Results") -> Iterator[str]:
    """Every pair of rules that have a score in words."""
    pairs = results.contests()
    for a, b, contest, adjusted in pairs:
        if contest is None:
            yield f"{a} and {b} have no environment with a reference score in common"
            continue
        how = "pairs of a seed" if contest.paired else "seeds that differ"
        several = f"; {adjusted:.2g} by Holm's correction for all pairs" if len(pairs) > 1 else ""
        yield (
            f"{a} beats {b} with probability {shown(contest.improvement)} on "
            f"{len(contest.envs)} environments; mean difference {contest.test.difference:.3g}, "
            f"p = {contest.test.p:.2g} (permutations of {how}{several})"
        )


def shown(interval: "Interval") -> str:
    """A number with its interval, if it has one."""
    value, low, high = (float(x) for x in interval)
    return f"{value:.3g}" + (f" [{low:.3g}, {high:.3g}]" if low == low else "")

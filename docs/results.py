"""Writes docs/results.md from results of rules in docs/results: a folder for each suite.

    metarl evaluate-rule a2c --suite grid-heldout --seeds 5 --tune 16 --out runs/a2c
    metarl evaluate-rule lpg-grid --suite grid-heldout --seeds 5 --tune 16 --out runs/lpg-grid
    metarl compare runs/a2c runs/lpg-grid --out runs/grid-heldout
    cp runs/grid-heldout/results.{csv,json} docs/results/grid-heldout/
    python docs/results.py

Figures are drawn beside the tables, by the code that draws reports.
"""

import pathlib
from collections.abc import Iterator

import numpy as np

from metarl.io.report_figures import efficiency, environments, profiles
from metarl.ops.aggregate import Interval, iqm
from metarl.results import Results
from metarl.rule_commands import shown
from metarl.suites import SUITES

HERE = pathlib.Path(__file__).parent / "results"
PAGE = HERE.with_suffix(".md")
HEAD = """# How good are the rules?

Made by `python docs/results.py` from the tables in `results/`. Scores are 0 for random play and 1
for a reference, which is the exact optimum in the grids, and in the games no more than a tuned A2C
of 640,000 steps (`metarl/scores/table.json` says who earned each). IQM is the interquartile mean
of all runs. Intervals are of 95 %, by resampling seeds within each environment; with few seeds they
are too narrow. All rules of a table had the same seeds and steps. The last table of a suite says
how often a run of the row's rule ends above one of the column's in the same environment, a tie
being half; in bold where mean scores differ with p < 0.05, two-sided by permutations of pairs of a
seed, and by Holm's correction for all pairs of the suite. `metarl compare
docs/results/grid-heldout` tells every difference and p.
"""
LEVEL = 0.05  # of p of all
AGGREGATES = ("iqm", "median", "mean", "optimality_gap")
REMARKS = {
    "minatar": "lpo-minatar was meta-trained in Space Invaders, one of these games; the other "
    "learned rules in grid-worlds, with tables for agents."
}
FIGURES = {"efficiency": efficiency, "profiles": profiles, "environments": environments}


def page() -> str:
    """The whole page."""
    found = {path.name: Results.load(path) for path in sorted(HERE.iterdir()) if path.is_dir()}
    return "\n\n".join([HEAD.strip(), *(section(*item) for item in found.items())]) + "\n"


def section(name: str, results: Results) -> str:
    """One suite."""
    figures = "\n".join(f"![{name}, {figure}](results/{name}/{figure}.png)" for figure in FIGURES)
    why = f"{SUITES[name].why[0].upper()}{SUITES[name].why[1:]}." if name in SUITES else ""
    parts = [
        f"## {name}",
        why,
        "\n".join(_aggregates(results)),
        figures,
        "\n".join(_returns(results)),
        "\n".join(_contests(results)),
        "\n".join(f"- {line}" for line in _notes(name, results)),
        "Commands:",
        "```sh\n" + "\n".join(_commands(results)) + "\n```",
    ]
    return "\n\n".join(part for part in parts if part)


def _ranked(results: Results) -> list[str]:
    """Rules that have scores, the best first."""
    return sorted(results.scored, key=lambda rule: -float(iqm(results.normalised(rule)[1][-1])))


def _aggregates(results: Results) -> Iterator[str]:
    yield "| rule | " + " | ".join(x.replace("_", " ") for x in AGGREGATES) + " | environments |"
    yield "|---|" + "---|" * (len(AGGREGATES) + 1)
    for rule in _ranked(results):
        told = results.aggregates(rule)
        cells = [shown(told[name]) for name in AGGREGATES]
        yield f"| {rule} | " + " | ".join(cells) + f" | {len(results.scaled(rule))} |"


def _returns(results: Results) -> Iterator[str]:
    """Mean returns at the end, with the standard error over seeds."""
    rules = _ranked(results)
    yield "| mean return | " + " | ".join(rules) + " |"
    yield "|---|" + "---|" * len(rules)
    for env in results.envs():
        cells = [_return(results, rule, env) for rule in rules]
        yield f"| {env} | " + " | ".join(cells) + " |"


def _return(results: Results, rule: str, env: str) -> str:
    if env not in results.envs(rule):
        return "-"
    last = results.returns(rule, env)[2][-1]
    error = np.std(last, ddof=1) / len(last) ** 0.5 if len(last) > 1 else np.nan
    return f"{last.mean():.3g} ± {error:.2g}"


def _contests(results: Results) -> Iterator[str]:
    """How often a run of the row's rule beats one of the column's; bold where p of all is small."""
    rules, cells = _ranked(results), dict[tuple[str, str], str]()
    for a, b, contest, adjusted in results.contests():
        if contest is None:
            continue
        value, low, high = contest.improvement
        mark = "**" if adjusted < LEVEL else ""
        cells[a, b] = mark + shown(contest.improvement) + mark
        cells[b, a] = mark + shown(Interval(1 - value, 1 - high, 1 - low)) + mark
    yield "| beats | " + " | ".join(rules) + " |"
    yield "|---|" + "---|" * len(rules)
    for a in rules:
        yield f"| {a} | " + " | ".join(cells.get((a, b), "-") for b in rules) + " |"


def _notes(name: str, results: Results) -> Iterator[str]:
    if name in REMARKS:
        yield REMARKS[name]
    first = results.rules[0]
    seeds, steps, _ = results.returns(first, results.envs(first)[0])
    yield f"{len(seeds)} seeds of {steps[-1]:,} environment steps each; ± is a standard error."
    for env, why in results.unnormalised.items():
        yield f"{env} has returns but no scores: {why}."
    for rule, envs in results.skipped.items():
        for env, why in envs.items():
            yield f"{rule} skipped {env}: {why}"
    devices = sorted({str(about.get("device")) for about in results.about.values()})
    versions = sorted({f"jax {about.get('jax')}" for about in results.about.values()})
    yield f"Device: {', '.join(devices)}; {', '.join(versions)}."


def _commands(results: Results) -> Iterator[str]:
    for rule in results.rules:
        yield results.about[rule].get("command") or f"# {rule}: from Python"


def draw() -> None:
    """The figures of every suite."""
    for path in sorted(HERE.iterdir()):
        if path.is_dir():
            results = Results.load(path)
            for name, figure in FIGURES.items():
                figure(results, path / f"{name}.png")


if __name__ == "__main__":
    draw()
    PAGE.write_text(page())

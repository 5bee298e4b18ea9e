"""How good an update rule is: agents that live by it, on several environments and seeds.

A cell is one rule in one environment, all seeds in one compiled programme. Cells that are finished
are kept in a folder, so that an evaluation that was killed goes on with the next one. In
environments of Gymnasium, `gym/ID`, lives are stepped on the host, one after another.
"""

import pathlib
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

import metarl
from metarl.arms import Arm, weights_of
from metarl.build import Parts
from metarl.cells import Cell, kept
from metarl.config import Part
from metarl.filming import Camera
from metarl.named_rules import CannotAct, code_of
from metarl.results import Record, Results
from metarl.search import search, told
from metarl.suites import Suite, suite


def evaluate_rule(
    rule: str | Part,
    envs: str | Sequence[str],
    seeds: int | Sequence[int] = 10,
    budget: int | None = None,
    *,
    points: int = 10,
    episodes: int = 64,
    agent: str | Part = "auto",
    tune: int = 0,
    folder: str | pathlib.Path | None = None,
    films: bool = False,
    report: Callable[[str], None] = lambda text: None,
) -> Results:
    """Trains agents by a rule and plays them at birth and `points` times over their lives.

    Where states have numbers `auto` agents are tables, else networks as of `metarl train`; networks
    follow rules with rates for tables by Adam. Published rules have an agent of their own. Rules
    with a clock are told the length of the life.

    Args:
      rule: a name of `metarl parts`, published rules and shipped weights included, a file of
        weights, the folder of a meta-training, a module, or `module:function`; with settings as on
        the command line.
      envs: a suite of `metarl.suites`, or ids.
      seeds: so many from 0 on, or these; rules that are compared should have the same.
      budget: environment steps of each seed; by default the suite's. Rounded up.
      points: evaluations, evenly spaced.
      episodes: of each evaluation and seed.
      agent: `auto`, or a name with settings.
      tune: trials of a search for the rule's rates, on seeds of its own, before the evaluation; 0:
        none. See `metarl.search`.
      folder: where finished cells and, in the end, the results are kept.
      films: whether one episode of the first seed is filmed at the end of each cell, into
        `films/ENV.gif` of the folder; `about` says which environments could not be.
      report: is told how it goes.

    Returns:
      Results; environments in which the rule cannot act are `skipped` there, with the reason.

    Raises:
      ValueError: an unknown name or setting; a rule whose update is malformed, or after which a
        parameter is no number, whose leaf is named.
    """
    if points < 1 or episodes < 1 or tune < 0:
        raise ValueError(
            f"points and episodes must be at least 1, and tune at least 0; got {points}, "
            f"{episodes} and {tune}"
        )
    if films and folder is None:
        raise ValueError("films need a folder to lie in")
    convention = suite(envs)
    convention = convention if budget is None else replace(convention, steps=budget)
    part, own = named_rule(rule), _part(agent)
    wanted = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    start = time.perf_counter()
    arm = Arm(str(replace(part, name=part.title)), part, own, convention, wanted, points, episodes)
    named = envs if isinstance(envs, str) else list(envs)
    about: dict[str, Any] = {"rule": str(part), "suite": named, "agent": str(own)}
    about = {**about, **_how(arm), "seconds": {}}
    home = None if folder is None else pathlib.Path(folder)
    cells, skipped = _cells(arm)
    if home is not None:
        report(f"results go to {home}")
    for env, why in skipped.items():
        report(f"{env}: skipped, {why}")
    if tune:
        arm, about["tune"] = _tuned(arm, tune, home, report)
        cells = {env: arm.cell(env) for env in cells}
    results = Results((), {arm.title: skipped}, {arm.title: about})
    for env, cell in cells.items():
        camera = Camera(cell, home) if films and home else None
        cell = cell if camera is None else cell._replace(at_end=camera)
        returns, about["seconds"][env] = kept(cell, home, report)
        if camera and camera.why:
            about.setdefault("unfilmed", {})[env] = camera.why
            report(f"{env}: no film, {camera.why}")
        results = replace(results, records=(*results.records, *_records(cell, returns)))
    about["wall_seconds"] = round(time.perf_counter() - start, 1)
    if home is not None:
        results.save(home)
    return results


def _cells(arm: Arm) -> tuple[dict[str, Cell], dict[str, str]]:
    """The cells of an arm by environment, and why it has none in others."""
    cells, skipped = {}, {}
    for env in arm.convention.ids:
        try:
            cells[env] = arm.cell(env)
        except CannotAct as error:
            skipped[env] = str(error)
    return cells, skipped


def _tuned(
    arm: Arm, count: int, folder: pathlib.Path | None, report: Callable[[str], None]
) -> tuple[Arm, dict[str, Any]]:
    """The arm with the numbers that a search of `count` trials found, and what to tell of it."""
    found = told(search(arm, count, folder, report))
    words = " ".join(f"{name}={value:.3g}" for name, value in found["numbers"].items())
    report(f"{arm.title}: of {count} trials the best by {found['by']} is {words}")
    return replace(arm, title=f"{arm.title} tune={count}", tuned=found["numbers"]), found


def _records(cell: Cell, returns: np.ndarray) -> Iterator[Record]:
    for seed, row in zip(cell.parts.config.seeds, returns.T, strict=True):
        for steps, ret in zip(cell.steps, row, strict=True):
            yield Record.of(cell.rule, cell.env, seed, steps, ret)


def _how(arm: Arm) -> dict[str, Any]:
    names = ("steps", "num_envs", "length", "max_steps", "split")
    return {
        **{name: getattr(arm.convention, name) for name in names},
        **{"seeds": list(arm.seeds), "points": arm.points, "episodes": arm.episodes},
        **{"code": code_of(arm.rule), "metarl": metarl.__version__, "jax": jax.__version__},
        "device": str(jax.devices()[0].device_kind),
        **{"python": platform.python_version(), "platform": platform.platform()},
        "command": shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def parts_of(rule: str | Part, agent: str | Part, env: str, convention: Suite, seeds: int) -> Parts:
    """The parts of lives by a rule as `evaluate_rule` chooses them, which names rules alike.

    Raises:
      ValueError: an unknown name or setting, or a rule that cannot act in the environment.
    """
    part = named_rule(rule)
    return (
        Arm(part.title, part, _part(agent), convention, tuple(range(seeds)), 1, 1).cell(env).parts
    )


def named_rule(rule: str | Part) -> Part:
    """A rule with its settings; the folder of a meta-training is the weights in it."""
    part = _part(rule)
    return replace(part, name=weights_of(part.name))


def _part(words: str | Part) -> Part:
    return words if isinstance(words, Part) else Part.parse(words.split())

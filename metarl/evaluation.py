"""How good an update rule is: agents that live by it, on several environments and seeds.

A cell is one rule in one environment, all seeds in one compiled programme. Cells that are finished
are kept in a folder, so that an evaluation that was killed goes on with the next one.
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
from metarl import registry
from metarl.agents.tabular import numbered
from metarl.build import HOSTED, CannotAct, Parts, build, make_env, rule_settings
from metarl.cells import Cell, code_of, kept
from metarl.config import Config, Part
from metarl.filming import Camera
from metarl.results import Record, Results
from metarl.rule_checks import check_update
from metarl.rules import weights
from metarl.suites import Suite, suite

ADAM = 5e-4  # of networks that follow a rule whose own rates are for tables


def evaluate_rule(
    rule: str | Part,
    envs: str | Sequence[str],
    seeds: int | Sequence[int] = 10,
    budget: int | None = None,
    *,
    points: int = 10,
    episodes: int = 64,
    agent: str | Part = "auto",
    folder: str | pathlib.Path | None = None,
    films: bool = False,
    report: Callable[[str], None] = lambda text: None,
) -> Results:
    """Trains agents by a rule and plays them at birth and `points` times over their lives.

    Where states have numbers `auto` agents are tables, else networks as of `metarl train`; networks
    follow rules with rates for tables by Adam. Rules with a clock are told the length of the life.

    Args:
      rule: a name, shipped weights, a file of weights, the folder of a meta-training, a module, or
        `module:function`; with settings as on the command line.
      envs: a suite of `metarl.suites`, or ids.
      seeds: so many from 0 on, or these; rules that are compared should have the same.
      budget: environment steps of each seed; by default the suite's. Rounded up.
      points: evaluations, evenly spaced.
      episodes: of each evaluation and seed.
      agent: `auto`, or a name with settings.
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
    if points < 1 or episodes < 1:
        raise ValueError(f"points and episodes must be at least 1, got {points} and {episodes}")
    if films and folder is None:
        raise ValueError("films need a folder to lie in")
    convention = suite(envs)
    convention = convention if budget is None else replace(convention, steps=budget)
    part, own = named_rule(rule), _part(agent)
    wanted = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    start = time.perf_counter()
    title = str(replace(part, name=part.title))
    told = {"suite": envs if isinstance(envs, str) else list(envs), "agent": str(own)}
    about: dict[str, Any] = {"rule": str(part), **told, **_how(convention, part, wanted)}
    about = {**about, "points": points, "episodes": episodes, "seconds": {}}
    results = Results((), {title: {}}, {title: about})
    home = None if folder is None else pathlib.Path(folder)
    for env in convention.ids:
        try:
            parts = _build(part, own, env, convention, wanted)
        except CannotAct as error:
            results.skipped[title][env] = str(error)
            report(f"{env}: skipped, {error}")
            continue
        cell = Cell(title, env, parts, convention, points, episodes)
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


def _records(cell: Cell, returns: np.ndarray) -> Iterator[Record]:
    for seed, row in zip(cell.parts.config.seeds, returns.T, strict=True):
        for steps, ret in zip(cell.steps, row, strict=True):
            yield Record.of(cell.rule, cell.env, seed, steps, ret)


def _how(convention: Suite, part: Part, seeds: Sequence[int]) -> dict[str, Any]:
    names = ("steps", "num_envs", "length", "max_steps", "split")
    return {
        **{name: getattr(convention, name) for name in names},
        **{"seeds": list(seeds), "code": code_of(part.name), "metarl": metarl.__version__},
        **{"jax": jax.__version__, "device": str(jax.devices()[0].device_kind)},
        **{"python": platform.python_version(), "platform": platform.platform()},
        "command": shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def parts_of(rule: str | Part, agent: str | Part, env: str, convention: Suite, seeds: int) -> Parts:
    """The parts of lives by a rule as `evaluate_rule` chooses them, which names rules alike.

    Raises:
      ValueError: an unknown name or setting, or a rule that cannot act in the environment.
    """
    part = named_rule(rule)
    return _build(part, _part(agent), env, convention, tuple(range(seeds)))


def named_rule(rule: str | Part) -> Part:
    """A rule with its settings; the folder of a meta-training is the weights in it."""
    part = _part(rule)
    return replace(part, name=_weights_of(part.name))


def _build(part: Part, agent: Part, env: str, convention: Suite, seeds: tuple[int, ...]) -> Parts:
    name, *words = env.split()
    if name.startswith(HOSTED):
        raise CannotAct(
            f"{name} is stepped on the host, where lives cannot be compiled side by side; use "
            "`metarl train`"
        )
    env_part = Part.parse([name, *words])
    made, env_params, _ = make_env(env_part)
    if agent.name == "auto" and _has_numbers(made):
        parts = _sized(part, Part("tabular", agent.fields), env_part, convention, seeds)
        try:
            check_update(parts, env_params)
            return parts
        except ValueError as error:
            if not isinstance(error.__cause__, KeyError):
                raise  # else it looks for layers of a network

    if agent.name != "tabular" and "adam" in _shapes(part.name) and "adam" not in part.fields:
        part = Part(part.name, {**part.fields, "adam": ADAM})
    return _sized(part, agent, env_part, convention, seeds)


def _sized(
    part: Part, agent: Part, env_part: Part, convention: Suite, seeds: tuple[int, ...]
) -> Parts:
    num_envs, length = convention.num_envs, convention.length
    steps = max(convention.steps, num_envs * length)
    config = Config(
        env_part, part, agent, num_envs=num_envs, length=length, steps=steps, seeds=seeds
    )
    return build(config)


def _part(words: str | Part) -> Part:
    return words if isinstance(words, Part) else Part.parse(words.split())


def _weights_of(name: str) -> str:
    """The file of weights in the folder of a meta-training; any other name stays as it is.

    Raises:
      ValueError: a folder without weights, or of several seeds.
    """
    folder = pathlib.Path(name)
    if name in registry.RULES or name in weights.shipped() or not folder.is_dir():
        return name
    found = sorted(folder.glob("eta-*" + weights.SUFFIX))
    if len(found) != 1:
        said = ", ".join(map(str, found)) or "none yet"
        raise ValueError(f"{name} should hold one file of weights, eta-SEED.npz; it has {said}")
    return str(found[0])


def _shapes(name: str) -> dict[str, Any]:
    """Settings of a rule, or of the rule that weights are for."""
    learned = name.endswith(weights.SUFFIX) or name in weights.shipped()
    known = learned or name in registry.RULES or {".", ":"} & {*name}
    return rule_settings(weights.load(name).rule if learned else name)[1] if known else {}


def _has_numbers(env: Any) -> bool:
    try:
        numbered(env)
    except ValueError:
        return False
    return True

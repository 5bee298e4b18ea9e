"""What a meta-training has come to: a rule, and how well its agents do where it never learned."""

import itertools
import math
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import metarl
from metarl.files import write_json
from metarl.io.figures import Curve, learning_curves
from metarl.io.logging import read_metrics
from metarl.io.panels import draw
from metarl.io.runs import RunFolder
from metarl.ops.statistics import mean_interval
from metarl.recipes.common import Line, Panel
from metarl.rules import weights
from metarl.rules.weights import Weights
from metarl.run import Reporter
from metarl.training import TrainingParts
from metarl.training_programme import TrainingRun, training_keys
from metarl.trainings.common import eta_of

_TEST = 0x74657374  # the seed of tests, apart from those of training

RULE, UNTAUGHT = "meta-trained", "before meta-training"


def conclude(folder: RunFolder, parts: TrainingParts, run: TrainingRun, report: Reporter) -> None:
    """Tests the rule, draws what there is to see, and tells where it lies."""
    report.line("testing what was learned where no training was")
    returns = tested(parts, run, report)
    groups = parts.training.test.groups
    result = {
        "training": str(parts.config.training),
        "seeds": list(parts.config.seeds),
        "updates": parts.config.updates,
        "levels": returns[RULE].shape[1],
        **_compared({name: _over_groups(x, groups) for name, x in returns.items()}),
        "groups": {
            group: _compared({name: x[:, places] for name, x in returns.items()})
            for group, places in _places(groups).items()
        },
    }
    kept = save_weights(folder, parts, run, result)
    write_json(folder.evaluation, result)
    _tell(report, result, _over_groups(returns[RULE], groups).shape)
    name = parts.config.training.name
    curve = Curve.of(read_metrics(folder.metrics))
    report.line(f"returns of lives: {learning_curves({name: curve}, folder.curve, title=name)}")
    report.line(f"return of each life: {draw(_panels(returns), folder.levels, title=name)}")
    report.line(f"weights, for --rule and metarl.rules.load: {', '.join(map(str, kept))}")


def save_weights(
    folder: RunFolder, parts: TrainingParts, run: TrainingRun, result: dict[str, Any]
) -> list[pathlib.Path]:
    """Writes what each seed has learned as a file of weights, which says where it is from."""
    kept = []
    rule, fields, heads, *_ = parts.training
    for i, seed in enumerate(parts.config.seeds):
        about = {
            "training": parts.config.training.name,
            "settings": parts.config.training.fields,
            "seed": seed,
            "environment_steps": parts.config.updates * parts.config.steps_per_update,
            "test": {name: result[name] for name in ("levels", "returns", "gain", "groups")},
            "versions": {"metarl": metarl.__version__, "jax": jax.__version__},
            "device": jax.devices()[0].device_kind,
        }
        eta = jax.tree.map(lambda x, i=i: x[i], run.eta)
        kept.append(folder.weights(seed))
        weights.save(kept[-1], Weights(rule, dict(fields), dict(heads), eta, about))
    return kept


def tested(parts: TrainingParts, run: TrainingRun, report: Reporter) -> dict[str, np.ndarray]:
    """Name -> returns [S, L] on the same levels, of agents at the end of their lives."""
    test, key = parts.training.test, jax.random.key(_TEST)
    begin = lambda key: eta_of(parts.training.begin(key))  # noqa: E731
    returns, first = jax.jit(test.returns), jax.jit(begin)
    taught = [jax.tree.map(lambda x, i=i: x[i], run.eta) for i in range(len(parts.config.seeds))]
    each = [(RULE, eta) for eta in taught]
    each += [(UNTAUGHT, first(key)) for key in training_keys(parts)[0]]
    found: dict[str, list[np.ndarray]] = {RULE: [], UNTAUGHT: []}
    start = time.monotonic()
    for number, (name, eta) in enumerate(each, 1):
        found[name].append(np.asarray(returns(eta, key)))
        rate = number / (time.monotonic() - start)
        report.progress(number, len(each) + 1, rate, math.nan, "tests")
    others = jax.device_get(jax.jit(test.references)(key))
    return {name: np.stack(x) for name, x in found.items()} | {
        k: x[None] for k, x in others.items()
    }


def _places(groups: Mapping[str, int]) -> dict[str, slice]:
    """Where in [L] each group stands."""
    ends = [0, *itertools.accumulate(groups.values())]
    return {name: slice(a, b) for name, a, b in zip(groups, ends, ends[1:], strict=False)}


def _over_groups(returns: np.ndarray, groups: Mapping[str, int]) -> np.ndarray:
    """Means [S, L / G] over G groups of equal size; else [S, L] as they are.

    Groups may be lives on the same levels, which are not independent: intervals run over means.
    """
    if len(set(groups.values())) > 1:
        return returns
    return returns.reshape(len(returns), len(groups), -1).mean(axis=1)


def _compared(returns: dict[str, np.ndarray]) -> dict[str, Any]:
    """All means, and how much the rule has gained, of returns [S, L]."""
    means = {name: _summary(x) for name, x in returns.items()}
    return {"returns": means, "gain": _summary(returns[RULE] - returns[UNTAUGHT])}


def _tell(report: Reporter, result: dict[str, Any], shape: tuple[int, ...]) -> None:
    """What the test came to; the groups where there are several."""
    for name, found in result["returns"].items():
        report.line(f"{name}: mean return {_figures(found)}")
    groups = result["groups"] if len(result["groups"]) > 1 else {}
    for group, found in groups.items():
        means = ", ".join(f"{name} {x['mean']:.3g}" for name, x in found["returns"].items())
        report.line(f"{group}: {means}; gain {_figures(found['gain'])}")
    seeds, levels = shape
    means = f", each the mean of {len(groups)} groups" if groups else ""
    over = f"{seeds} seeds" if seeds > 1 else f"{levels} lives{means}"
    report.line(f"gain in all: {_figures(result['gain'])}, 95 % interval over {over}")


def _panels(returns: dict[str, np.ndarray]) -> list[Panel]:
    """Returns by level, each sorted; and the gain by level."""
    share = np.linspace(0, 1, returns[RULE].shape[1])
    lines = [Line(name, share, np.sort(x, axis=1)) for name, x in returns.items()]
    gain = np.sort(returns[RULE] - returns[UNTAUGHT], axis=1)
    axis = "share of lives, sorted by it"
    return [
        Panel("return at the end of a life", axis, "mean return", lines=lines),
        Panel(f"gain over {UNTAUGHT}", axis, lines=[Line("gain", share, gain)], levels={"0": 0.0}),
    ]


def _summary(returns: np.ndarray) -> dict[str, Any]:
    """Mean and interval of [S, L]: over seeds where there are several, else over levels."""
    samples = returns.mean(axis=1) if len(returns) > 1 else returns[0]
    mean, low, high = mean_interval(samples)
    return {"mean": mean, "interval": None if math.isnan(low) else [low, high]}


def _figures(summary: dict[str, Any]) -> str:
    ends = summary["interval"]
    return f"{summary['mean']:.3g}" + (f" [{ends[0]:.3g}, {ends[1]:.3g}]" if ends else "")

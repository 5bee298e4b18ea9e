"""Figures of reports: sample efficiency, performance profiles, and returns in each environment.

A rule has one colour, mark and kind of line throughout: those of its place among the rules.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl import scores
from metarl.io.figures import Curve, save, style
from metarl.ops.aggregate import Interval
from metarl.results import Results

_SIZE, _DPI = (4.8, 3.2), 200  # inches of one pair of axes: legible at the width of a phone
_COLUMNS, _LONGEST = 3, 44  # pairs of axes side by side; characters of a name in a legend
_QUANTILES = 101


def efficiency(results: Results, path: pathlib.Path) -> pathlib.Path:
    """Interquartile mean of normalised scores over steps, of every rule that has them."""
    figure, axes = _axes(results.scored)
    for rule in results.scored:
        steps, curve = results.curve(rule)
        _band(axes, steps, curve, results.rules.index(rule))
    _levels(axes, {"random": 0.0, "reference": 1.0})
    _steps(axes)
    axes.set(title="Sample efficiency", ylabel="IQM of normalised score")
    return _finish(figure, results, results.scored, path)


def profiles(results: Results, path: pathlib.Path) -> pathlib.Path:
    """Share of runs that end above a normalised score, against that score."""
    last = {rule: results.normalised(rule)[1][-1] for rule in results.scored}
    low, high = min(0, *map(np.min, last.values())), max(1, *map(np.max, last.values()))
    margin = 0.02 * (high - low)
    thresholds = np.linspace(low - margin, high + margin, _QUANTILES)
    figure, axes = _axes(tuple(last))
    for rule in last:
        share = results.profile(rule, thresholds)
        _band(axes, thresholds, share, results.rules.index(rule), every=12)
    axes.set(title="Performance profiles", xlabel="normalised score", ylim=(-0.03, 1.03))
    axes.set_ylabel("share of runs above it")
    return _finish(figure, results, tuple(last), path)


def environment(results: Results, env: str, path: pathlib.Path) -> pathlib.Path:
    """Mean return of every rule in an environment over steps, without a legend."""
    figure, axes = _axes(())
    _returns(axes, results, env)
    return save(figure, path)


def environments(results: Results, path: pathlib.Path) -> pathlib.Path:
    """The same of all environments in one figure, with a legend."""
    from matplotlib.figure import Figure

    envs = results.envs()
    columns = min(len(envs), _COLUMNS)
    rows = -(-len(envs) // columns)
    height = rows * _SIZE[1] + _legend_height(results.rules, columns)
    size = (columns * _SIZE[0], height)
    figure = Figure(figsize=size, dpi=_DPI // 2, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, env in zip(grid, envs, strict=False):
        _returns(axes, results, env)
    for axes in grid[len(envs) :]:
        axes.set_visible(False)
    return _finish(figure, results, results.rules, path, columns)


def curve_of(results: Results, rule: str, env: str) -> tuple[np.ndarray, Interval]:
    """Steps [P], and the mean return with its 95 % t-interval over seeds; without, of one seed."""
    _, steps, returns = results.returns(rule, env)  # [P, S]
    found = Interval(*Curve(steps, returns.T).interval())
    if returns.shape[1] > 1:
        return steps, found
    return steps, Interval(found.value, *np.full((2, len(steps)), np.nan))


def _returns(axes: Any, results: Results, env: str) -> None:
    for place, rule in enumerate(results.rules):
        if env in results.envs(rule):
            _band(axes, *curve_of(results, rule, env), place)
    known = scores.entry(env)
    told = {"random": known.random, "reference": known.reference}
    _levels(axes, {name: x.ret for name, x in told.items() if x})
    _steps(axes)
    axes.set(title=_plain(env), ylabel="mean return")


def _axes(rules: Sequence[str]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    size = (_SIZE[0], _SIZE[1] + _legend_height(rules, 1))
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    return figure, figure.subplots()


def _band(axes: Any, x: np.ndarray, y: Interval, place: int, every: int = 1) -> None:
    look = style(place)
    axes.plot(x, y.value, lw=1.6, ms=4, markevery=every, **look)
    if np.isfinite(y.low).any():
        axes.fill_between(x, y.low, y.high, color=look["color"], alpha=0.15, lw=0)


def _levels(axes: Any, levels: dict[str, float]) -> None:
    """Dashed lines, named at the right of the axes, where nothing is drawn."""
    for level in levels.values():
        axes.axhline(level, ls=(0, (4, 3)), lw=1, color="0.35", zorder=1)
    right = axes.secondary_yaxis("right")
    right.set_yticks(list(levels.values()), list(levels), fontsize=8, color="0.25")
    right.tick_params(length=0, pad=2)


def _steps(axes: Any) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("environment steps of each seed")


def _finish(
    figure: Any, results: Results, rules: Sequence[str], path: pathlib.Path, width: int = 1
) -> pathlib.Path:
    from matplotlib.lines import Line2D

    for axes in figure.axes:
        axes.grid(alpha=0.25)
    handles = [Line2D([], [], lw=1.6, ms=4, **style(results.rules.index(r))) for r in rules]
    names = [_plain(rule) for rule in rules]
    columns = _legend_columns(rules, width)
    where = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": 9}
    figure.legend(handles, names, **where)
    return save(figure, path)


def _legend_columns(rules: Sequence[str], width: int) -> int:
    """As many as fit, where a pair of axes holds about fifty characters."""
    longest = max((len(_plain(rule)) for rule in rules), default=0)
    return max(1, min(len(rules), width * 50 // (longest + 8)))


def _legend_height(rules: Sequence[str], width: int) -> float:
    return 0.2 * -(-len(rules) // _legend_columns(rules, width)) + 0.1 if rules else 0.0


def _plain(name: str) -> str:
    """A name for matplotlib, which reads `$` as mathematics and hides what begins with `_`."""
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 14]}…{name[-13:]}"
    return short.replace("$", r"\$").replace("_", "\u200b_", short.startswith("_"))

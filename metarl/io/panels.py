"""Figures of several axes, from what recipes say is to be seen."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl.io.figures import Curve, save
from metarl.recipes.common import Map, Panel

CROWD = 6  # lines of a panel beyond which the legend stands below all panels


def draw(panels: Sequence[Panel], path: pathlib.Path, *, title: str) -> pathlib.Path:
    """Draws every panel beside or below the others; replaces `path`.

    Args:
      panels: at least one.
      path: the PNG to write.
      title: above all.
    """
    from matplotlib.figure import Figure

    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    size = (1 + 4.6 * columns, 0.6 + 3.6 * rows)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    colours = colours_of(panels)
    crowded = max(len(panel.lines) for panel in panels) > CROWD
    for axes, panel in zip(grid, panels, strict=False):
        _panel(axes, panel, colours, legend=not crowded)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if crowded:
        _legend(figure, grid)
    return save(figure, path)


def colours_of(panels: Sequence[Panel]) -> dict[str, Any]:
    """A colour for every label, the same in all panels and, of up to twenty, no two alike."""
    from matplotlib import colormaps

    lines = [line.label for panel in panels for line in panel.lines]
    labels = dict.fromkeys([*lines, *(bar.label for panel in panels for bar in panel.bars)])
    wheel = colormaps["tab10" if len(labels) <= 10 else "tab20"]
    return {label: wheel(i % wheel.N) for i, label in enumerate(labels)}


def _legend(figure: Any, grid: Any) -> None:
    """One for all panels, below them: beside so many lines there is no room."""
    known = {}
    for axes in grid:
        handles, labels = axes.get_legend_handles_labels()
        known |= dict(zip(labels, handles, strict=True))
    figure.legend(
        known.values(), known, loc="outside lower center", ncols=5, fontsize=8, frameon=False
    )


def _panel(axes: Any, panel: Panel, colours: dict[str, Any], *, legend: bool) -> None:
    for line in panel.lines:
        mean, low, high = Curve(line.x, np.atleast_2d(line.y)).interval()
        colour = colours[line.label]
        axes.plot(line.x, mean, label=line.label, lw=1.3, color=colour)
        axes.fill_between(line.x, low, high, color=colour, alpha=0.25, lw=0)
    for i, bar in enumerate(panel.bars):
        error = [[max(bar.mean - bar.low, 0)], [max(bar.high - bar.mean, 0)]]
        known = np.isfinite(error).all()
        axes.bar(i, bar.mean, yerr=error if known else None, capsize=3, color=colours[bar.label])
    if panel.bars:
        labels = [bar.label for bar in panel.bars]
        turn: Any = {"rotation": 90} if len(labels) > 12 else {"rotation": 30, "ha": "right"}
        axes.set_xticks(range(len(labels)), labels, fontsize=8, **turn)
    for name, level in panel.levels.items():
        axes.axhline(level, ls="--", lw=1, color="0.4")
        axes.annotate(
            name, (0.01, level), xycoords=("axes fraction", "data"), fontsize=7, va="bottom"
        )
    if panel.map is not None:
        _map(axes, panel.map)
    axes.set_title(panel.title, fontsize=9)
    axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    if panel.lines:
        axes.ticklabel_format(axis="x", scilimits=(-3, 4))
    if panel.logarithmic:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    if panel.lines and legend and any(line.label for line in panel.lines):
        axes.legend(frameon=False, fontsize=7)


def _map(axes: Any, shown: Map) -> None:
    signed = shown.z.min() < 0
    ends = {"vmin": -shown.limit if signed else 0, "vmax": shown.limit}
    colours = "RdBu_r" if signed else "viridis"
    mesh = axes.pcolormesh(shown.x, shown.y, shown.z, cmap=colours, shading="auto", **ends)
    axes.figure.colorbar(mesh, ax=axes)
    if np.ptp(shown.z) > 1e-6 * shown.limit:
        lines = axes.contour(shown.x, shown.y, shown.z, levels=8, colors="0.2", linewidths=0.6)
        axes.clabel(lines, fontsize=6)

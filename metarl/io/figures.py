"""Figures as files. Matplotlib without pyplot: no global state, no window, safe in threads."""

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_SEED_COLUMNS = ("seed", "steps")
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_MARKS, _DASHES = "os^DvPX", ("-", "--", ":")


def style(place: int) -> dict[str, Any]:
    """Colour, mark and dashes of the line at this place, for `Axes.plot`.

    Of 21 no two are alike, and of 7 no two for the colour-blind: Okabe and Ito's colours, without
    the yellow that white paper swallows.
    """
    turn, own = divmod(place, len(PALETTE))
    return {"color": PALETTE[own], "marker": _MARKS[own], "ls": _DASHES[turn % len(_DASHES)]}


@dataclass(frozen=True)
class Curve:
    """A metric against environment steps, one line a seed."""

    steps: np.ndarray  # [T] environment steps of each seed
    values: np.ndarray  # [S, T], NaN where nothing was measured

    @classmethod
    def of(cls, metrics: Mapping[str, np.ndarray], name: str = "episode_return") -> "Curve":
        """The curve of one column of `read_metrics`."""
        seeds = np.unique(metrics["seed"])
        by_seed = [metrics["seed"] == seed for seed in seeds]
        length = min(int(rows.sum()) for rows in by_seed)
        values = np.stack([metrics[name][rows][:length] for rows in by_seed])
        return cls(metrics["steps"][by_seed[0]][:length], values)

    def interval(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean over seeds and the ends of its 95 % t-interval, each [T]; equal for one seed."""
        from scipy.stats import t

        count = np.isfinite(self.values).sum(axis=0)
        some = np.maximum(count, 1)
        mean = np.where(count, np.nansum(self.values, axis=0) / some, np.nan)
        spread = np.nansum((self.values - mean) ** 2, axis=0) / np.maximum(count - 1, 1)
        half = np.sqrt(spread / some) * t.ppf(0.975, np.maximum(count - 1, 1))
        half = np.where(count > 1, half, 0.0)
        return mean, mean - half, mean + half


def learning_curves(
    curves: Mapping[str, Curve],
    path: pathlib.Path,
    *,
    title: str,
    level: float | None = None,
    level_name: str = "random policy",
    ylabel: str = "episode return",
) -> pathlib.Path:
    """Draws the mean of each curve over its seeds with a shaded 95 % interval.

    Args:
      curves: label -> curve; several compare runs or arms.
      path: the PNG to write; replaced if it exists.
      title: above the axes.
      level: height of a dashed line to compare with.
      level_name: its label.
      ylabel: name of the vertical axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.subplots()
    for label, curve in curves.items():
        mean, low, high = curve.interval()
        seen = np.isfinite(mean)
        (line,) = axes.plot(curve.steps[seen], mean[seen], label=_label(label, curve), lw=1.5)
        axes.fill_between(
            curve.steps[seen], low[seen], high[seen], color=line.get_color(), alpha=0.25, lw=0
        )
    if level is not None and np.isfinite(level):
        axes.axhline(level, ls="--", lw=1, color="0.4", label=f"{level_name}: {level:.3g}")
    axes.set(title=title, xlabel="environment steps of each seed", ylabel=ylabel)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 5))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return save(figure, path)


def save(figure: Any, path: pathlib.Path) -> pathlib.Path:
    """Writes a figure as a PNG, never half; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png")
    temporary.replace(path)
    return path


def _label(name: str, curve: Curve) -> str:
    seeds = len(curve.values)
    return name if seeds == 1 else f"{name}, mean of {seeds} seeds, 95 % interval"

"""Metrics on their way to disk: a CSV that a resumed run continues exactly, and TensorBoard."""

import csv
import io
import math
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

Row = dict[str, float]


def summarise(block: Mapping[str, np.ndarray]) -> Row:
    """One row from the metrics of several updates of one learner.

    Means over updates; `episodes` is summed, and what begins with `episode_` is averaged over
    episodes, so it is NaN where none has finished.

    Args:
      block: metric -> [U] values.
    """
    episodes = np.asarray(block.get("episodes", 0), np.float64)
    row = {}
    for name, values in block.items():
        values = np.asarray(values, np.float64)
        if name == "episodes":
            row[name] = float(values.sum())
        elif name.startswith("episode_"):
            total = np.where(episodes > 0, values * episodes, 0).sum()
            row[name] = float(total / episodes.sum()) if episodes.sum() else math.nan
        else:
            row[name] = float(values.mean())
    return row


class MetricsFile:
    """A CSV whose length is part of the checkpoint: resuming cuts off what came after it."""

    def __init__(self, path: pathlib.Path, columns: Sequence[str], position: int = 0):
        """Opens the file, new where `position` is 0.

        Raises:
          ValueError: the file is shorter than `position` or has other columns.
        """
        self._columns = list(columns)
        self._path = path
        if position:
            self._check(position)
        self._file = open(path, "r+b" if position else "wb")  # noqa: SIM115
        self._file.truncate(position)
        self._file.seek(position)
        if not position:
            self._append([self._columns])

    def write(self, rows: Sequence[Row]) -> None:
        """Appends rows; a reader sees them at once."""
        self._append([[f"{row[name]:.9g}" for name in self._columns] for row in rows])

    def sync(self) -> int:
        """Forces the file to disk and returns its length in bytes."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _append(self, lines: list[list[str]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        self._file.write(text.getvalue().encode())
        self._file.flush()

    def _check(self, position: int) -> None:
        if not self._path.exists() or self._path.stat().st_size < position:
            raise ValueError(
                f"{self._path} is shorter than at the checkpoint ({position} bytes); restore it, "
                "or delete the run's checkpoints to start over"
            )
        with open(self._path, newline="") as file:
            found = next(csv.reader(file))
        if found != self._columns:
            raise ValueError(f"{self._path} has columns {found}, this run {self._columns}")


def read_metrics(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Columns of a metrics CSV, each [rows] float64.

    Raises:
      ValueError: the file holds no row yet.
    """
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    if not rows:
        raise ValueError(f"{path} holds no metrics yet")
    table = np.array(rows, np.float64)
    return {name: table[:, i] for i, name in enumerate(header)}


class TensorBoard:
    """One event folder a seed, so that TensorBoard overlays them in one chart."""

    def __init__(self, folder: pathlib.Path, seeds: Sequence[int], first_step: int = 0):
        """Opens the writers; events at `first_step` and later, from a lost past, are hidden."""
        from tensorboardX import SummaryWriter

        purge = first_step or None
        self._writers = {
            seed: SummaryWriter(str(folder / f"seed_{seed}"), purge_step=purge, flush_secs=10)
            for seed in seeds
        }

    def write(self, rows: Sequence[Row]) -> None:
        """Adds every finite number of each row, which names its `seed` and `steps`."""
        for row in rows:
            writer = self._writers[int(row["seed"])]
            for name, value in row.items():
                if name not in ("seed", "steps") and math.isfinite(value):
                    writer.add_scalar(name, value, int(row["steps"]))

    def histograms(self, seed: int, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Adds the distribution of the finite entries of each array."""
        for name, array in values.items():
            finite = np.asarray(array)[np.isfinite(array)]
            if finite.size:
                self._writers[seed].add_histogram(name, finite, step)

    def close(self) -> None:
        """Flushes and closes."""
        for writer in self._writers.values():
            writer.close()

"""One run from a configuration to a folder of results: chunks, logs, checkpoints, and resuming."""

import contextlib
import math
import os
import pathlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from metarl.configs import AnyConfig, loads
from metarl.files import write_atomically
from metarl.io import checkpoint
from metarl.io.logging import MetricsFile, Row, TensorBoard, summarise
from metarl.io.runs import RunFolder, find_run, new_run
from metarl.outer import parts_of
from metarl.programmes import AnyProgramme, outcome_of, programme_of
from metarl.types import PyTree

META = ("eta/", "tuned/", "meta_grad/")  # how the metrics of an outer loop begin


class Reporter(Protocol):
    """Where a run tells how it goes."""

    def line(self, text: str) -> None:
        """One sentence."""

    def progress(
        self, done: int, total: int, rate: float, episode_return: float, unit: str = "steps", /
    ) -> None:
        """What is done and what there is in all, how much a second, and the return if known.

        By default environment steps: of each seed, and a second of all seeds.
        """


class Stopped(Exception):
    """A signal asked the run to stop, and everything is saved."""

    def __init__(self, number: int, folder: RunFolder, *, again: str = "metarl resume"):
        super().__init__(f"stopped; continue with `{again} {folder.path}`")
        self.number = number


class Diverged(Exception):
    """A loss or a parameter is NaN or infinite."""


class Pending(NamedTuple):
    """A chunk that the device may still be computing."""

    first: int  # updates done before it
    updates: int
    metrics: Any  # metric -> [S, capacity]
    finite: Any  # [S]


def train(config: AnyConfig, path: pathlib.Path, report: Reporter) -> tuple[RunFolder, PyTree]:
    """Starts a run in a new folder and trains to the end.

    Raises:
      ValueError: an impossible configuration, or a folder that holds a run; nothing is written.
      Stopped: SIGINT or SIGTERM came; the run is saved.
      Diverged: NaN or infinity; the last good checkpoint is kept.
    """
    parts = parts_of(config)
    folder = new_run(path)
    programme = programme_of(parts)
    with folder.locked():
        write_atomically(folder.config, parts.config.dumps().encode())
        return folder, _Training(programme, folder, report, None).go()


def resume(path: pathlib.Path, report: Reporter) -> tuple[RunFolder, PyTree]:
    """Continues the run in `path` from its newest whole checkpoint; raises as `train` does."""
    folder = find_run(path)
    programme = programme_of(parts_of(read_config(folder)))
    with folder.locked():
        found = checkpoint.load_newest(folder.checkpoints, programme.like, report.line)
        if found is None:
            report.line(f"{path} has no checkpoint yet: starting from the beginning")
        return folder, _Training(programme, folder, report, found).go()


def read_config(folder: RunFolder) -> AnyConfig:
    """The configuration of a run.

    Raises:
      ValueError: the file was changed into something impossible.
    """
    try:
        return loads(folder.config.read_text())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder.config}: {error}") from error


class _Training:
    """The loop on the host, one chunk ahead of the device where it can be, so that none waits."""

    def __init__(
        self,
        programme: AnyProgramme,
        folder: RunFolder,
        report: Reporter,
        found: tuple[PyTree, dict[str, Any]] | None,
    ):
        self.programme, self.folder, self.report = programme, folder, report
        self.config = programme.parts.config
        self.state, host = found or (programme.born(), {"update": 0, "position": 0})
        self.done: int = host["update"]
        self.recent: dict[str, list[np.ndarray]] = {}  # metric -> [S, updates] since last saved
        columns = ["seed", "update", "steps", *programme.metric_names]
        self.file = MetricsFile(folder.metrics, columns, host["position"])
        first_step = self.done * self.config.steps_per_update + 1 if self.done else 0
        self.board = TensorBoard(folder.tensorboard, self.config.seeds, first_step)
        self.pace = Pace(self.config.updates_per_row, programme.capacity, self.config.tick_seconds)

    def go(self) -> PyTree:
        """Trains to the end; returns the learners of all seeds, or the whole meta-training."""
        try:
            if self.done < self.config.updates:
                with Signals() as signals:
                    self._live(signals)
                if signals.caught and self.done < self.config.updates:
                    raise Stopped(signals.caught, self.folder)
            return outcome_of(self.state)
        finally:
            self.file.close()
            self.board.close()

    def _live(self, signals: "Signals") -> None:
        self.report.line(f"compiled in {self.programme.compile():.1f} s")
        pending, saved = None, time.monotonic()
        self.pace.start()
        while self.done < self.config.updates and not signals.caught:
            updates = self.pace.updates(self.config.updates - self.done)
            self.state, metrics, finite = self.programme.advance(self.state, updates)
            if pending:
                self._collect(pending)
            pending = Pending(self.done, updates, metrics, finite)
            self.done += updates
            if not self.programme.ahead:
                self._collect(pending)
                pending = None
            if time.monotonic() - saved >= self.config.checkpoint_seconds:
                if pending:
                    self._collect(pending)
                self._save()
                pending, saved = None, time.monotonic()
        if pending:
            self._collect(pending)
        self._save()

    def _collect(self, pending: Pending) -> None:
        """Waits for a chunk, logs it, and refuses to go on from nonsense."""
        metrics = {k: v[:, : pending.updates] for k, v in jax.device_get(pending.metrics).items()}
        rate = self.pace.observe(pending.updates)
        rows = list(self._rows(pending.first, pending.updates, metrics))
        self.file.write(rows)
        scale = self.config.steps_per_update
        rate *= scale * len(self.config.seeds)
        self.board.write([{**row, "steps_per_second": rate} for row in rows])
        self._check(pending, metrics)
        for name in metrics:
            if name.startswith(META):
                self.recent.setdefault(name, []).append(metrics[name])
        returns = [row["episode_return"] for row in rows[-len(self.config.seeds) :]]
        known = [r for r in returns if math.isfinite(r)]
        done, total = pending.first + pending.updates, self.config.updates
        mean = sum(known) / len(known) if known else math.nan
        self.report.progress(done * scale, total * scale, rate, mean)

    def _rows(self, first: int, updates: int, metrics: dict[str, np.ndarray]) -> Iterator[Row]:
        for start in range(0, updates, self.config.updates_per_row):
            stop = min(start + self.config.updates_per_row, updates)
            for i, seed in enumerate(self.config.seeds):
                row = summarise({k: v[i, start:stop] for k, v in metrics.items()})
                update = first + stop
                steps = update * self.config.steps_per_update
                yield {"seed": seed, "update": update, "steps": steps, **row}

    def _check(self, pending: Pending, metrics: dict[str, np.ndarray]) -> None:
        """Raises Diverged where a loss, eta or the parameters of a seed are not finite."""
        losses = {
            k: ~np.isfinite(v) for k, v in metrics.items() if "loss" in k or k.startswith(META)
        }
        for i, seed in enumerate(self.config.seeds):
            bad = {name: int(np.argmax(x[i])) for name, x in losses.items() if x[i].any()}
            if not bad and pending.finite[i]:
                continue
            name = min(bad, key=lambda n: (bad[n], n)) if bad else "a parameter"
            at = pending.first + (bad[name] if bad else pending.updates - 1) + 1
            value = f" is {metrics[name][i, bad[name]]}" if bad else " is not finite"
            raise Diverged(self._diagnosis(f"{name}{value}", seed, at))

    def _diagnosis(self, what: str, seed: int, update: int) -> str:
        kept = checkpoint.listed(self.folder.checkpoints)
        last = f"last good checkpoint: {kept[-1]}" if kept else "no checkpoint was due before it"
        return (
            f"{what} at update {update} (environment step "
            f"{update * self.config.steps_per_update}) of seed {seed}; {last}. "
            f"{self.programme.advice}"
        )

    def _save(self) -> None:
        host = {"update": self.done, "position": self.file.sync()}
        checkpoint.save(self.folder.checkpoints, self.done, self.state, host)
        arrays = {name: np.asarray(x) for name, x in self.programme.watched(self.state).items()}
        arrays.update({name: np.concatenate(x, axis=1) for name, x in self.recent.items()})
        self.recent = {}
        for i, seed in enumerate(self.config.seeds):
            step = self.done * self.config.steps_per_update
            self.board.histograms(seed, step, {name: x[i] for name, x in arrays.items()})


class Pace:
    """Chooses chunks of whole rows that take about a tick."""

    def __init__(self, row: int, capacity: int, tick: float):
        self._row, self._most, self._tick = row, capacity // row, tick
        self._rows, self._since = 1, time.perf_counter()

    def start(self) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def updates(self, left: int) -> int:
        """Length of the next chunk."""
        return min(self._rows * self._row, left)

    def observe(self, updates: int) -> float:
        """Takes down that `updates` more are done; returns updates a second."""
        now = time.perf_counter()
        rate = updates / max(now - self._since, 1e-9)
        self._since = now
        wanted = int(rate * self._tick / self._row)
        self._rows = max(1, min(wanted, 2 * self._rows, self._most))
        return rate


class Signals(contextlib.AbstractContextManager["Signals"]):
    """Notes the first SIGINT or SIGTERM; a second one interrupts at once."""

    def __init__(self) -> None:
        self.caught = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        if self.caught:
            raise KeyboardInterrupt
        self.caught = number
        with contextlib.suppress(OSError):  # `print` may be what was interrupted: it must not nest
            os.write(2, b"\nstopping and saving; once more to quit without saving\n")

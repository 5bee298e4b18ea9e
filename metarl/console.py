"""Where a command tells how it goes: a progress bar on a terminal, single quiet lines elsewhere."""

import math
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any

_SECONDS = 10.0  # between the lines of a run that nobody watches


class Console:
    """Speaks to standard output; a `metarl.run.Reporter`."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._spoke = -math.inf
        self._start: tuple[float, int] | None = None

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def line(self, text: str) -> None:
        """One sentence, above the bar if there is one."""
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def progress(
        self, done: int, total: int, rate: float, episode_return: float, unit: str = "steps", /
    ) -> None:
        """What is done of all there is, counted in `unit`, how many a second, and the return."""
        text = f"{_short(rate)} {unit}/s"
        if not math.isnan(episode_return):
            text += f", return {episode_return:.3g}"
        if sys.stdout.isatty():
            self._draw(done, total, text)
            return
        now = time.monotonic()
        self._start = self._start or (now, done)
        if now - self._spoke >= _SECONDS or done == total:
            self._spoke = now
            if self._start[1] < done < total:
                pace = (now - self._start[0]) / (done - self._start[1])
                text += f", {_clock(pace * (total - done))} left"
            self.line(f"{done}/{total} {unit}, {text}")
        if done == total:
            self._start = None  # the next bar measures its own pace

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as they need to be; on a terminal the last one is as wide as fits."""
        *widths, _ = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        indent = sum(widths) + 2 * len(widths)
        room = shutil.get_terminal_size().columns - indent if sys.stdout.isatty() else 10**6
        for *row, last in (header, *rows):
            cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)]
            first, *more = textwrap.wrap(last, max(room, 20)) or [""]
            print("  ".join([*cells, first]).rstrip())
            for line in more:
                print(" " * indent + line)

    def _draw(self, done: int, total: int, text: str) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                BarColumn(),
                TextColumn("{task.percentage:3.0f} %"),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns)
            self._task = self._bar.add_task("", total=total, completed=done, text="")
            self._bar.start()
        self._bar.update(self._task, completed=done, text=text)
        if done == total:
            self._end()

    def _end(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None


def _short(number: float) -> str:
    """1234567 as `1.23M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _clock(seconds: float) -> str:
    """3725 as `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

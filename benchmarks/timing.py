"""What every benchmark does: compile and say what it cost, run in turns, report medians as JSON."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax


def compiled(
    function: Callable[..., Any], *args: Any, donate: tuple[int, ...] = ()
) -> tuple[Any, dict[str, float]]:
    """The compiled function, and the seconds of CPU and wall time that took."""
    wall, cpu = time.perf_counter(), time.process_time()
    programme = jax.jit(function, donate_argnums=donate).lower(*args).compile()
    return programme, {
        "compile_s": round(time.perf_counter() - wall, 2),
        "compile_cpu_s": round(time.process_time() - cpu, 2),
    }


def in_turns(
    runs: Mapping[str, Callable[[int], Any]], steps: Mapping[str, int], repeats: int
) -> dict[str, dict[str, Any]]:
    """Steps per second of each run; they alternate, so that a busy machine is busy for all.

    Args:
      runs: name -> what to time; it is given the number of the repeat.
      steps: name -> environment steps in each run.
      repeats: how often each is timed, after one warm-up.

    Returns:
      Medians and ranges, per second of the process's CPU time (all threads) and of wall time.
    """
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    wall: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            jax.block_until_ready(run(repeat))
            if repeat:
                cpu[name].append(steps[name] / (time.process_time() - cpu_start))
                wall[name].append(steps[name] / (time.perf_counter() - wall_start))
    return {
        name: {
            "steps_per_cpu_s": round(statistics.median(cpu[name])),
            "steps_per_wall_s": round(statistics.median(wall[name])),
            "range_cpu": [round(min(cpu[name])), round(max(cpu[name]))],
            "range_wall": [round(min(wall[name])), round(max(wall[name]))],
            "repeats": repeats,
        }
        for name in runs
    }


def ratios(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """How many times the other's speed."""
    return {
        f"ratio_{unit}": round(row[f"steps_per_{unit}"] / other[f"steps_per_{unit}"], 3)
        for unit in ("cpu_s", "wall_s")
    }


def report(lines: Iterable[Mapping[str, Any]], out: str | Path | None) -> None:
    """Prints JSON lines, each with the device, and appends them to a file."""
    device = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    for line in lines:
        text = json.dumps({**line, **device})
        print(text, flush=True)
        if out:
            with open(out, "a") as file:
                file.write(text + "\n")

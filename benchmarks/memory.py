"""What a memory core costs: forward and backward along whole streams, each core in turn.

    taskset -c 0 python benchmarks/memory.py --out benchmarks/results/memory.jsonl

On one core, since threads that wait for each other count as CPU time too.

Prints JSON lines, one for each core, length and whether there are resets: milliseconds of CPU time
(all threads) and of wall time, medians over alternating runs, XLA's temporary memory, and both over
those of the GRU. The loss is half the squared output, summed over 64 streams of width 64; inputs
have gradients too. Resets fall on one step in twenty.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from timing import compiled, report

from metarl.nets.core import Core, core_of

CORES = ("gru", "lstm", "mingru", "lru", "fwp", "delta", "srwm", "gtrxl", "none")


def job(core: Core, length: int, batch: int, resets: bool) -> tuple[Callable, tuple[Any, ...]]:
    """A gradient over streams, and its arguments."""
    x_key, first_key, params_key = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(x_key, (batch, length, core.n_in))
    first = jax.random.uniform(first_key, (batch, length)) < 0.05 if resets else None

    def loss(params: Any, x: jax.Array) -> jax.Array:
        along = jax.vmap(lambda x, f: core.unroll(params, core.carry(), x, f)[1])
        return jnp.sum(jnp.square(along(x, first))) / 2

    return jax.grad(loss, argnums=(0, 1)), (core.init(params_key), x)


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compiles every programme once, then runs them in turn."""
    rows: list[dict[str, Any]] = []
    for length in args.lengths:
        for resets in (False, True):
            jobs = {}
            for name in args.cores:
                function, told = job(
                    core_of(name, args.width, args.width), length, args.batch, resets
                )
                jobs[name] = *compiled(function, *told), told
            times = timed(jobs, args.repeats)
            memory = {
                name: programme.memory_analysis().temp_size_in_bytes / 2**20
                for name, (programme, _, _) in jobs.items()
            }
            same = {"length": length, "batch": args.batch, "width": args.width, "resets": resets}
            rows += [
                {
                    "core": name,
                    **same,
                    **jobs[name][1],
                    "temp_mib": round(memory[name], 1),
                    **times[name],
                    **over(times, memory, name),
                }
                for name in args.cores
            ]
    return rows


def timed(jobs: dict[str, Any], repeats: int) -> dict[str, dict[str, float]]:
    """Medians of milliseconds; the jobs alternate, so that a busy machine is busy for all."""
    cpu: dict[str, list[float]] = {name: [] for name in jobs}
    wall: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for name, (programme, _, told) in jobs.items():
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            jax.block_until_ready(programme(*told))
            if repeat:
                cpu[name].append(1e3 * (time.process_time() - cpu_start))
                wall[name].append(1e3 * (time.perf_counter() - wall_start))
    return {
        name: {
            "cpu_ms": round(statistics.median(cpu[name]), 2),
            "least_cpu_ms": round(min(cpu[name]), 2),
            "wall_ms": round(statistics.median(wall[name]), 2),
            "repeats": repeats,
        }
        for name in jobs
    }


def over(times: dict[str, Any], memory: dict[str, float], name: str) -> dict[str, float]:
    """Ratios to the GRU, if it was measured."""
    if "gru" not in times:
        return {}
    return {
        **{
            f"{what}_over_gru": round(times[name][what] / times["gru"][what], 2)
            for what in ("cpu_ms", "least_cpu_ms", "wall_ms")
        },
        "temp_over_gru": round(memory[name] / memory["gru"], 2),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", nargs="*", default=CORES)
    parser.add_argument("--lengths", nargs="*", type=int, default=(128, 1024))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", help="append the JSON lines to this file")
    args = parser.parse_args()
    report([{"benchmark": "memory", **row} for row in measure(args)], args.out)


if __name__ == "__main__":
    main()

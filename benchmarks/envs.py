"""Environment steps per second, ours and others', in one process and in turns.

    python benchmarks/envs.py --env Snake-v0 Maze-v0 --out benchmarks/results/envs.jsonl
    python benchmarks/envs.py --env Snake-v0 --suite metarl --batch 65536 1048576  # on a GPU

Every environment is measured, `brax/` only where named, beside its counterparts in the suites that
are installed (`rivals.py`). Every programme scans steps of uniform actions; it carries the
observation to act on next and donates its carry. `kept` also carries the outcome before the reset,
which ours keeps and others overwrite. `gb_per_wall_s` counts every byte of the carry, a pool of
starts left out, as read once and written once a step; its share of the device's memory bandwidth
says how near a step is to what memory allows. `operations_per_step` is XLA's own count. Prints JSON
lines; the last ones are the ratios.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from programmes import Programme, bytes_per_env, ours, scanned
from rivals import RIVALS, SUITES, rivals
from sokoban_levels import our_params
from timing import compiled, in_turns, ratios, report

import metarl
from metarl.rollout import fresh, none, pool, vectorize
from metarl.types import PyTree

STEPS = 2**18  # at least so many in one timed run, in one scan or more, unless
SECONDS = 2.0  # that would take longer than this
PARAMS: dict[str, Callable[[Any], PyTree]] = {"Sokoban-v0": our_params}  # else the default ones


def programmes(name: str, batch: int) -> Iterator[tuple[str, Programme]]:
    """Every suite's way to step one environment."""
    env = metarl.make(name)
    params = PARAMS.get(name, lambda env: env.default_params())(env)
    for suffix, reset in (("fresh", fresh), ("pool", pool(1024, 4)), ("none", none)):
        yield f"metarl {suffix}", ours(env, vectorize(env, batch, reset), params, batch)
    yield "metarl fresh kept", ours(env, vectorize(env, batch), params, batch, kept=True)
    yield from rivals(name, batch)


def repeatable(run: Callable[..., PyTree], carry: PyTree, times: int) -> Callable[[int], PyTree]:
    """Runs some times, and goes on from where it stopped when called again."""
    held = [carry]

    def go(repeat: int) -> PyTree:
        for i in range(times):
            held[0] = run(jax.random.key(repeat * times + i), held[0])
        return held[0]

    return go


def measure(
    name: str, batch: int, length: int, repeats: int, suites: list[str]
) -> list[dict[str, Any]]:
    """One line for each suite whose name starts with one of `suites`.

    Raises:
      RuntimeError: a compiled step calls back to the host.
    """
    rows, runs, steps = {}, {}, {}
    for suite, programme in programmes(name, batch):
        if not suite.startswith(tuple(suites)):
            continue
        turns = min(length, programme.length)
        carry = jax.tree.map(jnp.copy, jax.jit(programme.init)(jax.random.key(0)))
        row = {"env": name, "suite": suite, "batch": batch, "length": turns}
        row["carry_bytes_per_env"] = bytes_per_env(carry, batch)
        row["moved_bytes_per_step"] = 2 * bytes_per_env(programme.moved(carry), batch)
        row["operations_per_step"] = operations(programme, carry, batch)
        run, costs = compiled(
            scanned(programme, batch, turns), jax.random.key(0), carry, donate=(1,)
        )
        if "callback" in run.as_text():
            raise RuntimeError(f"the compiled step of {suite} {name} calls back to the host")
        start = time.perf_counter()
        carry = jax.block_until_ready(run(jax.random.key(0), carry))
        affordable = int(SECONDS / (time.perf_counter() - start))
        scans = max(1, min(affordable, STEPS // (batch * turns)))
        rows[suite], steps[suite] = row | costs, scans * batch * turns
        runs[suite] = repeatable(run, carry, scans)
    times = in_turns(runs, steps, repeats)
    return [
        {"benchmark": "envs", **row, **times[suite], **bandwidth(row, times[suite])}
        for suite, row in rows.items()
    ]


def operations(programme: Programme, carry: PyTree, batch: int) -> int:
    """What XLA counts in one environment's step before it optimises: arithmetic on elements.

    Random numbers and the reset are among them; loops count as one turn.
    """
    actions = jax.vmap(programme.draw)(jax.random.split(jax.random.key(0), batch))
    lowered: Any = jax.jit(programme.step).lower(jax.random.key(0), carry, actions)
    return round(lowered.cost_analysis().get("flops", 0) / batch)


def bandwidth(row: Mapping[str, Any], times: Mapping[str, Any]) -> dict[str, float]:
    """What the carry's traffic comes to."""
    gigabytes = row["moved_bytes_per_step"] / 1e9
    return {"gb_per_wall_s": round(times["steps_per_wall_s"] * gigabytes, 3)}


def compare(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each of ours that resets against every rival with its own auto-reset."""
    for rival in (row for row in rows if row["suite"] in SUITES):
        for row in rows:
            same = (row["env"], row["batch"]) == (rival["env"], rival["batch"])
            if same and row["suite"] in ("metarl fresh", "metarl fresh kept", "metarl pool"):
                names = {key: row[key] for key in ("benchmark", "env", "batch")}
                suite = f"{row['suite']} / {rival['suite']}"
                yield {**names, "suite": suite, **ratios(row, rival)}


def main() -> None:
    """Measures and prints."""
    known = [name for name in metarl.registered() if not name.startswith("brax/")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", nargs="+", default=known, help="ids; all but brax's unless given")
    parser.add_argument("--rivals-only", action="store_true", help="only what has a counterpart")
    parser.add_argument("--suite", nargs="+", default=["metarl", *SUITES], help="how names start")
    parser.add_argument("--batch", nargs="+", type=int, default=[256, 2048, 8192])
    parser.add_argument("--length", type=int, default=64, help="steps of one scan")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs, at least 5")
    parser.add_argument("--out", help="append the JSON lines to this file")
    args = parser.parse_args()
    if args.repeats < 5 or min(args.batch) < 1 or args.length < 1:
        parser.error("repeats must be at least 5, batch and length at least 1")
    if unknown := set(args.env) - set(metarl.registered()):
        parser.error(f"no environment {sorted(unknown)}; known: {', '.join(metarl.registered())}")
    rows = []
    for name in args.env:
        if args.rivals_only and name not in RIVALS:
            continue
        for batch in args.batch:
            lines = measure(name, batch, args.length, args.repeats, args.suite)
            report(lines, args.out)
            rows += lines
    report(compare(rows), args.out)


if __name__ == "__main__":
    main()

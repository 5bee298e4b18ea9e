"""A meta-step of LPG and of GROOVE on random grid-worlds, and the bare products it needs.

    python benchmarks/lpg.py --out benchmarks/results/lpg.jsonl

A step is K updates of T steps of every worker of every life, the judgement on the rollout that
follows, and the derivative in the rule's network. With the defaults it is 64 lives x 64 workers x
20 steps x 5 updates, 409,600 steps to learn from. `products` are the network's own: forwards and
backwards through its core of 256 units, as often as a step needs. Prints JSON lines: seconds to
compile, CPU-seconds and seconds of a step (medians; all alternate), planned temporary memory, and
how many times the products' time a step takes.

Lives end one after the other, `lives * updates / lifetime` of them in a step, so what GROOVE adds
is rare. It is measured apart: a step after which no life ends; one after which `batch - 1` do,
whose agents are judged and whose levels wait; and one after which `batch` do, so that as many
antagonists live their lives. `amortised_cpu_s` adds the shares: at every end a batch of judgements
though one life has ended, and for a batch of new levels one of antagonists. `groove_over_lpg` is
with half of the levels new, as in the long run, `groove_over_lpg_at_first` with all of them new.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from timing import compiled, in_turns, report

from metarl.trainings import groove, lpg_grid

SIZES = {"lives": 64, "workers": 64, "updates": 5, "length": 20, "hidden": 256, "chunk": 4}
LIFE = {"lifetime": 1000, "capacity": 4000, "batch": 4}


def meta_step(name: str, args: argparse.Namespace) -> tuple[Callable, Callable[[int], Any]]:
    """The training's update, and its state from the number of lives that end after it."""
    sizes = {name: getattr(args, name) for name in ("lives", "workers", "length", "hidden")}
    sizes |= {"window": args.updates, "chunk": args.chunk, "lifetime": args.lifetime}
    if name == "groove":
        chosen = groove.Settings(**sizes, capacity=args.capacity, batch=args.batch)
        training = groove.training(chosen)
    else:
        training = lpg_grid.training(lpg_grid.Settings(**sizes))
    key = jax.random.key(0)
    state, learners = jax.jit(training.begin)(key)

    def start(ends: int) -> Any:
        old = jnp.arange(args.lives) < ends
        age = jnp.where(old, args.lifetime - args.updates, 0).astype(jnp.int32)
        return state, learners.replace(age=age)

    return lambda x: training.update(x, key), start


def products(args: argparse.Namespace) -> tuple[Callable, Any]:
    """The core's products of one step: one forwards and two backwards, at each of T times."""
    rows, hidden = args.chunk * args.workers, args.hidden
    rounds = args.lives // args.chunk * args.updates * args.length
    weights = jax.random.normal(jax.random.key(0), (hidden, 3 * hidden)) / hidden

    def run(weights: jax.Array) -> jax.Array:
        def step(loop: tuple, _: None) -> tuple[tuple, None]:
            h, total = loop
            z = h @ weights
            return (z @ weights.T, total + h.T @ z), None

        start = jnp.ones((rows, hidden)), jnp.zeros_like(weights)
        return jax.lax.scan(step, start, None, length=rounds)[0][1]

    return run, weights


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All programmes in turns."""
    bare, weights = products(args)
    bare_programme, bare_cost = compiled(bare, weights)
    runs: dict[str, Callable[[int], Any]] = {"products": lambda repeat: bare_programme(weights)}
    costs: dict[str, dict[str, Any]] = {"products": bare_cost}
    ends = {"lpg": (0, 1), "groove": (0, args.batch - 1, args.batch)}
    for name in args.trainings:
        step, start = meta_step(name, args)
        programme, cost = compiled(step, start(0))
        memory = programme.memory_analysis().temp_size_in_bytes / 2**20
        for count in ends[name]:
            state = start(count)
            label = f"{name}, {count} end" if count else name
            runs[label] = lambda repeat, run=programme, state=state: run(state)  # type: ignore[misc]
            costs[label] = {} if count else {**cost, "temp_mib": round(memory)}
    steps = args.lives * args.workers * args.updates * args.length
    speeds = in_turns(runs, dict.fromkeys(runs, steps), args.repeats)
    same = {"benchmark": "lpg", **{name: getattr(args, name) for name in (*SIZES, *LIFE)}}
    rows = {name: {**same, "name": name, **costs[name], **seconds(speeds[name], steps)}
            for name in runs}  # fmt: skip
    for name in args.trainings:
        rows[name]["over_products"] = round(rows[name]["cpu_s"] / rows["products"]["cpu_s"], 2)
    if "groove" in args.trainings and "lpg" in args.trainings:
        rows["groove"] |= amortised(args, {name: row["cpu_s"] for name, row in rows.items()})
    return list(rows.values())


def seconds(speed: dict[str, Any], steps: int) -> dict[str, Any]:
    """Of one step, from its speed."""
    low, high = speed["range_cpu"]
    return {
        "cpu_s": round(steps / speed["steps_per_cpu_s"], 3),
        "wall_s": round(steps / speed["steps_per_wall_s"], 3),
        "range_cpu_s": [round(steps / high, 3), round(steps / low, 3)],
        "repeats": speed["repeats"],
    }


def amortised(args: argparse.Namespace, cpu: dict[str, float]) -> dict[str, float]:
    """CPU-seconds of a step over a whole lifetime, and how many times those of LPG."""
    rate = args.lives * args.updates / args.lifetime  # lives that end in a step
    waiting, living = (f"groove, {n} end" for n in (args.batch - 1, args.batch))
    lpg = cpu["lpg"] + rate * (cpu["lpg, 1 end"] - cpu["lpg"])
    judged = cpu["groove"] + rate * (cpu[waiting] - cpu["groove"])
    antagonists = rate / args.batch * (cpu[living] - cpu[waiting])
    return {
        "amortised_cpu_s": round(judged + antagonists / 2, 3),
        "lpg_amortised_cpu_s": round(lpg, 3),
        "groove_over_lpg": round((judged + antagonists / 2) / lpg, 3),
        "groove_over_lpg_at_first": round((judged + antagonists) / lpg, 3),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, number in {**SIZES, **LIFE}.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--trainings", nargs="+", choices=("lpg", "groove"),
                        default=("lpg", "groove"))  # fmt: skip
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", help="append the JSON lines to this file")
    args = parser.parse_args()
    if args.batch < 2:
        parser.error(f"--batch must be at least 2, got {args.batch}")
    report(measure(args), args.out)


if __name__ == "__main__":
    main()

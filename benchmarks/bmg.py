"""Actor-critic, meta-gradients and BMG on two colours against a plain programme of the same sizes.

    python benchmarks/bmg.py --out benchmarks/results/bmg.jsonl

Prints JSON lines: compile seconds, environment steps of all seeds together per CPU-second and per
second of wall time (medians over alternating runs) of both, and their ratios. `products` is the
actor-critic without all that is no matrix product: no programme of these shapes is faster.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import plain_bmg
from timing import compiled, in_turns, ratios, report

from metarl.recipes import bmg_two_colours as recipe

KINDS = ("ac", "mg", "bmg")


def ours(
    config: plain_bmg.Config, kinds: Sequence[str], seeds: int, steps: int
) -> dict[str, tuple[Callable, Any]]:
    """The arms of the recipe: a function of its state, and that state."""
    settings = recipe.Settings(
        seeds=seeds,
        steps=steps,
        size=config.size,
        flip_period=config.flip_period,
        hidden=config.hidden,
        fixed=(config.entropy_cost,),
        metagrad=((config.updates, config.outer_entropy_cost),),
        bmg=((config.updates, config.bootstrap),),
        context=(True,),
        row=steps,
    )
    arms = {arm.name.split()[0].lower(): arm for arm in recipe.arms(settings)}
    return {kind: (arms[kind].advance, arms[kind].start()) for kind in kinds}


def rounds(config: plain_bmg.Config, kind: str, steps: int) -> int:
    """How many updates, or meta-updates, make so many steps."""
    k, l = config.updates, config.bootstrap  # noqa: E741
    return steps // (config.length * {"ac": 1, "mg": k, "bmg": k + l - 1}[kind])


def plain(config: plain_bmg.Config, kind: str, seeds: int, steps: int) -> Callable[[Any], Any]:
    """The plain programme for all seeds."""
    train = plain_bmg.make_train(config, kind, rounds(config, kind, steps))
    return lambda key: jax.vmap(train)(jax.random.split(key, seeds))


def measure(config: plain_bmg.Config, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compiles every programme once, then runs them in turn."""
    costs, runs, steps = {}, {}, {}
    mine = ours(config, args.kinds, args.seeds, args.steps)
    for kind in args.kinds:
        unit = args.steps // rounds(config, kind, args.steps)
        done = args.seeds * (args.steps // unit) * unit
        advance, state = mine[kind]
        executable, costs[f"metarl {kind}"] = compiled(advance, state)
        runs[f"metarl {kind}"] = partial(_go, executable, state)
        key = jax.random.key(0)
        executable, costs[f"plain {kind}"] = compiled(
            plain(config, kind, args.seeds, args.steps), key
        )
        runs[f"plain {kind}"] = partial(_go, executable, key)
        steps |= {f"metarl {kind}": done, f"plain {kind}": done}
    count = rounds(config, "ac", args.steps)
    keys = jax.random.split(jax.random.key(0), args.seeds)
    executable, costs["products"] = compiled(jax.vmap(plain_bmg.products(config, count)), keys)
    runs["products"] = partial(_go, executable, keys)
    steps["products"] = args.seeds * count * config.length
    times = in_turns(runs, steps, args.repeats)
    rows = {name: {"name": name, **costs[name], **times[name]} for name in runs}
    versus = [
        {"name": f"metarl/plain {kind}", **ratios(rows[f"metarl {kind}"], rows[f"plain {kind}"])}
        for kind in args.kinds
    ]
    return [*rows.values(), *versus]


def _go(executable: Any, state: Any, repeat: int) -> Any:
    """Runs it once, from the same start each time."""
    return executable(state)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20_160, help="of each seed, in each run")
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", help="append the JSON lines to this file")
    args = parser.parse_args()
    config = plain_bmg.Config(hidden=args.hidden)
    same = {"benchmark": "bmg", "hidden": args.hidden, "seeds": args.seeds}
    report([{**same, **row} for row in measure(config, args)], args.out)


if __name__ == "__main__":
    main()

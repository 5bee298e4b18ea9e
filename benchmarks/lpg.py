"""A meta-step of LPG on random grid-worlds, and the bare matrix products that it cannot do without.

    python benchmarks/lpg.py --out benchmarks/results/lpg.jsonl

A step is K updates of T steps of every worker of every life, the judgement on the rollout that
follows, and the derivative in the rule's network. With the defaults it is 64 lives x 64 workers x
20 steps x 5 updates, 409,600 steps to learn from. `products` are the network's own: forwards and
backwards through its core of 256 units, as often as a step needs. Prints JSON lines: seconds to
compile, CPU-seconds and seconds of a steady step (medians; the two alternate), planned temporary
memory, and how many times the products' time a step takes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from timing import compiled, report

import metarl
from metarl.agents.tabular import tabular
from metarl.curriculum.lives import on_levels
from metarl.curriculum.replay import uniform
from metarl.inner import birth
from metarl.meta.common import meta_adam
from metarl.meta.discovery import Critic, discovery
from metarl.rollout import vectorize
from metarl.rules import lpg


def meta_step(args: argparse.Namespace) -> tuple[Callable, Any]:
    """The update of the outer loop as a function of one argument, and that argument."""
    env = metarl.make("LPGAll-v0")
    heads = lpg.heads(env)
    agent, venv = tabular(env, heads), vectorize(env, args.workers)
    rule = lpg.lpg(agent, heads, hidden=args.hidden)
    descent = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(4.0))
    critic = Critic(tabular(env, {"value": 1}), descent)
    sizes: Any = {"updates": args.updates, "length": args.length, "chunk": args.chunk}
    meta = discovery(agent, rule, venv, critic, meta_adam(1e-4), **sizes)
    loop = on_levels(
        meta,
        partial(birth, agent, rule, venv),
        uniform(env.sample_params, args.lives),
        lifetime=lambda level: jnp.int32(2500),
    )
    key = jax.random.key(0)
    state, learners = jax.jit(loop.begin)(key)
    return lambda x: loop.update(x[0], x[1], key)[:2], (state, learners)


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
    """Both programmes in turns."""
    (step, loop), (bare, weights) = meta_step(args), products(args)
    step_programme, step_cost = compiled(step, loop)
    bare_programme, bare_cost = compiled(bare, weights)
    seconds: dict[str, list[tuple[float, float]]] = {"meta-step": [], "products": []}
    for repeat in range(args.repeats + 1):
        for name in seconds:
            cpu, wall = time.process_time(), time.perf_counter()
            if name == "products":
                jax.block_until_ready(bare_programme(weights))
            else:
                loop = jax.block_until_ready(step_programme(loop))
            if repeat:
                seconds[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    medians = {name: [statistics.median(x) for x in zip(*seconds[name])] for name in seconds}  # noqa: B905
    flops = 6 * args.hidden * 3 * args.hidden
    flops *= args.lives * args.workers * args.updates * args.length
    same = {"benchmark": "lpg", **{k: getattr(args, k) for k in SIZES}, "repeats": args.repeats}
    memory = step_programme.memory_analysis().temp_size_in_bytes / 2**20
    rows = []
    for name, cost in (("meta-step", step_cost), ("products", bare_cost)):
        cpu, wall = (round(x, 3) for x in medians[name])
        rate = round(flops / medians[name][0] / 1e9, 1)
        rows.append(
            {
                **same,
                "name": name,
                **cost,
                "cpu_s": cpu,
                "wall_s": wall,
                "core_gflop_per_cpu_s": rate,
            }
        )
    rows[0]["temp_mib"] = round(memory)
    rows[0]["over_products"] = round(medians["meta-step"][0] / medians["products"][0], 2)
    return rows


SIZES = ("lives", "workers", "updates", "length", "hidden", "chunk")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, number in zip(SIZES, (64, 64, 5, 20, 256, 16), strict=True):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", help="append the JSON lines to this file")
    args = parser.parse_args()
    report(measure(args), args.out)


if __name__ == "__main__":
    main()

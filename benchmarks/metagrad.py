"""Temporary memory and CPU-seconds of meta-gradients over K updates, by how they pass.

    python benchmarks/metagrad.py --out benchmarks/results/metagrad.jsonl
    python benchmarks/metagrad.py --draw benchmarks/results/metagrad.jsonl docs/metagrad-memory.png

Two problems. `mlp` is a tanh network of four layers of 256, 1024 examples, plain SGD, and 1024 data
weights and the logarithm of an L2 penalty to learn. `snake` is the inner loop itself, A2C on Snake
6x6, with six hyperparameters to learn. `temp_mib` is what XLA plans to use beside arguments and
results. `cpu_s` is the median over the repeats of the process's CPU time, of all threads; all ways
run in turns, so that a busy machine is busy for all. Prints JSON lines; `memory_ratio`,
`time_ratio` and `relative_gap` compare with plain unrolling of as many updates. Training on `mlp`
becomes unstable after some forty updates and then amplifies rounding: at K = 64 the ways differ by
0.08 in float32 and by 2e-10 in float64, where at 32 they differ by 2e-7 and 3e-16.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from timing import compiled, report

import metarl
from metarl.agents.mlp import mlp
from metarl.inner import Gradient, birth
from metarl.meta.metagrad import last, outer_losses
from metarl.meta.objectives import policy_gradient
from metarl.nets import linear
from metarl.ops.unroll import grad_by_forward_over_reverse, unroll
from metarl.rollout import vectorize
from metarl.rules import a2c
from metarl.types import PyTree

Problem = tuple[Callable[[PyTree], jax.Array], PyTree]  # the meta-loss, and eta
WAYS: dict[str, tuple[Gradient, bool]] = {  # how derivatives pass; forward over reverse or not
    "unrolled": ("unrolled", False),
    "checkpointed": ("checkpointed", False),
    "2 levels": (2, False),
    "3 levels": (3, False),
    "forward over reverse": ("unrolled", True),
    "forward over reverse, checkpointed": ("checkpointed", True),
    "forward over reverse, 2 levels": (2, True),
    "forward over reverse, 3 levels": (3, True),
}
BATCH, INPUTS, RATE = 1024, 32, 0.1


def weighted_mlp(updates: int, gradient: Gradient, mixed: bool) -> Problem:
    """The validation loss after `updates` steps of SGD on weighted data."""
    keys = jax.random.split(jax.random.key(0), 5)
    params = linear.mlp_init(keys[0], (INPUTS, 256, 256, 256, 256))
    start = {"torso": params, "out": linear.linear_init(keys[1], 256, 1, 1.0)}
    x, seen = jax.random.normal(keys[2], (2, BATCH, INPUTS))
    y, wanted = (jnp.sin(a @ jax.random.normal(keys[3], (INPUTS,))) for a in (x, seen))

    def errors(params: PyTree, x: jax.Array, y: jax.Array) -> jax.Array:
        out = linear.linear(params["out"], linear.mlp(params["torso"], x, jnp.tanh))
        return jnp.square(out[:, 0] - y)

    def loss(params: PyTree, eta: PyTree) -> tuple[jax.Array, PyTree]:
        penalty = jnp.exp(eta["log_l2"]) * jnp.square(optax.tree.norm(params))
        return jnp.mean(eta["weights"] * errors(params, x, y)) + penalty, {}

    grad = grad_by_forward_over_reverse(loss) if mixed else jax.grad(loss, has_aux=True)

    def outcome(eta: PyTree) -> jax.Array:
        def step(params: PyTree) -> tuple[PyTree, PyTree]:
            grads, _ = grad(params, eta)
            return jax.tree.map(lambda p, g: p - RATE * g, params, grads), {}

        kept = step if gradient == "unrolled" else jax.checkpoint(step, prevent_cse=False)
        levels = gradient if isinstance(gradient, int) else 1
        return jnp.mean(errors(unroll(kept, start, updates, levels=levels)[0], seen, wanted))

    return outcome, {"weights": jnp.ones(BATCH), "log_l2": jnp.float32(-9)}


def snake(updates: int, gradient: Gradient, mixed: bool) -> Problem:
    """The outer loss of A2C on Snake 6x6 after `updates` updates."""
    env = metarl.make("Snake-v0", size=6)
    heads = a2c.heads(env)
    agent = mlp(env, heads, hidden=(64, 64))
    rule = a2c.a2c(agent, heads, forward_over_reverse=mixed)
    venv = vectorize(env, 32)
    learner = jax.jit(partial(birth, agent, rule, venv))(env.default_params(), jax.random.key(0))
    parts: Any = (agent, rule, venv, policy_gradient(agent))

    def outcome(eta: PyTree) -> jax.Array:
        how: dict[str, Any] = {"weights": last(updates), "length": 16, "gradient": gradient}
        args: Any = (*parts, eta, learner, jax.random.key(1))
        return outer_losses(*args, **how)[0][-1]

    return outcome, rule.init_eta(jax.random.key(0))


PROBLEMS = {"mlp": weighted_mlp, "snake": snake}


def measure(problem: str, updates: int, repeats: int, ways: list[str]) -> Iterator[dict[str, Any]]:
    """One line for each way; the first way must be plain unrolling."""
    rows, runs, grads = {}, {}, {}
    for way in ways:
        outcome, eta = PROBLEMS[problem](updates, *WAYS[way])
        programme, cost = compiled(jax.grad(outcome), eta)
        memory = programme.memory_analysis().temp_size_in_bytes
        rows[way] = {"problem": problem, "way": way, "K": updates, **cost}
        rows[way]["temp_mib"] = round(memory / 2**20, 2)
        runs[way], grads[way] = partial(programme, eta), programme(eta)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in runs.items():
            start = time.process_time()
            jax.block_until_ready(run())
            seconds[way].append(time.process_time() - start)
    plain = rows[ways[0]]["temp_mib"], statistics.median(seconds[ways[0]])
    for way, row in rows.items():
        cpu = statistics.median(seconds[way])
        gap = optax.tree.norm(jax.tree.map(lambda a, b: a - b, grads[way], grads[ways[0]]))
        yield {
            **row,
            "cpu_s": round(cpu, 3),
            "memory_ratio": round(row["temp_mib"] / plain[0], 4),
            "time_ratio": round(cpu / plain[1], 3),
            "relative_gap": float(f"{gap / optax.tree.norm(grads[ways[0]]):.1e}"),
            "repeats": repeats,
        }


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """Memory and CPU-seconds against K, one row of axes a problem, from the lines of `measure`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), dpi=120, layout="constrained")
    grid = figure.subplots(len(PROBLEMS), 2)
    for row, problem in zip(grid, PROBLEMS, strict=True):
        for axes, (quantity, label) in zip(
            row, (("temp_mib", "temporary memory, MiB"), ("cpu_s", "CPU-seconds")), strict=True
        ):
            for i, way in enumerate(WAYS):
                found = {
                    r["K"]: r[quantity] for r in lines if (r["problem"], r["way"]) == (problem, way)
                }
                style = "--" if WAYS[way][1] else "-"
                axes.plot(
                    [*found], [*found.values()], style, color=f"C{i % 4}", label=way, marker="."
                )
            axes.set(title=problem, xlabel="K, updates", ylabel=label, xscale="log", yscale="log")
            ticks = sorted({r["K"] for r in lines})
            axes.set_xticks(ticks, ticks, minor=False)
            axes.minorticks_off()
            axes.grid(alpha=0.3)
    grid[0][0].legend(frameon=False, fontsize=7)
    figure.savefig(path)


def main() -> None:
    """Measures what was asked for, or draws what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--problem", nargs="*", default=[*PROBLEMS], choices=[*PROBLEMS])
    parser.add_argument("--updates", type=int, nargs="*", default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", nargs="*", default=[*WAYS], choices=[*WAYS])
    parser.add_argument("--out", help="append the lines to this file")
    parser.add_argument("--draw", nargs=2, metavar=("LINES", "PNG"))
    args = parser.parse_args()
    if args.draw:
        lines = Path(args.draw[0]).read_text().splitlines()
        return draw([json.loads(line) for line in lines], Path(args.draw[1]))
    for problem in args.problem:
        for updates in args.updates:
            report(measure(problem, updates, args.repeats, args.way), args.out)


if __name__ == "__main__":
    main()

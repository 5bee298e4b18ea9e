"""PPO training throughput against a plain single-file PPO of the same sizes, in one process.

    python benchmarks/ppo.py --out benchmarks/results/ppo.jsonl

Prints JSON lines: compile seconds, environment steps per CPU-second and per second of wall time
(medians over alternating runs) of both, and their ratio.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import plain_ppo

import metarl
from metarl.agents.mlp import mlp
from metarl.rollout import vectorize
from metarl.rules.ppo import heads, hypers, ppo
from metarl.train import train


def ours(env: Any, config: plain_ppo.Config) -> Callable[[jax.Array], Any]:
    """metarl's PPO as a function of a key."""
    widths = heads(env)
    agent = mlp(env, widths, hidden=config.hidden)
    eta = hypers(learning_rate=config.learning_rate)
    rule = ppo(agent, widths, epochs=config.epochs, minibatches=config.minibatches, eta=eta)
    venv = vectorize(env, config.num_envs)
    return lambda key: train(
        agent,
        rule,
        venv,
        key,
        env_params=env.default_params(),
        updates=config.updates,
        length=config.length,
    )


def measure(programmes: dict[str, Callable], steps: int, repeats: int) -> list[dict[str, Any]]:
    """Compiles each programme once, then runs them in turn."""
    rows: dict[str, dict[str, Any]] = {}
    compiled: dict[str, Any] = {}
    for name, programme in programmes.items():
        wall, cpu = time.perf_counter(), time.process_time()
        compiled[name] = jax.jit(programme).lower(jax.random.key(0)).compile()
        rows[name] = {
            "name": name,
            "compile_s": round(time.perf_counter() - wall, 2),
            "compile_cpu_s": round(time.process_time() - cpu, 2),
            "cpu": [],
            "wall": [],
        }
        jax.block_until_ready(compiled[name](jax.random.key(0)))
    for repeat in range(repeats):
        for name, programme in compiled.items():
            wall, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(programme(jax.random.key(repeat)))
            rows[name]["cpu"].append(steps / (time.process_time() - cpu))
            rows[name]["wall"].append(steps / (time.perf_counter() - wall))
    return [summary(row) for row in rows.values()]


def summary(row: dict[str, Any]) -> dict[str, Any]:
    """Medians and ranges in steps per second."""
    cpu, wall = row.pop("cpu"), row.pop("wall")
    return {
        **row,
        "steps_per_cpu_s": round(statistics.median(cpu)),
        "steps_per_wall_s": round(statistics.median(wall)),
        "range_cpu": [round(min(cpu)), round(max(cpu))],
        "range_wall": [round(min(wall)), round(max(wall))],
        "repeats": len(cpu),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=6, help="side of the Snake board")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--hidden", type=int, nargs="*", default=(128, 128))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", help="append the JSON lines to this file")
    args = parser.parse_args()
    env = metarl.make("Snake-v0", size=args.size)
    config = plain_ppo.Config(
        num_envs=args.num_envs,
        length=args.length,
        updates=args.updates,
        hidden=tuple(args.hidden),
    )
    programmes = {"metarl": ours(env, config), "plain": plain_ppo.make_train(env, config)}
    steps = config.num_envs * config.length * config.updates
    rows = measure(programmes, steps, args.repeats)
    ratio = {
        f"ratio_{unit}": round(rows[0][f"steps_per_{unit}"] / rows[1][f"steps_per_{unit}"], 3)
        for unit in ("cpu_s", "wall_s")
    }
    device = {"device": str(jax.devices()[0].device_kind), "jax": jax.__version__}
    lines = [
        {"benchmark": "ppo", "env": f"Snake-v0 size={args.size}", **device, **row} for row in rows
    ]
    lines.append({"benchmark": "ppo", "name": "metarl/plain", **device, **ratio})
    for line in lines:
        print(json.dumps(line))
        if args.out:
            with open(args.out, "a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

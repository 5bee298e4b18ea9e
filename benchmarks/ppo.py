"""PPO training throughput against a plain single-file PPO of the same sizes, in one process.

    python benchmarks/ppo.py --out benchmarks/results/ppo.jsonl

Prints JSON lines: compile seconds, environment steps per CPU-second and per second of wall time
(medians over alternating runs) of both, and their ratio.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import plain_ppo
from timing import compiled, in_turns, ratios, report

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
    costs, runs = {}, {}
    for name, programme in programmes.items():
        executable, costs[name] = compiled(programme, jax.random.key(0))
        runs[name] = partial(go, executable)
    times = in_turns(runs, dict.fromkeys(runs, steps), repeats)
    return [{"name": name, **costs[name], **times[name]} for name in programmes]


def go(executable: Any, repeat: int) -> Any:
    """Trains once, with a seed of its own."""
    return executable(jax.random.key(repeat))


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
    rows.append({"name": "metarl/plain", **ratios(rows[0], rows[1])})
    same = {"benchmark": "ppo", "env": f"Snake-v0 size={args.size}"}
    report([{**same, **row} for row in rows], args.out)


if __name__ == "__main__":
    main()

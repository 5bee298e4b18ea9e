"""What the rules reach on Snake 6x6 within a stated budget, each over several seeds.

    python benchmarks/learning.py --out benchmarks/results/learning.jsonl

Both rules see the same steps and the same agent, with their default hyperparameters; the random
policy plays legal actions alike. Intervals are 95 % bootstrap intervals over seeds.
"""

import argparse
import json
import time
from functools import partial
from typing import Any

import jax
import numpy as np

import metarl
from metarl.agents.mlp import mlp
from metarl.agents.uniform import uniform
from metarl.evaluate import evaluate
from metarl.ops.statistics import mean_interval
from metarl.registry import rule_module
from metarl.rollout import vectorize
from metarl.train import train


def learn(
    env: Any, rule_name: str, *, steps: int, num_envs: int, length: int, seeds: int
) -> tuple[np.ndarray, float]:
    """Fruits per episode of each seed's agent after `steps`, and the seconds it took in all."""
    module = rule_module(rule_name)
    heads = module.heads(env)
    agent = mlp(env, heads, hidden=(128, 128))
    rule = getattr(module, rule_name)(agent, heads)
    env_params = env.default_params()
    updates = steps // (num_envs * length)
    run = partial(
        train,
        agent,
        rule,
        vectorize(env, num_envs),
        env_params=env_params,
        updates=updates,
        length=length,
    )
    start = time.perf_counter()
    learner, _ = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), seeds))
    jax.block_until_ready(learner)
    seconds = time.perf_counter() - start
    play = partial(evaluate, agent, env, env_params=env_params, episodes=128)
    keys = jax.random.split(jax.random.key(1), seeds)
    scores = jax.vmap(lambda params, key: play(params, key=key))(learner.params, keys)
    return np.asarray(scores.ret.mean(axis=1)), seconds


def main() -> None:
    """Trains and prints one JSON line per arm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=6)
    parser.add_argument("--steps", type=int, default=1_000_000, help="environment steps of a seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", help="append the JSON lines to this file")
    args = parser.parse_args()
    env = metarl.make("Snake-v0", size=args.size)
    arms = {"ppo": {"num_envs": 64, "length": 64}, "a2c": {"num_envs": 64, "length": 16}}
    results = {
        name: learn(env, name, steps=args.steps, seeds=args.seeds, **sizes)
        for name, sizes in arms.items()
    }
    nobody = uniform(env, {"logits": env.num_actions})
    random = evaluate(
        nobody, env, {}, env.default_params(), jax.random.key(2), episodes=128 * args.seeds
    )
    results["random"] = (np.asarray(random.ret).reshape(args.seeds, -1).mean(axis=1), 0.0)
    for name, (returns, seconds) in results.items():
        mean, low, high = mean_interval(returns)
        line = {
            "benchmark": "learning",
            "env": f"Snake-v0 size={args.size}",
            "rule": name,
            "steps": args.steps if name != "random" else 0,
            "seeds": args.seeds,
            "fruits_per_episode": round(mean, 2),
            "interval": [round(low, 2), round(high, 2)],
            "seconds_all_seeds": round(seconds, 1),
            "device": str(jax.devices()[0].device_kind),
            "jax": jax.__version__,
        }
        print(json.dumps(line), flush=True)
        if args.out:
            with open(args.out, "a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

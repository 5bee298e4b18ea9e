"""PPO against the random policy on the procedurally generated games, on levels seen and not seen.

    python benchmarks/procgen.py --out benchmarks/results/procgen.jsonl
    python benchmarks/procgen.py --table benchmarks/results/procgen.jsonl

Every game gets the same budget, the same agent (an MLP on planes) and PPO's default settings, with
rewards times 0.1 in training. Training is on few levels, so that a laptop's budget shows learning;
held-out levels are 200 others, of the other split. Intervals are 95 % bootstrap intervals over
seeds, of agents trained apart; the random policy's are over as many groups of episodes. Games
already in the file of `--out` are not run again, so a stopped run goes on.
"""

import argparse
import json
import pathlib
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
from metarl.rollout import vectorize
from metarl.rules import ppo
from metarl.train import train
from metarl.wrappers import params_for, scale_reward

GAMES = [name for name in metarl.registered() if name.startswith("Proc")]
EPISODES = 200


def measure(name: str, mode: str, *, levels: int, steps: int, seeds: int) -> dict[str, Any]:
    """Returns of PPO and of the random policy, [seeds] each, on both kinds of levels."""
    env = metarl.make(name, mode=mode)
    counts = {"train": levels, "heldout": 200}
    splits = {s: env.default_params(num_levels=n, split=s) for s, n in counts.items()}
    scaled = scale_reward(env, 0.1)
    heads = ppo.heads(env)
    agent, nobody = mlp(env, heads, hidden=(64, 64)), uniform(env, heads)
    num_envs, length = 64, 64
    run = partial(
        train,
        agent,
        ppo.ppo(agent, heads),
        vectorize(scaled, num_envs),
        env_params=params_for(scaled, splits["train"], jax.random.key(2)),
        updates=steps // (num_envs * length),
        length=length,
    )
    start = time.perf_counter()
    learners, _ = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), seeds))
    jax.block_until_ready(learners)
    line: dict[str, Any] = {"seconds_all_seeds": round(time.perf_counter() - start, 1)}
    limit = env.horizon[mode]
    for split, params in splits.items():
        play = partial(evaluate, env=env, env_params=params, episodes=EPISODES, max_steps=limit)
        keys = jax.random.split(jax.random.key(1), seeds)
        trained = jax.vmap(lambda p, k, play=play: play(agent, params=p, key=k))
        random = jax.vmap(lambda k, play=play: play(nobody, params={}, key=k))
        for who, scores in (("ppo", trained(learners.params, keys)), ("random", random(keys))):
            mean, low, high = mean_interval(np.asarray(scores.ret.mean(axis=1)))
            line[f"{who}_{split}"] = [round(mean, 2), round(low, 2), round(high, 2)]
    return line


def table(path: pathlib.Path) -> str:
    """The results as Markdown."""
    head = ["| game | mode | PPO, train | PPO, held out | random, train | random, held out |"]
    head += ["|---|---|---|---|---|---|"]
    for line in map(json.loads, path.read_text().splitlines()):
        names = ("ppo_train", "ppo_heldout", "random_train", "random_heldout")
        cells = ["{} [{}, {}]".format(*line[name]) for name in names]
        head.append(f"| {' | '.join((line['env'], line['mode'], *cells))} |")
    return "\n".join(head)


def main() -> None:
    """Trains and prints one JSON line a game and mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", nargs="+", choices=GAMES, default=GAMES)
    parser.add_argument("--mode", nargs="+", default=["easy"])
    parser.add_argument("--levels", type=int, default=20, help="to train on")
    parser.add_argument("--steps", type=int, default=1_000_000, help="environment steps of a seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, help="append the JSON lines to this file")
    parser.add_argument("--table", type=pathlib.Path, help="print this file as a table; no runs")
    args = parser.parse_args()
    if args.table:
        print(table(args.table))
        return
    lines = args.out.read_text().splitlines() if args.out and args.out.exists() else []
    known = {
        tuple(json.loads(line)[k] for k in ("env", "mode", "levels", "steps")) for line in lines
    }
    device = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    for name in args.env:
        for mode in args.mode:
            if (name, mode, args.levels, args.steps) in known:
                continue
            sizes = {"levels": args.levels, "steps": args.steps, "seeds": args.seeds}
            line = {"benchmark": "procgen", "env": name, "mode": mode, **sizes}
            text = json.dumps({**line, **measure(name, mode, **sizes), **device})
            print(text, flush=True)
            if args.out:
                with args.out.open("a") as file:
                    file.write(text + "\n")


if __name__ == "__main__":
    main()

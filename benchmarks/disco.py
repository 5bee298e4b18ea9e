"""How fast Disco103 learns Catch 8x8, in steps and in time, beside its authors' code.

    METARL_DISCO103=disco_103.npz python benchmarks/disco.py --out benchmarks/results/disco.jsonl

The settings are those of the authors' evaluation: 2 environments, pieces of 29 steps, after each of
which 64 pieces of all there were are drawn and learned from, with a learning rate of 0.01. How many
pieces that code keeps is not known here; this keeps all. Ours shows two planes instead of one, so
the agent has 976,143 parameters instead of 943,375.

Published beside it, measured with that code on one core: solved (a mean return above 0.95 over 50
updates) after 40,600 and 40,600 steps, and 4,229 transitions learned from a second.
"""

import argparse
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

import metarl
from metarl.agents.disco import disco as disco_agent
from metarl.inner import act, birth
from metarl.ops.statistics import episodes
from metarl.rollout import vectorize
from metarl.rules import disco as module
from metarl.types import Learner, Rollout

ENVS, LENGTH, BATCH = 2, 29, 64
WINDOW = 50  # updates whose episodes a point of the curve is the mean of
SOLVED, REFERENCE = 0.95, 4229


class Run(struct.PyTreeNode):
    """A learner and all it has seen."""

    learner: Learner
    pieces: Rollout  # leaves [capacity, T, ...]
    count: jax.Array  # how many of them there are


def without_words(rollout: Rollout) -> Rollout:
    """What is kept of experience: of what the agent said, the policy alone."""
    return rollout.replace(heads={"logits": rollout.heads["logits"]}, next_inputs=())


def programme(updates: int, weights: str, learning_rate: float) -> tuple[Any, Any]:
    """`start(key) -> run` and `go(run, key) -> (run, episodes, returns)` of WINDOW updates."""
    env = metarl.make("Catch-v0", rows=8, columns=8)
    heads = module.heads(env)
    agent = disco_agent(env, heads)
    rule = module.disco(agent, heads, weights=weights, learning_rate=learning_rate)
    venv, params = vectorize(env, ENVS), env.default_params()
    eta = rule.init_eta(jax.random.key(0))

    def start(key: jax.Array) -> Run:
        learner = birth(agent, rule, venv, params, key)
        piece, _ = act(agent, venv, learner, key, length=LENGTH)
        empty = lambda x: jnp.zeros((updates * ENVS, *x.shape[1:]), x.dtype)  # noqa: E731
        return Run(learner, jax.tree.map(empty, without_words(piece)), jnp.int32(0))

    def update(run: Run, key: jax.Array):
        act_key, draw_key, rule_key = jax.random.split(key, 3)
        rollout, learner = act(agent, venv, run.learner, act_key, length=LENGTH)
        stats, counts = episodes(learner.episode, rollout.reward, rollout.last)
        put = lambda x, new: jax.lax.dynamic_update_slice_in_dim(x, new, run.count, 0)  # noqa: E731
        pieces = jax.tree.map(put, run.pieces, without_words(rollout))
        rows = jax.random.randint(draw_key, (BATCH,), 0, run.count + ENVS)
        drawn = jax.tree.map(lambda x: x[rows], pieces)
        drawn = drawn.replace(next_inputs=drawn.inputs)  # the rule does not read them
        new, state, _ = rule.update(eta, learner.params, learner.rule_state, drawn, rule_key)
        learner = learner.replace(params=new, rule_state=state, episode=stats)
        total = jnp.where(counts["episodes"] > 0, counts["episode_return"], 0) * counts["episodes"]
        return Run(learner, pieces, run.count + ENVS), (counts["episodes"], total)

    def go(run: Run, key: jax.Array):
        run, (count, total) = jax.lax.scan(update, run, jax.random.split(key, WINDOW))
        return run, count.sum(), total.sum()

    return jax.jit(start), jax.jit(go, donate_argnums=0)


def main() -> None:
    """Trains one seed and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="disco103")
    parser.add_argument("--updates", type=int, default=800)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out")
    args = parser.parse_args()
    start, go = programme(args.updates, args.weights, args.learning_rate)
    begin_key, run_key = jax.random.split(jax.random.key(args.seed))
    run, curve, speeds = start(begin_key), [], []
    for chunk in range(args.updates // WINDOW):
        wall, cpu = time.perf_counter(), time.process_time()
        run, count, total = go(run, jax.random.fold_in(run_key, chunk))
        mean = float(total) / float(count)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        learned = WINDOW * BATCH * (LENGTH - 1)
        speeds += [(learned / cpu, learned / wall)] if chunk else []  # the first one compiles
        curve.append(((chunk + 1) * WINDOW * ENVS * LENGTH, round(mean, 3)))
        print(*curve[-1], f"{cpu:.1f} s CPU, {wall:.1f} s wall", flush=True)
    solved = next((steps for steps, mean in curve if mean > SOLVED), None)
    medians = [round(float(x)) for x in np.median(np.array(speeds), axis=0)] if speeds else []
    row = {
        "benchmark": "disco103 on Catch 8x8",
        "seed": args.seed,
        "learning_rate": args.learning_rate,
        "curve": curve,
        "solved_at": solved,
        "transitions_per_cpu_s": medians[0] if medians else None,
        "transitions_per_wall_s": medians[1] if medians else None,
        "reference_per_s": REFERENCE,
        "jax": jax.__version__,
    }
    print(json.dumps(row))
    if args.out:
        with open(args.out, "a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()

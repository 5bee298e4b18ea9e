"""How fast Disco103 learns Catch 8x8, in steps and in time, beside its authors' code.

    METARL_DISCO103=disco_103.npz python benchmarks/disco.py --out benchmarks/results/disco.jsonl

The settings are those of the authors' notebook: 2 environments, pieces of 29 steps, after each of
which 64 of the last 1024 pieces are drawn and learned from, with a learning rate of 0.01, as soon
as there are 64. Ball and paddle are on one plane as there, so the agent has the same 943,375
parameters.

Published beside it, measured with that code on one core: solved (a mean return above 0.95 over 50
updates) after 40,600 and 40,600 steps, and 4,229 transitions learned from a second.

An update of theirs took 0.42 s. Of ours, the matrix products alone are some 23 GFLOP: for each of
1920 states 1.4 million multiplications by the online network, as many by the target network, twice
as many backwards, and 0.8 million by the rule's. A core with AVX-512 did 150 GFLOP a second, so
that in float32 no programme is more than 2.7 times as fast as theirs.
"""

import argparse
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.agents.disco import disco as disco_agent
from metarl.envs.catch import Catch, Params, State
from metarl.inner import act, birth
from metarl.ops.statistics import episodes
from metarl.rollout import vectorize
from metarl.rules import disco as module
from metarl.types import Learner, Rollout

ENVS, LENGTH, BATCH, CAPACITY = 2, 29, 64, 1024
WINDOW = 50  # updates whose episodes a point of the curve is the mean of
SOLVED, REFERENCE = 0.95, 4229


class OnePlane(Catch):
    """Catch with ball and paddle on one plane, as bsuite has it."""

    @property
    def observation_space(self) -> Box:
        """The plane."""
        return Box(0, 1, (self.rows, self.columns), np.uint8)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """Both planes laid over each other."""
        return super().observe(state, params)[0].max(axis=0), None


class Run(struct.PyTreeNode):
    """A learner and all it has seen."""

    learner: Learner
    pieces: Rollout  # leaves [CAPACITY, T, ...]
    count: jax.Array  # how many there ever were


def without_words(rollout: Rollout) -> Rollout:
    """What is kept of experience: of what the agent said, the policy alone."""
    return rollout.replace(heads={"logits": rollout.heads["logits"]}, next_inputs=())


def programme(weights: str, learning_rate: float) -> tuple[Any, Any]:
    """`start(key) -> run` and `go(run, key) -> (run, episodes, returns)` of WINDOW updates."""
    env = OnePlane(rows=8, columns=8)
    heads = module.heads(env)
    agent = disco_agent(env, heads)
    rule = module.disco(agent, heads, weights=weights, learning_rate=learning_rate)
    venv, params = vectorize(env, ENVS), env.default_params()
    eta = rule.init_eta(jax.random.key(0))

    def start(key: jax.Array) -> Run:
        birth_key, act_key = jax.random.split(key)
        learner = birth(agent, rule, venv, params, birth_key)
        piece = jax.eval_shape(lambda: act(agent, venv, learner, act_key, length=LENGTH)[0])
        empty = lambda x: jnp.zeros((CAPACITY, *x.shape[1:]), x.dtype)  # noqa: E731
        run = Run(learner, jax.tree.map(empty, without_words(piece)), jnp.int32(0))
        return jax.lax.scan(lived, run, jax.random.split(act_key, BATCH // ENVS - 1))[0]

    def lived(run: Run, key: jax.Array):
        rollout, learner = act(agent, venv, run.learner, key, length=LENGTH)
        stats, counts = episodes(learner.episode, rollout.reward, rollout.last)
        at = run.count % CAPACITY
        put = lambda x, new: jax.lax.dynamic_update_slice_in_dim(x, new, at, 0)  # noqa: E731
        pieces = jax.tree.map(put, run.pieces, without_words(rollout))
        total = jnp.where(counts["episodes"] > 0, counts["episode_return"], 0) * counts["episodes"]
        run = Run(learner.replace(episode=stats), pieces, run.count + ENVS)
        return run, (counts["episodes"], total)

    def update(run: Run, key: jax.Array):
        act_key, draw_key, rule_key = jax.random.split(key, 3)
        run, found = lived(run, act_key)
        rows = jax.random.randint(draw_key, (BATCH,), 0, jnp.minimum(run.count, CAPACITY))
        drawn = jax.tree.map(lambda x: x[rows], run.pieces)
        drawn = drawn.replace(next_inputs=drawn.inputs)  # the rule does not read them
        own = run.learner
        new, state, _ = rule.update(eta, own.params, own.rule_state, drawn, rule_key)
        return run.replace(learner=own.replace(params=new, rule_state=state)), found

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
    start, go = programme(args.weights, args.learning_rate)
    begin_key, run_key = jax.random.split(jax.random.key(args.seed))
    run, curve, speeds = start(begin_key), [], []
    for chunk in range(args.updates // WINDOW):
        wall, cpu = time.perf_counter(), time.process_time()
        run, count, total = go(run, jax.random.fold_in(run_key, chunk))
        mean = float(total) / float(count)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        learned = WINDOW * BATCH * (LENGTH - 1)
        speeds += [(learned / cpu, learned / wall)] if chunk else []  # the first one compiles
        steps = ((chunk + 1) * WINDOW * ENVS + BATCH - ENVS) * LENGTH
        curve.append((steps, round(mean, 3)))
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

"""Measures the random policy, and gathers references, for `metarl/scores/table.json`.

    python benchmarks/reference_scores.py grid grid-heldout minatar classic bsuite-probes procgen

Takes suites or ids; entries of other environments stay as they are. Random scores are means over
whole episodes as `metarl.evaluate` counts them, over levels where a suite draws them. References
are exact optima where they are known, all that levels pay, thresholds that Gymnasium states, what
others published, and results that this repository keeps with the command that made them. Both
scores of Atari's games are published ones, and are not measured.
"""

import argparse
import json
import pathlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import metarl
from metarl.agents.uniform import uniform
from metarl.envs.lpg.grid import LPGGrid
from metarl.envs.lpg.optimal import optimal_return
from metarl.envs.procgen.starpilot import SETTINGS
from metarl.evaluate import evaluate
from metarl.files import write_atomically
from metarl.ops.distributions import policy_heads
from metarl.scores import FILE
from metarl.suites import SUITES, Suite, suite
from metarl.types import PyTree

EASY = SETTINGS["easy"]
ROOT = pathlib.Path(__file__).parents[1]
GAMES = ("Asterix", "Breakout", "Freeway", "SpaceInvaders")  # of the recipe groove
OPTIMA = {  # expected returns of the best policy, in the words of the environments
    "Bandit-v0": (18.0, "20 pulls of an arm that pays 1 with probability 0.9"),
    "CartPole-v0": (500.0, "1 for each of 500 steps, after which the episode is cut off"),
    "Catch-v0": (1.0, "the ball is caught"),
    "DeepSea-v0": (0.99, "right at each step"),
    "DelayedChain-v0": (1.0, "the better first action"),
    "DiscountingChain-v0": (1.1, "the chain that pays at step 30"),
    "ProbeAction-v0": (1.0, "the cue"),
    "ProbeDelay-v0": (1.0, "the cue"),
    "ProbeMemory-v0": (1.0, "the cue"),
    "Umbrella-v0": (1.0, "the umbrella when it is needed"),
}
COMPLETE = {  # from a level's start, all that it pays
    "ProcBigFish-v0": (lambda world: 40.0, "1 for each of 30 fish, 10 after them"),
    "ProcCaveFlyer-v0": (
        lambda world: 10.0 + 3 * (world.health > 0).sum(),
        "3 for each target, 10 at the goal",
    ),
    "ProcDodgeball-v0": (
        lambda world: 10.0 + 2 * world.alive.sum(),
        "2 for each enemy, 10 at the door",
    ),
    "ProcHeist-v0": (lambda world: 10.0, "the gem"),
    "ProcJumper-v0": (lambda world: 10.0, "the carrot"),
    "ProcLeaper-v0": (lambda world: 10.0, "the finish"),
    "ProcMaze-v0": (lambda world: 10.0, "the cheese"),
    "ProcMiner-v0": (lambda world: 10.0 + world.total, "1 for each diamond, 10 at the exit"),
    "ProcStarPilot-v0": (
        lambda world: 10.0 + EASY.steps // EASY.period,
        "1 for each enemy, 10 at the end",
    ),
}
ATARI = {  # game -> random play and a human tester
    "Breakout": (1.7, 30.5),
    "Freeway": (0.0, 29.6),
    "Pong": (-20.7, 14.6),
    "SpaceInvaders": (148.0, 1668.7),
}
DQN_ZOO = (
    "dqn_zoo (https://github.com/google-deepmind/dqn_zoo, atari_data.py): 3 episodes or more of up "
    "to 108,000 frames after 1 to 30 no-ops, without sticky actions"
)
BRAX = {
    "brax/ant": 8000.0,
    "brax/halfcheetah": 8000.0,
    "brax/hopper": 2500.0,
    "brax/humanoid": 13_000.0,
    "brax/walker2d": 5000.0,
}
BRAX_HOW = (
    "where the axis ends on which Brax draws the returns of its PPO (github.com/google/brax, "
    "notebooks/training.ipynb): about what that earns, on the backend 'positional'"
)
THRESHOLDS = {"Acrobot-v0": "Acrobot-v1", "MountainCar-v0": "MountainCar-v0"}  # Gymnasium's ids


def levels_of(env: Any, convention: Suite, count: int) -> PyTree:
    """Params [L, ...]: levels of both splits where each seed has its own, else the default."""
    if convention.split is None:
        return jax.tree.map(lambda x: jnp.asarray(x)[None], env.default_params())
    return jax.vmap(env.sample_params)(jax.random.split(jax.random.key(0), count))


def random_score(name: str, convention: Suite, *, levels: int, episodes: int) -> dict[str, Any]:
    """What the random policy earns, with a 95 % interval over levels, or over episodes."""
    env = metarl.make(name)
    agent = uniform(env, policy_heads(env.action_space))
    params = levels_of(env, convention, levels)
    count = len(jax.tree.leaves(params)[0]) if jax.tree.leaves(params) else 1
    sizes = {"episodes": episodes // count, "max_steps": convention.max_steps}
    play = partial(evaluate, agent, env, {}, **sizes)
    scores = jax.lax.map(
        lambda x: play(*x).ret, (params, jax.random.split(jax.random.key(1), count))
    )
    samples = np.asarray(scores.mean(axis=1) if count > 1 else scores[0])
    error = 1.96 * samples.std(ddof=1) / np.sqrt(len(samples))
    over = (
        f"{count} levels, {episodes // count} episodes each"
        if count > 1
        else f"{episodes} episodes"
    )
    return {
        "ret": round(float(samples.mean()), 4),
        "kind": "measured",
        "how": f"uniform policy, {over}, cut off at {convention.max_steps} steps, standard error "
        f"{error / 1.96:.2g}: python benchmarks/reference_scores.py {name}",
    }


def reference_score(name: str, convention: Suite, *, levels: int) -> dict[str, Any] | None:
    """The best that is known of, or None."""
    if name in OPTIMA:
        ret, words = OPTIMA[name]
        return {"ret": ret, "kind": "optimum", "how": words}
    if name in THRESHOLDS:
        import gymnasium

        solved = gymnasium.spec(THRESHOLDS[name]).reward_threshold
        return {"ret": solved, "kind": "threshold", "how": f"Gymnasium calls {name} solved there"}
    if name in BRAX:
        return {"ret": BRAX[name], "kind": "published", "how": BRAX_HOW}
    env = metarl.make(name)
    if name in COMPLETE:
        total, words = COMPLETE[name]
        starts = jax.random.split(jax.random.key(2), 16 * levels)
        state, _ = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(starts, env.default_params())
        paid = np.asarray(jax.vmap(total)(state.world))
        words = f"{words}, mean over {len(starts)} levels"
        return {"ret": round(float(paid.mean()), 4), "kind": "complete", "how": words}
    if isinstance(env, LPGGrid) and env.tabular:
        params = levels_of(env, convention, levels)
        best = jax.jit(lambda p: jax.lax.map(partial(optimal_return, env), p))(params)
        words = f"dynamic programming (metarl.envs.lpg.optimal), mean over {len(best)} levels"
        return {"ret": round(float(best.mean()), 4), "kind": "optimum", "how": words}
    game = name.removesuffix("-v0")
    if game in GAMES:
        told = json.loads((ROOT / "docs/recipes/groove.json").read_text())["numbers"][game]
        words = (
            "tuned A2C after 640,000 steps, 3 seeds, cut off at 1000 steps: metarl reproduce groove"
        )
        return {"ret": round(told["A2C, tuned"]["mean"], 4), "kind": "measured", "how": words}
    return None


def published(name: str) -> dict[str, Any]:
    """Both scores of one of Atari's games."""
    game = name.rpartition("/")[2].removesuffix("-v5")
    told = zip(("random", "reference"), ("random play", "a human tester"), ATARI[game], strict=True)
    return {
        which: {"ret": ret, "kind": "published", "how": f"{who}, by {DQN_ZOO}"}
        for which, who, ret in told
    }


def measured(name: str, convention: Suite, *, levels: int, episodes: int) -> dict[str, Any]:
    """The random policy's score, and the reference where there is one."""
    entry = {"random": random_score(name, convention, levels=levels, episodes=episodes)}
    reference = reference_score(name, convention, levels=levels)
    return entry if reference is None else {**entry, "reference": reference}


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="+", help="names of suites, or ids")
    parser.add_argument("--levels", type=int, default=64)
    parser.add_argument("--episodes", type=int, default=1024)
    args = parser.parse_args()
    table = json.loads(FILE.read_text()) if FILE.exists() else {}
    for named in args.suites:
        convention = suite(named)
        if named not in SUITES:
            homes = (s for s in SUITES.values() if named in s.ids)
            convention = next(homes, convention)
        for name in convention.ids if named in SUITES else (named,):
            sizes = {"levels": args.levels, "episodes": args.episodes}
            atari = name in SUITES["atari"].ids
            table[name] = published(name) if atari else measured(name, convention, **sizes)
            earned = {which: score["ret"] for which, score in table[name].items()}
            print(f"{name}: {earned}", flush=True)
    text = json.dumps(dict(sorted(table.items())), indent=2)
    write_atomically(FILE, (text + "\n").encode())


if __name__ == "__main__":
    main()

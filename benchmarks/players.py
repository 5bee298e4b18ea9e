"""What exact players reach on the tasks of trials: yardsticks for agents that learn.

    python benchmarks/players.py --out benchmarks/results/players.jsonl

Minesweeper in trials of three attempts (`TrialMinesweeper-v0`): pass@1 to pass@3 of the posterior
player, beside the share of boards that anyone can finish in the turns there are. Bandits with five
arms and uniform priors: sums of ten rewards, beside the exact optimum. Sokoban of 6 by 6 cells with
two boxes: held-out levels that can be solved in 21 and in 30 moves. Intervals are 95 % bootstrap
intervals over boards, or over draws of the arms. A few minutes on two cores.
"""

import argparse
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import metarl
from metarl.envs.levels.shipped import default_levels
from metarl.evaluate import evaluate
from metarl.ops.statistics import mean_interval
from metarl.players import beliefs
from metarl.players.bandits import bayes_player, gittins_player, thompson_player, ucb1_player
from metarl.players.minesweeper import posterior_player
from metarl.players.placements import turn_bound
from metarl.players.sokoban import step_bound
from metarl.types import Agent
from metarl.wrappers import pass_at, trial

ATTEMPTS, ARMS, PULLS = 3, 5, 10


def minesweeper(boards: int) -> Iterator[dict[str, Any]]:
    """Lines of the posterior player, in percent."""
    env = metarl.make("TrialMinesweeper-v0")
    tried, params = trial(env, ATTEMPTS), env.default_params()
    turns = int(params.max_steps)
    bound = 100 * turn_bound(env.height, env.width, env.mines, turns)
    players: dict[str, dict[str, Any]] = {
        "posterior, ties at random, no memory": {"ties": "random", "remember": False},
        "posterior, no memory": {"remember": False},
        "posterior": {},
    }
    for name, options in players.items():
        player = posterior_player(tried, **options)
        play = partial(evaluate, player, tried, {}, params, jax.random.key(0), episodes=boards)
        passed: Any = np.asarray(pass_at(play(max_steps=ATTEMPTS * turns).attempt_success))
        yield {
            "env": "TrialMinesweeper-v0",
            "player": name,
            "boards": boards,
            **{f"pass@{k + 1}": told(100.0 * passed[:, k]) for k in range(ATTEMPTS)},
            "bound": round(bound, 2),
        }


def bandits(draws: int) -> Iterator[dict[str, Any]]:
    """Lines of the players of bandits: rewards of a life."""
    env = metarl.make("Bandit-v0", num_actions=ARMS)
    players: dict[str, Agent] = {
        "bayes": bayes_player(env, pulls=PULLS),
        "gittins": gittins_player(env, pulls=PULLS),
        "gittins, discount 0.9": gittins_player(env, pulls=PULLS, discount=0.9),
        "thompson": thompson_player(env, pulls=PULLS),
        "ucb1": ucb1_player(env),
    }
    draw_key, play_key = jax.random.split(jax.random.key(0))
    tasks = jax.vmap(env.sample_params)(jax.random.split(draw_key, draws))
    tasks = tasks.replace(max_steps=jnp.full(draws, PULLS, jnp.int32))
    for name, player in players.items():
        play = partial(evaluate, player, env, {}, episodes=1, max_steps=PULLS)
        ret = jax.vmap(lambda task, key, play=play: play(task, key).ret[0])(
            tasks, jax.random.split(play_key, draws)
        )
        yield {
            "env": f"Bandit-v0 num_actions={ARMS} max_steps={PULLS}",
            "player": name,
            "draws": draws,
            "return": told(np.asarray(ret)),
            "optimum": round(beliefs.optimum(ARMS, PULLS).value, 3),
        }


def sokoban() -> Iterator[dict[str, Any]]:
    """Lines of the bounds on the shipped held-out levels."""
    levels = default_levels(6, 6, 2, "heldout")
    for limit in (21, 30):
        bound = step_bound(levels, limit)
        yield {
            "env": f"Sokoban-v0 height=6 width=6 boxes=2 max_steps={limit}",
            "player": "breadth-first search",
            "boards": len(levels),
            "solvable": round(100 * bound.solvable, 2),
            "steps": round(bound.steps, 2),
            "best_return": round(bound.best_return, 3),
        }


def told(samples: np.ndarray) -> list[float]:
    """Mean and interval, rounded."""
    return [round(x, 2) for x in mean_interval(samples)]


def main() -> None:
    """Plays and prints one JSON line per player."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--out", help="append the JSON lines to this file")
    args = parser.parse_args()
    about = {"device": str(jax.devices()[0].device_kind), "jax": jax.__version__}
    for lines in (sokoban(), bandits(args.draws), minesweeper(args.boards)):
        for line in lines:
            text = json.dumps({"benchmark": "players", **line, **about})
            print(text, flush=True)
            if args.out:
                with open(args.out, "a") as file:
                    file.write(text + "\n")


if __name__ == "__main__":
    main()

"""Learning to explore a bandit within an episode: RL^2 (Duan et al. 2016)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import metarl
from metarl.agents.memory import memory
from metarl.evaluate import evaluate
from metarl.players import beliefs
from metarl.players.bandits import gittins_player, thompson_player, ucb1_player
from metarl.recipes.common import Arm, Claim, Line, Outcome, Panel, Results, interval, told
from metarl.recipes.trial_arms import Test, arm, at_end, budget, numbers, student
from metarl.rollout import vectorize
from metarl.rules import ppo
from metarl.types import Agent, Environment, Key, Metrics, Params
from metarl.wrappers import trial

PAPER = "RL^2 (Duan et al. 2016, https://arxiv.org/abs/1611.02779)"
CLAIM = "a recurrent agent learns to explore bandits as well as the Gittins index does"


@dataclass(frozen=True)
class Settings:
    """Sizes; the paper's agent, a GRU of 256 units trained by TRPO, had another budget."""

    seeds: int = 3
    pulls: int = 10
    choices: int = 5
    cores: tuple[str, ...] = ("gru", "lstm", "none")
    hidden: int = 48
    steps: int = 4_000_000
    num_envs: int = 512
    chunks: int = 20
    bandits: int = 4096  # that each test plays
    learning_rate: float = 3e-3
    entropy_cost: float = 0.01


QUICK = Settings(seeds=2, steps=1_500_000, cores=("gru", "none"), chunks=10)


def arms(settings: Settings) -> list[Arm]:
    """An arm for each memory; every episode has another bandit, drawn uniformly."""
    env = _env(settings)
    venv, params = vectorize(env, settings.num_envs), _params(settings, env)
    whole = budget(settings, 2 * settings.pulls)
    found = []
    for core in settings.cores:
        agent = memory(env, ppo.heads(env), core=core, hidden=settings.hidden, layers=0)
        learns = student(env, agent, venv, params, discount=1.0, **numbers(settings))
        found.append(arm(core, learns, whole, _test(settings, agent, env)))
    return found


def _env(settings: Settings) -> Environment:
    bandit = metarl.make("Bandit-v0", num_actions=settings.choices)
    return trial(bandit, 1, stop_on_success=False, sample_task=True)


def _params(settings: Settings, env: Environment) -> Any:
    return env.default_params().replace(max_steps=jnp.int32(settings.pulls))


def _test(settings: Settings, agent: Agent, env: Environment) -> Test:
    """Sums of rewards over new bandits."""
    params = _params(settings, env)
    play = partial(evaluate, agent, env, episodes=settings.bandits, max_steps=settings.pulls)

    def test(own: Params, key: Key) -> Metrics:
        return {"return": play(own, env_params=params, key=key).ret.mean()}

    return test


def conclude(settings: Settings, results: Results) -> Outcome:
    """Each memory's return beside that of players who know the prior."""
    players = _players(settings)
    ends = {core: at_end(results[core]["return"]) for core in settings.cores}
    shown = f"optimum {players['optimum']:.2f}, random {players['random']:.1f}"
    claims = []
    for core in settings.cores:
        if core == "none":
            continue
        mean = float(ends[core].mean())
        claims.append(
            Claim(
                f"{core}: explores nearly as well as the optimum",
                "RL^2 6.7, Gittins 6.6, random 5.0",
                f"{told(ends[core])}; {shown}",
                mean >= 6.5,
            )
        )
    x = budget(settings, 2 * settings.pulls).x
    lines = [Line(core, x, results[core]["return"]) for core in settings.cores]
    title = f"{settings.pulls} pulls of {settings.choices} arms"
    panel = Panel(title, "environment steps", "sum of rewards", lines=lines, levels=players)
    found = {core: interval(ends[core]) for core in settings.cores}
    return Outcome(claims, [panel], {**found, "players": players}, NOTES)


def _players(settings: Settings) -> dict[str, float]:
    """Expected sums of rewards: exact for the optimum, else means over so many bandits."""
    env = _env(settings)
    params = _params(settings, env)
    built = {
        "Gittins": gittins_player(env, pulls=settings.pulls),
        "Thompson": thompson_player(env, pulls=settings.pulls),
        "UCB1": ucb1_player(env),
    }
    play = partial(evaluate, env=env, params={}, env_params=params, key=jax.random.key(7))
    count = {"episodes": settings.bandits, "max_steps": settings.pulls}
    sums: dict[str, Any] = {
        name: float(np.mean(play(player, **count).ret)) for name, player in built.items()
    }
    optimum = beliefs.optimum(settings.choices, settings.pulls).value
    return {"random": settings.pulls / 2, **sums, "optimum": optimum}


NOTES = (
    "The paper's figures are from memory of its table: RL^2 6.7, Gittins 6.6, Thompson 5.7, UCB1 "
    "6.7, random 5.0.",
    "The optimum is exact, by dynamic programming over the posterior.",
)

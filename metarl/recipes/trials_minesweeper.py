"""Minesweeper in trials of three attempts at the same board: LaMer's task, for small agents."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import metarl
from metarl.agents.cellular import cellular
from metarl.evaluate import evaluate
from metarl.players.minesweeper import posterior_player
from metarl.players.placements import turn_bound
from metarl.recipes.common import Arm, Claim, Outcome, Results, above, told
from metarl.recipes.trial_arms import (
    FORGETFUL,
    arm,
    attempt_panel,
    budget,
    numbers,
    pass_numbers,
    pass_panel,
    pass_told,
    passed,
    remembering,
    student,
    tested,
)
from metarl.rollout import vectorize
from metarl.rules import ppo
from metarl.types import Agent, Environment
from metarl.wrappers import pass_at, trial

PAPER = "LaMer (Jiang et al. 2025, https://arxiv.org/abs/2512.16848)"
CLAIM = "agents trained across attempts win more Minesweeper boards at the third attempt"


@dataclass(frozen=True)
class Settings:
    """Sizes that one core manages in an hour and a half; `LONG` is for a GPU."""

    seeds: int = 3
    attempts: int = 3
    cores: tuple[str, ...] = ("gru",)  # of every cell; `forgetful` is the control
    width: int = 16
    layers: int = 3
    steps: int = 6_000_000
    num_envs: int = 256
    chunks: int = 12
    boards: int = 2048  # held out, that each test plays
    learning_rate: float = 3e-3
    entropy_cost: float = 0.01
    discount: float = 0.95
    attempt_discount: float = 0.1  # at 0.9 first attempts are thrown away for what they show


QUICK = Settings(seeds=1, steps=1_000_000, chunks=4, boards=1024)
LONG = Settings(
    seeds=5,
    cores=("gru", "srwm/heads=2", FORGETFUL),
    width=32,
    layers=4,
    steps=200_000_000,
    num_envs=1024,
    chunks=100,
)


def arms(settings: Settings) -> list[Arm]:
    """A memory in every cell of each kind; `forgetful` is a GRU cleared after every attempt."""
    env, held_out = (_env(settings, split) for split in ("train", "heldout"))
    venv, params = vectorize(env, settings.num_envs), env.default_params()
    moves = settings.attempts * int(params.max_steps)
    found = []
    for core in settings.cores:
        agent = _agent(settings, env, core)
        learns = student(env, agent, venv, params, **numbers(settings))
        test = tested(agent, held_out, params, episodes=settings.boards, max_steps=moves)
        found.append(arm(core, learns, budget(settings, moves), test, calm=True))
    return found


def _env(settings: Settings, split: str) -> Any:
    return trial(
        metarl.make("TrialMinesweeper-v0"), settings.attempts, sample_task=True, split=split
    )


def _agent(settings: Settings, env: Environment, core: str) -> Agent:
    sizes: Any = {"width": settings.width, "layers": settings.layers, "symmetric": True}
    return remembering(core, lambda core: cellular(env, ppo.heads(env), core=core, **sizes))


def conclude(settings: Settings, results: Results) -> Outcome:
    """pass@k on held-out boards, beside perfect inference and the bound that the turns set."""
    env = _env(settings, "heldout")
    moves = settings.attempts * int(env.default_params().max_steps)
    exact = _exact(env, moves)
    game = env.env
    turns = int(game.default_params().max_steps)
    bound = 100 * turn_bound(game.height, game.width, game.mines, turns)
    found = {core: results[core]["pass_at"] for core in settings.cores}
    best = found[settings.cores[0]]
    shown = f"perfect inference {exact[0]:.1f} to {exact[-1]:.1f}, bound {bound:.1f}"
    claims = [
        Claim(
            f"{settings.cores[0]}: wins at the first attempt",
            "LaMer 44.1 (a language model); 85 asked of us",
            f"{pass_told(best, 1)}; {shown}",
            bool(passed(best, 1).mean() >= 85),
        ),
        Claim(
            f"{settings.cores[0]}: wins within {settings.attempts} attempts",
            "LaMer 74.4; 90 asked of us",
            f"{pass_told(best, settings.attempts)}; {shown}",
            bool(passed(best, settings.attempts).mean() >= 90),
        ),
    ]
    if FORGETFUL in found:
        claims.append(_memory_helps(found))
    levels = {f"perfect inference, pass@{k}": exact[k - 1] for k in (1, settings.attempts)}
    panels = [
        pass_panel("Minesweeper 6x6, 3 mines, 7 turns", budget(settings, moves).x, found, levels),
        attempt_panel("held-out boards, at the end", found, range(1, settings.attempts + 1)),
    ]
    passes = {name: pass_numbers(values) for name, values in found.items()}
    players = {"perfect inference": exact, "bound": bound}
    return Outcome(claims, panels, {**passes, "players": players}, NOTES)


def _memory_helps(found: dict[str, np.ndarray]) -> Claim:
    first, *_ = found
    gains = {name: passed(v, v.shape[-1]) - passed(v, 1) for name, v in found.items()}
    ours, control = gains[first], gains[FORGETFUL]
    gap = ours - control
    return Claim(
        "what was seen in earlier attempts is used in later ones",
        "LaMer +30.3, plain reinforcement learning +3.1",
        f"pass@n less pass@1: {told(ours)}, with memory cleared after each {told(control)}; "
        f"difference {told(gap)}",
        above(gap),
    )


def _exact(env: Any, moves: int) -> list[float]:
    """pass@1 to pass@n of the posterior player on 2000 held-out boards, in percent."""
    player = posterior_player(env)
    key = jax.random.key(11)
    scores = evaluate(player, env, {}, env.default_params(), key, episodes=2000, max_steps=moves)
    passes: Any = np.asarray(pass_at(scores.attempt_success))
    return [float(x) for x in 100 * passes.mean(axis=0)]


NOTES = (
    "LaMer's figures are those of a language model (Qwen3-4B) from a summary of the paper, one run "
    "each; a small network that plays nothing else is another kind of agent, to be judged by "
    "perfect inference.",
    "Boards are drawn anew for every trial; held-out boards are met by no training trial.",
)

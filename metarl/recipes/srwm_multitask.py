"""One agent for several generated games: SRWM beside other memories (Irie et al. 2022)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from metarl.agents.memory import memory
from metarl.agents.uniform import uniform
from metarl.evaluate import evaluate
from metarl.ops.statistics import mean_interval
from metarl.recipes.common import (
    Arm,
    Bar,
    Claim,
    Line,
    Outcome,
    Panel,
    Results,
    above,
    interval,
    told,
)
from metarl.recipes.trial_arms import Budget, Test, arm, at_end, budget, numbers, student
from metarl.rollout import pool
from metarl.rules import ppo
from metarl.together import LEVELS, game_set, together
from metarl.types import Agent, Key, Metrics, Params, PyTree

PAPER = "SRWM (Irie et al. 2022, https://arxiv.org/abs/2202.05780)"
CLAIM = "a self-referential weight matrix is a good memory for several games at once"

SPLITS = ("train", "heldout")


@dataclass(frozen=True)
class Settings:
    """Sizes that two cores manage in an hour; `LONG` is for a GPU."""

    seeds: int = 3
    games: str = "easy"
    cores: tuple[str, ...] = (
        *("srwm", "srwm/detach=true", "srwm/modify=false", "gru", "lstm", "delta", "none"),
    )
    hidden: int = 64
    layers: int = 1
    channels: tuple[int, ...] = ()
    num_envs: int = 32  # of each game
    length: int = 32
    steps: int = 400_000  # of all games together
    chunks: int = 4
    episodes: int = 50  # of each game and split, in each test
    longest: int = 300  # steps of an episode in a test
    learning_rate: float = 1e-3
    entropy_cost: float = 0.01


QUICK = Settings(cores=("srwm", "gru", "none"), steps=100_000, chunks=2, episodes=20, longest=200)
LONG = Settings(
    games="memory",
    cores=(
        *("srwm/heads=8", "srwm/heads=8/detach=true", "srwm/heads=8/modify=false"),
        *("gru", "lstm", "delta/heads=8", "none"),
    ),
    hidden=128,
    layers=2,
    channels=(16, 32),
    num_envs=128,
    length=64,
    steps=100_000_000,
    chunks=50,
    episodes=100,
    longest=500,
    learning_rate=5e-4,
)


def arms(settings: Settings) -> list[Arm]:
    """An arm for each memory, all with the same torso, rule and budget."""
    envs = game_set(settings.games)
    params = _tasks(settings)
    venv = together(envs, settings.num_envs, pool(256, 1))
    found = []
    for core in settings.cores:
        agent = memory(
            envs[0],
            ppo.heads(envs[0]),
            core=core,
            hidden=settings.hidden,
            layers=settings.layers,
            feed_forward=2 * settings.hidden,
            channels=settings.channels,
        )
        learns = student(envs[0], agent, venv, params["train"], **numbers(settings))
        found.append(arm(core, learns, _budget(settings), _test(settings, agent, params)))
    return found


def _tasks(settings: Settings) -> dict[str, tuple[PyTree, ...]]:
    """The levels of each game, of each split."""
    envs, count = game_set(settings.games), LEVELS[settings.games]
    return {
        split: tuple(env.default_params(num_levels=count, split=split) for env in envs)
        for split in SPLITS
    }


def _budget(settings: Settings) -> Budget:
    streams = settings.num_envs * len(game_set(settings.games))
    return budget(settings, settings.length)._replace(num_envs=streams)


def _test(settings: Settings, agent: Agent, tasks: Mapping[str, PyTree]) -> Test:
    """Mean returns [games] on levels of each split; a game is compiled once for both."""
    envs = game_set(settings.games)
    play = partial(evaluate, episodes=settings.episodes, max_steps=settings.longest)
    both = jax.tree.map(lambda *x: jax.numpy.stack(x), *(tasks[split] for split in SPLITS))

    def test(own: Params, key: Key) -> Metrics:
        def scores(params: tuple[PyTree, ...]) -> jax.Array:
            found = [
                play(agent, env, own, task, jax.random.fold_in(key, i)).ret.mean()
                for i, (env, task) in enumerate(zip(envs, params, strict=True))
            ]
            return jax.numpy.stack(found)

        return dict(zip(SPLITS, jax.lax.map(scores, both), strict=True))

    return test


def conclude(settings: Settings, results: Results) -> Outcome:
    """Returns over those of random play, summed up over games, for every memory."""
    random = _random(settings)  # split -> [games]
    gains = {
        core: {split: _gain(results[core][split], random[split]) for split in SPLITS}
        for core in settings.cores
    }
    first, *others = settings.cores
    ends = {core: at_end(gains[core]["heldout"]) for core in settings.cores}
    claims = [_claim(first, ends[first], other, ends[other]) for other in others]
    x = _budget(settings).x
    panels = [
        Panel(
            f"{settings.games} games, {split} levels",
            "environment steps",
            "mean return above random play",
            lines=[Line(core, x, gains[core][split]) for core in settings.cores],
        )
        for split in SPLITS
    ]
    panels += [
        Panel(
            name,
            ylabel="return, held-out levels",
            bars=[
                Bar(core, *mean_interval(at_end(results[core]["heldout"])[:, i]))
                for core in settings.cores
            ],
            levels={"random": float(random["heldout"][i])},
        )
        for i, name in enumerate(_names(settings))
    ]
    return Outcome(claims, panels, _numbers(settings, results, random), NOTES)


def _claim(first: str, ours: np.ndarray, other: str, theirs: np.ndarray) -> Claim:
    gap = ours - theirs
    return Claim(
        f"on held-out levels {first} earns more than {other}",
        "competitive (its tables were not available to us)",
        f"{told(ours)} and {told(theirs)} above random play, difference {told(gap)}",
        above(gap),
    )


def _names(settings: Settings) -> list[str]:
    return [type(env.env).__name__ for env in game_set(settings.games)]


def _gain(returns: np.ndarray, random: np.ndarray) -> np.ndarray:
    """[S, chunks] mean over games of the return above that of random play; [S, chunks, games]."""
    return np.mean(np.asarray(returns) - random, axis=-1)


def _random(settings: Settings) -> dict[str, np.ndarray]:
    """[games] mean returns of random play on levels of each split."""
    env = game_set(settings.games)[0]
    test = _test(settings, uniform(env, ppo.heads(env)), _tasks(settings))
    return jax.device_get(jax.jit(test)({}, jax.random.key(3)))


def _numbers(settings: Settings, results: Results, random: Mapping[str, np.ndarray]) -> Any:
    names = _names(settings)

    def row(values: np.ndarray) -> dict[str, Any]:
        return {name: interval(values[:, i]) for i, name in enumerate(names)}

    return {
        **{
            core: {split: row(at_end(results[core][split])) for split in SPLITS}
            for core in settings.cores
        },
        "random": {split: dict(zip(names, random[split], strict=True)) for split in SPLITS},
    }


NOTES = (
    "The games are procedurally generated ones in the spirit of ProcGen, played as planes; PPO in "
    "place of V-trace; every episode starts with an empty memory, as in the paper.",
    "A claim holds where the 95 % interval of the difference over seeds lies above zero, which is "
    "more than the paper says.",
    "`detach` is what the paper's released code does in reinforcement learning: no gradient "
    "reaches what changes the matrix.",
)

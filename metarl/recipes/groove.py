"""LPG, GROOVE and A2C on levels and games that no rule was trained on (Jackson et al. 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl.envs.lpg.optimal import optimal_return
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
from metarl.recipes.rule_lives import Place, actor_critic, learned, lives, place
from metarl.types import Key, Metrics, PyTree

PAPER = "GROOVE (Jackson et al. 2023, https://arxiv.org/abs/2310.02782)"
CLAIM = "a curriculum by algorithmic regret makes LPG better where it was not trained"

GRIDS = {"random grids": "LPGAll-v0", "mazes": "LPGMazes-v0", "hand-made": "LPGTabular-v0"}
GAMES = ("Asterix-v0", "Breakout-v0", "Freeway-v0", "SpaceInvaders-v0")
RULES = ("LPG", "GROOVE")
UNTUNED, TUNED = "A2C, untuned", "A2C, tuned"


@dataclass(frozen=True)
class Settings:
    """Names or files of weights, and sizes; the paper's are larger."""

    lpg: str = "lpg-grid"
    groove: str = "groove"
    levels: int = 32  # of each kind of grid
    seeds: int = 3  # lives in each game
    grid_lifetimes: tuple[int, ...] = (1000, 2500, 2500)  # updates, in the order of GRIDS
    game_lifetime: int = 500
    workers: int = 16  # environments of a life on a grid
    num_envs: int = 64  # of a life in a game
    length: int = 20
    games: tuple[str, ...] = GAMES
    grid_rates: tuple[float, ...] = (1.0, 0.25, 4.0)  # A2C's, the untuned one first
    game_rates: tuple[float, ...] = (5e-4, 2e-3)
    grid_costs: tuple[float, ...] = (0.01, 0.05)  # of entropy
    game_costs: tuple[float, ...] = (0.01,)
    chunks: int = 10
    batch: int = 16  # lives at once


QUICK = Settings(
    levels=6,
    seeds=1,
    grid_lifetimes=(100, 100, 100),
    game_lifetime=40,
    num_envs=16,
    games=("Breakout-v0",),
    grid_rates=(1.0, 4.0),
    game_rates=(5e-4, 2e-3),
    grid_costs=(0.01,),
    chunks=4,
)
LONG = Settings(
    levels=1000,
    seeds=10,
    grid_lifetimes=(2500, 2500, 2500),
    game_lifetime=100_000,
    game_costs=(0.01, 0.05),
    workers=64,
    batch=512,
)


def arms(settings: Settings) -> list[Arm]:
    """Each rule in each place, and A2C with every setting on test and on other levels."""
    found: list[Arm] = []
    for number, (name, at) in enumerate(places(settings).items()):
        key = jax.random.fold_in(jax.random.key(0), number)
        level_key, other_key, life_key = jax.random.split(key, 3)
        levels = drawn(settings, at, level_key, "heldout")
        arm = partial(lives, chunks=settings.chunks, batch=settings.batch)
        for i, rule in enumerate(RULES):
            way = learned(getattr(settings, rule.lower()), at)
            found.append(arm(f"{rule}, {name}", at, way, levels, jax.random.fold_in(life_key, i)))
        rates, costs = searched(settings, name)
        rival, tries = actor_critic(at, rates, costs), len(rates) * len(costs)
        for i, (label, some) in enumerate(
            (("A2C", levels), ("A2C search", drawn(settings, at, other_key, "train")))
        ):
            key = jax.random.fold_in(life_key, len(RULES) + i)
            found.append(arm(f"{label}, {name}", at, rival, some, key, tries=tries))
        if not at.deep:
            found.append(best_possible(f"best possible, {name}", at, levels))
    return found


def places(settings: Settings) -> dict[str, Place]:
    """All places by their names."""
    grids = {
        name: place(
            env_id,
            num_envs=settings.workers,
            lifetime=lifetime,
            length=settings.length,
            max_steps=2000,
        )
        for (name, env_id), lifetime in zip(GRIDS.items(), settings.grid_lifetimes, strict=True)
    }
    games = {
        env_id.removesuffix("-v0"): place(
            env_id,
            num_envs=settings.num_envs,
            lifetime=settings.game_lifetime,
            length=settings.length,
            max_steps=1000,
        )
        for env_id in settings.games
    }
    return grids | games


def searched(settings: Settings, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Learning rates and entropy costs that A2C tries in a place."""
    if name in GRIDS:
        return settings.grid_rates, settings.grid_costs
    return settings.game_rates, settings.game_costs


def drawn(settings: Settings, at: Place, key: Key, split: str) -> PyTree:
    """Levels of a split, [L, ...]; of a game its one setting, for each seed."""
    if at.deep:
        params = at.env.default_params()
        return jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * settings.seeds), params)
    sample = partial(at.env.sample_params, split=split)
    return jax.vmap(sample)(jax.random.split(key, settings.levels))


def best_possible(name: str, at: Place, levels: PyTree) -> Arm:
    """The exact optimum of each level as an arm."""

    def advance(levels: PyTree) -> tuple[PyTree, Metrics]:
        return levels, {"return": jax.lax.map(lambda x: optimal_return(at.env, x)[None], levels)}

    return Arm(name, lambda: levels, advance)


def conclude(settings: Settings, results: Results) -> Outcome:
    """Scores on every level, sorted; means; and who is better where."""
    scores = {name: final(settings, results, name) for name in places(settings)}
    grids = [name for name in scores if name in GRIDS]
    games = [name for name in scores if name not in GRIDS]
    claims = [_better(scores[name], name) for name in [*grids, *games]]
    claims += [_lower_half(scores, grids), _half_beats_a2c(scores["random grids"])]
    panels = [_sorted(scores[name], name) for name in grids]
    panels += [_bars(scores[name], name) for name in games]
    return Outcome(claims, panels, _numbers(scores), NOTES)


NOTES = (
    "The weights of both rules were meta-trained at reduced width (see their model cards), so "
    "returns are not the paper's.",
    "LPG, GROOVE and the untuned A2C use the same rates everywhere. The tuned A2C has, in each "
    "place, the setting that was best on other levels, or in games with other seeds.",
    "In games lives are far shorter than the published ones.",
)


def final(settings: Settings, results: Results, name: str) -> dict[str, np.ndarray]:
    """Arm -> returns [L] at the end of the lives in a place."""
    last = lambda arm: results[f"{arm}, {name}"]["return"][:, -1]  # noqa: E731
    scores = {rule: last(rule) for rule in RULES}
    rates, costs = searched(settings, name)
    tries = len(rates) * len(costs)
    elsewhere = last("A2C search").reshape(tries, -1).mean(axis=1)
    rivals = last("A2C").reshape(tries, -1)
    scores |= {UNTUNED: rivals[0], TUNED: rivals[np.argmax(elsewhere)]}
    if name in GRIDS:
        scores["best possible"] = last("best possible")
    return scores


def _better(scores: Mapping[str, np.ndarray], name: str) -> Claim:
    """Whether GROOVE earns more than LPG beyond chance, over levels or seeds."""
    gap = scores["GROOVE"] - scores["LPG"]
    measured = f"difference {told(gap).replace('seeds', 'lives')}"
    return Claim(f"{name}: GROOVE earns more than LPG", "yes", measured, above(gap))


def _lower_half(scores: Mapping[str, Mapping[str, np.ndarray]], grids: list[str]) -> Claim:
    """Whether GROOVE fails less where rules do worst, as a share of A2C's return."""
    shares = {rule: np.concatenate([relative(scores[g], rule) for g in grids]) for rule in RULES}
    missed = {rule: float(np.mean(share < 0.75)) for rule, share in shares.items()}
    text = "GROOVE misses 75 % of A2C's return on fewer levels than LPG"
    measured = f"{missed['GROOVE']:.1%} of levels against {missed['LPG']:.1%}"
    return Claim(text, "LPG on 187 % more", measured, missed["GROOVE"] < missed["LPG"])


def _half_beats_a2c(scores: Mapping[str, np.ndarray]) -> Claim:
    share = float(np.mean(scores["GROOVE"] > scores[UNTUNED]))
    text = "GROOVE earns more than A2C on half of the random grids or more"
    return Claim(text, "about half", f"{share:.1%}", share >= 0.5)


def relative(scores: Mapping[str, np.ndarray], arm: str) -> np.ndarray:
    """Returns [L] as shares of the untuned A2C's, where that earns something."""
    some = scores[UNTUNED] > 0.05
    return scores[arm][some] / scores[UNTUNED][some]


def _sorted(scores: Mapping[str, np.ndarray], name: str) -> Panel:
    """Shares of the best possible return, each arm's sorted."""
    lines = []
    some = scores["best possible"] > 0.05
    for arm in (*RULES, UNTUNED, TUNED):
        share = np.sort(scores[arm][some] / scores["best possible"][some])
        lines.append(Line(arm, np.linspace(0, 1, len(share)), share[None]))
    return Panel(name, "share of levels, sorted", "return / best possible", lines=lines)


def _bars(scores: Mapping[str, np.ndarray], name: str) -> Panel:
    bars = []
    for arm, x in scores.items():
        found = interval(x)
        bars.append(Bar(arm, found["mean"], found["low"], found["high"]))
    return Panel(name, ylabel="mean return", bars=bars)


def _numbers(scores: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for name, found in scores.items():
        numbers[name] = {arm: interval(x) for arm, x in found.items()}
        if "best possible" in found:
            share = {f"{arm}, share of A2C": relative(found, arm) for arm in (*RULES, TUNED)}
            numbers[name] |= {label: interval(x) for label, x in share.items() if x.size}
    return numbers

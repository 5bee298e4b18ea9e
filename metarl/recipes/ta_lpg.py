"""A rule that knows the time against one that does not, at many horizons (Jackson et al. 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from metarl.envs.lpg.optimal import optimal_return
from metarl.recipes.common import Arm, Claim, Line, Outcome, Panel, Results, above, interval, told
from metarl.recipes.rule_lives import Place, actor_critic, learned, lives, place
from metarl.rules import load

PAPER = "Temporally-aware algorithms (Jackson et al. 2024, https://arxiv.org/abs/2402.05828)"
CLAIM = "told the time, LPG learns schedules that earn more, also at horizons never trained on"

TIMED, UNTIMED, RIVAL = "TA-LPG", "LPG by evolution", "A2C, untuned"
SHOWN = {"policy_grad_norm": "size of the policy's gradient", "entropy": "entropy of the policy"}


@dataclass(frozen=True)
class Settings:
    """Names or files of weights, and sizes."""

    timed: str = "ta-lpg"
    untimed: str = "lpg-evolved"  # by the same evolution with the same budget, not told the time
    env: str = "LPGSmall-v0"
    levels: int = 64
    horizons: tuple[int, ...] = (20, 50, 100, 250, 500, 1000)  # updates of a life
    scheduled: int = 250  # the horizon of which schedules are shown
    workers: int = 16
    length: int = 20
    chunks: int = 10
    batch: int = 32  # lives at once


QUICK = Settings(levels=12, horizons=(20, 100, 200), scheduled=100)
LONG = Settings(env="LPGAll-v0", levels=1000, workers=64, batch=512)


def arms(settings: Settings) -> list[Arm]:
    """Every rule at every horizon, on the same levels."""
    found = []
    for number, horizon in enumerate(settings.horizons):
        at = _place(settings, horizon)
        levels = _levels(settings, at)
        key = jax.random.fold_in(jax.random.key(1), number)
        ways = {
            TIMED: learned(settings.timed, at),
            UNTIMED: learned(settings.untimed, at),
            RIVAL: actor_critic(at, (1.0,), (0.01,)),
        }
        for i, (rule, way) in enumerate(ways.items()):
            tries = 1 if rule == RIVAL else None
            sizes: Any = {"chunks": settings.chunks, "batch": settings.batch, "tries": tries}
            life_key = jax.random.fold_in(key, i)
            found.append(lives(f"{rule}, {horizon}", at, way, levels, life_key, **sizes))
    return found


def _place(settings: Settings, horizon: int) -> Place:
    sizes = {"num_envs": settings.workers, "length": settings.length, "max_steps": 2000}
    return place(settings.env, lifetime=horizon, **sizes)


def _levels(settings: Settings, at: Place) -> Any:
    """Levels that no training draws."""
    sample = partial(at.env.sample_params, split="heldout")
    return jax.vmap(sample)(jax.random.split(jax.random.key(0), settings.levels))


def conclude(settings: Settings, results: Results) -> Outcome:
    """Shares of the best possible return by horizon, and schedules over a life."""
    at = _place(settings, settings.horizons[0])
    best = np.asarray(jax.lax.map(partial(optimal_return, at.env), _levels(settings, at)))
    some = best > 0.05
    shares = {
        rule: np.stack(
            [
                results[f"{rule}, {horizon}"]["return"][some, -1] / best[some]
                for horizon in settings.horizons
            ],
            axis=1,
        )
        for rule in (TIMED, UNTIMED, RIVAL)
    }  # [levels, horizons]
    low, high = trained_on(settings)
    within = np.array([low <= horizon <= high for horizon in settings.horizons])
    claims = [
        _better(shares, within, f"horizons trained on ({low} to {high})"),
        _better(shares, ~within, "horizons never trained on"),
        *_schedules(settings, results),
    ]
    lines = [Line(rule, np.log10(settings.horizons), x) for rule, x in shares.items()]
    panels = [
        Panel("return by horizon", "log10 of updates", "return / best possible", lines=lines),
        *(_schedule(settings, results, name) for name in SHOWN),
    ]
    return Outcome(claims, panels, _numbers(settings, shares), NOTES)


NOTES = (
    "Both rules were meta-trained at reduced width with equal budgets (see their model cards).",
    "Intervals are over levels, of one meta-training of each rule.",
)


def trained_on(settings: Settings) -> tuple[int, int]:
    """The shortest and the longest lives of the timed rule's meta-training."""
    about = load(settings.timed).about["settings"]
    return int(about["shortest"]), int(about["longest"])


def _better(shares: Mapping[str, np.ndarray], which: np.ndarray, where: str) -> Claim:
    text = f"TA-LPG earns more than LPG by the same evolution at {where}"
    if not which.any():
        return Claim(text, "yes", "no such horizon among the settings", False)
    gap = (shares[TIMED] - shares[UNTIMED])[:, which].mean(axis=1)
    measured = f"share of the best possible return: {told(gap).replace('seeds', 'levels')} more"
    return Claim(text, "yes", measured, above(gap))


def _schedules(settings: Settings, results: Results) -> list[Claim]:
    """Whether the timed rule anneals its updates and entropy from the first to the last tenth."""
    claims = []
    for name, label in SHOWN.items():
        values = results[f"{TIMED}, {settings.scheduled}"][name]
        gap = values[:, -1] - values[:, 0]
        measured = f"change {told(gap).replace('seeds', 'levels')}"
        claims.append(
            Claim(f"TA-LPG's {label} falls over a life", "yes", measured, bool(gap.mean() < 0))
        )
    return claims


def _schedule(settings: Settings, results: Results, name: str) -> Panel:
    lines = []
    for rule in (TIMED, UNTIMED):
        values = results[f"{rule}, {settings.scheduled}"][name]
        share = (np.arange(values.shape[1]) + 0.5) / values.shape[1]
        lines.append(Line(rule, share, values))
    return Panel(f"{SHOWN[name]}, {settings.scheduled} updates", "share of the life", lines=lines)


def _numbers(settings: Settings, shares: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {
        rule: {str(horizon): interval(x[:, i]) for i, horizon in enumerate(settings.horizons)}
        for rule, x in shares.items()
    }

"""Biased and debiased meta-gradients of the discount on Snake 6x6 (Bonnet et al. 2022)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import optax

import metarl
from metarl.inner import birth
from metarl.meta.bijections import sigmoid
from metarl.meta.bmg import bmg, objective_step
from metarl.meta.common import meta_adam
from metarl.meta.matching import kl
from metarl.meta.metagrad import metagrad
from metarl.meta.objectives import mean_advantage, policy_gradient
from metarl.meta.tune import tune
from metarl.recipes.arms import fixed, meta_arm
from metarl.recipes.common import (
    Arm,
    Claim,
    Line,
    Outcome,
    Panel,
    Results,
    interval,
    last_share,
    told,
)
from metarl.recipes.outer_value import PAPER
from metarl.recipes.snake_agent import snake_agent
from metarl.rollout import vectorize
from metarl.rules import a2c, outer_value
from metarl.types import Agent, Eta, Key, Params, PyTree, Rollout, UpdateRule

__all__ = ["CLAIM", "LONG", "PAPER", "QUICK", "Settings", "arms", "conclude"]

CLAIM = (
    "on Snake outer advantages are far above 0 with the inner critic and about 0 with an outer "
    "value, and meta-learned discounts are better with it"
)
ARMS = ("A2C", "MG", "MG, outer value", "BMG", "BMG, outer value")
KEPT = ("episode_return", "tuned/discount", "outer_adv")
CHUNKS = 20
PUBLISHED = {  # return, discount and mean outer advantage at the end, 10 seeds; None: not known
    "A2C": (17.3, 0.8, None),
    "MG": (24.7, 0.963, 0.397),
    "MG, outer value": (34.2, 0.996, 0.001),
    "BMG": (23.8, 0.812, 0.387),
    "BMG, outer value": (31.4, 0.986, 0.001),
}


@dataclass(frozen=True)
class Settings:
    """The official numbers, but for a shorter run of fewer environments."""

    seeds: int = 2
    steps: int = 800_000  # of all environments of a seed
    num_envs: int = 64
    length: int = 5
    discount: float = 0.8
    lambda_: float = 0.95
    entropy_cost: float = 0.01
    value_cost: float = 1.0  # of half the squared error: 0.5 of the whole one
    learning_rate: float = 5e-4  # of RMSProp
    meta_learning_rate: float = 3e-3  # of Adam
    bmg_learning_rate: float = 6e-3
    max_norm: float = 0.1  # of the meta-gradient


QUICK = Settings(seeds=1, steps=128_000, num_envs=32)
LONG = Settings(seeds=10, steps=75_000_000, num_envs=512)


def arms(settings: Settings) -> list[Arm]:
    """Five, all from the same starts."""
    return [arm(settings, name) for name in ARMS]


def arm(settings: Settings, name: str) -> Arm:
    """One of them."""
    env = metarl.make("Snake-v0", size=6)
    module: Any = outer_value if "outer" in name else a2c
    baseline = "outer_value" if "outer" in name else "value"
    heads = module.heads(env)
    agent = snake_agent(env, heads)
    rates = (settings.discount, settings.lambda_, settings.entropy_cost, settings.value_cost, 1.0)
    optimizer = optax.rmsprop(settings.learning_rate, decay=0.9)
    build = getattr(module, module.__name__.rpartition(".")[2])
    rule = build(agent, heads, optimizer=optimizer, eta=module.hypers(*rates))
    rule = watched(tune(rule, discount=sigmoid()), agent, baseline)
    objective = policy_gradient(agent, baseline=baseline)
    parts = (agent, rule, vectorize(env, settings.num_envs))
    how: Any = {"length": settings.length, "gradient": "unrolled"}
    if name == "A2C":
        meta = fixed(*parts, length=settings.length)
    elif name.startswith("MG"):
        outer = meta_adam(settings.meta_learning_rate, max_norm=settings.max_norm)
        meta = metagrad(*parts, objective, outer, **how)
    else:
        outer = meta_adam(settings.bmg_learning_rate, max_norm=settings.max_norm)
        step = objective_step(objective, optimizer, borrow=lambda state: state)
        meta = bmg(*parts, kl(agent), step, outer, **how)
    born = partial(birth, *parts, env.default_params())
    updates = settings.steps // (settings.num_envs * settings.length)
    sizes: Any = {"seeds": settings.seeds, "updates": updates - updates % CHUNKS, "chunks": CHUNKS}
    return meta_arm(name, meta, born, KEPT, **sizes)


def watched(rule: UpdateRule, agent: Agent, head: str) -> UpdateRule:
    """The rule with the metric `outer_adv`: mean advantage in the outer problem, by one critic."""

    def update(eta: Eta, params: Params, state: PyTree, rollout: Rollout, key: Key):
        how: Any = {"discount": 1.0, "lambda_": 1.0, "head": head}
        adv = mean_advantage(agent, jax.lax.stop_gradient(params), rollout, **how)
        params, state, metrics = rule.update(eta, params, state, rollout, key)
        return params, state, {**metrics, "outer_adv": adv}

    return rule._replace(update=update, update_lives=None)


def conclude(settings: Settings, results: Results) -> Outcome:
    """Outer advantages, and returns at the end beside the published ones."""
    ends = {name: {what: last_share(results[name][what], 0.1) for what in KEPT} for name in ARMS}
    numbers = {
        name: {
            **{what: interval(values) for what, values in ends[name].items()},
            "published": dict(zip(KEPT, PUBLISHED[name], strict=True)),
        }
        for name in ARMS
    }
    claims = [_advantages(kind, ends) for kind in ("MG", "BMG")]
    if settings.steps >= LONG.steps:
        claims += [_returns(kind, ends) for kind in ("MG", "BMG")]
    panels = [_panel(settings, results, *look) for look in LOOKS]
    return Outcome(claims, panels, numbers, NOTES)


def _advantages(kind: str, ends: dict[str, dict[str, np.ndarray]]) -> Claim:
    inner, outer = (ends[name]["outer_adv"] for name in (kind, f"{kind}, outer value"))
    return Claim(
        f"{kind}: the mean outer advantage is far above 0, and about 0 with an outer value",
        f"{PUBLISHED[kind][2]} and {PUBLISHED[f'{kind}, outer value'][2]} at the end; MG .54 and "
        ".002 after a tenth of it",
        f"{told(inner)} and {told(outer)}",
        bool((inner > 0.1).all() and (abs(outer) < inner / 10).all()),
    )


def _returns(kind: str, ends: dict[str, dict[str, np.ndarray]]) -> Claim:
    names = ("A2C", kind, f"{kind}, outer value")
    plain, inner, outer = (ends[name]["episode_return"] for name in names)
    return Claim(
        f"{kind} returns more with an outer value",
        ", ".join(f"{name} {PUBLISHED[name][0]}" for name in names),
        ", ".join(
            f"{name} {told(x)}" for name, x in zip(names, (plain, inner, outer), strict=True)
        ),
        bool(interval(outer)["low"] > max(interval(inner)["high"], interval(plain)["high"])),
    )


LOOKS = (
    ("outer_adv", "mean outer advantage"),
    ("episode_return", "return (fruits)"),
    ("tuned/discount", "discount"),
)


def _panel(settings: Settings, results: Results, what: str, label: str) -> Panel:
    """One metric of all arms over the run, as means of a hundred stretches."""
    lines = []
    for name in ARMS:
        y = results[name][what]
        stretch = max(1, y.shape[1] // 100)
        y = y[:, : y.shape[1] // stretch * stretch].reshape(y.shape[0], -1, stretch)
        steps = settings.num_envs * settings.length * stretch * (np.arange(y.shape[1]) + 1)
        lines.append(Line(name, steps, filled(y)))
    return Panel(label, xlabel="environment steps", ylabel=label, lines=lines)


def filled(y: np.ndarray) -> np.ndarray:
    """[S, rows] means over the last axis of what is not NaN; 0 where there is nothing else."""
    known = np.isfinite(y)
    return np.where(known, y, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)


NOTES = (
    "Published numbers are from the authors' data: means over the last evaluations of 10 seeds "
    "after 75M environment steps of 512 environments. That is the long form; returns are judged "
    "there alone, since a short run does not tell the arms apart.",
    "Published returns of A2C are of a deterministic policy, all others of a stochastic one.",
    "Agents do not see which moves are legal, as in the version of the game that the paper used.",
    "The target of BMG steps with the scales of the learner's own RMSProp; the official code keeps "
    "a second state for it. Outer experience is learned from next; the official code discards it.",
)

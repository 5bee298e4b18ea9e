"""Meta-gradients and bootstrapped ones of an entropy weight on two colours (Flennerhag 2022)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

import metarl
from metarl.agents.mlp import mlp
from metarl.meta.bijections import sigmoid
from metarl.meta.bmg import bmg, objective_step
from metarl.meta.common import meta_adam
from metarl.meta.context import contextual
from metarl.meta.matching import kl
from metarl.meta.metagrad import last, metagrad
from metarl.meta.objectives import policy_gradient
from metarl.meta.tune import tune
from metarl.ops.statistics import mean_interval
from metarl.recipes import streams
from metarl.recipes.common import Arm, Bar, Claim, Line, Outcome, Panel, Results, interval, told
from metarl.recipes.streams import Parts, fixed_arm, learned_arm
from metarl.rollout import none, vectorize
from metarl.rules import a2c
from metarl.types import UpdateRule

PAPER = "Bootstrapped meta-learning (Flennerhag et al. 2022, https://arxiv.org/abs/2109.04504)"
CLAIM = "BMG tunes the entropy weight of an actor-critic better than meta-gradients do"
WEIGHT = "tuned/entropy_cost"


@dataclass(frozen=True)
class Settings:
    """A smaller grid that flips more often than the paper's; the same budget for every arm."""

    seeds: int = 8
    first_seed: int = 0
    steps: int = 1_500_000  # of each seed's only environment
    size: int = 3
    flip_period: int = 30_000
    hidden: int = 64  # both layers of both networks
    fixed: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4)  # entropy weights of plain actor-critics
    metagrad: tuple[tuple[int, float], ...] = ((6, 0.0), (6, 0.1), (6, 0.3), (1, 0.1), (1, 0.3))
    bmg: tuple[tuple[int, int], ...] = ((6, 9), (1, 9))  # K, L
    context: tuple[bool, ...] = (True, False)  # what the first of bmg and the third of metagrad see
    length: int = 16
    learning_rate: float = 0.1
    value_cost: float = 0.1  # of the squared one-step advantage
    meta_learning_rate: float = 1e-3
    start: float = 0.5  # entropy weight before anything is learned
    row: int = 2_500  # steps between two points of the record


QUICK = Settings(
    seeds=4, steps=450_000, fixed=(0.3,), metagrad=((6, 0.0), (6, 0.1)), bmg=((6, 9),),
    context=(True,),
)  # fmt: skip
LONG = Settings(seeds=10, steps=10_000_000, size=5, flip_period=100_000, hidden=256, row=10_000)


def arms(settings: Settings) -> list[Arm]:
    """Fixed entropy weights; meta-gradients of K updates and outer weights; BMG of K and L."""
    parts = _parts(settings)
    found = [fixed_arm(parts, settings, fixed_name(weight), weight) for weight in settings.fixed]
    for pair in settings.bmg:
        found += [_bmg(parts, settings, *pair, seen) for seen in _contexts(settings, pair)]
    for spec in settings.metagrad:
        found += [_metagrad(parts, settings, *spec, seen) for seen in _contexts(settings, spec)]
    return found


def _contexts(settings: Settings, spec: tuple) -> tuple[bool, ...]:
    """What else is seen: nothing, by the first of BMG and by MG like it at the largest weight."""
    updates, weights = settings.bmg[0][0], [weight for _, weight in settings.metagrad]
    both = spec in (settings.bmg[0], (updates, max(weights, default=0.0)))
    return settings.context if both else settings.context[:1]


def _parts(settings: Settings) -> Parts:
    env = metarl.make("TwoColours-v0", size=settings.size)
    heads = a2c.heads(env)
    hidden = (settings.hidden, settings.hidden)
    agent = mlp(env, heads, hidden=hidden, activation="relu", separate=True)
    optimizer = optax.sgd(settings.learning_rate)

    def rule(entropy_cost: float) -> UpdateRule:
        cost = 2 * settings.value_cost  # a2c halves the squared error
        eta = a2c.hypers(0.99, 0.0, entropy_cost, cost, learning_rate=1.0)
        return streams.rewarded(a2c.a2c(agent, heads, optimizer=optimizer, eta=eta))

    env_params = env.default_params().replace(flip_period=jnp.int32(settings.flip_period))
    return Parts(agent, rule, vectorize(env, 1, none), env_params)  # there is no end to reset at


def _tuned(parts: Parts, settings: Settings, seen: bool) -> UpdateRule:
    """The rule whose entropy weight is learned: a network of rewards, or one number."""
    rule = parts.rule(settings.start)
    return (contextual if seen else tune)(rule, entropy_cost=sigmoid())


def _metagrad(parts: Parts, settings: Settings, updates: int, weight: float, seen: bool) -> Arm:
    rule = _tuned(parts, settings, seen)
    objective = policy_gradient(parts.agent, discount=0.99, lambda_=0.0, entropy_cost=weight)
    optimizer = meta_adam(settings.meta_learning_rate, eps=1e-4)
    meta = metagrad(
        parts.agent, rule, parts.venv, objective, optimizer,
        weights=last(updates), length=settings.length, gradient="unrolled",
    )  # fmt: skip
    return learned_arm(parts, settings, metagrad_name(updates, weight, seen), meta, rule, updates)


def _bmg(parts: Parts, settings: Settings, updates: int, bootstrap: int, seen: bool) -> Arm:
    rule = _tuned(parts, settings, seen)
    objective = policy_gradient(parts.agent, discount=0.99, lambda_=0.0)
    step = objective_step(objective, optax.sgd(settings.learning_rate))
    optimizer = meta_adam(settings.meta_learning_rate, eps=1e-4)
    meta = bmg(
        parts.agent, rule, parts.venv, kl(parts.agent), step, optimizer,
        updates=updates, bootstrap=bootstrap, length=settings.length, gradient="unrolled",
    )  # fmt: skip
    name = bmg_name(updates, bootstrap, seen)
    return learned_arm(parts, settings, name, meta, rule, updates + bootstrap - 1)


def fixed_name(weight: float) -> str:
    """Of a plain actor-critic."""
    return f"AC {weight:g}"


def metagrad_name(updates: int, weight: float, seen: bool = True) -> str:
    """Of a meta-gradient with that outer entropy weight."""
    return f"MG K={updates} outer {weight:g}" + ("" if seen else ", no context")


def bmg_name(updates: int, bootstrap: int, seen: bool = True) -> str:
    """Of a bootstrapped one."""
    return f"BMG K={updates} L={bootstrap}" + ("" if seen else ", no context")


def conclude(settings: Settings, results: Results) -> Outcome:
    """Total rewards, the entropy weights, and which arm did better than which."""
    totals = {name: streams.total_reward(results, name, settings.steps) for name in results}
    numbers = {name: _numbers(results[name], total) for name, total in totals.items()}
    notes = (
        "Sizes, the entropy network's activation and learning rate, and the start of the entropy "
        "weight are ours; the algorithm is that on which accounts of the paper agree, which was "
        "not read in full. Published figures are those of Luketina et al. 2022 for 10 million "
        "steps on the larger grid.",
        "The outer entropy weight of 0.3 was tried because it is the plain actor-critic's best.",
        "A claim of a difference holds where the 95 % interval of the difference over seeds "
        "leaves out zero.",
    )
    claims = [*_claims(settings, results, totals)]
    return Outcome(claims, _panels(settings, results, totals), numbers, notes)


def _numbers(found: Mapping[str, np.ndarray], total: np.ndarray) -> dict[str, Any]:
    told = {
        "total reward / 1000": interval(total),
        "reward of a step, last third": interval(streams.last_third(found["reward"])),
    }
    if WEIGHT in found:
        told["entropy weight, last third"] = interval(streams.last_third(found[WEIGHT]))
    return told


def _claims(settings: Settings, results: Results, totals: Mapping[str, np.ndarray]):
    """Those whose arms were run."""
    updates, bootstrap = settings.bmg[0]
    best, blind = (bmg_name(updates, bootstrap, seen) for seen in (True, False))
    bare, weak, strong = (metagrad_name(updates, weight) for weight in (0.0, 0.1, 0.3))
    if bare in results:
        weight, total = streams.last_third(results[bare][WEIGHT]), totals[bare]
        measured = f"entropy weight {told(weight)} in the last third, total {told(total)} thousand"
        held = bool(weight.mean() < 0.1 and total.mean() < 0)
        yield Claim("without an outer entropy weight MG collapses", "not stated", measured, held)
    pairs = (
        (best, weak, "BMG beats MG of outer entropy weight 0.1", "1.74 against 1.58 million"),
        (best, bare, "BMG beats MG without an outer entropy weight", "1.74 against 1.58 million"),
        (best, blind, "context helps BMG", "1.74 against 1.32 million"),
        (
            strong,
            metagrad_name(updates, 0.3, False),
            "context helps MG",
            "1.58 against 1.29 million",
        ),
        (strong, best, "MG of outer entropy weight 0.3 beats BMG", "not tried"),
    )
    for first, second, text, published in pairs:
        if first in results and second in results:
            yield streams.compared(totals, first, second, text, published)
    weight, reward = (streams.last_third(results[best][name]) for name in (WEIGHT, "reward"))
    measured = f"entropy weight {told(weight)}, reward of a step {told(reward)} in the last third"
    held = bool(0.2 <= weight.mean() <= 0.6 and reward.mean() > 0)
    yield Claim("BMG needs no outer entropy weight to stay clear of 0", "none used", measured, held)


def _panels(settings: Settings, results: Results, totals: Mapping[str, np.ndarray]) -> list[Panel]:
    period, steps = settings.flip_period, settings.steps
    reward, weight, jump = [], [], []
    for name, found in results.items():
        reward.append(Line(name, *streams.by_period(found["reward"], steps, period)))
        if WEIGHT in found:
            weight.append(Line(name, *streams.by_period(found[WEIGHT], steps, period)))
            jump.append(Line(name, *streams.since_flip(found[WEIGHT], steps, period)))
    bars = [Bar(name, *mean_interval(total)) for name, total in totals.items()]
    return [
        Panel("reward of a step, by period", "steps", "mean reward", reward),
        Panel("entropy weight, by period", "steps", "entropy weight", weight),
        Panel("entropy weight after a flip, second half", "steps since", "entropy weight", jump),
        Panel("total reward", ylabel="thousands", bars=bars),
    ]

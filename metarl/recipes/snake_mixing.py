"""The variance of one-step, n-step and mixed meta-gradients on Snake (Bonnet et al. 2021)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metarl
from metarl.agents.mlp import mlp
from metarl.inner import birth, live
from metarl.meta.bijections import sigmoid
from metarl.meta.metagrad import outer_losses
from metarl.meta.objectives import policy_gradient
from metarl.meta.tune import tune
from metarl.recipes.common import Arm, Bar, Claim, Outcome, Panel, Results, told
from metarl.rollout import vectorize
from metarl.rules import outer_value
from metarl.types import Eta, Key, Learner, Metrics

PAPER = "One step at a time (Bonnet et al. 2021, https://arxiv.org/abs/2111.00206)"
CLAIM = "mixing the outer losses of several updates cuts the variance of the meta-gradient by 3"


@dataclass(frozen=True)
class Settings:
    """Sizes; those of the paper are not known."""

    seeds: int = 4
    stages: tuple[int, ...] = (64_000, 256_000)  # environment steps at which it is measured
    replicas: int = 256  # meta-gradients at each stage, from one learner with fresh experience
    updates: int = 5  # n
    num_envs: int = 32
    length: int = 5
    discount: float = 0.8
    lambda_: float = 0.95


QUICK = Settings(seeds=1, replicas=128)


class State(NamedTuple):
    """Learners of all seeds between two stages."""

    learner: Learner  # [S, ...]
    stage: jax.Array  # [] int32


def arms(settings: Settings) -> list[Arm]:
    """One arm: all estimators see the same experience."""
    env, parts = _parts(settings)
    agent, rule, venv, _ = parts
    eta = rule.init_eta(jax.random.key(0))
    life_keys = jax.random.split(jax.random.key(1), settings.seeds)
    updates = np.diff((0, *settings.stages)) // (settings.num_envs * settings.length)

    def start() -> State:
        born = partial(birth, agent, rule, venv, env.default_params())
        birth_keys = jax.random.split(jax.random.key(0), settings.seeds)
        return State(jax.jit(jax.vmap(born))(birth_keys), jnp.int32(0))

    def one(learner: Learner, key: Key, count: jax.Array):
        turn = partial(live, agent, rule, venv, eta, length=settings.length, updates=1)
        learner, returns = jax.lax.fori_loop(
            0, count, lambda _, loop: _lived(turn, loop, key), (learner, jnp.float32(0))
        )
        replicas = jax.random.split(jax.random.fold_in(key, 2**31), settings.replicas)
        measured = partial(gradients, parts, eta, learner, length=settings.length)
        grads = jax.lax.map(partial(measured, updates=settings.updates), replicas, batch_size=16)
        return learner, {"grad": grads[None], "reward": returns[None]}

    def advance(state: State) -> tuple[State, Metrics]:
        count = jnp.asarray(updates)[state.stage]
        learner, metrics = jax.vmap(one, in_axes=(0, 0, None))(state.learner, life_keys, count)
        return State(learner, state.stage + 1), metrics

    return [Arm("snake", start, advance, chunks=len(settings.stages))]


def _parts(settings: Settings) -> tuple[Any, tuple[Any, ...]]:
    """The environment; agent, rule, vectorised environment and objective."""
    env = metarl.make("Snake-v0", size=6)
    heads = outer_value.heads(env)
    agent = mlp(env, heads, hidden=(128, 128))
    eta = outer_value.hypers(settings.discount, settings.lambda_, 0.01, 1.0, 1.0)
    optimizer = optax.rmsprop(5e-4, decay=0.9)
    rule = outer_value.outer_value(agent, heads, optimizer=optimizer, eta=eta)
    rule = tune(rule, discount=sigmoid(), lambda_=sigmoid())
    objective = policy_gradient(agent, baseline="outer_value")
    return env, (agent, rule, vectorize(env, settings.num_envs), objective)


def gradients(
    parts: tuple[Any, ...], eta: Eta, learner: Learner, key: Key, *, updates: int, length: int
) -> jax.Array:
    """[n, E] derivatives of each outer loss, in forward mode, from one stretch of experience."""

    def losses(eta: Eta) -> jax.Array:
        weights = (1.0,) * updates
        run: Any = partial(outer_losses, *parts, weights=weights, length=length)
        return run(eta, learner, key)[0]

    slopes = jax.jacfwd(losses)(eta)
    return jnp.stack([slopes["discount"], slopes["lambda_"]], axis=-1)


def _lived(turn, loop: tuple, key: Key) -> tuple:
    """One update more, and the return of its episodes if any ended."""
    learner, metrics = turn(loop[0], key)
    found = metrics["episode_return"][0]
    return learner, jnp.where(jnp.isnan(found), loop[1], 0.95 * loop[1] + 0.05 * found)


def conclude(settings: Settings, results: Results) -> Outcome:
    """Ratios of variances and of signal to noise, per seed and stage."""
    grads = results["snake"]["grad"][..., 0]  # [S, stages, M, n], of the discount
    estimators = {
        "1-step": grads[..., 0],
        "n-step": grads[..., -1],
        "mixed": grads.mean(axis=-1),
    }
    variance = {name: g.var(-1) for name, g in estimators.items()}  # [S, stages]
    signal = {name: np.abs(g.mean(-1)) / g.std(-1) for name, g in estimators.items()}
    grown = variance["n-step"] / variance["1-step"]
    cut = variance["n-step"] / variance["mixed"]
    claims, numbers = [], {}
    for i, steps in enumerate(settings.stages):
        at = f"after {steps:,} steps"
        numbers[at] = {
            "variance n-step / 1-step": grown[:, i],
            "variance n-step / mixed": cut[:, i],
            **{f"variance {name}": v[:, i] for name, v in variance.items()},
            **{f"signal to noise {name}": v[:, i] for name, v in signal.items()},
        }
        told_signal = ", ".join(f"{name} {told(v[:, i])}" for name, v in signal.items())
        claims.append(_claim(settings, at, cut[:, i], grown[:, i], told_signal))
    return Outcome(claims, _panels(settings, variance, signal), numbers, NOTES)


def _claim(settings: Settings, at: str, cut: np.ndarray, grown: np.ndarray, signal: str) -> Claim:
    measured = f"by {told(cut)}; n-step over 1-step {told(grown)}; signal to noise {signal}"
    text = f"mixing cuts the variance of {settings.updates}-step meta-gradients {at}"
    return Claim(text, "by a factor of 3", measured, bool(cut.mean() >= 3))


def _panels(settings: Settings, variance: dict, signal: dict) -> list[Panel]:
    label = "of the discount's meta-gradient"
    bars = _bars(settings, variance)
    return [
        Panel("variance", ylabel=label, bars=bars, logarithmic=True),
        Panel("signal to noise", ylabel="|mean| / std", bars=_bars(settings, signal)),
    ]


NOTES = (
    "The formula of the mixture (the mean of the outer losses) and all sizes are "
    "reconstructions: the paper was read in its abstract only.",
    "A mixture's mean is smaller too: compare signal to noise, not variance alone.",
)


def _bars(settings: Settings, values: dict[str, np.ndarray]) -> list[Bar]:
    bars = []
    for i, steps in enumerate(settings.stages):
        for name, value in values.items():
            seeds = value[:, i]
            bars.append(Bar(f"{name}, {steps // 1000}k", seeds.mean(), seeds.min(), seeds.max()))
    return bars

"""Bias and variance of meta-gradient estimators on two-state MDPs, by enumeration."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl.meta.exact import Problem, limit, moments, population, sampled
from metarl.ops.enumeration import trajectories
from metarl.ops.surrogates import SURROGATES, plain
from metarl.recipes.common import Arm, Claim, Line, Outcome, Panel, Results, told
from metarl.types import Key, Metrics

PAPER = (
    "E-MAML (Stadie et al. 2018, 1803.01118), DiCE (Foerster et al. 2018, 1802.05098), "
    "Loaded DiCE (Farquhar et al. 2019, 1909.10549), LVC (Rothfuss et al. 2019, 1810.06784)"
)
CLAIM = "E-MAML's term or DiCE's surrogate correct the bias of plain autodiff; LVC does in part"
ESTIMATORS = {  # surrogate of the inner step, weight of E-MAML's term
    "plain": ("plain", 0.0),
    "E-MAML": ("plain", 1.0),
    "LVC": ("lvc", 0.0),
    "DiCE": ("dice", 0.0),
    "Loaded DiCE": ("loaded_dice", 0.0),
}
EXACT = 1e-4  # the relative bias that rounding to 32 bits may feign


@dataclass(frozen=True)
class Settings:
    """As many random MDPs with two states and two actions as `seeds`, each with a policy."""

    seeds: int = 20
    horizon: int = 2  # where N varies; the number of trajectories is (4 ** horizon) / 2
    sizes: tuple[int, ...] = (1, 2, 4, 8)  # N, trajectories that one adapts to
    step_size: float = 0.5
    long_horizon: int = 3  # where the step size varies, with one trajectory
    step_sizes: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)


QUICK = Settings(seeds=5, sizes=(1, 2, 4))


class State(NamedTuple):
    """The MDPs that are next."""

    keys: Key  # [S]


def arms(settings: Settings) -> list[Arm]:
    """The number of trajectories, and the step size with one trajectory."""
    sizes = [(settings.step_size, size) for size in settings.sizes]
    steps = [(step_size, 1) for step_size in settings.step_sizes]
    return [
        Arm("trajectories", partial(_start, settings), partial(_advance, settings.horizon, sizes)),
        Arm(
            "step size", partial(_start, settings), partial(_advance, settings.long_horizon, steps)
        ),
    ]


def _start(settings: Settings) -> State:
    return State(jax.random.split(jax.random.key(0), settings.seeds))


def _advance(horizon: int, rows: list, state: State) -> tuple[State, Metrics]:
    def one(key: Key) -> Metrics:
        found = [measured(key, horizon, *row) for row in rows]
        return jax.tree.map(lambda *x: jnp.stack(x), *found)

    return state, jax.lax.map(one, state.keys)


def measured(key: Key, horizon: int, step_size: float, size: int) -> Metrics:
    """Of every estimator [E]: bias relative to each objective's meta-gradient, standard deviation
    relative to that of J_N, and the bias left for large N. The key is consumed."""
    problem, logits = drawn(key, horizon, step_size)
    here = jax.grad(partial(sampled, problem, plain, size=size))(logits)
    ideal = jax.grad(partial(population, problem))(logits)
    norm = jnp.linalg.norm
    rows = []
    for name, score in ESTIMATORS.values():
        surrogate = SURROGATES[name]
        found = moments(problem, surrogate, logits, size, score=score)
        far = here * 0 if score else limit(problem, surrogate, logits) - ideal
        rows.append(
            {
                "sampled": norm(found.mean - here) / norm(here),
                "population": norm(found.mean - ideal) / norm(ideal),
                "std": jnp.sqrt(found.variance) / norm(here),
                "limit": norm(far) / norm(ideal),
            }
        )
    return jax.tree.map(lambda *x: jnp.stack(x), *rows)


def drawn(key: Key, horizon: int, step_size: float) -> tuple[Problem, jax.Array]:
    """A random MDP and the logits of a policy in it. The baseline is that policy's value, given."""
    transition_key, reward_key, policy_key = jax.random.split(key, 3)
    weights = jax.random.exponential(transition_key, (2, 2, 2))
    transitions = weights / weights.sum(axis=-1, keepdims=True)
    rewards = jax.random.normal(reward_key, (2, 2))
    logits = jax.random.normal(policy_key, (2, 2))
    paths = trajectories(transitions, rewards, horizon=horizon)
    value, values = jnp.zeros(2), []
    for _ in range(horizon):
        value = jnp.sum(jax.nn.softmax(logits) * (rewards + transitions @ value), axis=1)
        values.append(value)
    baseline = jnp.stack(values[::-1])[jnp.arange(horizon), paths.state]
    return Problem(paths, baseline, step_size), logits


def conclude(settings: Settings, results: Results) -> Outcome:
    """Which estimator is unbiased for what, and what that costs."""
    found, steps = results["trajectories"], results["step size"]
    names = list(ESTIMATORS)
    at = {name: i for i, name in enumerate(names)}
    numbers = {
        arm: {
            name: {metric: values[..., i].mean(axis=0) for metric, values in metrics.items()}
            for name, i in at.items()
        }
        for arm, metrics in results.items()
    }
    lines = lambda x, y: [Line(name, x, y[..., i]) for name, i in at.items()]  # noqa: E731
    sizes, by_step = np.log2(settings.sizes), np.log10(settings.step_sizes)
    panels = [
        _panel("bias for J_N: adapt to N trajectories", lines(sizes, found["sampled"])),
        _panel("bias for J: adapt by the exact gradient", lines(sizes, found["population"])),
        _panel("standard deviation over |grad J_N|", lines(sizes, found["std"])),
        _panel("bias for J_1", lines(by_step, steps["sampled"]), "log10 of the step size"),
        _panel("standard deviation, N = 1", lines(by_step, steps["std"]), "log10 of the step size"),
    ]
    claims = _claims(at, found, steps, settings)
    notes = (
        "J_N(theta) = E[V(theta + alpha g(N trajectories of theta))]; J(theta) = V(theta + alpha "
        "grad V(theta)) is its limit for large N. Means over MDPs; every expectation is a sum over "
        "all samples, so nothing is estimated but by rounding.",
        "E-MAML's term is unbiased for J_N at every N, and its variance hardly falls with N. DiCE "
        "and Loaded DiCE are unbiased for the Hessian of V, so for J in the limit; at a finite N "
        "the product of a Hessian and a gradient from the same sample is biased for either.",
        "Plain autodiff differentiates the log-probability alone: for softmax logits and the value "
        "as baseline its second derivative is zero in expectation, as in first-order MAML.",
    )
    return Outcome(claims, panels, numbers, notes)


def _claims(at: dict, found: Any, steps: Any, settings: Settings) -> list[Claim]:
    emaml = found["sampled"][..., at["E-MAML"]].max()
    left = {name: found["limit"][:, -1, at[name]] for name in at}
    loose = found["sampled"][:, -1]  # [S, E]
    deviation = steps["std"][:, -1]
    calmer = deviation[:, at["LVC"]] / deviation[:, at["DiCE"]]
    count = max(settings.sizes)
    slopes = {name: _slope(settings, steps["sampled"][..., at[name]]) for name in ("plain", "DiCE")}
    return [
        Claim(
            "E-MAML's estimator is unbiased for J_N, plain autodiff is not",
            "unbiased; biased",
            f"relative bias at most {emaml:.1e} for every N and MDP; plain, {count} trajectories: "
            + told(loose[:, at["plain"]]),
            bool(emaml < EXACT and loose[:, at["plain"]].mean() > 100 * EXACT),
        ),
        Claim(
            "DiCE and Loaded DiCE are unbiased for J as N grows, plain autodiff is not",
            "unbiased Hessian; biased",
            f"relative bias left: DiCE {left['DiCE'].max():.1e} at most, Loaded DiCE "
            f"{left['Loaded DiCE'].max():.1e} at most, plain {told(left['plain'])}",
            bool(max(left["DiCE"].max(), left["Loaded DiCE"].max()) < EXACT < left["plain"].mean()),
        ),
        Claim(
            "LVC keeps some bias, less than plain autodiff, and varies less than DiCE",
            "low variance, biased away from an optimum",
            f"relative bias left {told(left['LVC'])}; standard deviation over DiCE's with one "
            f"trajectory and step size {settings.step_sizes[-1]}: {told(calmer)}",
            bool(EXACT < left["LVC"].mean() < left["plain"].mean() and calmer.mean() < 1),
        ),
        Claim(
            "of the bias for J_1, plain autodiff's is of the first order in the step size, DiCE's "
            "of the second",
            "not published in this form",
            f"log-log slopes: plain {told(slopes['plain'])}, DiCE {told(slopes['DiCE'])}",
            bool(abs(slopes["plain"].mean() - 1) < 0.3 and abs(slopes["DiCE"].mean() - 2) < 0.3),
        ),
    ]


def _slope(settings: Settings, bias: np.ndarray) -> np.ndarray:
    """[S] the order in the step size of biases [S, rows], from the three smallest steps."""
    return np.polyfit(np.log(settings.step_sizes[:3]), np.log(bias[:, :3].T), 1)[0]


def _panel(title: str, lines: list[Line], xlabel: str = "log2 of N") -> Panel:
    return Panel(title, xlabel, "relative", lines, logarithmic=True)

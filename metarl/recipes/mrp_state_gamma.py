"""A discount for each state, learned on a chain of signals and noise (Xu et al. 2018).

A Markov reward process without actions: the reward of a transition is a standard normal number or
a small constant, in turn. Values are learned online from returns whose discount hangs on the state;
the discounts follow the meta-gradient of the error against undiscounted returns on fresh data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from metarl.meta.bijections import sigmoid
from metarl.meta.common import meta_adam
from metarl.recipes.common import (
    Arm,
    Bar,
    Claim,
    Line,
    Outcome,
    Panel,
    Results,
    interval,
    last_share,
    told,
)
from metarl.types import Key, Metrics, PyTree

PAPER = "Meta-gradient reinforcement learning (Xu et al. 2018, https://arxiv.org/abs/1805.09801)"
CLAIM = (
    "learned discounts are near 1 where the next reward is a signal, and small where it is noise"
)
CHUNKS, ROWS = 10, 20  # rows of a chunk


@dataclass(frozen=True)
class Settings:
    """Sizes are a choice: the paper's text was not read."""

    seeds: int = 8
    updates: int = 20_000
    states: int = 10
    signal: float = 0.1
    noise: float = 1.0  # standard deviation
    learning_rate: float = 0.5  # of values: the way to the return of one trajectory
    batch: int = 64  # trajectories of the outer loss
    meta_learning_rate: float = 0.01  # of Adam
    constants: tuple[float, ...] = (0.0, 0.5, 0.9, 1.0)  # discounts to compare with


QUICK = Settings(seeds=2)


class State(struct.PyTreeNode):
    """One seed."""

    eta: jax.Array  # [n] logits of the discounts
    value: jax.Array  # [n]
    optimizer: PyTree
    update: jax.Array  # [] int32


def rewards(settings: Settings, key: Key) -> jax.Array:
    """[n] the rewards of one trajectory: noise at even states, the signal at odd ones."""
    noise = settings.noise * jax.random.normal(key, (settings.states,))
    return jnp.where(jnp.arange(settings.states) % 2 == 0, noise, settings.signal)


def returns(reward: jax.Array, discount: jax.Array) -> jax.Array:
    """[n] G_i = r_i + discount_i G_{i+1}, and nothing behind the last state."""

    def back(ahead: jax.Array, x: tuple[jax.Array, jax.Array]):
        ahead = x[0] + x[1] * ahead
        return ahead, ahead

    return jax.lax.scan(back, jnp.zeros_like(reward[0]), (reward, discount), reverse=True)[1]


def meta_loss(
    discount: jax.Array, value: jax.Array, inner: jax.Array, outer: jax.Array, *, step: float
) -> tuple[jax.Array, jax.Array]:
    """The error after one update of the values, and those values.

    Args:
      discount: [n] of each state.
      value: [n] before.
      inner: [n] rewards of the trajectory to learn from.
      outer: [B, n] rewards of fresh trajectories.
      step: the share of the way to the return.
    """
    value = value + step * (returns(inner, discount) - value)
    goal = jax.vmap(returns, in_axes=(0, None))(outer, jnp.ones_like(discount))
    return jnp.mean(jnp.square(goal - value)), value


def arms(settings: Settings) -> list[Arm]:
    """Learned discounts, and constants for comparison."""
    learned = _arm(settings, "learned", sigmoid().forward, settings.meta_learning_rate)
    return [
        learned,
        *(_arm(settings, f"discount {x:g}", _always(x), 0.0) for x in settings.constants),
    ]


def _always(discount: float) -> Callable[[jax.Array], jax.Array]:
    return lambda eta: jnp.full_like(eta, discount)


def _arm(
    settings: Settings, name: str, forward: Callable[[jax.Array], jax.Array], rate: float
) -> Arm:
    every = settings.updates // (CHUNKS * ROWS)
    if every * CHUNKS * ROWS != settings.updates or settings.updates == 0:
        raise ValueError(f"updates must be a multiple of {CHUNKS * ROWS}, got {settings.updates}")
    optimizer = meta_adam(rate)
    life_keys = jax.random.split(jax.random.key(0), settings.seeds)

    def start() -> State:
        zeros = jnp.zeros((settings.seeds, settings.states))
        count = jnp.zeros(settings.seeds, jnp.int32)
        return State(zeros, zeros, jax.vmap(optimizer.init)(zeros), count)

    def update(key: Key, state: State) -> tuple[State, jax.Array]:
        inner_key, outer_key = jax.random.split(jax.random.fold_in(key, state.update))
        draw = partial(rewards, settings)
        data = draw(inner_key), jax.vmap(draw)(jax.random.split(outer_key, settings.batch))

        def loss(eta: jax.Array) -> tuple[jax.Array, jax.Array]:
            return meta_loss(forward(eta), state.value, *data, step=settings.learning_rate)

        grad, value = jax.grad(loss, has_aux=True)(state.eta)
        steps, opt_state = optimizer.update(grad, state.optimizer)
        eta = optax.apply_updates(state.eta, steps)
        error = jnp.mean(jnp.square(value - truth(settings)))
        return State(eta, value, opt_state, state.update + 1), error

    def one(state: State, key: Key) -> tuple[State, Metrics]:
        def row(state: State, _: None) -> tuple[State, Metrics]:
            go = lambda state, _: update(key, state)  # noqa: E731
            state, error = jax.lax.scan(go, state, None, length=every)
            return state, {"discount": forward(state.eta), "error": error.mean()}

        return jax.lax.scan(row, state, None, length=ROWS)

    return Arm(name, start, lambda state: jax.vmap(one)(state, life_keys), CHUNKS)


def truth(settings: Settings) -> jax.Array:
    """[n] the undiscounted values."""
    mean = jnp.where(jnp.arange(settings.states) % 2 == 0, 0.0, settings.signal)
    return returns(mean, jnp.ones(settings.states))


def conclude(settings: Settings, results: Results) -> Outcome:
    """Discounts of both kinds of states, and errors of the values."""
    found = results["learned"]["discount"]  # [S, rows, n]
    end = found[:, -1]
    kinds = {
        "signal": np.arange(0, settings.states - 1, 2),
        "noise": np.arange(1, settings.states - 1, 2),
    }
    ends = {kind: end[:, states].mean(axis=1) for kind, states in kinds.items()}
    error = {name: last_share(arm["error"], 0.5) for name, arm in results.items()}
    best = min((name for name in error if name != "learned"), key=lambda name: error[name].mean())
    mean = end.mean(axis=0)  # [n], of which every one is judged
    held = bool((mean[kinds["signal"]] > 0.95).all() and (mean[kinds["noise"]] < 0.2).all())
    better = bool((error["learned"] < error[best]).all())
    worst = end[:, kinds["signal"]].min(), end[:, kinds["noise"]].max()
    measured = ", ".join(f"next a {kind}: {told(ends[kind])}" for kind in kinds)
    measured += (
        f"; of single seeds and states the lowest {worst[0]:.2f}, the highest {worst[1]:.2f}"
    )
    claims = (
        Claim(CLAIM, "near 1 and near 0 (from memory; no numbers known)", measured, held),
        Claim(
            "values learned with these discounts are better than with any constant one tried",
            "not stated",
            f"squared error {told(error['learned'])}; with {best} {told(error[best])}",
            better,
        ),
    )
    numbers = {
        "discount": {f"state {i}": interval(end[:, i]) for i in range(settings.states)},
        "squared error": {name: interval(values) for name, values in error.items()},
    }
    return Outcome(claims, _panels(settings, found, kinds, numbers), numbers, NOTES)


def _panels(settings: Settings, found: np.ndarray, kinds: dict, numbers: dict) -> list[Panel]:
    updates = settings.updates // found.shape[1] * (np.arange(found.shape[1]) + 1)
    lines = [
        Line(f"next a {kind}", updates, found[..., states].mean(axis=-1))
        for kind, states in kinds.items()
    ]
    bars = {
        what: [Bar(name, x["mean"], x["low"], x["high"]) for name, x in numbers[what].items()]
        for what in numbers
    }
    return [
        Panel("mean over states", xlabel="updates", ylabel="discount", lines=lines),
        Panel("each state at the end", ylabel="discount", bars=bars["discount"]),
        Panel("values", ylabel="squared error", bars=bars["squared error"], logarithmic=True),
    ]


NOTES = (
    "The chain, its rewards and the outer loss are reconstructed from memory and from another "
    "implementation of the paper; step sizes and batches are our choice, made so that noise in the "
    "values matters: with smaller steps the discounts of noisy states stay higher.",
    "The discount of the last state multiplies nothing: it stays where it starts, at 0.5.",
    "A claim holds if each state's mean over seeds is above 0.95, or below 0.2.",
    "Errors are against the true undiscounted values, over the second half of the run.",
)

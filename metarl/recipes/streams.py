"""Arms on one endless stream of experience for each seed: hyperparameters fixed or learned."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from metarl.inner import birth
from metarl.recipes.arms import fixed
from metarl.recipes.common import Arm, Claim, Results, above, told
from metarl.rollout import VectorEnv
from metarl.types import Agent, Key, Learner, MetaLearner, Metrics, PyTree, UpdateRule

KEPT = ("reward", "loss", "meta_loss", "entropy", "meta_grad_norm")  # and whatever is tuned


def rewarded(rule: UpdateRule) -> UpdateRule:
    """The rule with the mean reward of a step as a metric: endless streams have no returns."""

    def update(eta: PyTree, params: PyTree, state: PyTree, rollout: Any, key: Key):
        params, state, metrics = rule.update(eta, params, state, rollout, key)
        return params, state, {**metrics, "reward": jax.lax.stop_gradient(rollout.reward.mean())}

    return rule._replace(update=update, update_lives=None)


class Parts(NamedTuple):
    """What all arms of a recipe share."""

    agent: Agent
    rule: Callable[[float], UpdateRule]  # from the number that is fixed, or where learning starts
    venv: VectorEnv
    env_params: PyTree


def learned_arm(
    parts: Parts, settings: Any, name: str, meta: MetaLearner, rule: UpdateRule, updates: int
) -> Arm:
    """An arm of an outer loop whose every turn makes `updates` updates of `settings.length`."""
    born = partial(birth, parts.agent, rule, parts.venv, parts.env_params)
    names = ("seeds", "first_seed", "steps", "row")
    sizes = {name: getattr(settings, name) for name in names}
    return arm(name, meta, born, per_update=updates * settings.length, **sizes)


def fixed_arm(parts: Parts, settings: Any, name: str, value: float) -> Arm:
    """An arm whose number stays as it is; a turn is a row of metrics."""
    rule = parts.rule(value)
    updates = max(1, min(settings.row, settings.steps) // settings.length)
    meta = fixed(parts.agent, rule, parts.venv, updates=updates, length=settings.length)
    return learned_arm(parts, settings, name, meta, rule, updates)


def arm(
    name: str,
    meta: MetaLearner,
    born: Callable[[Key], Learner],
    *,
    seeds: int,
    first_seed: int,
    steps: int,
    per_update: int,
    row: int,
) -> Arm:
    """Runs an outer loop for each seed with a learner of its own; a chunk is one row of metrics.

    Args:
      name: of the arm.
      meta: the outer loop.
      born: a learner from a key.
      seeds: S, all at once.
      first_seed: runs of the same number of seeds have nothing in common if this differs.
      steps: environment steps of each; what is left of a row at the end is not run.
      per_update: environment steps of one meta-update.
      row: environment steps that a row averages over, about.
    """
    turns = max(1, row // per_update)
    birth_keys, meta_keys, live_keys = (
        jax.random.split(jax.random.key(3 * first_seed + i), seeds) for i in range(3)
    )

    def start() -> tuple[PyTree, Learner]:
        def make(birth_key: Key, meta_key: Key) -> tuple[PyTree, Learner]:
            learners = jax.vmap(born)(birth_key[None])  # a population of one
            return meta.init(meta_key, learners), learners

        return jax.jit(jax.vmap(make))(birth_keys, meta_keys)

    def one(state: PyTree, learners: Learner, key: Key) -> tuple[PyTree, Metrics]:
        def turn(loop: tuple, _: None) -> tuple[tuple, Metrics]:
            state, learners, metrics = meta.update(loop[0], loop[1], key)
            kept = {k: v for k, v in metrics.items() if k in KEPT or k.startswith("tuned/")}
            return (state, learners), kept

        loop, metrics = jax.lax.scan(turn, (state, learners), None, length=turns)
        return loop, jax.tree.map(lambda x: x.mean(axis=0)[None], metrics)

    def advance(loop: tuple[PyTree, Learner]) -> tuple[tuple, Metrics]:
        return jax.vmap(one)(*loop, live_keys)

    return Arm(name, start, advance, chunks=max(1, steps // (turns * per_update)))


def total_reward(results: Results, name: str, steps: int) -> np.ndarray:
    """[S] thousands of reward in `steps` environment steps."""
    return results[name]["reward"].mean(axis=1) * steps / 1000


def last_third(values: np.ndarray) -> np.ndarray:
    """[S] means over the last third of the rows of [S, rows]."""
    return values[:, -max(1, values.shape[1] // 3) :].mean(axis=1)


def compared(
    totals: Mapping[str, np.ndarray], first: str, second: str, text: str, published: str
) -> Claim:
    """That one arm earned more than another, by more than chance over the seeds."""
    gap = totals[first] - totals[second]
    measured = (
        f"{first} {told(totals[first])}, {second} {told(totals[second])} thousand; "
        f"difference {told(gap)}"
    )
    return Claim(text, published, measured, above(gap))


def by_period(values: np.ndarray, steps: int, period: int) -> tuple[np.ndarray, np.ndarray]:
    """Values [S, rows] averaged over each period between two flips: its end, [P], and [S, P]."""
    middle = (np.arange(values.shape[1]) + 0.5) * steps / values.shape[1]
    which = (middle // period).astype(int)
    filled = np.unique(which)
    means = np.stack([values[:, which == i].mean(axis=1) for i in filled], axis=1)
    return (filled + 1) * period, means


def since_flip(
    values: np.ndarray, steps: int, period: int, bins: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    """Values [S, rows] of the second half against the steps since the last flip, [B] and [S, B]."""
    middle = (np.arange(values.shape[1]) + 0.5) * steps / values.shape[1]
    late = middle >= steps / 2
    which = (middle % period * bins // period).astype(int)
    filled = np.unique(which[late])
    means = np.stack([values[:, late & (which == i)].mean(axis=1) for i in filled], axis=1)
    return (filled + 0.5) * period / bins, means

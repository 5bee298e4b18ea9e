"""Cells of an evaluation, one rule in one environment: its lives, and what is kept."""

import hashlib
import json
import pathlib
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import metarl
from metarl import registry
from metarl.build import Parts
from metarl.evaluate import evaluate
from metarl.files import write_atomically
from metarl.inner import birth, live
from metarl.programme import seed_keys
from metarl.rule_checks import are_finite, check_update, not_finite
from metarl.rules import weights
from metarl.rules.life import with_lifetime
from metarl.suites import Suite
from metarl.types import Eta, Key, Learner, PyTree

_PLAY, _LEVEL = 0x706C6179, 0x6C657665  # folded into a seed's key, apart from what training draws


class Cell(NamedTuple):
    """One rule in one environment."""

    rule: str  # as it was called
    env: str
    parts: Parts
    convention: Suite
    points: int  # evaluations, apart from that at birth
    episodes: int  # of each
    at_end: Callable[[Learner], None] = lambda learners: None  # is shown them [S, ...] grown up

    @property
    def updates(self) -> int:
        """Between two evaluations; the budget is rounded up."""
        return -(-self.parts.config.updates // self.points)

    @property
    def steps(self) -> list[int]:
        """Environment steps [points + 1] that the agents have learned from."""
        each = self.updates * self.parts.config.steps_per_update
        return [each * point for point in range(self.points + 1)]

    @property
    def identity(self) -> dict[str, Any]:
        """All that its scores depend on."""
        return {
            "config": json.loads(self.parts.config.dumps()),
            "code": code_of(self.parts.config.rule.name),
            "points": self.points,
            "episodes": self.episodes,
            "max_steps": self.convention.max_steps,
            "split": self.convention.split,
            "metarl": metarl.__version__,
        }


def kept(
    cell: Cell, folder: pathlib.Path | None, report: Callable[[str], None]
) -> tuple[np.ndarray, float]:
    """Returns [points + 1, S] and the seconds they took: from the folder, or played and put there.

    A file is found by the digest of all that its cell depends on; one that is damaged is made anew.
    """
    if folder is None:
        return _timed(cell, report)
    text = json.dumps(cell.identity, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    name = re.sub(r"[^a-z0-9.]+", "-", f"{cell.rule} {cell.env}".lower())[:80]
    path = folder / "cells" / f"{name}-{digest}.json"
    try:
        told = json.loads(path.read_text())
        returns = np.array(told["returns"], float)
        if returns.shape == (len(cell.steps), len(cell.parts.config.seeds)):
            report(f"{cell.env}: finished before, {path}")
            return returns, float(told["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent or damaged
    returns, seconds = _timed(cell, report)
    told = {"identity": cell.identity, "seconds": seconds, "returns": returns.tolist()}
    write_atomically(path, (json.dumps(told, indent=2) + "\n").encode())
    return returns, seconds


def _timed(cell: Cell, report: Callable[[str], None]) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    returns = play_cell(cell)
    seconds = round(time.perf_counter() - start, 1)
    first, last = returns[0].mean(), returns[-1].mean()
    report(f"{cell.env}: return {last:.3g} after {cell.steps[-1]} steps, from {first:.3g}")
    return returns, seconds


def play_cell(cell: Cell) -> np.ndarray:
    """Lives of all seeds by a rule in an environment: mean returns [points + 1, S].

    Raises:
      ValueError: of the rule, as `metarl.evaluation.evaluate_rule`.
    """
    parts = cell.parts
    seeds = jnp.stack([jax.random.key(seed) for seed in parts.config.seeds])
    fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    levels = _levels(parts, cell.convention, fold(seeds, _LEVEL))
    check_update(parts, jax.tree.map(lambda x: x[0], levels))
    birth_keys, eta_keys, life_keys = seed_keys(parts.config)
    play_keys, etas = fold(seeds, _PLAY), jax.vmap(parts.eta)(eta_keys)
    born, score, advance = _programmes(cell)
    learners = born(birth_keys, levels)
    returns = [np.asarray(score(learners, play_keys))]
    for steps in cell.steps[1:]:
        learners, finite = advance(etas, learners, life_keys)
        if leaf := not_finite(jax.device_get(finite)):
            raise ValueError(
                f"{cell.rule} on {cell.env}: the agent's params/{leaf} is NaN or infinite after "
                f"{steps} steps; lower its rates, or mend the rule"
            )
        returns.append(np.asarray(score(learners, play_keys)))
    cell.at_end(learners)
    return np.stack(returns)


def _programmes(cell: Cell) -> tuple[Callable, Callable, Callable]:
    """Birth, score and one part of a life, for all seeds at once; learners are donated."""
    parts = cell.parts
    sizes = {"episodes": cell.episodes, "max_steps": cell.convention.max_steps}

    def born(key: Key, level: PyTree) -> Learner:
        learner = birth(parts.agent, parts.rule, parts.venv, level, key)
        lifetime = cell.updates * cell.points
        return learner.replace(rule_state=with_lifetime(learner.rule_state, lifetime))

    def played(learner: Learner, key: Key) -> jax.Array:
        key = jax.random.fold_in(key, learner.age)
        own = (parts.agent, parts.env, learner.params, learner.env_params, key)
        return evaluate(*own, **sizes).ret.mean()

    def older(eta: Eta, learner: Learner, key: Key) -> tuple[Learner, PyTree]:
        own = (parts.agent, parts.rule, parts.venv, eta, learner, key)
        learner, _ = live(*own, updates=cell.updates, length=parts.config.length)
        return learner, are_finite(learner.params)

    advance = jax.jit(jax.vmap(older), donate_argnums=1)
    return jax.jit(jax.vmap(born)), jax.jit(jax.vmap(played)), advance


def _levels(parts: Parts, convention: Suite, keys: Key) -> PyTree:
    """Params [S, ...]: each seed's own level where the suite draws them, else the same for all."""
    if convention.split is None:
        count = len(keys)
        spread = lambda x: jnp.broadcast_to(jnp.asarray(x), (count, *jnp.shape(x)))  # noqa: E731
        return jax.tree.map(spread, parts.env_params)
    env: Any = parts.env
    return jax.vmap(lambda key: env.sample_params(key, convention.split))(keys)


def code_of(name: str) -> str:
    """The digest of weights, or of the file of a rule of the user's own; else empty."""
    if name.endswith(weights.SUFFIX) or name in weights.shipped():
        return weights.load(name).digest
    if name in registry.RULES or not {".", ":"} & {*name}:
        return ""
    source = pathlib.Path(registry.rule_module(name).__file__).read_bytes()
    return "sha256:" + hashlib.sha256(source).hexdigest()[:16]

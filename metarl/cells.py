"""Cells of an evaluation, one rule in one environment: its lives, and what is kept."""

import hashlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import metarl
from metarl.build import Parts
from metarl.files import plain_name, write_json
from metarl.hosted_programme import HostedProgramme, is_hosted, play_hosted
from metarl.moulds import Mould, born, check, etas, older, played
from metarl.named_rules import code_of
from metarl.programme import seed_keys
from metarl.rule_checks import are_finite, check_hosted_update, not_finite
from metarl.rules.life import with_lifetime
from metarl.suites import Suite
from metarl.types import Key, Learner, PyTree

_PLAY, _LEVEL = 0x706C6179, 0x6C657665  # folded into a seed's key, apart from what training draws


# Environment steps, mean returns [C, S], which params are finite [C * S], learners [C * S, ...].
Stage = tuple[int, np.ndarray, PyTree, Learner]


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
    def mould(self) -> Mould:
        """What it shares with all cells that one programme can play."""
        return self.mould_of(())

    def mould_of(self, free: Sequence[str]) -> Mould:
        """The same where numbers of the rule are arguments of the programme."""
        sizes = (self.updates, self.episodes, self.convention.max_steps)
        return Mould.of(self.parts, *sizes, free)

    @property
    def hosted(self) -> bool:
        """Whether its environment is one of Gymnasium's, stepped on the host."""
        return is_hosted(self.parts)

    def check(self) -> None:
        """Refuses a rule whose update cannot be repeated: see `metarl.rule_checks`."""
        if self.hosted:
            check_hosted_update(self.parts)
        else:
            check(self.mould)

    @property
    def identity(self) -> dict[str, Any]:
        """All that its scores depend on."""
        return {
            "config": json.loads(self.parts.config.dumps()),
            "code": code_of(self.parts.config.rule),
            "points": self.points,
            "episodes": self.episodes,
            "max_steps": self.convention.max_steps,
            "split": self.convention.split,
            "metarl": metarl.__version__,
        }

    @property
    def digest(self) -> str:
        """Of the identity, in hexadecimal."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def kept(
    cell: Cell, folder: pathlib.Path | None, report: Callable[[str], None]
) -> tuple[np.ndarray, float]:
    """Returns [points + 1, S] and the seconds they took: from the folder, or played and put there.

    A file is found by the digest of all that its cell depends on; one that is damaged is made anew.
    """
    found = None if folder is None else read(cell, folder)
    if folder is not None and found is not None:
        report(f"{cell.env}: finished before, {path_of(cell, folder)}")
        return found
    start = time.perf_counter()
    returns = play_cell(cell)
    seconds = round(time.perf_counter() - start, 1)
    first, last = returns[0].mean(), returns[-1].mean()
    report(f"{cell.env}: return {last:.3g} after {cell.steps[-1]} steps, from {first:.3g}")
    if folder is not None:
        write(cell, folder, returns, seconds)
    return returns, seconds


def path_of(cell: Cell, folder: pathlib.Path) -> pathlib.Path:
    """The file of a cell."""
    name = plain_name(f"{cell.rule} {cell.env}")
    return folder / "cells" / f"{name}-{cell.digest[:12]}.json"


def read(cell: Cell, folder: pathlib.Path) -> tuple[np.ndarray, float] | None:
    """Returns and seconds of a cell that was kept; None where its file is absent or damaged."""
    try:
        told = json.loads(path_of(cell, folder).read_text())
        returns = np.array(told["returns"], float)  # None becomes NaN
        if returns.shape == (len(cell.steps), len(cell.parts.config.seeds)):
            return returns, float(told["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def write(cell: Cell, folder: pathlib.Path, returns: np.ndarray, seconds: float) -> None:
    """Keeps a cell; of an agent that diverged, returns are NaN."""
    entry = {"identity": cell.identity, "seconds": seconds, "returns": returns}
    write_json(path_of(cell, folder), entry)


def play_cell(cell: Cell) -> np.ndarray:
    """Lives of all seeds by a rule in an environment: mean returns [points + 1, S].

    Raises:
      ValueError: of the rule, as `metarl.evaluation.evaluate_rule`.
    """
    cell.check()
    found = []
    for steps, returns, finite, learners in lives(cell, [{}]):
        if leaf := not_finite(finite):
            raise ValueError(
                f"{cell.rule} on {cell.env}: the agent's params/{leaf} is NaN or infinite after "
                f"{steps} steps; lower its rates, or mend the rule"
            )
        found.append(returns[0])
        if steps == cell.steps[-1]:
            cell.at_end(learners)
    return np.stack(found)


def lives(cell: Cell, candidates: Sequence[Mapping[str, float]]) -> Iterator[Stage]:
    """Lives of all seeds by each of the candidates, side by side, from one evaluation to the next.

    Args:
      cell: of which candidates are variants.
      candidates: numbers of the rule for settings, all of the same names.

    Yields:
      Environment steps, mean returns [C, S], which params are finite [C * S], none being told at
      birth, and the learners [C * S, ...], which the next turn takes back.
    """
    return (_hosted_lives if cell.hosted else _compiled_lives)(cell, candidates)


def _compiled_lives(cell: Cell, candidates: Sequence[Mapping[str, float]]) -> Iterator[Stage]:
    """All lives in one programme."""
    parts, count = cell.parts, len(candidates)
    levels = _levels(parts, cell.convention, _keys_for(_LEVEL, cell))
    own = (*seed_keys(parts.config), _keys_for(_PLAY, cell), levels)
    # The lives of one candidate after those of another.
    spread = jax.tree.map(lambda x: jnp.concatenate([x] * count), own)
    birth_keys, eta_keys, life_keys, play_keys, levels = spread
    free, seeds = tuple(candidates[0]), len(parts.config.seeds)
    numbers = {
        name: jnp.repeat(jnp.array([c[name] for c in candidates], jnp.float32), seeds)
        for name in free
    }
    mould, shape = cell.mould_of(free), (count, seeds)
    eta = etas(mould, numbers, eta_keys)
    learners = born(mould, numbers, levels, birth_keys, cell.updates * cell.points)
    yield 0, np.asarray(played(mould, learners, play_keys)).reshape(shape), {}, learners
    for steps in cell.steps[1:]:
        learners, finite = older(mould, numbers, eta, learners, life_keys)
        returns = np.asarray(played(mould, learners, play_keys)).reshape(shape)
        yield steps, returns, jax.device_get(finite), learners


def _hosted_lives(cell: Cell, candidates: Sequence[Mapping[str, float]]) -> Iterator[Stage]:
    """One life after another, each up to the next evaluation."""
    numbered = [cell.parts.rule_with(**numbers) for numbers in candidates]
    every = [cell.parts._replace(rule=rule) for rule in numbered]
    programmes = [HostedProgramme(parts) for parts in every]
    play_keys = _keys_for(_PLAY, cell)
    sizes = {"episodes": cell.episodes, "max_steps": cell.convention.max_steps}
    aged = jax.vmap(partial(with_lifetime, lifetime=cell.updates * cell.points))
    young = [programme.born() for programme in programmes]
    every_learner = [one.replace(rule_state=aged(one.rule_state)) for one in young]
    joined = lambda *x: np.concatenate(x)  # noqa: E731
    try:
        for point, steps in enumerate(cell.steps):
            returns, finite = [], []
            for i, programme in enumerate(programmes):
                learners = every_learner[i]
                if point:
                    learners = every_learner[i] = programme.advance(learners, cell.updates)[0]
                    finite.append(jax.device_get(jax.vmap(are_finite)(learners.params)))
                own = jax.vmap(jax.random.fold_in)(play_keys, jnp.asarray(learners.age))
                scores = play_hosted(every[i], cell.parts.agent, learners.params, own, **sizes)
                returns.append(scores.ret.mean(axis=1))
            told = jax.tree.map(joined, *finite) if point else {}
            yield steps, np.stack(returns), told, jax.tree.map(joined, *every_learner)
    finally:
        for programme in programmes:
            programme.close()


def _keys_for(use: int, cell: Cell) -> Key:
    """[S] a key of each seed for one use."""
    seeds = cell.parts.config.seeds
    return jnp.stack([jax.random.fold_in(jax.random.key(seed), use) for seed in seeds])


def _levels(parts: Parts, convention: Suite, keys: Key) -> PyTree:
    """Params [S, ...]: each seed's own level where the suite draws them, else the same for all."""
    if convention.split is None:
        count = len(keys)
        spread = lambda x: jnp.broadcast_to(jnp.asarray(x), (count, *jnp.shape(x)))  # noqa: E731
        return jax.tree.map(spread, parts.env_params)
    env: Any = parts.env
    return jax.vmap(lambda key: env.sample_params(key, convention.split))(keys)

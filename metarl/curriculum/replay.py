"""Curricula: which level every life of a population is on, and which the next one gets.

Prioritised level replay (Jiang et al. 2021, https://arxiv.org/abs/2010.03934) for whole lives, as
in GROOVE (Jackson et al. 2023, https://arxiv.org/abs/2310.02782), and with edits of replayed levels
as in ACCEL (Parker-Holder et al. 2022, https://arxiv.org/abs/2203.01302).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from metarl.curriculum.buffer import (
    Buffer,
    empty,
    insert,
    record,
    replayable,
    settle,
    stamped,
    take,
)
from metarl.curriculum.few import for_few
from metarl.curriculum.prioritised import Priority, draw, log_probabilities, rank
from metarl.curriculum.scores import Scoring
from metarl.rollout import where
from metarl.types import Key, Metrics, PyTree

Sample = Callable[[Key], PyTree]  # a new level
Edit = Callable[[Key, PyTree], PyTree]  # a level a little different


class Curriculum(NamedTuple):
    """Gives `A` lives their levels.

    `init(key)` is `(levels [A, ...], state)`. `replace(state, ended, life, key)` is
    `(levels [A, ...], state, metrics)`: all lives' levels, other ones for those that `ended`
    [A] bool. `life`, leaves [A, ...], is whatever the scores look at, as the lives ended: a
    `Learner`, or it and its critic. The key of `replace` is that of the whole run, the same at
    every call, as for a `MetaLearner`; split it off from what the lives draw from.
    """

    init: Callable[[Key], tuple[PyTree, PyTree]]
    replace: Callable[[PyTree, jax.Array, PyTree, Key], tuple[PyTree, PyTree, Metrics]]


@dataclass(frozen=True)
class Settings:
    """Of prioritised replay; everything fixes the compiled programme.

    By default a buffer and a share of replays as GROOVE has them, drawn as in the PLR paper. With
    `priority=top(lives)` and `staleness=0` draws are GROOVE's as well where all lives end together;
    its code also replays levels without a score, by a defect (`metarl.curriculum.released`).

    Args:
      capacity: B, levels in the buffer, those that lives are on among them.
      replay: how likely a life that begins gets a level of the buffer instead of a new one.
      least: replay needs so many levels that may be replayed; None: as many as there are lives.
      priority: P_S, from `metarl.curriculum.prioritised`.
      staleness: the share of P_C, levels that were not drawn for long.
      distinct: no replay of a level that a life is on, or twice in a draw. A new level that equals
        one in the buffer is that one all the same.
      edited: how likely a replayed level is edited first.
      edits: of one such level.
      batch: outcomes and references that are computed at once.
      quorum: levels that must wait for their references before a batch of these is computed. 1
        scores every level as soon as its life ends; `batch` wastes nothing where few lives end at
        a time and wide work is cheap. A level that waits is not replayed.
    """

    capacity: int = 4000
    replay: float = 0.5
    least: int | None = None
    priority: Priority = rank()
    staleness: float = 0.1
    distinct: bool = True
    edited: float = 0.0
    edits: int = 1
    batch: int = 1
    quorum: int = 1

    def check(self, learners: int, edit: Edit | None) -> None:
        """Raises ValueError where a setting is out of range or does not go with the others."""
        for name in ("replay", "staleness", "edited"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        for name in ("edits", "batch", "quorum"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.capacity < learners + self.quorum:
            raise ValueError(
                f"{learners} lives, and levels that wait for a quorum of {self.quorum}, need a "
                f"capacity of {learners + self.quorum} or more, got {self.capacity}"
            )
        if self.edited and edit is None:
            raise ValueError(f"edited={self.edited} needs a function `edit(key, level)`")


class State(struct.PyTreeNode):
    """What a curriculum keeps."""

    buffer: Buffer
    slot: jax.Array  # [A] int32, where in the buffer each life's level is
    calls: jax.Array  # [] int32


def uniform(sample: Sample, learners: int) -> Curriculum:
    """No curriculum: every life gets a new level."""

    def init(key: Key) -> tuple[PyTree, PyTree]:
        levels = jax.vmap(sample)(jax.random.split(key, learners))
        return levels, (levels, jnp.int32(0))

    def replace(state: PyTree, ended: jax.Array, life: PyTree, key: Key):
        levels, calls = state
        fresh = jax.vmap(sample)(jax.random.split(jax.random.fold_in(key, calls), learners))
        levels = where(ended, fresh, levels)
        return levels, (levels, calls + 1), {"births": jnp.sum(ended)}

    return Curriculum(init, replace)


def level_replay(
    sample: Sample,
    scoring: Scoring,
    learners: int,
    *,
    settings: Settings | None = None,
    edit: Edit | None = None,
) -> Curriculum:
    """Prioritised level replay.

    Where lives ended: their outcomes are computed, then references of levels that have none,
    then scores are set; each place draws whether it replays; the others get new levels, which
    take the slots of the lowest scores.

    Args:
      sample: a new level from a key.
      scoring: how ended lives score their levels.
      learners: A.
      settings: the numbers; default `Settings()`.
      edit: `(key, level) -> level`, where `settings.edited` is above 0.

    Returns:
      A `Curriculum` whose metrics are `births`, `replays`, `edits`, `inserted` (new levels that
      were in the buffer of no one), `references` (computed, whole batches), `levels_scored`,
      `levels_waiting`, and the mean and the highest `score` of the buffer (NaN: there is none).

    Raises:
      ValueError: settings out of range.
    """
    chosen = settings or Settings()
    chosen.check(learners, edit)

    def init(key: Key) -> tuple[PyTree, PyTree]:
        fresh = jax.vmap(sample)(jax.random.split(key, learners))
        buffer = empty(jax.tree.map(lambda x: x[0], fresh), chosen.capacity)
        everyone = jnp.ones(learners, bool)
        buffer, slot, _ = insert(buffer, fresh, everyone)
        buffer = stamped(buffer, slot, everyone)
        return take(buffer.level, slot), State(buffer, slot, jnp.int32(0))

    def replace(state: State, ended: jax.Array, life: PyTree, key: Key):
        life = jax.lax.stop_gradient(life)  # scores say where to learn, not how
        score_key, draw_key = jax.random.split(jax.random.fold_in(key, state.calls))
        now = (state.buffer, state.slot, ended)
        buffer, computed = scored(*now, life, scoring=scoring, chosen=chosen, key=score_key)
        source: Any = {"sample": sample, "edit": edit, "chosen": chosen}
        buffer, slot, told = _redrawn(buffer, state.slot, ended, draw_key, **source)
        state = State(buffer, slot, state.calls + 1)
        told = {**told, "births": jnp.sum(ended), "references": computed, **_told(buffer)}
        return take(buffer.level, slot), state, told

    return Curriculum(init, replace)


def scored(
    buffer: Buffer,
    slot: jax.Array,
    ended: jax.Array,
    life: PyTree,
    *,
    scoring: Scoring,
    chosen: Settings,
    key: Key,
) -> tuple[Buffer, jax.Array]:
    """The buffer with the scores of lives that ended, and how many references were computed.

    The key is consumed; what a life or a level draws does not hang on `chosen.batch`.
    """
    life_key, level_key = jax.random.split(key)

    def outcome(i: jax.Array) -> tuple[jax.Array, jax.Array]:
        level, best = take((buffer.level, buffer.best), slot[i])
        return scoring.outcome(take(life, i), level, best, jax.random.fold_in(life_key, i))

    nothing = jnp.zeros(len(ended))
    (value, best), _, _ = for_few(
        ended, slot, outcome, (nothing, nothing), batch=min(chosen.batch, len(ended))
    )
    buffer = record(buffer, slot, ended, value, best)
    judge = scoring.reference
    if judge is None:
        known = jnp.where(buffer.waiting, 0.0, buffer.reference)
        return settle(buffer.replace(reference=known)), jnp.int32(0)

    def reference(i: jax.Array) -> jax.Array:
        return judge(take(buffer.level, i), jax.random.fold_in(level_key, i))

    unknown = buffer.waiting & jnp.isnan(buffer.reference)
    known, _, computed = for_few(
        unknown,
        buffer.drawn,
        reference,
        buffer.reference,
        batch=min(chosen.batch, chosen.capacity),
        quorum=chosen.quorum,
    )
    return settle(buffer.replace(reference=known)), computed


def _redrawn(
    buffer: Buffer,
    slot: jax.Array,
    ended: jax.Array,
    key: Key,
    *,
    sample: Sample,
    edit: Edit | None,
    chosen: Settings,
) -> tuple[Buffer, jax.Array, Metrics]:
    """The buffer and the slots [A] after lives that ended have got other levels."""
    learners, may = len(ended), replayable(buffer)
    choice_key, which_key, edited_key, fresh_key, edit_key = jax.random.split(key, 5)
    if not chosen.distinct:
        may = buffer.scored & (buffer.score > -jnp.inf)
    log_p = log_probabilities(
        chosen.priority,
        score=buffer.score,
        drawn=buffer.drawn,
        clock=buffer.clock,
        among=may,
        staleness=chosen.staleness,
    )
    enough = jnp.sum(may) >= (learners if chosen.least is None else chosen.least)
    wish = ended & enough & jax.random.bernoulli(choice_key, chosen.replay, (learners,))
    drawn, valid = draw(which_key, log_p, learners, distinct=chosen.distinct)
    turn = jnp.cumsum(wish) - 1  # lives take the draws in order
    old, replays = drawn[turn], wish & valid[turn]
    changed = replays & jax.random.bernoulli(edited_key, chosen.edited, (learners,))
    replays &= ~changed
    fresh = jax.vmap(sample)(jax.random.split(fresh_key, learners))
    if edit is not None and chosen.edited:
        parents = take(buffer.level, old)
        fresh = where(changed, _edited(edit, edit_key, parents, chosen.edits), fresh)
    kept = jnp.where(replays, old, chosen.capacity)
    buffer = buffer.replace(used=buffer.used.at[kept].add(1, mode="drop"))
    buffer, new, inserted = insert(buffer, fresh, ended & ~replays)
    slot = jnp.where(ended, jnp.where(replays, old, new), slot)
    told = {"replays": replays, "edits": changed, "inserted": inserted}
    return stamped(buffer, slot, ended), slot, {k: jnp.sum(v) for k, v in told.items()}


def _edited(edit: Edit, key: Key, levels: PyTree, count: int) -> PyTree:
    """Each of the levels [A, ...] edited so many times. The key is consumed."""

    def one(key: Key, level: PyTree) -> PyTree:
        return jax.lax.scan(lambda l, k: (edit(k, l), None), level, jax.random.split(key, count))[0]

    return jax.vmap(one)(jax.random.split(key, len(jax.tree.leaves(levels)[0])), levels)


def _told(buffer: Buffer) -> Metrics:
    """Metrics of the buffer."""
    valid = buffer.scored & (buffer.score > -jnp.inf)
    count = jnp.sum(valid)
    mean = jnp.sum(jnp.where(valid, buffer.score / jnp.maximum(count, 1), 0))
    highest = jnp.max(jnp.where(valid, buffer.score, -jnp.inf))
    return {
        "levels_scored": count,
        "levels_waiting": jnp.sum(buffer.waiting),
        "score_mean": jnp.where(count > 0, mean, jnp.nan),
        "score_max": jnp.where(count > 0, highest, jnp.nan),
    }

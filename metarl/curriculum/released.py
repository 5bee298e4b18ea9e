"""The buffer of levels as GROOVE's code has it (Jackson et al. 2023), to be compared with.

https://arxiv.org/abs/2310.02782. Every slot holds a level from the start. At each call as many free
levels as there are lives make room for new ones, whether or not a life ended: those without a score
first, then the lowest scores. A life then begins on one of the best levels or on one without a
score. `metarl.curriculum.replay` is what to train with: it keeps references, draws by rank and
staleness, and knows equal levels.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from metarl.curriculum.buffer import take
from metarl.curriculum.few import for_few
from metarl.curriculum.prioritised import draw
from metarl.curriculum.replay import Curriculum, Sample
from metarl.curriculum.scores import Scoring
from metarl.registry import unknown
from metarl.rollout import where
from metarl.types import Key, Metrics, PyTree

TRANSFORMS = ("rank", "proportional")


@dataclass(frozen=True)
class Released:
    """Settings; the last two are defects of the code, each of its own.

    Args:
      capacity: B, levels in the buffer.
      replay: how likely a life that begins gets a level with a score. There must be as many of
        these that are free as there are lives.
      transform: `rank`: the life in place i gets the level of the i-th highest score, nothing is
        drawn; or `proportional`: as many draws as lives, without replacement, of probabilities
        `exp(score / temperature)`.
      temperature: of `proportional`.
      forget_new: whoever makes room for new levels takes the mark of those without a score off all
        others, and gives it to those that lives are on: what no life was ever on then counts as
        scored, with 0, is replayed, and stands above every negative regret.
      overflow: compute `exp(score / temperature)` as it stands, for `rank` as well. With a score
        beyond 88 times the temperature all weights are then 0 or NaN: the highest scores have lost
        their order, and the others stand no better than levels that may not be replayed.
      batch: scores that are computed at once.
    """

    capacity: int = 4000
    replay: float = 0.5
    transform: str = "rank"
    temperature: float = 1.0
    forget_new: bool = False
    overflow: bool = False
    batch: int = 1

    def check(self, learners: int) -> None:
        """Raises ValueError where a setting is out of range."""
        if self.transform not in TRANSFORMS:
            raise unknown("transform", self.transform, TRANSFORMS)
        if not 0 <= self.replay <= 1:
            raise ValueError(f"replay must lie in 0..1, got {self.replay}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")
        if self.capacity < 2 * learners:
            raise ValueError(
                f"{learners} lives, and as many new levels, need a capacity of {2 * learners} or "
                f"more, got {self.capacity}"
            )


class ReleasedState(struct.PyTreeNode):
    """The buffer, `[B, ...]`, and where lives are, `[A, ...]`."""

    level: PyTree
    score: jax.Array  # [B] float32, 0 where there is none
    active: jax.Array  # [B] bool, a life is on it
    new: jax.Array  # [B] bool, it has no score
    best: jax.Array  # [B] float32, the highest return seen on it
    slot: jax.Array  # [A] int32
    levels: PyTree  # [A, ...] the lives' own, should a slot be lost under them
    calls: jax.Array  # [] int32

    @property
    def free(self) -> jax.Array:
        """[B] bool, levels that count as scored, and that no life is on."""
        return ~(self.new | self.active)


def released_replay(
    sample: Sample, scoring: Scoring, learners: int, *, settings: Released | None = None
) -> Curriculum:
    """Level replay as released; by default without the code's defects.

    Where a life ended, outcome and reference are both computed, the reference again each time.

    Args:
      sample: a new level from a key.
      scoring: how ended lives score their levels.
      learners: A.
      settings: the numbers; default `Released()`.

    Returns:
      A `Curriculum` whose metrics are `births`, `replays`, `references`, `levels_scored` (that
      count as scored and are free), and the mean and the highest score of these (NaN: none).

    Raises:
      ValueError: settings out of range.
    """
    chosen = settings or Released()
    chosen.check(learners)

    def init(key: Key) -> tuple[PyTree, ReleasedState]:
        level = jax.vmap(sample)(jax.random.split(key, chosen.capacity))
        place, slot = jnp.arange(chosen.capacity), jnp.arange(learners, dtype=jnp.int32)
        levels, nothing = take(level, slot), jnp.zeros(chosen.capacity)
        flags = (place < learners, place >= 0)
        best = jnp.full_like(nothing, -jnp.inf)
        return levels, ReleasedState(level, nothing, *flags, best, slot, levels, jnp.int32(0))

    def replace(state: ReleasedState, ended: jax.Array, life: PyTree, key: Key):
        life = jax.lax.stop_gradient(life)  # scores say where to learn, not how
        keys = jax.random.split(jax.random.fold_in(key, state.calls), 3)
        state = _renewed(state, keys[0], sample, forget_new=chosen.forget_new)
        state, computed = _scored(state, ended, life, keys[1], scoring, chosen.batch)
        state, told = _given(state, ended, keys[2], chosen)
        told = {**told, "births": jnp.sum(ended), "references": computed}
        return state.levels, state.replace(calls=state.calls + 1), told

    return Curriculum(init, replace)


def _renewed(state: ReleasedState, key: Key, sample: Sample, *, forget_new: bool) -> ReleasedState:
    """The buffer with as many new levels as there are lives. The key is consumed."""
    count = len(state.slot)
    standing = jnp.where(state.new, -jnp.inf, state.score)
    lost = jnp.argsort(jnp.where(state.active, jnp.inf, standing))[:count]
    fresh = jax.vmap(sample)(jax.random.split(key, count))
    mark = state.active if forget_new else state.new
    return state.replace(
        level=jax.tree.map(lambda x, y: x.at[lost].set(y), state.level, fresh),
        score=state.score.at[lost].set(0),
        active=state.active.at[lost].set(False),
        new=mark.at[lost].set(True),
        best=state.best.at[lost].set(-jnp.inf),
    )


def _scored(
    state: ReleasedState, ended: jax.Array, life: PyTree, key: Key, scoring: Scoring, batch: int
) -> tuple[ReleasedState, jax.Array]:
    """The buffer with the scores of lives that ended, and how many references were computed."""
    life_key, level_key = jax.random.split(key)
    judge = scoring.reference

    def score(i: jax.Array) -> tuple[jax.Array, jax.Array]:
        level, own = take((state.levels, life), i)
        before, one_key = state.best[state.slot[i]], jax.random.fold_in(life_key, i)
        value, best = scoring.outcome(own, level, before, one_key)
        return value + (judge(level, jax.random.fold_in(level_key, i)) if judge else 0), best

    nothing, place = jnp.zeros(len(ended)), jnp.arange(len(ended))
    (value, best), _, computed = for_few(
        ended, place, score, (nothing, nothing), batch=min(batch, len(ended))
    )
    to = jnp.where(ended, state.slot, len(state.score))  # beyond the last: dropped
    state = state.replace(
        score=state.score.at[to].set(value, mode="drop"),
        active=state.active.at[to].set(False, mode="drop"),
        new=state.new.at[to].set(False, mode="drop"),
        best=state.best.at[to].set(best, mode="drop"),
    )
    return state, computed if judge else jnp.int32(0)


def _given(
    state: ReleasedState, ended: jax.Array, key: Key, chosen: Released
) -> tuple[ReleasedState, Metrics]:
    """Other levels for the lives that ended. The key is consumed."""
    free, score, count = state.free, state.score, len(ended)
    which_key, old_key, new_key = jax.random.split(key, 3)
    old = _best(score, free, count, old_key, chosen)
    unseen = jnp.where(state.new & ~state.active, 0.0, -jnp.inf)
    new, _ = draw(new_key, unseen, count, distinct=True)
    enough = jnp.sum(free) >= count
    replays = ended & enough & jax.random.bernoulli(which_key, chosen.replay, (count,))
    slot = jnp.where(ended, jnp.where(replays, old, new), state.slot)
    highest = jnp.max(jnp.where(free, score, -jnp.inf))
    told = {
        "replays": jnp.sum(replays),
        "levels_scored": jnp.sum(free),
        "score_mean": jnp.sum(jnp.where(free, score, 0)) / jnp.sum(free),
        "score_max": jnp.where(jnp.any(free), highest, jnp.nan),
    }
    levels = where(ended, take(state.level, slot), state.levels)
    active = state.active.at[slot].set(True)
    return state.replace(slot=slot, levels=levels, active=active), told


def _best(score: jax.Array, free: jax.Array, count: int, key: Key, chosen: Released) -> jax.Array:
    """[A] int32, what each place would replay. The key is consumed."""
    scaled = score / chosen.temperature
    if chosen.overflow:
        weight = jnp.where(free, jnp.exp(scaled), 0)
        weight = weight / jnp.sum(weight)
    else:
        weight = jnp.where(free, scaled, -jnp.inf)  # logarithms, which keep the order
    if chosen.transform == "rank":
        return jnp.flip(jnp.argsort(weight))[:count].astype(jnp.int32)
    if chosen.overflow:
        places = jnp.arange(len(score), dtype=jnp.int32)
        return jax.random.choice(key, places, (count,), replace=False, p=weight)
    return draw(key, weight, count, distinct=True)[0]

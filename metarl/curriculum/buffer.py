"""A buffer of levels with their scores, as arrays of fixed size.

A slot is empty, or holds a level that lives are on, or one that ended lives have given a score, or
one that still waits for its score. Only scored levels are ever replayed, and a level without a
score competes with none: what has not been measured is not zero.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from metarl.envs.splits import fingerprint
from metarl.types import PyTree


class Buffer(struct.PyTreeNode):
    """`B` slots, every leaf `[B, ...]`."""

    level: PyTree
    fingerprint: jax.Array  # [B] uint32
    filled: jax.Array  # [B] bool, holds a level
    used: jax.Array  # [B] int32, lives that are on it now
    scored: jax.Array  # [B] bool
    score: jax.Array  # [B] float32, the last; -inf where there is none or it was NaN
    waiting: jax.Array  # [B] bool, a life has ended on it and its reference is not known yet
    outcome: jax.Array  # [B] float32, what the last life came to, to which the reference is added
    reference: jax.Array  # [B] float32, of the level alone; NaN until it is known
    best: jax.Array  # [B] float32, the highest return seen on it
    drawn: jax.Array  # [B] int32, the clock when it was last given to a life
    clock: jax.Array  # [] int32, how many levels have been given to lives


def empty(like: PyTree, capacity: int) -> Buffer:
    """A buffer of `capacity` empty slots for levels like `like`, of which only shapes matter."""
    zeros = lambda dtype: jnp.zeros(capacity, dtype)  # noqa: E731
    nothing = jnp.full(capacity, -jnp.inf)
    return Buffer(
        level=jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), like),
        fingerprint=zeros(jnp.uint32),
        filled=zeros(bool),
        used=zeros(jnp.int32),
        scored=zeros(bool),
        score=nothing,
        waiting=zeros(bool),
        outcome=zeros(jnp.float32),
        reference=jnp.full(capacity, jnp.nan),
        best=nothing,
        drawn=zeros(jnp.int32),
        clock=jnp.int32(0),
    )


def replayable(buffer: Buffer) -> jax.Array:
    """[B] bool, the levels that may be replayed: scored, by more than -inf, and free."""
    return buffer.scored & (buffer.used == 0) & (buffer.score > -jnp.inf)


def evictable(buffer: Buffer) -> jax.Array:
    """[B] bool, the slots whose level may be lost: no life is on it, and none of it is awaited."""
    return (buffer.used == 0) & ~buffer.waiting


def eviction_order(buffer: Buffer) -> jax.Array:
    """[B] int32, slots in the order in which their levels are lost; see `evictable` for the end.

    Empty ones come first, then levels that never got a score, then the lowest score first. Equal
    scores: the one that was drawn longest ago.
    """
    first = jnp.where(buffer.filled & buffer.scored, 2, jnp.where(buffer.filled, 1, 0))
    standing = jnp.where(evictable(buffer), first, 3)
    return jnp.lexsort((buffer.drawn, buffer.score, standing)).astype(jnp.int32)


def insert(buffer: Buffer, fresh: PyTree, wanted: jax.Array) -> tuple[Buffer, jax.Array, jax.Array]:
    """Finds a slot for each wanted fresh level, and counts a life on it.

    A level that equals one in the buffer, or one before it in `fresh`, gets that one's slot, with
    the score and the reference that are known of it. Any other takes a slot of `eviction_order`;
    there must be enough that are `evictable`. Levels with NaN in them equal nothing.

    Args:
      buffer: the buffer.
      fresh: levels, leaves [A, ...].
      wanted: [A] bool; the other levels are ignored.

    Returns:
      The buffer, the slots, [A] int32 (of no meaning where not wanted), and where the level was
      written to it because it was not there, [A] bool.
    """
    capacity, marks = buffer.filled.shape[0], jax.vmap(fingerprint)(fresh)
    first = _equal(buffer, fresh, marks, wanted)  # in the buffer, or beyond it in `fresh`
    place = jnp.arange(len(wanted), dtype=jnp.int32)
    known, new = wanted & (first < capacity), wanted & (first == capacity + place)
    # Levels that are known now may not make room for others.
    used = buffer.used.at[_where(known, first, capacity)].add(1, mode="drop")
    slot = eviction_order(buffer.replace(used=used))[jnp.cumsum(new) - 1]
    slot = jnp.where(known, first, jnp.where(new, slot, slot[first - capacity]))
    buffer = _written(buffer, fresh, marks, _where(new, slot, capacity))
    used = buffer.used.at[_where(wanted, slot, capacity)].add(1, mode="drop")
    return buffer.replace(used=used), slot, new


def stamped(buffer: Buffer, slot: jax.Array, given: jax.Array) -> Buffer:
    """Sets the clock on and stamps the slots [A] whose levels were `given` [A] to lives."""
    clock = buffer.clock + jnp.sum(given)
    drawn = buffer.drawn.at[_where(given, slot, buffer.filled.shape[0])].set(clock, mode="drop")
    return buffer.replace(clock=clock, drawn=drawn)


def record(
    buffer: Buffer, slot: jax.Array, ended: jax.Array, outcome: jax.Array, best: jax.Array
) -> Buffer:
    """Takes the lives that ended off their levels, and keeps what they came to.

    The levels are then `waiting`: `settle` gives them their scores. Of lives that end at once on
    one level the mean of the outcomes counts.

    Args:
      buffer: the buffer.
      slot: [A] int32, of each life.
      ended: [A] bool.
      outcome: [A] float32.
      best: [A] float32, the highest return seen on the level.
    """
    capacity = buffer.filled.shape[0]
    where = _where(ended, slot, capacity)
    add = lambda x: jnp.zeros(capacity, x.dtype).at[where].add(x, mode="drop")  # noqa: E731
    count = add(jnp.ones_like(slot))
    mean = add(outcome) / jnp.maximum(count, 1)
    best = jnp.where(jnp.isnan(best), -jnp.inf, best)
    return buffer.replace(
        used=buffer.used - count,
        waiting=buffer.waiting | (count > 0),
        outcome=jnp.where(count > 0, mean, buffer.outcome),
        best=buffer.best.at[where].max(best, mode="drop"),
    )


def settle(buffer: Buffer) -> Buffer:
    """Scores the waiting levels whose reference is known: reference plus outcome.

    A score of NaN becomes -inf: never replayed, and the first of the scored to be replaced. One of
    inf becomes the largest finite number.
    """
    now = buffer.waiting & ~jnp.isnan(buffer.reference)
    score = buffer.reference + buffer.outcome
    score = jnp.where(jnp.isnan(score), -jnp.inf, score)
    score = jnp.minimum(score, jnp.finfo(score.dtype).max)
    return buffer.replace(
        scored=buffer.scored | now,
        score=jnp.where(now, score, buffer.score),
        waiting=buffer.waiting & ~now,
    )


def take(tree: PyTree, index: jax.Array) -> Any:
    """Rows `index` of every leaf."""
    return jax.tree.map(lambda x: x[index], tree)


def _where(wanted: jax.Array, slot: jax.Array, capacity: int) -> jax.Array:
    """[A] int32, the slots, and beyond the last where not wanted: dropped by `mode="drop"`."""
    return jnp.where(wanted, slot, capacity)


def _equal(buffer: Buffer, fresh: PyTree, marks: jax.Array, wanted: jax.Array) -> jax.Array:
    """[A] int32, the first slot or the first of `fresh` whose level equals each of `fresh`.

    Slots are numbered from 0, `fresh` from B; whatever equals nothing before it has its own number.
    Only the first with the same fingerprint is compared in full: where two different levels share
    one, which happens once in four billion pairs, an equal one behind may go unseen.
    """
    join = lambda x, y: jnp.concatenate([x, y])  # noqa: E731
    among = join(buffer.filled, wanted)
    same = among & (join(buffer.fingerprint, marks) == marks[:, None])  # [A, B + A]
    first = jnp.argmax(same, axis=1).astype(jnp.int32)
    equal = jnp.any(same, axis=1)
    for old, new in zip(jax.tree.leaves(buffer.level), jax.tree.leaves(fresh), strict=True):
        equal &= jnp.all((join(old, new)[first] == new).reshape(len(new), -1), axis=1)
    own = buffer.filled.shape[0] + jnp.arange(len(first), dtype=jnp.int32)
    return jnp.where(equal, first, own)


def _written(buffer: Buffer, fresh: PyTree, marks: jax.Array, slot: jax.Array) -> Buffer:
    """Fresh levels [A] in the slots [A], those beyond the last left out, and nothing known."""
    put: Any = lambda old, new: old.at[slot].set(new, mode="drop")  # noqa: E731
    return buffer.replace(
        level=jax.tree.map(put, buffer.level, fresh),
        fingerprint=put(buffer.fingerprint, marks),
        filled=put(buffer.filled, True),
        used=put(buffer.used, 0),
        scored=put(buffer.scored, False),
        score=put(buffer.score, -jnp.inf),
        waiting=put(buffer.waiting, False),
        outcome=put(buffer.outcome, 0),
        reference=put(buffer.reference, jnp.nan),
        best=put(buffer.best, -jnp.inf),
    )

"""Prioritised level replay (Jiang et al. 2021, https://arxiv.org/abs/2010.03934): what is drawn.

A level is replayed with probability `(1 - staleness) * P_S + staleness * P_C`: P_S by its score,
P_C in proportion to how many levels were given out since it was. Both are over the levels that may
be replayed now; ranks are among these alone, so a level without a score takes no rank.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl.types import Key

Priority = Callable[[jax.Array, jax.Array], jax.Array]  # scores [B], drawn [B] -> log-weights [B]


def rank(temperature: float = 0.1) -> Priority:
    """`(1 / rank) ** (1 / temperature)`, rank 1 for the highest score.

    Of equal scores the one that was drawn longest ago has the better rank.
    """
    return lambda score, drawn: -jnp.log(ranks(score, drawn)) / temperature


def proportional(temperature: float = 1.0) -> Priority:
    """`score ** (1 / temperature)`, of which a negative score counts as 0.

    Where no score is positive, all levels are as likely.
    """

    def weigh(score: jax.Array, drawn: jax.Array) -> jax.Array:
        positive = jnp.maximum(score, 0)
        some = jnp.any(positive > 0)
        alike = jnp.where(score > -jnp.inf, 0.0, score)
        return jnp.where(some, jnp.log(positive) / temperature, alike)

    return weigh


def softmax(temperature: float = 1.0) -> Priority:
    """`exp(score / temperature)`, which GROOVE's code calls proportional."""

    def weigh(score: jax.Array, drawn: jax.Array) -> jax.Array:
        highest = jnp.max(score)
        # Shifted before the division, which could overflow.
        return (score - jnp.where(highest > -jnp.inf, highest, 0.0)) / temperature

    return weigh


def top(count: int) -> Priority:
    """The `count` highest scores, each as likely, and no other: GROOVE's default.

    Its code calls this rank, gives the lives of a population of `count` the best levels in order,
    and then has a random half of them replay.
    """
    return lambda score, drawn: jnp.where(ranks(score, drawn) <= count, 0.0, -jnp.inf)


def equally(score: jax.Array, drawn: jax.Array) -> jax.Array:
    """A `Priority`: all levels are as likely."""
    return jnp.zeros_like(score)


def ranks(score: jax.Array, drawn: jax.Array) -> jax.Array:
    """[B] float32, from 1 for the highest score; equal scores by who was drawn longest ago."""
    order = jnp.lexsort((drawn, -score))
    return jnp.zeros_like(score).at[order].set(jnp.arange(1, len(score) + 1, dtype=score.dtype))


def log_probabilities(
    priority: Priority,
    *,
    score: jax.Array,
    drawn: jax.Array,
    clock: jax.Array,
    among: jax.Array,
    staleness: float,
) -> jax.Array:
    """[B] float32, how likely each level is drawn; all -inf where there is none to draw.

    Logarithms, since the weight of a low rank may be too small for a number.

    Args:
      priority: from scores to log-weights of P_S.
      score: [B] float32, none NaN or inf.
      drawn: [B] int32, the clock when each was last drawn.
      clock: [] int32, now.
      among: [B] bool, which may be drawn.
      staleness: the share of P_C, from 0 to 1.
    """
    by_score = _normalised(priority(jnp.where(among, score, -jnp.inf), drawn), among)
    by_age = _normalised(jnp.log((clock - drawn).astype(jnp.float32)), among)
    shares = jnp.log(jnp.array([1 - staleness, staleness], jnp.float32))
    return jnp.logaddexp(shares[0] + by_score, shares[1] + by_age)


def draw(key: Key, log_p: jax.Array, count: int, *, distinct: bool) -> tuple[jax.Array, jax.Array]:
    """Draws `count` levels. The key is consumed.

    Args:
      key: of the draw.
      log_p: [B], as `log_probabilities` returns them.
      count: how many.
      distinct: no level twice: each is drawn from those that are left, in proportion.

    Returns:
      [count] int32, and which of them are valid, [count] bool: there may be too few, or none.
    """
    possible = log_p > -jnp.inf
    if not distinct:
        some = jnp.any(possible)  # from nothing there is no draw
        index = jax.random.categorical(key, jnp.where(some, log_p, 0.0), shape=(count,))
        return index.astype(jnp.int32), jnp.broadcast_to(some, (count,))
    # The order of log-weights with Gumbel noise is that of draws without replacement.
    noisy = jnp.where(possible, log_p + jax.random.gumbel(key, log_p.shape), -jnp.inf)
    value, index = jax.lax.top_k(noisy, min(count, len(log_p)))
    pad = (0, max(count - len(log_p), 0))
    return jnp.pad(index.astype(jnp.int32), pad), jnp.pad(value > -jnp.inf, pad)


def _normalised(log_weight: jax.Array, among: jax.Array) -> jax.Array:
    """[B], log-probabilities of those `among`; uniform where all their weights are 0."""
    log_weight = jnp.where(among, log_weight, -jnp.inf)
    some = jnp.any(log_weight > -jnp.inf)
    log_weight = jnp.where(some, log_weight, jnp.where(among, 0.0, -jnp.inf))
    total = jax.nn.logsumexp(log_weight)
    return jnp.where(among, log_weight - total, -jnp.inf)

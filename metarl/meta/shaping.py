"""What the returns of a generation count, [P, 2] for pairs of etas: their shaping.

Evolution follows what counts, not the returns themselves: ranks within pairs are free of what a
level pays (Jackson et al. 2024, https://arxiv.org/abs/2402.05828), standard scores keep how much
better some are, where all are judged by the same (Lu et al. 2022,
https://arxiv.org/abs/2210.05639).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl.meta.evolution import centred_ranks

Shaping = Callable[[jax.Array], jax.Array]  # returns [P, 2] -> what they count, [P, 2]


def advantage(shaping: Shaping, fitness: jax.Array) -> jax.Array:
    """[P] how much more the first of each pair counts than the second; 0 where one is NaN."""
    known = ~jnp.isnan(fitness).any(axis=1)
    counted = shaping(fitness)
    return jnp.where(known, counted[:, 0] - counted[:, 1], 0)


def pair_ranks(fitness: jax.Array) -> jax.Array:
    """[P, 2]: the better of each pair 1, the other 0; equal ones share."""
    other = fitness[:, ::-1]
    return (fitness > other) + (fitness == other) / 2


def pair_ranks_as_released(fitness: jax.Array) -> jax.Array:
    """[P, 2] as `pair_ranks`, but the second of equal ones is the better, as in the released code.

    The estimate then walks at random where nothing is learned, instead of standing still.
    """
    first = fitness[:, 0] > fitness[:, 1]
    return jnp.stack([first, ~first], axis=1).astype(fitness.dtype)


def standardised(fitness: jax.Array) -> jax.Array:
    """[P, 2] in standard deviations from the mean of all that are not NaN; all 0 where equal."""
    apart = fitness - jnp.nanmean(fitness)
    return apart / (jnp.nanstd(fitness) + 1e-8)


centred: Shaping = centred_ranks


def raw(fitness: jax.Array) -> jax.Array:
    """[P, 2] as they are."""
    return fitness

"""Running mean and spread of a stream of numbers, batch by batch, as Disco103's rule has them."""

import jax
import jax.numpy as jnp
from flax import struct

KEPT = 0.99  # of what was known, at each batch


class Moments(struct.PyTreeNode):
    """Running means of a number and its square, from zero."""

    mean: jax.Array
    square: jax.Array
    missing: jax.Array  # the weight that the zeros of the beginning still have


def new_moments() -> Moments:
    """Of nothing yet."""
    return Moments(jnp.zeros(()), jnp.zeros(()), jnp.ones(()))


def observed(moments: Moments, x: jax.Array) -> Moments:
    """After one more batch of numbers."""
    mean = KEPT * moments.mean + (1 - KEPT) * jnp.mean(x)
    square = KEPT * moments.square + (1 - KEPT) * jnp.mean(jnp.square(x))
    return Moments(mean, square, KEPT * moments.missing)


def normalised(moments: Moments, x: jax.Array, *, centre: bool = True) -> jax.Array:
    """`x` in standard deviations, from the mean or (`centre=False`) from zero."""
    weight = 1 - moments.missing
    mean = moments.mean / weight
    variance = jnp.maximum(0, moments.square / weight - jnp.square(mean))
    return (x - mean if centre else x) / (jnp.sqrt(variance + 1e-12) + 1e-6)

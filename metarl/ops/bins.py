"""Values as distributions over bins one apart, in a squashed unit (Pohlen et al. 2018).

Observe and look further, https://arxiv.org/abs/1805.11593, has the squashing; that values are
learned as categories is from Bellemare et al. 2017, https://arxiv.org/abs/1707.06887.
"""

import jax
import jax.numpy as jnp

SLOPE = 1e-3  # of the part that keeps the squashing invertible


def squash(x: jax.Array) -> jax.Array:
    """sign(x) (sqrt(|x| + 1) - 1) + x / 1000, element by element."""
    return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1) - 1) + SLOPE * x


def unsquash(x: jax.Array) -> jax.Array:
    """The inverse of `squash`."""
    root = jnp.sqrt(1 + 4 * SLOPE * (SLOPE + 1 + jnp.abs(x))) / (2 * SLOPE) - 1 / (2 * SLOPE)
    return jnp.sign(x) * (jnp.square(root) - 1)


def decode(logits: jax.Array) -> jax.Array:
    """[..., K] -> [...], the value: the mean bin, unsquashed; K is odd, the middle bin is zero."""
    bins = logits.shape[-1]
    return unsquash(jax.nn.softmax(logits) @ (jnp.arange(bins) - bins // 2).astype(logits.dtype))


def two_hot(x: jax.Array, bins: int) -> jax.Array:
    """[...] -> [..., K], the two bins around each squashed value, weighed by their nearness.

    A value beyond the bins counts as the outermost one. The nearer weight is exact to 1e-5.
    """
    place = jnp.clip(squash(x), -(bins // 2), bins // 2) + bins // 2
    low, high = jnp.floor(place), jnp.ceil(place)
    below = (high - place) / (high - low + 1e-5)  # 0 where they are one and the same
    hot = [jax.nn.one_hot(side.astype(jnp.int32), bins, dtype=x.dtype) for side in (low, high)]
    return below[..., None] * hot[0] + (1 - below)[..., None] * hot[1]

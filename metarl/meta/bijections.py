"""From a number without bounds, which an optimizer moves, to a hyperparameter within its bounds."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


class Bijection(NamedTuple):
    """A smooth map and its inverse; `low` and `high` bound what the map gives."""

    forward: Callable[[jax.Array], jax.Array]
    inverse: Callable[[ArrayLike], jax.Array]
    low: float = -math.inf
    high: float = math.inf


def identity() -> Bijection:
    """The number itself."""
    return Bijection(jnp.asarray, jnp.asarray)


def sigmoid(low: float = 0.0, high: float = 1.0) -> Bijection:
    """Between `low` and `high`.

    Raises:
      ValueError: they are not in this order.
    """
    if not low < high:
        raise ValueError(f"a sigmoid needs low < high, got {low} and {high}")
    width = high - low

    def inverse(y: ArrayLike) -> jax.Array:
        share = (jnp.asarray(y) - low) / width
        return jnp.log(share) - jnp.log1p(-share)

    return Bijection(lambda x: low + width * jax.nn.sigmoid(x), inverse, low, high)


def softplus(scale: float = 1.0) -> Bijection:
    """Above zero; for large numbers the number itself times `scale`.

    Raises:
      ValueError: a scale that is not positive.
    """
    if not scale > 0:
        raise ValueError(f"a softplus needs a scale above 0, got {scale}")

    def inverse(y: ArrayLike) -> jax.Array:
        y = jnp.asarray(y) / scale
        return y + jnp.log(-jnp.expm1(-y))

    return Bijection(lambda x: scale * jax.nn.softplus(x), inverse, 0.0)


def exponential() -> Bijection:
    """Above zero; a step is a factor."""
    return Bijection(jnp.exp, jnp.log, 0.0)


def scaled(factor: float, inner: Bijection | None = None) -> Bijection:
    """`factor` times another map, by default times the number itself.

    Raises:
      ValueError: a factor that is not positive.
    """
    if not factor > 0:
        raise ValueError(f"a scale must be above 0, got {factor}")
    part = inner or identity()
    return Bijection(
        lambda x: factor * part.forward(x),
        lambda y: part.inverse(jnp.asarray(y) / factor),
        factor * part.low,
        factor * part.high,
    )


BIJECTIONS: dict[str, Callable[..., Bijection]] = {
    "identity": identity,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "exponential": exponential,
    "scaled": scaled,
}

"""Least squares without LAPACK, whose batched calls can wait for each other on a CPU of few cores.

See `metarl.nets.linear.orthogonal`.
"""

import jax
import jax.numpy as jnp


def fitted(features: jax.Array, targets: jax.Array, *, ridge: float = 1e-5) -> jax.Array:
    """[M] the least-squares prediction of each target from its features.

    Features are scaled to unit mean square, and `ridge` is added to the diagonal of their
    correlations: enough for features that depend on each other.

    Args:
      features: [M, F], of M examples; include a constant one.
      targets: [M].
      ridge: relative to the mean square of a feature.
    """
    size = jnp.sqrt(jnp.mean(jnp.square(features), axis=0))
    unit = features / jnp.where(size > 0, size, 1)
    count, width = unit.shape
    product = lambda a, b: jnp.matmul(a, b, precision="highest")  # noqa: E731
    gram = product(unit.T, unit) / count + ridge * jnp.eye(width)
    weights = solve(gram, product(unit.T, targets) / count)
    return product(unit, weights)


def solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """[F] the x with `matrix @ x = right`, by Gauss and Jordan's elimination without pivoting.

    Stable for symmetric positive definite matrices [F, F], and for them alone.
    """
    table = jnp.concatenate([matrix, right[:, None]], axis=1)

    def eliminate(k: jax.Array, table: jax.Array) -> jax.Array:
        row = table[k] / table[k, k]
        return (table - table[:, k, None] * row).at[k].set(row)

    return jax.lax.fori_loop(0, len(right), eliminate, table)[:, -1]

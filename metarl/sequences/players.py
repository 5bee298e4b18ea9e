"""Players that need no training: yardsticks for what is learned within a lesson."""

import jax
import jax.numpy as jnp

from metarl.sequences.lessons import Lesson
from metarl.sequences.sources import Gaussian


def nearest_mean(lesson: Lesson, *, n_in: int, ways: int, noise: float | None = None) -> jax.Array:
    """[T, ways] scores of each class: minus the distance from the mean of its earlier examples.

    With `noise` they are instead the logarithms of the exact posterior for `Gaussian` tasks of that
    noise, but for a constant: no player names the class more often. It knows where a new task
    begins. Without, classes not seen yet score least.

    Args:
      lesson: of any kind.
      n_in: width of an example.
      ways: number of classes.
      noise: standard deviation of examples around the mean of their class.
    """
    x = lesson.inputs[:, :n_in]  # [T, n_in]
    hot = jax.nn.one_hot(lesson.targets, ways)
    steps = jnp.arange(len(x))
    earlier = (steps[:, None] > steps) & (lesson.task[:, None] == lesson.task)  # [T, T]
    count = earlier @ hot  # [T, ways]
    total = jnp.einsum("ts,sn,sf->tnf", earlier.astype(x.dtype), hot, x)
    if noise is None:
        away = jnp.sum(jnp.square(x[:, None] - total / jnp.maximum(count, 1)[..., None]), axis=-1)
        return jnp.where(count > 0, -jnp.sqrt(away), -jnp.inf)
    variance = noise**2 + noise**2 / (noise**2 + count)  # of the example, given its class
    away = jnp.sum(jnp.square(x[:, None] - total / (noise**2 + count)[..., None]), axis=-1)
    return -away / (2 * variance) - n_in / 2 * jnp.log(variance)


def best_accuracy(source: Gaussian, shots: int) -> float:
    """The highest accuracy possible on a query of two classes, each shown `shots` times before.

    The posterior means differ by a Gaussian vector, whose length is a chi variable; behind the
    distribution function of a normal number, its mean is that of Student's t with `n_in` degrees of
    freedom. On the host.
    """
    from scipy.stats import t

    noise = source.noise**2
    spread = (2 * shots / (noise + shots)) ** 0.5  # of each entry of the difference
    deviation = (noise + noise / (noise + shots)) ** 0.5  # of the query's entries
    return float(t.cdf(source.n_in**0.5 * spread / (2 * deviation), source.n_in))

"""Statistics of episodes and of scores."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl.types import EpisodeStats, Metrics

_MANY = 20  # samples, from which on intervals are bootstrapped


def episodes(
    stats: EpisodeStats, reward: jax.Array, last: jax.Array
) -> tuple[EpisodeStats, Metrics]:
    """Accounts for `T` more steps of `N` environments without a scan.

    Args:
      stats: sums over the episodes in progress, [N].
      reward: [N, T].
      last: [N, T] bool, the episode ended with this step.

    Returns:
      The new sums, and `episodes` (how many ended), `episode_return` and `episode_length` (their
      means; NaN where none ended).
    """
    length = reward.shape[1]
    ends = jnp.where(last, jnp.arange(length), -1).max(axis=1)  # [N] the last end, or -1
    done = jnp.arange(length) <= ends[:, None]  # [N, T] steps of episodes that ended here
    ended = ends >= 0
    done_ret = jnp.where(ended, stats.ret, 0) + jnp.sum(reward * done, axis=1)
    done_length = jnp.where(ended, stats.length, 0) + ends + 1
    ret = jnp.where(ended, 0, stats.ret) + jnp.sum(reward * ~done, axis=1)
    running = jnp.where(ended, 0, stats.length) + length - 1 - ends
    count = jnp.sum(last)
    metrics = {
        "episodes": count,
        "episode_return": jnp.sum(done_ret) / jnp.where(count, count, jnp.nan),
        "episode_length": jnp.sum(done_length) / jnp.where(count, count, jnp.nan),
    }
    return EpisodeStats(ret, running.astype(stats.length.dtype)), metrics


def standardised(x: jax.Array) -> jax.Array:
    """Less its mean, over its standard deviation; zeros where all numbers are the same."""
    return (x - x.mean()) / (x.std() + 1e-8)


def mean_interval(
    samples: np.ndarray,
    *,
    within: tuple[float, float] = (-np.inf, np.inf),
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean with its interval, on the host: Student's t of few samples, a bootstrap of many.

    Of fewer than 20 samples resampling covers too little: of 2, 3, 5 and 8 normal ones its 95 %
    are 50, 73, 87 and 89. From there on it is bias-corrected (Efron 1987), for samples that are
    skewed or bounded.

    Args:
      samples: [n] independent scores: one per seed when seeds are compared, one per episode when
        a single agent is described.
      within: where means can lie, such as 0 and 1 for shares; the interval ends there.
      confidence: coverage of the interval.
      seed: of the resampling.

    Returns:
      (mean, low, high). With one sample, or equal ones, the interval is the mean itself where all
      are equal and NaN where there is only one.

    Raises:
      ValueError: no samples.
    """
    from scipy.stats import bootstrap, sem, t

    samples = np.asarray(samples, float).ravel()
    if samples.size == 0:
        raise ValueError("an interval needs at least one sample")
    mean = float(samples.mean())
    if samples.size == 1:
        return mean, float("nan"), float("nan")
    if np.ptp(samples) == 0:
        return mean, mean, mean
    if samples.size < _MANY:
        low, high = t.interval(confidence, samples.size - 1, mean, sem(samples))
    else:
        rng = np.random.default_rng(seed)
        found = bootstrap((samples,), np.mean, confidence_level=confidence, rng=rng)
        low, high = found.confidence_interval
    return mean, max(float(low), within[0]), min(float(high), within[1])

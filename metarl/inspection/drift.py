"""What PPO and its relatives take off the ratio times the advantage: exactly, from their own code.

The functions that are drawn are those of the rules.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl.rules import dpo, lpo, proximal
from metarl.rules.life import Clock
from metarl.rules.ta_lpo import with_time
from metarl.types import Eta

# (log of the ratio, advantage, share of the life that is over) -> the drift, all [...]
Function = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class Drift(NamedTuple):
    """At K moments of a life."""

    ratio: np.ndarray  # [P]
    adv: np.ndarray  # [A]
    time: np.ndarray  # [K] share of the life that is over
    drift: np.ndarray  # [K, P, A]
    slope: np.ndarray  # [K, P, A] derivative of ratio * adv - drift in the log of the ratio


def drift_function(rule: str, fields: Mapping[str, Any], eta: Eta) -> Function | None:
    """The drift of a rule; None of a rule that has none.

    Args:
      rule: by its name in the registry.
      fields: its settings.
      eta: its meta-parameters.
    """
    if rule == "ppo":

        def ppo_drift(log_ratio: jax.Array, adv: jax.Array, time: jax.Array) -> jax.Array:
            gain = proximal.clipped(eta.clip)(log_ratio, adv)[0]
            return jnp.exp(log_ratio) * adv - gain

        return ppo_drift
    if rule == "dpo":
        return lambda log_ratio, adv, time: dpo.drift(log_ratio, adv, eta.alpha, eta.beta)
    if rule not in ("lpo", "ta_lpo"):
        return None
    timed = rule == "ta_lpo"

    def learned(log_ratio: jax.Array, adv: jax.Array, time: jax.Array) -> jax.Array:
        x = lpo.drift_inputs(log_ratio, adv)
        x = with_time(x, Clock(time[..., None], jnp.ones(()))) if timed else x
        base = lpo.ppo_drift(log_ratio, adv) if fields["ppo_init"] else 0
        return lpo.learned_drift(eta, x, base)

    return learned


def slope(function: Function) -> Function:
    """The derivative of ratio times advantage less drift in the log of the ratio, elementwise."""

    def gain(log_ratio: jax.Array, adv: jax.Array, time: jax.Array) -> jax.Array:
        return jnp.exp(log_ratio) * adv - function(log_ratio, adv, time)

    along = lambda r, a, t: jax.jvp(lambda r: gain(r, a, t), (r,), (jnp.ones_like(r),))[1]  # noqa: E731
    return along


def drift_of(function: Function, times: Sequence[float], size: int = 61) -> Drift:
    """The drift and its slope over ratios from 0.41 to 2.01 and advantages from -3 to 3.

    None of the ratios is where PPO's clip begins, at which it has no slope.
    """
    ratio, adv = np.linspace(0.41, 2.01, size), np.linspace(-3, 3, size)
    time, log_ratio, wide = np.meshgrid(times, np.log(ratio), adv, indexing="ij")
    points = [jnp.asarray(x, jnp.float32) for x in (log_ratio, wide, time)]
    values = [np.asarray(jax.jit(f)(*points)) for f in (function, slope(function))]
    return Drift(ratio, adv, np.asarray(times), *values)

"""Temporally aware LPG (Jackson et al. 2024, https://arxiv.org/abs/2402.05828): it knows the time.

Discovering temporally-aware reinforcement learning algorithms: LPG's network also reads how much of
its life a learner has behind it, n/N, and log N, how long the life is. The paper counts
interactions; here n and N are updates, so that log N does not depend on how many environments act
at a time. The released code feeds plain n and N, which drive the core into saturation:
`as_released` does so too.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metarl.nets.lpg import Sizes
from metarl.rules.life import Clock, new_clock
from metarl.rules.lpg import built, descent, heads, hypers, numbers
from metarl.types import Agent, Eta, UpdateRule

__all__ = ["heads", "hypers", "ta_lpg", "times"]


def ta_lpg(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Eta | None = None,
    lifetime: int = 2500,
    core: str = "gru",
    hidden: int = 256,
    embedding: int = 16,
    policy_rate: float = 40.0,
    y_rate: float = 4.0,
    y_cost: float = 0.5,
    adam: float = 0.0,
    time_outs_end: bool = False,
    as_released: bool = False,
) -> UpdateRule:
    """Builds the rule: one gradient step per rollout on a learned loss.

    Args:
      agent, heads, optimizer, eta, core, hidden, embedding, policy_rate, y_rate, y_cost, adam,
        time_outs_end: as `metarl.rules.lpg.lpg`.
      lifetime: N at birth, in updates; the state's `clock` has it, and may be given another.
      as_released: read n and N themselves, as the published code does.

    Raises:
      ValueError: no such core, or a lifetime without updates.
    """
    sizes = Sizes(core, hidden, embedding)
    optimizer, own = descent(optimizer, adam, numbers(policy_rate, y_rate, y_cost))
    clock = new_clock(lifetime)
    how: Any = {"tell": raw_times if as_released else times, "time_outs_end": time_outs_end}
    return built("ta_lpg", agent, heads, optimizer, eta, own, sizes, clock=clock, extra=2, **how)


def times(clock: Clock) -> jax.Array:
    """[2]: n/N, with n = 0 at the first update, and log N."""
    return jnp.stack([clock.relative, jnp.log(clock.lifetime.astype(jnp.float32))])


def raw_times(clock: Clock) -> jax.Array:
    """[2]: n and N."""
    return jnp.stack([clock.age, clock.lifetime]).astype(jnp.float32)

"""What players share: the game inside of wrappers, and what an attempt's start looks like."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from metarl.ops.distributions import MASKED
from metarl.types import AgentInput, Environment, PyTree

Game = TypeVar("Game")


def game_of(env: Environment, kind: type[Game]) -> Game:
    """The environment of that kind inside of any wrappers.

    Raises:
      ValueError: there is none.
    """
    inner: Any = env
    while not isinstance(inner, kind):
        if not hasattr(inner, "env"):
            raise ValueError(f"this player plays {kind.__name__}, not {type(inner).__name__}")
        inner = inner.env
    return inner


def seen(inputs: AgentInput) -> tuple[PyTree, jax.Array]:
    """The game's own observation, and whether an attempt has ended with the step before.

    Outside of trials the latter is never so: `inputs.first` tells where an episode begins.
    """
    if isinstance(inputs.obs, dict):
        return inputs.obs["obs"], inputs.obs["trial"][2] > 0
    return inputs.obs, jnp.bool_(False)


def any_best(best: jax.Array) -> dict[str, jax.Array]:
    """Heads of a player to whom all actions marked [A] are the same."""
    return {"logits": jnp.where(best, 0.0, MASKED)}

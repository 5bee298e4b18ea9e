"""How far an agent is from where it would be: what bootstrapped meta-gradients minimise.

Each function returns `(target params, params, rollout [T, ...]) -> scalar` for one stream. The
target is a constant; the caller sees to that.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metarl.ops.distributions import policy
from metarl.rollout import replay
from metarl.types import Agent, Params, Rollout

Matching = Callable[[Params, Params, Rollout], jax.Array]


def kl(agent: Agent, *, reverse: bool = False) -> Matching:
    """Mean KL(target || policy) over the states of the rollout; `reverse` swaps the two."""

    def match(target: Params, params: Params, rollout: Rollout) -> jax.Array:
        goal, here = (policy(replay(agent, p, rollout)[0]) for p in (target, params))
        pair: Any = (here, goal) if reverse else (goal, here)
        return jnp.mean(pair[0].kl(pair[1]))

    return match


def greedy(agent: Agent) -> Matching:
    """Mean KL(the target's likeliest action || policy): minus that action's log-probability.

    For an epsilon-greedy agent only epsilon has a derivative here: it grows where the best action
    is about to change, and shrinks where it is not (Luketina et al. 2022, after bootstrapped
    meta-gradients).
    """

    def match(target: Params, params: Params, rollout: Rollout) -> jax.Array:
        goal, here = (policy(replay(agent, p, rollout)[0]) for p in (target, params))
        return -jnp.mean(here.log_prob(goal.mode()))

    return match


def values(agent: Agent, head: str = "value") -> Matching:
    """Mean squared difference of the predicted values."""

    def match(target: Params, params: Params, rollout: Rollout) -> jax.Array:
        goal, here = (replay(agent, p, rollout)[0][head] for p in (target, params))
        return jnp.mean(jnp.square(goal - here))

    return match


def distance() -> Matching:
    """Half the squared Euclidean distance of the params."""

    def match(target: Params, params: Params, rollout: Rollout) -> jax.Array:
        gaps = jax.tree.map(lambda a, b: jnp.sum(jnp.square(a - b)), target, params)
        return sum(jax.tree.leaves(gaps), jnp.float32(0)) / 2

    return match


def weighted(*parts: tuple[float, Matching]) -> Matching:
    """A sum of weight times matching."""
    return lambda *args: sum((w * match(*args) for w, match in parts), jnp.float32(0))

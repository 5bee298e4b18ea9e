"""How a rule pushes probabilities, by reward, probability and ratio, and how far credit reaches."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl.config import Part
from metarl.inspection.probe import (
    BEHAVIOUR,
    REACH,
    Grid,
    Probe,
    at_moment,
    credit,
    grid,
    probe,
    pushes,
    singles,
)
from metarl.types import Params, PyTree


class Push(NamedTuple):
    """What one update adds to the logit of the action taken, at K moments of a life.

    Of two arms; the gradient of one step's loss. Values are zero, so that advantages are rewards.
    """

    grid: Grid
    by_prob: np.ndarray  # [K, P, R]
    by_ratio: np.ndarray  # [K, P, R]
    credit: np.ndarray  # [K, REACH] of a reward of 1 so many steps later, less that of none
    plain: bool  # whether by plain gradient descent; else by an optimizer of the rule's own


def push_of(part: Part, moments: Sequence[PyTree | None]) -> Push:
    """Measures it.

    Args:
      part: the rule.
      moments: states of the rule in a life; None for a newborn's.

    Raises:
      ValueError: a rule without logits, or one whose update does not fit such experience.
    """
    where = grid()
    reward, prob = np.meshgrid(where.reward, where.prob)
    _, ratio = np.meshgrid(where.reward, where.ratio)
    own = probe(part, reward.size + 1)

    @jax.jit
    def pushed(blank: Params, now: jax.Array, then: jax.Array, moment: PyTree | None) -> jax.Array:
        given = own._replace(blank=blank)
        paid = jnp.asarray(reward.ravel(), jnp.float32)
        params, state, rollout = singles(given, now, then, paid)
        return pushes(given, params, at_moment(state, moment), rollout, reward.size)

    def measured(now: np.ndarray, then: np.ndarray) -> np.ndarray:
        both = [jnp.asarray(x.ravel(), jnp.float32) for x in (now, then)]
        found = [np.asarray(pushed(own.blank, *both, moment)) for moment in moments]
        return np.stack(found).reshape(-1, *reward.shape)

    by_ratio = measured(BEHAVIOUR * ratio, np.full_like(ratio, BEHAVIOUR))
    reached = _reached(probe(part, REACH + 1), moments)
    return Push(where, measured(prob, prob), by_ratio, reached, own.plain)


def _reached(own: Probe, moments: Sequence[PyTree | None]) -> np.ndarray:
    """[K, REACH], by how many steps later the reward came."""

    @jax.jit
    def pushed(blank: Params, reward: float, moment: PyTree | None) -> jax.Array:
        given = own._replace(blank=blank)
        params, state, rollout = credit(given, reward)
        steps = rollout.reward.size
        return pushes(given, params, at_moment(state, moment), rollout, steps)

    less = lambda m: pushed(own.blank, 1.0, m) - pushed(own.blank, 0.0, m)  # noqa: E731
    return np.stack([np.asarray(less(moment))[::-1] for moment in moments])

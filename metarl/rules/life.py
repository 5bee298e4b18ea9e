"""What rules with learned objectives keep of a life: its own numbers, and its clock.

Eta is shared by a whole population, so what differs from life to life cannot be part of it: rates,
costs, the age and the length of the life are the rule's state. Whoever gives birth may set them
(`learner.rule_state.replace(...)`, `with_lifetime`). Where a rule has the setting `lifetime`,
`metarl train` and `metarl evaluate-rule` make it the length of the training.
"""

import jax
import jax.numpy as jnp
from flax import struct

from metarl.types import PyTree


class Clock(struct.PyTreeNode):
    """Where in its life a learner is. It counts updates, whatever `learner.age` was set to."""

    age: jax.Array  # [] int32, updates made
    lifetime: jax.Array  # [] int32, updates of the whole life

    @property
    def relative(self) -> jax.Array:
        """[] float, the share of the life that is over: 0 at birth; beyond the lifetime it is 1."""
        return jnp.minimum(self.age / self.lifetime, 1)


class LifeState(struct.PyTreeNode):
    """The state of a rule."""

    optimizer: PyTree
    numbers: PyTree  # of this life, such as learning rates; no outer loop learns them
    clock: Clock | None = None  # None: the rule does not look at the time


def new_clock(lifetime: int) -> Clock:
    """At birth.

    Raises:
      ValueError: the life has no update.
    """
    if lifetime < 1:
        raise ValueError(f"lifetime must be at least 1 update, got {lifetime}")
    return Clock(jnp.int32(0), jnp.int32(lifetime))


def ticked(clock: Clock | None) -> Clock | None:
    """One update later."""
    return None if clock is None else clock.replace(age=clock.age + 1)


def with_lifetime(state: PyTree, lifetime: int | jax.Array) -> PyTree:
    """A rule's state with another lifetime, a number; the same where the rule has no clock."""
    if not isinstance(state, LifeState) or state.clock is None:
        return state
    return state.replace(clock=state.clock.replace(lifetime=jnp.asarray(lifetime, jnp.int32)))

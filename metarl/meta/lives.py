"""Populations whose members live, die and are born at different times."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl.inner import renew
from metarl.types import Key, Learner, MetaLearner, PyTree


def staggered(born: Callable[[Key], Learner], key: Key, *, learners: int, lifetime: int) -> Learner:
    """A population [A, ...] whose first lives end one after the other. The key is consumed.

    All are new-born, but their ages are spread evenly over `0..lifetime - 1`: without that all
    lives would end at once, and eta would be fitted to one age at a time.

    Args:
      born: a new learner from a key.
      key: of the births.
      learners: A.
      lifetime: updates of a life.
    """
    population = jax.vmap(born)(jax.random.split(key, learners))
    ages = jnp.arange(learners, dtype=jnp.int32) * lifetime // learners
    return population.replace(age=ages)


def lives(
    meta: MetaLearner, born: Callable[[Key], Learner], *, lifetime: int | jax.Array
) -> MetaLearner:
    """The outer loop with rebirth: whoever is `lifetime` updates old makes room for a newborn.

    Args:
      meta: the outer loop; a life ends with the first of its updates that reaches the lifetime.
      born: a new learner from a key.
      lifetime: in updates of the learner.
    """

    def reborn(learners: Learner, dead: jax.Array, key: Key) -> Learner:
        return renew(learners, dead, key, jax.vmap(born))

    def update(state: PyTree, learners: Learner, key: Key):
        live_key, birth_key = jax.random.split(key)
        state, learners, metrics = meta.update(state, learners, live_key)
        dead = learners.age >= lifetime
        learners = jax.lax.cond(
            jnp.any(dead), reborn, lambda learners, *_: learners, learners, dead, birth_key
        )
        return state, learners, {**metrics, "births": jnp.sum(dead)}

    return MetaLearner(meta.init, update)

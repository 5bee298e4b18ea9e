"""Populations of which every life is on a level of its own, and the next one on another."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from metarl.curriculum.replay import Curriculum
from metarl.inner import renew
from metarl.types import Key, Learner, MetaLearner, Metrics, PyTree

Born = Callable[[PyTree, Key], Learner]  # a new learner on a level
Lifetime = Callable[[PyTree], jax.Array]  # updates of a life on a level
Known = Callable[[PyTree, Learner], PyTree]  # (state of the outer loop, learners) -> what is known


class LevelState(struct.PyTreeNode):
    """Of the outer loop, of the curriculum, and which level each life is on."""

    meta: PyTree
    curriculum: PyTree
    levels: PyTree  # [A, ...]


class LevelLives(NamedTuple):
    """An outer loop that makes its own population.

    `begin(key) -> (state, learners)`; `update` is that of a `MetaLearner`.
    """

    begin: Callable[[Key], tuple[LevelState, Learner]]
    update: Callable[[LevelState, Learner, Key], tuple[LevelState, Learner, Metrics]]


def on_levels(
    meta: MetaLearner,
    born: Born,
    curriculum: Curriculum,
    *,
    lifetime: Lifetime,
    known: Known = lambda outer, learners: learners,
) -> LevelLives:
    """The outer loop over lives on levels that a curriculum chooses.

    The first lives are of staggered ages: with lifetimes that are all alike they would otherwise
    end together for ever. A life ends with the first meta-update after which its age reaches its
    lifetime. Newborns are made only at meta-updates after which some life ended.

    Args:
      meta: the outer loop.
      born: a new learner from a level and a key.
      curriculum: of as many lives as there are learners.
      lifetime: updates of a life, from its level.
      known: what the curriculum's scores look at, [A, ...], from the state of the outer loop and
        the learners; by default the learners alone.
    """

    def begin(key: Key) -> tuple[LevelState, Learner]:
        level_key, birth_key, meta_key = jax.random.split(key, 3)
        levels, state = curriculum.init(level_key)
        count = len(jax.tree.leaves(levels)[0])
        learners = jax.vmap(born)(levels, jax.random.split(birth_key, count))
        ages = jnp.arange(count) * jax.vmap(lifetime)(levels) // count
        learners = learners.replace(age=ages.astype(jnp.int32))
        return LevelState(meta.init(meta_key, learners), state, levels), learners

    def update(state: LevelState, learners: Learner, key: Key):
        live_key, birth_key, level_key = jax.random.split(key, 3)
        outer, learners, metrics = meta.update(state.meta, learners, live_key)
        ended = learners.age >= jax.vmap(lifetime)(state.levels)
        life = known(outer, learners)
        levels, chosen, told = curriculum.replace(state.curriculum, ended, life, level_key)
        learners = jax.lax.cond(
            jnp.any(ended), _reborn(born), lambda learners, *_: learners,
            learners, ended, levels, birth_key,
        )  # fmt: skip
        return LevelState(outer, chosen, levels), learners, {**metrics, **told}

    return LevelLives(begin, update)


def _reborn(born: Born) -> Callable[[Learner, jax.Array, PyTree, Key], Learner]:
    """The population with new lives where old ones ended."""

    def reborn(learners: Learner, ended: jax.Array, levels: PyTree, key: Key) -> Learner:
        return renew(learners, ended, key, lambda keys: jax.vmap(born)(levels, keys))

    return reborn

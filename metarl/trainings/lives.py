"""What an agent earns at the end of a life on each of several levels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl.inner import birth
from metarl.meta.first_returns import Return
from metarl.meta.whole_lives import whole_life
from metarl.rollout import VectorEnv
from metarl.rules.life import LifeState, with_lifetime
from metarl.types import Agent, Eta, Key, PyTree, UpdateRule


def life_returns(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    ret: Return,
    *,
    lifetime: int | jax.Array,
    length: int,
    chunk: int | None = None,
) -> Callable[[Eta, PyTree, Key], jax.Array]:
    """Builds `(eta, levels [L, ...], key) -> returns [L]` at the end of one life on each level.

    Args:
      agent, rule, venv: the parts of the lives.
      ret: `(params, level, key) -> return` at the end.
      lifetime: updates, told to rules with a clock.
      length: T, steps per update.
      chunk: levels at once; None: all.
    """

    def one(eta: Eta, level: PyTree, key: Key) -> jax.Array:
        birth_key, life_key, play_key = jax.random.split(key, 3)
        learner = birth(agent, rule, venv, level, birth_key)
        if isinstance(learner.rule_state, LifeState):
            state = with_lifetime(learner.rule_state, jnp.asarray(lifetime))
            learner = learner.replace(rule_state=state)
        learner, _ = whole_life((agent, rule, venv), eta, learner, life_key, lifetime, length)
        return ret(learner.params, level, play_key)

    def returns(eta: Eta, levels: PyTree, key: Key) -> jax.Array:
        count = len(jax.tree.leaves(levels)[0])
        keys = jax.random.split(key, count)
        size = min(chunk or count, count)
        return jax.lax.map(lambda x: one(eta, *x), (levels, keys), batch_size=size)

    return returns

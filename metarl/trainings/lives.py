"""What an agent earns at the end of a life on each of several levels."""

from collections.abc import Callable

import jax

from metarl.inner import birth
from metarl.meta.first_returns import Return
from metarl.meta.whole_lives import whole_life
from metarl.rollout import VectorEnv
from metarl.rules.life import with_lifetime
from metarl.types import Agent, Eta, Key, PyTree, UpdateRule


def life_returns(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    ret: Return,
    *,
    length: int,
    chunk: int | None = None,
) -> Callable[[Eta, PyTree, int | jax.Array, Key], jax.Array]:
    """Builds `(eta, levels [L, ...], lifetime, keys [L]) -> returns [L]` at the ends of lives.

    One life on each level, of `lifetime` updates, which rules with a clock are told.

    Args:
      agent, rule, venv: the parts of the lives.
      ret: `(params, level, key) -> return` at the end.
      length: T, steps per update.
      chunk: levels at once; None: all.
    """

    def one(eta: Eta, lifetime: int | jax.Array, level: PyTree, key: Key) -> jax.Array:
        birth_key, life_key, play_key = jax.random.split(key, 3)
        learner = birth(agent, rule, venv, level, birth_key)
        learner = learner.replace(rule_state=with_lifetime(learner.rule_state, lifetime))
        learner, _ = whole_life((agent, rule, venv), eta, learner, life_key, lifetime, length)
        return ret(learner.params, level, play_key)

    def returns(eta: Eta, levels: PyTree, lifetime: int | jax.Array, keys: Key) -> jax.Array:
        size = min(chunk or len(keys), len(keys))
        return jax.lax.map(lambda x: one(eta, lifetime, *x), (levels, keys), batch_size=size)

    return returns

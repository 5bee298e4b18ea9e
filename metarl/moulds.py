"""Programmes of an evaluation, compiled once for all cells that are of one mould.

Levels, seeds and the length of the life are arguments, and so may be numbers of the rule: what is
left is the mould. Each programme is of L lives at once.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import jax
import jax.numpy as jnp

from metarl.build import Parts
from metarl.evaluate import evaluate
from metarl.inner import birth, live
from metarl.named_rules import code_of
from metarl.rule_checks import are_finite, check_update
from metarl.rules.life import with_lifetime
from metarl.types import Environment, Eta, Key, Learner, PyTree, UpdateRule

Numbers = Mapping[str, jax.Array]  # settings of a rule, one number for each life


@dataclass(frozen=True)
class Mould:
    """What fixes the programmes of a cell."""

    env: Environment
    told: str  # names and settings of rule, agent and experience
    levels: str  # shapes of the environment's params
    updates: int  # between two evaluations
    episodes: int  # of each
    max_steps: int  # where they are cut off
    parts: Parts = field(compare=False, repr=False)

    @classmethod
    def of(
        cls, parts: Parts, updates: int, episodes: int, max_steps: int, free: Sequence[str] = ()
    ) -> "Mould":
        """The mould of parts, whose rule has its numbers called `free` as arguments."""
        told = asdict(parts.config)
        told["rule"]["fields"] = {
            k: v for k, v in told["rule"]["fields"].items() if k not in (*free, "lifetime")
        }
        told = {k: told[k] for k in ("rule", "agent", "reset", "num_envs", "length")}
        levels = jax.tree.map(lambda x: (jnp.shape(x), str(jnp.result_type(x))), parts.env_params)
        env = getattr(parts.env, "mechanics", parts.env)  # levels of several kinds may step alike
        sizes = (updates, episodes, max_steps)
        return cls(
            env, json.dumps([told, [*free], code_of(parts.config.rule)]), str(levels), *sizes, parts
        )

    def rule(self, numbers: Numbers) -> UpdateRule:
        """The rule of one life."""
        return self.parts.rule_with(**numbers) if numbers else self.parts.rule


@functools.lru_cache(maxsize=64)
def check(mould: Mould) -> None:
    """Refuses a rule whose update cannot be repeated, once for a mould: see `check_update`."""
    check_update(mould.parts, mould.parts.env_params)


@partial(jax.jit, static_argnames="mould")
def etas(mould: Mould, numbers: Numbers, keys: Key) -> Eta:
    """Eta [L, ...]. The keys are consumed."""
    return jax.vmap(lambda numbers, key: mould.rule(numbers).init_eta(key))(numbers, keys)


@partial(jax.jit, static_argnames="mould")
def born(
    mould: Mould, numbers: Numbers, levels: PyTree, keys: Key, lifetime: int | jax.Array
) -> Learner:
    """Learners [L, ...] of `lifetime` updates in their levels. The keys are consumed."""

    def one(numbers: Numbers, level: PyTree, key: Key) -> Learner:
        parts, rule = mould.parts, mould.rule(numbers)
        learner = birth(parts.agent, rule, parts.venv, level, key)
        return learner.replace(rule_state=with_lifetime(learner.rule_state, lifetime))

    return jax.vmap(one)(numbers, levels, keys)


@partial(jax.jit, static_argnames="mould")
def played(mould: Mould, learners: Learner, keys: Key) -> jax.Array:
    """Mean returns [L] at the learners' age."""

    def one(learner: Learner, key: Key) -> jax.Array:
        key = jax.random.fold_in(key, learner.age)
        own = (mould.parts.agent, mould.parts.env, learner.params, learner.env_params, key)
        sizes = {"episodes": mould.episodes, "max_steps": mould.max_steps}
        return evaluate(*own, **sizes).ret.mean()

    return jax.vmap(one)(learners, keys)


@partial(jax.jit, static_argnames="mould", donate_argnames="learners")
def older(
    mould: Mould, numbers: Numbers, eta: Eta, learners: Learner, keys: Key
) -> tuple[Learner, PyTree]:
    """Learners at the next evaluation, and which of their params are finite [L]; they are donated.

    Keys are those of whole lives.
    """

    def one(numbers: Numbers, eta: Eta, learner: Learner, key: Key) -> tuple[Learner, PyTree]:
        parts = mould.parts
        own = (parts.agent, mould.rule(numbers), parts.venv, eta, learner, key)
        learner, _ = live(*own, updates=mould.updates, length=parts.config.length)
        return learner, are_finite(learner.params)

    return jax.vmap(one)(numbers, eta, learners, keys)

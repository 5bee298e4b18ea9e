"""Lives by learned rules, watched to their end: what the recipes that compare such rules share."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metarl
from metarl.agents.mlp import mlp
from metarl.agents.tabular import tabular
from metarl.curriculum import antagonist
from metarl.inner import birth, live
from metarl.meta.first_returns import first_returns
from metarl.ops.control import in_batches
from metarl.recipes.common import Arm
from metarl.rollout import VectorEnv, none, vectorize
from metarl.rules import a2c, load
from metarl.rules.life import with_lifetime
from metarl.rules.weights import Weights
from metarl.types import Agent, Eta, Key, Learner, Metrics, PyTree, UpdateRule

SHOWN = ("entropy", "policy_grad_norm")  # of a rule's metrics, where it has them


class Place(NamedTuple):
    """Where agents live, and how long."""

    env: Any
    num_envs: int  # of each life
    lifetime: int  # updates
    length: int  # T, steps between updates
    max_steps: int  # of an episode at the end that scores it

    @property
    def deep(self) -> bool:
        """Whether agents need a network."""
        return not hasattr(self.env, "index")

    def agent(self, heads: dict[str, int]) -> Agent:
        """A table, or two layers of 64 units; what is no policy has layers of its own."""
        if self.deep:
            return mlp(self.env, heads, activation="relu", separate=True)
        return tabular(self.env, heads)


class Way(NamedTuple):
    """How agents learn there."""

    agent: Agent
    rule: UpdateRule
    eta: Eta


def place(env_id: str, **sizes: int) -> Place:
    """A place by the environment's id; `sizes` are the other fields."""
    return Place(metarl.make(env_id), **sizes)


def learned(name: str, at: Place, learning_rate: float = 5e-4) -> Way:
    """A learned rule by the name of its weights or its file.

    Tables learn at the rates the rule was trained with, networks with Adam.
    """
    weights: Weights = load(name)
    heads = weights.heads_of(at.env)
    agent = at.agent(heads)
    rule = weights.rule_for(agent, heads, adam=learning_rate if at.deep else 0.0)
    return Way(agent, rule, weights.eta)


def actor_critic(at: Place, rates: Sequence[float], costs: Sequence[float]) -> Way:
    """GROOVE's A2C with eta [R * C], one for every learning rate and entropy cost.

    Of a table's rule the rate is a factor on GROOVE's rates, of a network's it is Adam's.
    """
    heads = antagonist.heads(at.env)
    agent = at.agent(heads)
    optimizer = optax.adam(1.0) if at.deep else None
    rule = antagonist.antagonist_rule(agent, heads, optimizer=optimizer)
    rate, cost = (x.ravel() for x in np.meshgrid(rates, costs, indexing="ij"))
    one = lambda r, c: a2c.hypers(value_cost=2.0, learning_rate=r, entropy_cost=c)  # noqa: E731
    return Way(agent, rule, jax.vmap(one)(jnp.asarray(rate), jnp.asarray(cost)))


def lives(
    name: str,
    at: Place,
    way: Way,
    levels: PyTree,
    key: Key,
    *,
    chunks: int,
    batch: int,
    tries: int | None = None,
) -> Arm:
    """An arm of one life on each level, whose "seeds" are the lives.

    Its metrics [L, chunks] are the `return` of whole episodes after each part of the lives, and
    the means of `SHOWN` over that part.

    Args:
      name: of the arm.
      at: where.
      way: how.
      levels: params of the environment, [L, ...].
      key: of all randomness.
      chunks: parts of a life, a divisor of the lifetime.
      batch: lives at once.
      tries: number of etas in `way.eta`; every level then has a life for each, [tries * L].

    Raises:
      ValueError: lifetimes that cannot be cut so.
    """
    if at.lifetime % chunks:
        raise ValueError(f"a lifetime of {at.lifetime} updates cannot be cut into {chunks} parts")
    count = len(jax.tree.leaves(levels)[0]) * (tries or 1)
    if tries is not None:
        levels = jax.tree.map(lambda x: jnp.concatenate([x] * tries), levels)
    each = jnp.arange(count) // (count // tries) if tries is not None else None
    birth_key, life_key, play_key = jax.random.split(key, 3)
    venv, played = (vectorize(at.env, at.num_envs, *r) for r in ((), (none,)))
    ret = first_returns(way.agent, played, max_steps=at.max_steps)
    older = partial(_older, at, way, venv, ret, at.lifetime // chunks)

    def start() -> Learner:
        born = partial(_newborn, at, way, venv)
        return jax.jit(jax.vmap(born))(levels, jax.random.split(birth_key, count))

    def advance(learners: Learner) -> tuple[Learner, Metrics]:
        keys = (jax.random.split(k, count) for k in (life_key, play_key))
        everything = (each, learners, *keys)

        def one(i: jax.Array) -> tuple[Learner, Metrics]:
            return older(*jax.tree.map(lambda x: x[i], everything))

        return in_batches(one, count, batch)

    return Arm(name, start, advance, chunks)


def _newborn(at: Place, way: Way, venv: VectorEnv, level: PyTree, key: Key) -> Learner:
    learner = birth(way.agent, way.rule, venv, level, key)
    return learner.replace(rule_state=with_lifetime(learner.rule_state, at.lifetime))


def _older(
    at: Place,
    way: Way,
    venv: VectorEnv,
    ret: Callable[..., jax.Array],
    updates: int,
    which: jax.Array | None,
    learner: Learner,
    life_key: Key,
    play_key: Key,
) -> tuple[Learner, Metrics]:
    """A life one part later, and its metrics [1]."""
    eta = way.eta if which is None else jax.tree.map(lambda x: x[which], way.eta)
    parts = (way.agent, way.rule, venv, eta, learner, life_key)
    learner, metrics = live(*parts, updates=updates, length=at.length)
    play_key = jax.random.fold_in(play_key, learner.age)
    score = ret(learner.params, learner.env_params, play_key)
    shown = {name: jnp.mean(metrics[name])[None] for name in SHOWN if name in metrics}
    return learner, {"return": score[None], **shown}

"""Disco's rule: what policy and predictions should become, meta-learned on Catch from nothing.

The reduced forms differentiate through ten updates. Through two, as in the authors' notebook, no
learning was seen here in five short trials of at most 800 meta-updates, one seed each; longer ones
and the notebook's own sizes were not tried.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import metarl
from metarl.agents import disco as agents
from metarl.agents.mlp import mlp
from metarl.inner import birth
from metarl.meta.common import meta_adam
from metarl.meta.critics import Critic, DiscoveryState
from metarl.meta.first_returns import Return, first_returns
from metarl.meta.lives import lives, staggered
from metarl.meta.validated import validated
from metarl.rollout import VectorEnv, none, vectorize
from metarl.rules import a2c, disco
from metarl.trainings.common import Test, Training
from metarl.trainings.lives import life_returns
from metarl.types import Agent, Eta, Key, Learner, PyTree, UpdateRule

PAPER = "Oh et al. 2025, https://doi.org/10.1038/s41586-025-09761-x"
CLAIM = "A learned rule with predictions of its own, at the scale of its authors' notebook"


@dataclass(frozen=True)
class Settings:
    """Numbers of the meta-training; defaults are those of the authors' notebook.

    But for lives, which end there with the training, and here begin anew, at different times.
    """

    updates: int = 800  # meta-updates
    lives: int = 2
    workers: int = 32  # environments of each life
    rows: int = 5  # of Catch
    columns: int = 5
    window: int = 2  # K, a life's updates at each meta-update
    length: int = 16  # T, steps of each
    valid: int = 32  # steps that judge them
    lifetime: int = 800  # updates of a life
    predictions: int = 600  # width of y, and of z of each action
    bins: int = 601  # of values
    hidden: int = 256  # of the rule's LSTM along a trajectory
    memory: int = 128  # of that along a life
    agent: tuple[int, ...] = (512, 512)  # widths of its torso
    model: int = 128  # of its model
    learning_rate: float = 5e-4  # of agents
    value_layers: tuple[int, ...] = (256, 256)
    value_rate: float = 1e-3
    meta_learning_rate: float = 5e-4
    meta_max_norm: float = 0.0  # of each life's meta-gradient, a clip; 0: none
    chunk: int = 2  # lives that are differentiated at once
    test_seeds: int = 16  # lives of each test
    test_rows: int = 8  # of the other Catch, where no training was


QUICK = Settings(
    updates=600,
    lives=8,
    workers=8,
    window=10,
    valid=64,
    lifetime=200,
    predictions=16,
    bins=41,
    hidden=32,
    memory=16,
    agent=(32,),
    model=16,
    learning_rate=2e-2,
    value_layers=(64,),
    value_rate=5e-3,
    meta_learning_rate=5e-3,
    meta_max_norm=1e-3,
    chunk=8,
)
LAPTOP = replace(
    QUICK,
    updates=3000,
    workers=32,
    lifetime=400,
    predictions=64,
    bins=101,
    hidden=64,
    memory=32,
    agent=(64, 64),
    model=32,
    meta_learning_rate=2e-3,
)


class World(NamedTuple):
    """The parts of lives in a game of Catch."""

    env: Any
    agent: Agent
    rule: UpdateRule
    venv: VectorEnv
    ret: Return  # of whole episodes, at the end of a life


def training(settings: Settings) -> Training:
    """Meta-gradients through a window of updates, judged by V-trace on what follows."""
    parts = world(settings, settings.rows)
    value = mlp(parts.env, {"value": 1}, hidden=settings.value_layers, activation="relu")
    meta = validated(
        parts.agent,
        parts.rule,
        parts.venv,
        Critic(value, optax.adam(settings.value_rate), lambda_=0.96),
        meta_adam(settings.meta_learning_rate),
        updates=settings.window,
        length=settings.length,
        valid=settings.valid,
        chunk=settings.chunk,
        max_norm=settings.meta_max_norm or None,
    )
    level = parts.env.default_params()
    born = partial(birth, parts.agent, parts.rule, parts.venv, level)
    loop = lives(meta, born, lifetime=settings.lifetime)
    sizes: Any = {"learners": settings.lives, "lifetime": settings.lifetime}

    def begin(key: Key) -> tuple[DiscoveryState, Learner]:
        birth_key, meta_key = jax.random.split(key)
        learners = staggered(born, birth_key, **sizes)
        return loop.init(meta_key, learners), learners

    def update(state: tuple[DiscoveryState, Learner], key: Key):
        outer, learners, metrics = loop.update(*state, key)
        return (outer, learners), metrics

    return Training(
        rule="disco",
        fields=fields_of(settings),
        heads=heads_of(settings),
        steps_per_update=settings.lives * settings.workers * settings.window * settings.length,
        begin=begin,
        update=update,
        test=test_of(settings),
    )


def fields_of(settings: Settings) -> dict[str, Any]:
    """The settings of the rule."""
    return {name: getattr(settings, name) for name in ("hidden", "memory", "learning_rate")}


def heads_of(settings: Settings) -> dict[str, int]:
    """The settings of its heads."""
    return {"predictions": settings.predictions, "bins": settings.bins}


def world(settings: Settings, rows: int) -> World:
    """Lives in Catch with so many rows."""
    env = metarl.make("Catch-v0", rows=rows, columns=settings.columns)
    heads = disco.heads(env, **heads_of(settings))
    agent = agents.disco(env, heads, hidden=settings.agent, model=settings.model)
    rule = disco.disco(agent, heads, **fields_of(settings))
    ret = first_returns(agent, vectorize(env, settings.workers, none), max_steps=rows)
    return World(env, agent, rule, vectorize(env, settings.workers), ret)


def test_of(settings: Settings) -> Test:
    """Lives with other seeds, in the game of training and in a longer one; A2C beside."""
    games = (settings.rows, settings.test_rows)
    count = settings.test_seeds

    def everywhere(lived: Any, key: Key) -> jax.Array:
        found = []
        for i, rows in enumerate(games):
            parts = world(settings, rows)
            levels = jax.tree.map(
                lambda x: jnp.broadcast_to(x, (count, *x.shape)), parts.env.default_params()
            )
            keys = jax.random.split(jax.random.fold_in(key, i), count)
            found.append(lived(parts, levels, keys))
        return jnp.concatenate(found)

    def returns(eta: Eta, key: Key) -> jax.Array:
        def lived(parts: World, levels: PyTree, keys: Key) -> jax.Array:
            earned = life_returns(*parts[1:], length=settings.length)
            return earned(eta, levels, settings.lifetime, keys)

        return everywhere(lived, key)

    def references(key: Key) -> dict[str, jax.Array]:
        def lived(parts: World, levels: PyTree, keys: Key) -> jax.Array:
            rival = mlp(parts.env, a2c.heads(parts.env), hidden=settings.agent, activation="relu")
            numbers = a2c.hypers(learning_rate=settings.learning_rate)
            rule = a2c.a2c(rival, a2c.heads(parts.env), eta=numbers)
            played = vectorize(parts.env, settings.workers, none)
            ret = first_returns(rival, played, max_steps=parts.env.rows)
            earned = life_returns(rival, rule, parts.venv, ret, length=settings.length)
            return earned(numbers, levels, settings.lifetime, keys)

        return {"A2C": everywhere(lived, key)}

    groups = [f"Catch {rows} x {settings.columns}" for rows in games]
    groups = groups if len(set(groups)) == 2 else [f"{g}, game {i}" for i, g in enumerate(groups)]
    return Test(returns, references, dict.fromkeys(groups, count))

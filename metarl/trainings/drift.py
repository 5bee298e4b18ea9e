"""What LPO and TA-LPO share: a drift evolved on one game, tested on it and on games unseen."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import metarl
from metarl.agents.mlp import mlp
from metarl.meta.first_returns import Return, first_returns
from metarl.meta.shaping import standardised
from metarl.rollout import VectorEnv, none, vectorize
from metarl.rules import ppo
from metarl.trainings.common import Test, Training
from metarl.trainings.lives import life_returns
from metarl.trainings.search import Search, search
from metarl.types import Agent, Eta, Key, PyTree, UpdateRule

Build = Callable[..., UpdateRule]  # (agent, heads, **fields)


@dataclass(frozen=True)
class DriftSettings(Search):
    """Numbers of the meta-training; those of the search are LPO's, those of lives usual for PPO.

    The search starts without a drift, or with `ppo_init` at PPO's: at random first weights and
    last ones of zero. As the network has no biases, opposite weights say the same: at zero, where
    LPO's own search is said to start, the two of a pair are equals, and the estimate is zero.
    """

    updates: int = 1025
    pairs: int = 16
    least_rate: float = 1e-3
    std: float = 0.04
    std_decay: float = 0.999
    least_std: float = 0.01
    chunk: int = 16
    env: str = "SpaceInvaders-v0"
    workers: int = 64  # environments of each life
    length: int = 128  # T
    lifetime: int = 1220  # updates of a life
    agent: tuple[int, ...] = (64, 64)  # widths of its layers
    hidden: int = 128  # of the drift's network
    ppo_init: bool = True
    epochs: int = 4
    minibatches: int = 8
    discount: float = 0.99
    lambda_: float = 0.95
    entropy_cost: float = 0.01
    value_cost: float = 0.5
    learning_rate: float = 5e-3
    played: int = 64  # first episodes that a life is judged by, at its end
    max_steps: int = 1000  # of these episodes
    test_envs: tuple[str, ...] = ("SpaceInvaders-v0", "Asterix-v0", "Breakout-v0", "Freeway-v0")
    test_seeds: int = 16


class World(NamedTuple):
    """The parts of lives in one environment."""

    agent: Agent
    heads: dict[str, int]
    venv: VectorEnv
    ret: Return
    level: PyTree  # the only one


def drift_training(name: str, build: Build, settings: DriftSettings) -> Training:
    """Evolution of the eta of `build`, the rule called `name`, over whole lives in `env`."""
    fields = {field: getattr(settings, field) for field in FIELDS}
    told = {"lifetime": settings.lifetime} if name == "ta_lpo" else {}
    parts = world(settings, settings.env)
    rule = without_drift(build(parts.agent, parts.heads, **fields, **told))
    outer = search(
        settings,
        (parts.agent, rule, parts.venv),
        parts.ret,
        lambda key: parts.level,
        length=settings.length,
        lifetime=settings.lifetime,
        shaping=standardised,
        common=True,
        alike=True,
    )
    steps = settings.workers * settings.length * settings.lifetime
    return Training(
        rule=name,
        fields={**fields, **told},
        heads={},
        steps_per_update=2 * settings.pairs * steps,
        begin=outer.init,
        update=outer.update,
        test=drift_test(partial(build, **fields, **told), settings),
    )


def world(settings: DriftSettings, env_id: str) -> World:
    """Lives in an environment with its default params."""
    env = metarl.make(env_id)
    heads = ppo.heads(env)
    agent = mlp(env, heads, hidden=settings.agent, activation="relu")
    ret = first_returns(agent, vectorize(env, settings.played, none), max_steps=settings.max_steps)
    return World(agent, heads, vectorize(env, settings.workers), ret, env.default_params())


def without_drift(rule: UpdateRule) -> UpdateRule:
    """The rule whose network says nothing at first, though its first layer is drawn."""

    def init_eta(key: Key) -> Eta:
        eta = rule.init_eta(key)
        return {**eta, "out": jnp.zeros_like(eta["out"])}

    return rule._replace(init_eta=init_eta)


def drift_test(build: Build, settings: DriftSettings) -> Test:
    """Lives with other seeds, in the training's environment and in others; PPO's lives beside.

    A place is an environment and a seed, the groups are the environments, each of which pays in
    points of its own.
    """
    count = settings.test_seeds

    def everywhere(rule: Callable[[World], UpdateRule], eta: Eta | None, key: Key) -> jax.Array:
        found = []
        for i, name in enumerate(settings.test_envs):
            parts = world(settings, name)
            chosen = rule(parts)
            earned = life_returns(
                parts.agent, chosen, parts.venv, parts.ret, length=settings.length
            )
            levels = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), parts.level)
            own = chosen.init_eta(key) if eta is None else eta
            keys = jax.random.split(jax.random.fold_in(key, i), count)
            found.append(earned(own, levels, settings.lifetime, keys))
        return jnp.concatenate(found)

    def returns(eta: Eta, key: Key) -> jax.Array:
        return everywhere(lambda parts: build(parts.agent, parts.heads), eta, key)

    def references(key: Key) -> dict[str, jax.Array]:
        return {"PPO": everywhere(lambda parts: ppo_rule(parts, settings), None, key)}

    return Test(returns, references, dict.fromkeys(settings.test_envs, count))


def ppo_rule(parts: World, settings: DriftSettings) -> UpdateRule:
    """PPO with the numbers of the lives."""
    names = ("discount", "lambda_", "entropy_cost", "value_cost", "learning_rate")
    numbers: Any = {name: getattr(settings, name) for name in names}
    passes: Any = {"epochs": settings.epochs, "minibatches": settings.minibatches}
    return ppo.ppo(parts.agent, parts.heads, eta=ppo.hypers(**numbers), **passes)


FIELDS = (
    *("hidden", "ppo_init", "epochs", "minibatches"),
    *("discount", "lambda_", "entropy_cost", "value_cost", "learning_rate"),
)  # of the rule

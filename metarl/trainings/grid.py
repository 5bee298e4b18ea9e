"""What the meta-trainings on LPG's grid-worlds share: tabular agents, critics, tests, A2C."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import metarl
from metarl.agents.tabular import tabular
from metarl.curriculum import antagonist
from metarl.curriculum.lives import Born, Known, LevelState, on_levels
from metarl.curriculum.numbers import numbered, table, with_numbers
from metarl.curriculum.replay import Curriculum
from metarl.curriculum.scores import Reference, optimum
from metarl.inner import birth
from metarl.meta.common import meta_adam
from metarl.meta.critics import Critic
from metarl.meta.discovery import discovery
from metarl.meta.first_returns import Return, first_returns
from metarl.rollout import VectorEnv, none, vectorize
from metarl.rules import lpg
from metarl.trainings.common import Test, Training
from metarl.trainings.lives import life_returns
from metarl.types import Agent, Eta, Key, Learner, PyTree, UpdateRule

LPG_FIELDS = ("core", "hidden", "policy_rate", "y_rate", "y_cost")  # that settings have of the rule
LONGEST = 2000  # steps of an episode on any level of the suite


@dataclass(frozen=True)
class GridSettings:
    """Numbers of a meta-training by meta-gradients; defaults are those of GROOVE's code."""

    env: str = "LPGAll-v0"
    updates: int = 5000  # meta-updates
    lives: int = 512
    workers: int = 64  # environments of each life
    window: int = 5  # K, a life's updates at each meta-update
    length: int = 20  # T
    lifetime: int = 1000  # updates of a life
    core: str = "gru"
    hidden: int = 256
    targets: int = 8  # width of y
    policy_rate: float = 40.0
    y_rate: float = 4.0
    y_cost: float = 0.5
    value_rate: float = 4.0  # of the critics
    meta_learning_rate: float = 1e-4
    meta_max_norm: float = 0.5
    chunk: int = 4  # lives that are differentiated at once
    test_levels: int = 256
    policy_rates: tuple[float, ...] = ()  # from which a bandit gives each life its own; see
    y_costs: tuple[float, ...] = ()  # `metarl.curriculum.numbers`. None: those above
    as_released: bool = False  # critics that never learn, time-outs that end: GROOVE's code


class Grid(NamedTuple):
    """The parts of lives on grid-worlds."""

    env: Any
    agent: Agent
    rule: UpdateRule
    venv: VectorEnv
    ret: Return  # of whole episodes, at the end of a life


def grid(env_id: str, build: Callable[..., UpdateRule], *, targets: int, workers: int) -> Grid:
    """The parts; `build(agent, heads)` is the rule."""
    env = metarl.make(env_id)
    heads = lpg.heads(env, targets)
    agent = tabular(env, heads)
    venv, played = vectorize(env, workers), vectorize(env, workers, none)
    ret = first_returns(agent, played, max_steps=LONGEST)
    return Grid(env, agent, build(agent, heads), venv, ret)


def training_levels(env: Any) -> Callable[[Key], PyTree]:
    """Draws a level to train on."""
    return partial(env.sample_params, split="train")


def a2c_reference(
    parts: Grid,
    *,
    workers: int,
    lifetime: int | jax.Array,
    length: int,
    time_outs_end: bool = False,
) -> Reference:
    """What A2C earns on a level after a life with GROOVE's numbers for the antagonist."""
    heads = antagonist.heads(parts.env)
    agent = tabular(parts.env, heads)
    rule = antagonist.antagonist_rule(agent, heads, time_outs_end=time_outs_end)
    ret = first_returns(agent, vectorize(parts.env, workers, none), max_steps=LONGEST)
    sizes: Any = {"lifetime": lifetime, "length": length}
    return antagonist.antagonist(agent, rule, parts.venv, ret, **sizes)


def grid_test(
    parts: Grid,
    *,
    levels: int,
    workers: int,
    lifetimes: Sequence[int],
    length: int,
    chunk: int = 64,
) -> Test:
    """Held-out levels of the same distribution, with A2C and the best possible return beside.

    Every level is lived once for each of the lifetimes, which are the groups.
    """
    earned = life_returns(
        parts.agent, parts.rule, parts.venv, parts.ret, length=length, chunk=chunk
    )
    times = lambda: jnp.array(lifetimes, jnp.int32)  # noqa: E731

    def drawn(key: Key) -> PyTree:
        sample = partial(parts.env.sample_params, split="heldout")
        return jax.vmap(sample)(jax.random.split(key, levels))

    def returns(eta: Eta, key: Key) -> jax.Array:
        level_key, life_key, _ = jax.random.split(key, 3)
        places, keys = drawn(level_key), jax.random.split(life_key, levels)
        return jax.lax.map(lambda n: earned(eta, places, n, keys), times()).ravel()

    def references(key: Key) -> dict[str, jax.Array]:
        level_key, _, rival_key = jax.random.split(key, 3)
        each = (drawn(level_key), jax.random.split(rival_key, levels))

        def everywhere(reference: Reference) -> jax.Array:
            return jax.lax.map(lambda x: reference(*x), each, batch_size=chunk)

        sizes: Any = {"workers": workers, "length": length}
        rival = lambda n: everywhere(a2c_reference(parts, lifetime=n, **sizes))  # noqa: E731
        best = everywhere(optimum(parts.env))
        return {
            "A2C": jax.lax.map(rival, times()).ravel(),
            "best possible": jnp.tile(best, len(lifetimes)),
        }

    return Test(returns, references, {f"{n} updates": levels for n in lifetimes})


def grid_parts(settings: GridSettings) -> Grid:
    """The parts of lives by LPG."""
    build = partial(lpg.lpg, **fields_of(settings))
    return grid(settings.env, build, targets=settings.targets, workers=settings.workers)


def fields_of(settings: GridSettings) -> dict[str, Any]:
    """The settings of the rule."""
    fields = {name: getattr(settings, name) for name in LPG_FIELDS}
    return fields | ({"time_outs_end": True} if settings.as_released else {})


def critic_of(settings: GridSettings, env: Any) -> Critic:
    """How values are learned beside each life."""
    descent = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(settings.value_rate))
    released = {"frozen": settings.as_released, "time_outs_end": settings.as_released}
    return Critic(tabular(env, {"value": 1}), descent, **released)


def balanced(settings: GridSettings, parts: Grid, curriculum: Curriculum) -> Curriculum:
    """The curriculum, and numbers for each life from the settings' table, by returns at the end."""
    given = {"policy_rate": settings.policy_rates, "y_cost": settings.y_costs}
    own = lpg.numbers(settings.policy_rate, settings.y_rate, settings.y_cost)
    rows = table(own, **{name: values for name, values in given.items() if values})

    def earned(life: Any, level: PyTree, key: Key) -> jax.Array:
        learner = life if isinstance(life, Learner) else life[0]
        return parts.ret(learner.params, level, key)

    return numbered(curriculum, rows, earned)


def grid_training(
    settings: GridSettings,
    curriculum: Callable[[Grid], Curriculum],
    *,
    known: Known = lambda outer, learners: learners,
) -> Training:
    """LPG by meta-gradients over lives on levels that the curriculum chooses.

    Args:
      settings: the numbers.
      curriculum: of the lives, from the parts.
      known: as `metarl.curriculum.lives.on_levels` takes it.
    """
    parts = grid_parts(settings)
    meta = discovery(
        parts.agent,
        parts.rule,
        parts.venv,
        critic_of(settings, parts.env),
        meta_adam(settings.meta_learning_rate, max_norm=settings.meta_max_norm),
        updates=settings.window,
        length=settings.length,
        chunk=settings.chunk,
    )
    born: Born = partial(birth, parts.agent, parts.rule, parts.venv)
    chosen = curriculum(parts)
    if settings.policy_rates or settings.y_costs:
        born, chosen = with_numbers(born), balanced(settings, parts, chosen)
    lifetime = lambda level: jnp.int32(settings.lifetime)  # noqa: E731
    loop = on_levels(meta, born, chosen, lifetime=lifetime, known=known)

    def update(state: tuple[LevelState, Learner], key: Key):
        levels, learners, metrics = loop.update(*state, key)
        return (levels, learners), metrics

    sizes: Any = {"workers": settings.workers, "length": settings.length}
    return Training(
        rule="lpg",
        fields=fields_of(settings),
        heads={"targets": settings.targets},
        steps_per_update=settings.lives * settings.workers * settings.window * settings.length,
        begin=loop.begin,
        update=update,
        test=grid_test(parts, levels=settings.test_levels, lifetimes=(settings.lifetime,), **sizes),
    )

"""From the configuration of an outer loop to its parts; what cannot work is refused in words.

The functions named in `OUTER_LOOPS` of `metarl.registry` are the settings of `--outer`: each takes
the `Inner` parts, and its keyword arguments are the settings with their defaults.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl import registry
from metarl.build import HOSTED, Parts, build
from metarl.config import MetaConfig, Part
from metarl.configs import AnyConfig, TrainingConfig
from metarl.inner import Gradient, birth
from metarl.meta import bijections, matching
from metarl.meta import bmg as bootstrapped
from metarl.meta import evolution as evolving
from metarl.meta import forward as forwards
from metarl.meta import metagrad as backwards
from metarl.meta.common import Objective, meta_adam
from metarl.meta.lives import lives
from metarl.meta.tune import check_names, tune
from metarl.rollout import VectorEnv
from metarl.rules.common import adam
from metarl.settings import settings, settle
from metarl.training import TrainingParts, build_training
from metarl.types import Agent, Environment, Key, Learner, MetaLearner, PyTree, UpdateRule


class MetaParts(NamedTuple):
    """Everything a run of an outer loop is made of; `rule` is the one with only some of its eta."""

    config: MetaConfig
    env: Environment
    env_params: PyTree
    agent: Agent
    rule: UpdateRule
    venv: VectorEnv
    meta: MetaLearner

    def born(self, env_params: PyTree, key: Key) -> Learner:
        """A new learner. The key is consumed."""
        return birth(self.agent, self.rule, self.venv, env_params, key)


class Inner(NamedTuple):
    """What an outer loop is built from."""

    agent: Agent
    rule: UpdateRule
    venv: VectorEnv
    objective: Objective
    optimizer: optax.GradientTransformation  # of eta
    length: int  # T
    learning_rate: float  # of the rule

    @property
    def bare(self) -> tuple[Agent, UpdateRule, VectorEnv, optax.GradientTransformation]:
        """Arguments that loops without an objective to be derived begin with."""
        return self.agent, self.rule, self.venv, self.optimizer

    @property
    def common(self) -> tuple[Any, ...]:
        """Arguments that most outer loops begin with."""
        return self.agent, self.rule, self.venv, self.objective, self.optimizer


def parts_of(config: AnyConfig) -> "Parts | MetaParts | TrainingParts":
    """Builds every part of a run of any kind; raises as `build`, `build_meta`, `build_training`."""
    if isinstance(config, TrainingConfig):
        return build_training(config)
    return build_meta(config) if isinstance(config, MetaConfig) else build(config)


def build_meta(config: MetaConfig) -> MetaParts:
    """Builds every part of a run of an outer loop.

    Raises:
      ValueError: an unknown name or setting, or parts that do not fit together.
    """
    if config.env.name.startswith(HOSTED):
        raise ValueError(
            f"{config.env.name} is stepped on the host, and outer loops need environments that "
            "compile: see `metarl envs`"
        )
    parts = build(config)
    _, env, env_params, agent, base, venv = parts
    rule = tune(base, **_bijections(base, config))
    objective, objective_part = _objective(config, agent, base)
    builder = registry.outer_builder(config.outer.name)
    chosen = settle(config.outer.name, config.outer.fields, settings(builder))
    optimizer = meta_adam(
        config.meta_learning_rate,
        max_norm=config.meta_max_norm or None,
        eps_root=config.meta_eps_root,
    )
    rate: Any = parts.config.rule.fields.get("learning_rate", 1.0)
    inner = Inner(agent, rule, venv, objective, optimizer, config.length, rate)
    meta = builder(inner, **chosen)
    own: Any = {name: getattr(parts.config, name) for name in ("env", "rule", "agent", "reset")}
    loop = Part(config.outer.name, chosen)
    full = dataclasses.replace(config, **own, outer=loop, objective=objective_part)
    if config.lifetime:
        born = partial(birth, agent, rule, venv, env_params)
        meta = lives(meta, born, lifetime=config.lifetime)
    return MetaParts(full, env, env_params, agent, rule, venv, meta)


def metagrad(
    inner: Inner,
    *,
    updates: int = 1,
    mix: float | None = None,
    levels: int = 1,
    eligibility: float = 1.0,
) -> MetaLearner:
    """Meta-gradients: `metarl.meta.metagrad.metagrad`.

    Args:
      inner: the parts.
      updates: of each learner at each meta-update.
      mix: weights of the outer losses are proportional to `mix ** i`: 1 is the uniform mixture, 0
        the first alone; none, the default, the last alone.
      levels: of checkpoints; 0 keeps every intermediate.
      eligibility: factor on derivatives from one update to the one before it.
    """
    if mix is not None and not (type(mix) in (int, float) and mix >= 0):
        raise ValueError(f"metagrad mix should be none or a number from 0, got {mix!r}")
    weights = backwards.last(updates) if mix is None else backwards.mixed(updates, float(mix))
    how: Any = {"gradient": _gradient(levels), "eligibility": eligibility}
    return backwards.metagrad(*inner.common, weights=weights, length=inner.length, **how)


def truncated(
    inner: Inner, *, updates: int = 8, window: int = 2, levels: int = 1, eligibility: float = 1.0
) -> MetaLearner:
    """Meta-gradients of the last `window` of `updates` updates: `metarl.meta.truncated`."""
    how: Any = {"gradient": _gradient(levels), "eligibility": eligibility, "window": window}
    weights = backwards.last(updates)
    return backwards.metagrad(*inner.common, weights=weights, length=inner.length, **how)


def forward(inner: Inner, *, decay: float = 1.0) -> MetaLearner:
    """Meta-gradients in forward mode: `metarl.meta.forward.forward`."""
    if not 0 <= decay <= 1:
        raise ValueError(f"forward decay must lie in 0..1, got {decay}")
    return forwards.forward(*inner.common, length=inner.length, decay=decay)


def bmg(
    inner: Inner,
    *,
    updates: int = 1,
    bootstrap: int = 1,
    match: str = "kl",
    levels: int = 1,
) -> MetaLearner:
    """Bootstrapped meta-gradients: `metarl.meta.bmg.bmg`.

    The target's last step follows the objective with the rules' default Adam at the rule's own
    learning rate, from the learner's momenta where the rule keeps just these.

    Args:
      inner: the parts.
      updates: K, through which derivatives pass.
      bootstrap: L, to the target.
      match: `kl`, `reverse_kl`, `values` or `distance`.
      levels: of checkpoints; 0 keeps every intermediate.
    """
    known: dict[str, Callable[[], matching.Matching]] = {
        "kl": lambda: matching.kl(inner.agent),
        "reverse_kl": lambda: matching.kl(inner.agent, reverse=True),
        "values": lambda: matching.values(inner.agent),
        "distance": matching.distance,
    }
    if match not in known:
        hint = registry.did_you_mean(match, list(known))
        raise ValueError(f"bmg has no match {match!r}{hint} known: {', '.join(known)}")
    optimizer = adam()
    params = jax.eval_shape(inner.agent.init, jax.random.key(0))
    ours, theirs = (jax.eval_shape(init, params) for init in (optimizer.init, inner.rule.init))
    same = str(jax.tree.structure(ours)) == str(jax.tree.structure(theirs))
    borrow = (lambda state: state) if same else None
    step = bootstrapped.objective_step(
        inner.objective, optimizer, learning_rate=inner.learning_rate, borrow=borrow
    )
    return bootstrapped.bmg(
        *(inner.agent, inner.rule, inner.venv, known[match](), step, inner.optimizer),
        updates=updates,
        bootstrap=bootstrap,
        length=inner.length,
        gradient=_gradient(levels),
    )


def evolution(
    inner: Inner,
    *,
    updates: int = 1,
    pairs: int = 8,
    std: float = 0.1,
    ranked: bool = True,
    fitness: str = "reward",
) -> MetaLearner:
    """Evolution strategies: `metarl.meta.evolution.evolution`.

    The steps that a run counts are those of the learners, not those lived with the etas tried.

    Args:
      inner: the parts.
      updates: of each learner in a window.
      pairs: of etas that are tried from where each learner is.
      std: of their distance from the mean, before the bijections.
      ranked: whether fitness counts by its rank.
      fitness: `reward` of a window, or `objective`, which is `--objective`.
    """
    judged: Any = _judged(inner, fitness)
    sizes: Any = {"weights": backwards.mixed(updates), "length": inner.length}
    tried: Any = {"pairs": pairs, "std": std, "ranked": ranked}
    builder: Any = evolving.evolution
    return builder(*inner.bare, **judged, **sizes, **tried)


def persistent(
    inner: Inner,
    *,
    updates: int = 1,
    std: float = 0.1,
    ranked: bool = False,
    fitness: str = "reward",
) -> MetaLearner:
    """Persistent evolution strategies, for an even `--learners`: `metarl.meta.evolution`."""
    judged: Any = _judged(inner, fitness)
    sizes: Any = {"weights": backwards.mixed(updates), "length": inner.length}
    tried: Any = {"std": std, "ranked": ranked}
    builder: Any = evolving.persistent
    return builder(*inner.bare, **judged, **sizes, **tried)


def eldest(learners: Learner) -> Learner:
    """Of a population [A, ...] the learner that has learned for longest."""
    index = jnp.argmax(learners.age)
    return jax.tree.map(lambda x: x[index], learners)


def _judged(inner: Inner, name: str) -> dict[str, Any]:
    """By what evolution selects."""
    known: dict[str, dict[str, Any]] = {
        "reward": {"objective": evolving.minus_reward},
        "objective": {"objective": inner.objective},
    }
    if name not in known:
        hint = registry.did_you_mean(name, list(known))
        raise ValueError(f"evolution has no fitness {name!r}{hint} known: {', '.join(known)}")
    return known[name]


def _gradient(levels: int) -> Gradient:
    return levels or "unrolled"


def _bijections(base: UpdateRule, config: MetaConfig) -> dict[str, bijections.Bijection]:
    """What `--tune` says."""
    check_names(base.init_eta(jax.random.key(0)), config.tune.fields)
    return {name: _bijection(name, value) for name, value in config.tune.fields.items()}


def _bijection(name: str, value: Any) -> bijections.Bijection:
    """From `sigmoid` or `sigmoid,0,1`."""
    word, *rest = value.split(",") if isinstance(value, str) else [str(value)]
    known = bijections.BIJECTIONS
    if word not in known:
        hint = registry.did_you_mean(word, list(known))
        raise ValueError(f"--tune {name}: no bijection {word!r}{hint} known: {', '.join(known)}")
    try:
        return known[word](*map(float, rest))
    except (TypeError, ValueError) as error:
        raise ValueError(f"--tune {name}={value}: {error}") from error


def _objective(config: MetaConfig, agent: Agent, rule: UpdateRule) -> tuple[Objective, Part]:
    """The outer objective; a rule with an outer value head is judged by it."""
    part = config.objective
    builder = registry.objective_builder(part.name)
    known = settings(builder)
    if "baseline" in known and "outer_value" in rule.heads:
        known["baseline"] = "outer_value"
    chosen = settle(part.name, part.fields, known)
    baseline = chosen.get("baseline")
    if baseline is not None and baseline not in rule.heads:
        raise ValueError(f"{part.name} baseline={baseline}: the agent has {sorted(rule.heads)}")
    return builder(agent, **chosen), Part(part.name, chosen)

"""From names and settings to parts; refuses in words what cannot work, before anything compiles."""

import dataclasses
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl import registry
from metarl.config import Config, MetaConfig, Part, Value
from metarl.grouped import grouped
from metarl.host.env import HostEnv
from metarl.named_rules import CannotAct, rule_of
from metarl.registry import PUBLISHED
from metarl.rollout import VectorEnv, fresh, pool, vectorize
from metarl.settings import coerce, settings, settle
from metarl.types import Agent, Environment, Eta, PyTree, UpdateRule
from metarl.wrappers import ORDER, params_for, wrap

_STATISTICS = 0x73746174  # the seed of random play, apart from all seeds of training

HOSTED = "gym/"  # environments of Gymnasium's, stepped on the host
PICTURE = 64  # pixels of a side from which planes are a picture


class Parts(NamedTuple):
    """Everything a run is made of; `config` names every setting, defaults included."""

    config: Config
    env: Environment
    env_params: PyTree
    agent: Agent
    rule: UpdateRule
    venv: VectorEnv

    def rule_with(self, **numbers: Any) -> UpdateRule:
        """The rule with other numbers for settings of these names; they may be traced."""
        make, heads, _ = rule_of(self.config.rule, self.env)
        return make(self.agent, heads, **numbers)

    def eta(self, key: jax.Array) -> Eta:
        """The rule's meta-parameters. The key is consumed."""
        return self.rule.init_eta(key)


def build(config: Config) -> Parts:
    """Builds every part of a run.

    Raises:
      ValueError: an unknown name or setting, or parts that do not fit together.
    """
    env, env_params, env_part = make_env(config.env)
    updates = None if isinstance(config, MetaConfig) else config.updates
    make, heads, rule_part = rule_of(config.rule, env, updates)
    agent, agent_part = _agent(agent_for(config), env, heads)
    if isinstance(env, HostEnv) and config.reset.name != "fresh":
        raise ValueError(
            f"{config.env.name} starts its own episodes: --reset {config.reset.name} is not for it"
        )
    venv, reset_part = _venv(env, config.num_envs, config.reset)
    resolved = dataclasses.replace(
        config, env=env_part, rule=rule_part, agent=agent_part, reset=reset_part
    )
    return Parts(resolved, env, env_params, agent, make(agent, heads), venv)


def make_env(part: Part) -> tuple[Environment, PyTree, Part]:
    """An environment with its dynamic parameters.

    Settings may name fields of either, options that `default_params` takes, and wrappers
    (`metarl.wrappers`), whose own order counts, not that of the settings; `trial.split` is the
    argument `split` of the wrapper `trial`. Those of `gym/<id>` are Gymnasium's own.

    Raises:
      ValueError: no such id or setting, or a bad value.
    """
    if part.name.startswith(HOSTED):
        return HostEnv.make(part.name.removeprefix(HOSTED), **part.fields), (), part
    env = registry.make(part.name)
    fields = _fields(env)
    static = {
        name: coerce(f"{part.name} {name}", value, fields[name])
        for name, value in part.fields.items()
        if name in fields
    }
    env = registry.make(part.name, **static) if static else env
    options = settings(env.default_params)
    chosen = {k: v for k, v in part.fields.items() if k in options and k not in fields}
    params = env.default_params(**settle(part.name, chosen, options))
    known = [f.name for f in dataclasses.fields(params)] if dataclasses.is_dataclass(params) else []
    own = list(dict.fromkeys([*fields, *options, *known]))
    for name, value in part.fields.items():
        if name not in own and (wrapper := name.partition(".")[0]) not in ORDER:
            hint = registry.did_you_mean(wrapper, [*own, *ORDER])
            raise ValueError(f"{part.name} has no {name!r}{hint} it has {own}, and {[*ORDER]}")
        if name in known and name not in fields and name not in options:
            leaf = _leaf(f"{part.name} {name}", value, getattr(params, name))
            params = params.replace(**{name: leaf})
    resolved = Part(part.name, {**_fields(env), **part.fields, **static})
    env, params = _wrapped(env, params, {k: v for k, v in part.fields.items() if k not in own})
    return env, params, resolved


def _wrapped(env: Any, params: PyTree, wrappers: dict[str, Value]) -> tuple[Any, PyTree]:
    """The environment in its wrappers; statistics are measured with a key of their own."""
    try:
        env = wrap(env, **_gathered(wrappers))
    except TypeError as error:
        raise ValueError(f"no wrapper takes {wrappers}: {error}") from error
    return env, params_for(env, params, jax.random.key(_STATISTICS))


def _gathered(wrappers: dict[str, Value]) -> dict[str, Any]:
    """`trial=2 trial.split=train` as {"trial": {"episodes": 2, "split": "train"}}."""
    gathered: dict[str, Any] = {k: v for k, v in wrappers.items() if "." not in k}
    for name, value in wrappers.items():
        wrapper, dot, argument = name.partition(".")
        if dot:
            given = gathered.get(wrapper, True)
            if not isinstance(given, dict):
                main = [*inspect.signature(ORDER[wrapper]).parameters][1]
                given = {} if given is True else {main: given}
            gathered[wrapper] = {**given, argument: value}
    return gathered


def agent_for(config: Config) -> Part:
    """The agent that was asked for; `auto` is that of a published rule, and takes its settings."""
    asked, known = config.agent, PUBLISHED.get(config.rule.name)
    if known is None or asked.name not in ("auto", known.agent):
        return asked
    return Part(known.agent, {**known.options, **asked.fields})


def _agent(part: Part, env: Environment, heads: Any) -> tuple[Agent, Part]:
    name = part.name
    if name == "auto":
        name = _for_spaces(env)
    builder = registry.agent_builder(name)
    chosen = settle(name, part.fields, settings(builder))
    try:
        return builder(env, heads, **chosen), Part(name, chosen)
    except TypeError as error:
        raise CannotAct(f"agent {name}: {error}") from error


def _for_spaces(env: Environment) -> str:
    """The agent for what an environment shows: planes, pictures of Atari's size, or numbers."""
    shape = env.observation_space.shape or ()
    if len(shape) != 3:
        return "mlp"
    return "nature" if min(shape[1:]) >= PICTURE else "conv"


def _venv(env: Environment, num_envs: int, reset: Part) -> tuple[VectorEnv, Part]:
    """Environments stepped together, and how they start with all settings."""
    starts: dict[str, dict[str, Value]] = {
        "fresh": {},
        "pool": {"size": 1024, "refresh": 8},
        "grouped": {"size": 8},
    }
    chosen: dict[str, Any] = settle(f"reset {reset.name}", reset.fields, starts[reset.name])
    part = Part(reset.name, chosen)
    if reset.name == "grouped":
        return grouped(env, num_envs, **chosen), part
    return vectorize(env, num_envs, pool(**chosen) if reset.name == "pool" else fresh), part


def _fields(env: Environment) -> dict[str, Value]:
    """The static fields of an environment that can be written down."""
    if not dataclasses.is_dataclass(env):
        return {}
    values = {f.name: getattr(env, f.name) for f in dataclasses.fields(env) if f.init}
    return {k: v for k, v in values.items() if isinstance(v, bool | int | float | str | tuple)}


def _leaf(what: str, value: Value, default: Any) -> jax.Array:
    """A dynamic parameter of the shape and dtype of its default."""
    default, given = np.asarray(default), np.asarray(value)
    if given.dtype.kind not in "biuf" or (given.dtype.kind == "f" and default.dtype.kind != "f"):
        raise ValueError(f"{what} should be {default.dtype.name}, got {value!r}")
    if given.shape not in ((), default.shape):
        raise ValueError(f"{what} should have shape {list(default.shape)}, got {value!r}")
    return jnp.asarray(np.broadcast_to(given.astype(default.dtype), default.shape))

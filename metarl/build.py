"""From names and settings to parts; refuses in words what cannot work, before anything compiles."""

import dataclasses
import inspect
import pathlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl import registry
from metarl.config import Config, Part, Value
from metarl.grouped import grouped
from metarl.host.env import HostEnv
from metarl.rollout import VectorEnv, fresh, pool, vectorize
from metarl.rules import weights
from metarl.types import Agent, Environment, Eta, PyTree, UpdateRule
from metarl.wrappers import ORDER, params_for, wrap

_STATISTICS = 0x73746174  # the seed of random play, apart from all seeds of training

HOSTED = "gym/"  # environments of Gymnasium's, stepped on the host
DIGEST = "digest"  # of learned weights, beside the settings of their rule


class CannotAct(ValueError):
    """A rule or an agent that is not made for the actions or observations of an environment."""


class Parts(NamedTuple):
    """Everything a run is made of; `config` names every setting, defaults included."""

    config: Config
    env: Environment
    env_params: PyTree
    agent: Agent
    rule: UpdateRule
    venv: VectorEnv

    def eta(self, key: jax.Array) -> Eta:
        """The rule's meta-parameters. The key is consumed."""
        return self.rule.init_eta(key)


def build(config: Config) -> Parts:
    """Builds every part of a run.

    Raises:
      ValueError: an unknown name or setting, or parts that do not fit together.
    """
    env, env_params, env_part = make_env(config.env)
    rule_builder, heads, rule_part = rule_of(config.rule, env)
    agent, agent_part = _agent(config.agent, env, heads)
    if isinstance(env, HostEnv) and config.reset.name != "fresh":
        raise ValueError(
            f"{config.env.name} starts its own episodes: --reset {config.reset.name} is not for it"
        )
    venv, reset_part = _venv(env, config.num_envs, config.reset)
    resolved = dataclasses.replace(
        config, env=env_part, rule=rule_part, agent=agent_part, reset=reset_part
    )
    return Parts(resolved, env, env_params, agent, rule_builder(agent, heads), venv)


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
        name: _coerce(f"{part.name} {name}", value, fields[name])
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


def settings(builder: Callable[..., Any], *, apart: tuple[str, ...] = ()) -> dict[str, Value]:
    """The settings of a builder and their defaults: its parameters that have one, less `apart`."""
    parameters = inspect.signature(builder).parameters.values()
    return {
        p.name: p.default
        for p in parameters
        if p.default is not p.empty and p.name not in apart and p.kind is not p.VAR_KEYWORD
    }


def settle(what: str, given: dict[str, Value], known: dict[str, Value]) -> dict[str, Value]:
    """`known` with the values `given`, each of the kind of its default.

    Raises:
      ValueError: an unknown setting, or a value of another kind.
    """
    for name in given:
        if name not in known:
            hint = registry.did_you_mean(name, list(known))
            raise ValueError(f"{what} has no setting {name!r}{hint} it has {list(known)}")
    return {
        name: _coerce(f"{what} {name}", given[name], default) if name in given else default
        for name, default in known.items()
    }


def at_scale(part: Part, scales: Mapping[str, Any], scale: str) -> Any:
    """The settings of a scale, a dataclass, with those of `part` in their place.

    Raises:
      ValueError: no such scale or setting.
    """
    if scale not in scales:
        raise ValueError(f"{part.name} has no scale {scale!r}; it has {', '.join(scales)}")
    base = scales[scale]
    known = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)}
    return type(base)(**settle(part.name, part.fields, known))


def rule_settings(name: str) -> tuple[dict[str, Value], dict[str, Value]]:
    """Numbers that are a rule's eta, and what fixes its shape, each with defaults."""
    module, rule = _found(name)
    shapes = {**settings(module.heads), **settings(rule, apart=("optimizer", "eta"))}
    return settings(module.hypers), shapes


def rule_of(part: Part, env: Environment) -> tuple[Callable[..., UpdateRule], Any, Part]:
    """`(agent, heads, **settings) -> rule`, its heads, and the part with all settings."""
    shipped = weights.shipped()
    if part.name.endswith(weights.SUFFIX) or part.name in shipped:
        return _weights(part, env)
    if part.name not in registry.RULES and not {".", ":"} & {*part.name}:
        raise registry.unknown("rule", part.name, sorted([*registry.RULES, *shipped]))
    module, own = _found(part.name)
    numbers, shapes = rule_settings(part.name)
    chosen = settle(part.name, part.fields, {**numbers, **shapes})
    eta = module.hypers(**{name: chosen[name] for name in numbers})
    rule = partial(own, eta=eta)
    return _fitted(part.name, env, module.heads, rule, chosen, set(shapes))


def _weights(part: Part, env: Environment) -> tuple[Callable[..., UpdateRule], Any, Part]:
    """The rule with a learned eta; the part then names a file by its whole path and its digest."""
    found = weights.load(part.name)
    _, shapes = rule_settings(found.rule)
    known = {**shapes, **found.fields, **found.heads, DIGEST: found.digest}
    chosen = settle(part.name, part.fields, known)
    if chosen[DIGEST] != found.digest:
        raise ValueError(
            f"the weights {part.name} are not those that this run began with: their digest is "
            f"{found.digest}, not {chosen[DIGEST]}; bring back the old file, or start a new run"
        )
    file = part.name.endswith(weights.SUFFIX)
    name = str(pathlib.Path(part.name).resolve()) if file else part.name
    heads = registry.rule_module(found.rule).heads
    return _fitted(name, env, heads, found.rule_for, chosen, set(shapes))


def _fitted(
    name: str,
    env: Environment,
    heads: Callable[..., Any],
    rule: Callable[..., UpdateRule],
    chosen: dict[str, Value],
    shapes: set[str],
) -> tuple[Callable[..., UpdateRule], Any, Part]:
    """A rule for an environment: `(agent, heads) -> rule`, its heads, and what it is called."""
    for setting in shapes:
        value = chosen[setting]
        if type(value) is int and value < 1:
            raise ValueError(f"{name} {setting} must be at least 1, got {value}")
    widths = {setting: chosen[setting] for setting in settings(heads)}
    try:
        needed = heads(env, **widths)
    except TypeError as error:
        raise CannotAct(f"{name} cannot act here: {error}") from error
    options = {setting: chosen[setting] for setting in shapes - widths.keys()}
    return partial(rule, **options), needed, Part(name, chosen)


def _found(name: str) -> tuple[Any, Callable[..., UpdateRule]]:
    """A rule's module, and the rule: the function under the module's own name, or behind `:`."""
    module = registry.rule_module(name)
    own = name.partition(":")[2] or module.__name__.rpartition(".")[2]
    for needed in ("heads", "hypers", own):
        if not hasattr(module, needed):
            raise ValueError(f"the module {module.__name__} is no rule: it has no {needed!r}")
    return module, getattr(module, own)


def _agent(part: Part, env: Environment, heads: Any) -> tuple[Agent, Part]:
    name = part.name
    if name == "auto":
        name = "conv" if len(env.observation_space.shape or ()) == 3 else "mlp"
    builder = registry.agent_builder(name)
    chosen = settle(name, part.fields, settings(builder))
    try:
        return builder(env, heads, **chosen), Part(name, chosen)
    except TypeError as error:
        raise CannotAct(f"agent {name}: {error}") from error


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


def _coerce(what: str, value: Value, default: Value) -> Value:
    """`value` as the kind of `default`.

    An integer may stand for a float, a number for a tuple of one, `a,b` for a tuple of words.
    """
    kind = type(default)
    if isinstance(default, tuple) and not isinstance(value, tuple):
        value = tuple(filter(None, value.split(","))) if isinstance(value, str) else (value,)
    if isinstance(default, tuple) and default and isinstance(value, tuple):
        return tuple(_coerce(what, v, default[0]) for v in value)
    if kind is float and type(value) is int:
        return float(value)
    if default is not None and type(value) is not kind:
        kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a name"}
        raise ValueError(f"{what} should be {kinds.get(kind, kind.__name__)}, got {value!r}")
    return value


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

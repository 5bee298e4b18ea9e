"""Settings of builders by name: which there are, and whether a value is one of the right kind."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from metarl import registry
from metarl.config import Part, Value


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
        name: coerce(f"{what} {name}", given[name], default) if name in given else default
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


def coerce(what: str, value: Value, default: Value) -> Value:
    """`value` as the kind of `default`.

    An integer may stand for a float, a number for a tuple of one, `a,b` for a tuple of words.
    """
    kind = type(default)
    if isinstance(default, tuple) and not isinstance(value, tuple):
        value = tuple(filter(None, value.split(","))) if isinstance(value, str) else (value,)
    if isinstance(default, tuple) and default and isinstance(value, tuple):
        return tuple(coerce(what, v, default[0]) for v in value)
    if kind is float and type(value) is int:
        return float(value)
    if default is not None and type(value) is not kind:
        kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a name"}
        raise ValueError(f"{what} should be {kinds.get(kind, kind.__name__)}, got {value!r}")
    return value

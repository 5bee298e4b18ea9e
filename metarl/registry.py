"""Names for environments: id -> "module:Class". Imports no JAX, so listing ids is instant.

Other distributions add names from their own pyproject.toml, without a line here:

    [project.entry-points."metarl.envs"]
    "Maze3D-v0" = "maze3d.env:Maze3D"
"""

import dataclasses
import difflib
import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

ENTRY_POINT_GROUP = "metarl.envs"

_REGISTRY: dict[str, tuple[str | Callable[..., Any], dict[str, Any]]] = {
    "Bandit-v0": ("metarl.envs.bandit:Bandit", {}),
    "GridWorld-v0": ("metarl.envs.gridworld:GridWorld", {}),
    "Snake-v0": ("metarl.envs.snake:Snake", {}),
    "Sokoban-v0": ("metarl.envs.sokoban:Sokoban", {}),
}


def register(name: str, entry_point: str | Callable[..., Any], **kwargs: Any) -> None:
    """Adds an environment id.

    Args:
      name: the id, by convention `Name-vN`; raise N when a change makes results incomparable.
      entry_point: a class, or `"module:Class"` that is imported on first use.
      **kwargs: static fields of the class; `make` can override them.

    Raises:
      ValueError: the id is taken.
    """
    if name in _REGISTRY or name in _plugins():
        raise ValueError(f"environment {name!r} is already registered; choose another id")
    _REGISTRY[name] = (entry_point, kwargs)


def registered() -> tuple[str, ...]:
    """All known ids, plug-ins included, sorted."""
    return tuple(sorted({*_REGISTRY, *_plugins()}))


def make(name: str, /, **overrides: Any) -> Any:
    """Builds the environment called `name`; `overrides` are its static fields.

    Raises:
      ValueError: no such id (a near one is suggested), no such field, or a field with a bad value.
    """
    entry_point, kwargs = _find(name)
    build = _load(entry_point) if isinstance(entry_point, str) else entry_point
    if dataclasses.is_dataclass(build):
        fields = [f.name for f in dataclasses.fields(build) if f.init]
        for override in overrides:
            if override not in fields:
                hint = did_you_mean(override, fields)
                raise ValueError(f"{name} has no field {override!r}{hint}; it has {fields}")
    return build(**{**kwargs, **overrides})


def did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    """`"; did you mean X?"`, or nothing when no known word is near."""
    close = difflib.get_close_matches(word.lower(), [k.lower() for k in known], n=1, cutoff=0.5)
    return f"; did you mean {next(k for k in known if k.lower() == close[0])}?" if close else ""


def _find(name: str) -> tuple[str | Callable[..., Any], dict[str, Any]]:
    if name in _REGISTRY:
        return _REGISTRY[name]
    plugins = _plugins()
    if name in plugins:
        return plugins[name].value, {}
    known = registered()
    raise ValueError(
        f"no environment {name!r}{did_you_mean(name, known)} known: {', '.join(known)}"
    )


def _load(path: str) -> Callable[..., Any]:
    module, _, attribute = path.partition(":")
    if not attribute:
        raise ValueError(f"entry point {path!r} should read 'module:Class'")
    return getattr(importlib.import_module(module), attribute)


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}

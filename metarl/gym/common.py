"""What the single and the vector environment share: their settings, their seeds, numpy arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from gymnasium.spaces import Dict, Space, Tuple

from metarl import registry
from metarl.build import make_env
from metarl.config import Part, Value
from metarl.ops.sampling import narrow
from metarl.types import Environment, PyTree


def make(name: str, settings: Mapping[str, Any], params: PyTree) -> tuple[Environment, PyTree]:
    """The environment and its params: `params` where given, else those that `settings` lead to.

    Raises:
      ValueError: no such id or setting, a bad value, or params of another kind. Beside `params`,
        settings are static fields alone.
    """
    fields = {key: _value(value) for key, value in settings.items()}
    if params is None:
        return make_env(Part(name, fields))[:2]
    env = registry.make(name, **fields)
    return env, like(name, params, env.default_params())


def like(name: str, params: PyTree, default: PyTree) -> PyTree:
    """`params`, if they have the structure of the default ones.

    Raises:
      ValueError: they have not.
    """
    wanted: Any
    wanted, got = jax.tree.structure(default), jax.tree.structure(params)
    if got != wanted:
        raise ValueError(f"params of {name} have the structure {wanted}, got {got}")
    return params


def render_modes(env: Environment) -> list[str]:
    """`rgb_array` and `ansi`, as far as the environment can draw."""
    modes = {"rgb_array": "render", "ansi": "render_text"}
    return [mode for mode, method in modes.items() if hasattr(env, method)]


def check_render_mode(name: str, mode: str | None, modes: list[str]) -> str | None:
    """The mode itself.

    Raises:
      ValueError: the environment cannot draw in that mode.
    """
    if mode is not None and mode not in modes:
        raise ValueError(f"{name} has no render_mode {mode!r}; it has {modes}")
    return mode


def seed_words(
    seeds: Sequence[int | None], generator: np.random.Generator, count: int
) -> np.ndarray:
    """[N, 2] uint32: the data of `jax.random.key(seed)` of each seed, or what `generator` draws.

    Args:
      seeds: [N], whole numbers of which the lowest 64 bits count; None where there is none.
      generator: draws in their place.
      count: N.

    Raises:
      ValueError: another number of seeds, or one that is no whole number of 0 or more.
    """
    if len(seeds) != count:
        raise ValueError(f"there are {count} environments, but {len(seeds)} seeds")
    words = generator.integers(2**32, size=(count, 2), dtype=np.uint32)
    for i, seed in enumerate(seeds):
        if seed is not None:
            if not isinstance(seed, int | np.integer) or seed < 0:
                raise ValueError(f"a seed is a whole number of 0 or more, got {seed!r}")
            words[i] = int(seed) >> 32 & 0xFFFFFFFF, int(seed) & 0xFFFFFFFF
    return words


def check_options(options: Mapping[str, Any] | None, known: tuple[str, ...]) -> Mapping[str, Any]:
    """The options of `reset`, none for None.

    Raises:
      ValueError: one is unknown.
    """
    for name in options or {}:
        if name not in known:
            raise ValueError(f"reset has no option {name!r}; it has {list(known)}")
    return options or {}


def action_array(space: Space, action: Any) -> np.ndarray:
    """Actions in JAX's 32 bits. What lies out of range is for the environment to clip.

    Raises:
      ValueError: another shape than that of the space.
    """
    action = np.asarray(action, narrow(space))
    if action.shape != space.shape:
        raise ValueError(f"actions are {space}, of shape {space.shape}, got {action.shape}")
    return action


def to_numpy(space: Space, obs: PyTree) -> Any:
    """A writable copy of a host-side observation as an element of `space`."""
    if isinstance(space, Dict):
        return {name: to_numpy(part, obs[name]) for name, part in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(to_numpy(part, one) for part, one in zip(space.spaces, obs, strict=True))
    array = np.array(obs, space.dtype)
    return array if space.shape else array[()]


def _value(value: Any) -> Value:
    """Lists and numpy's numbers as what a command line would have read."""
    if isinstance(value, list):
        return tuple(map(_value, value))
    return value.item() if isinstance(value, np.generic) else value

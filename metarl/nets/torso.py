"""From whatever an environment shows to one vector: planes by convolutions, the rest flat."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from gymnasium.spaces import Box, Dict, MultiBinary, Space, Tuple

from metarl.nets.conv import conv, conv_init
from metarl.nets.inputs import flat_size, flatten, scale
from metarl.nets.linear import linear, linear_init
from metarl.types import Key, Params, PyTree


def torso(
    space: Space, extra: int, hidden: int, channels: Sequence[int] = ()
) -> tuple[Callable[[Key], Params], Callable[[Params, PyTree, jax.Array], jax.Array]]:
    """`init(key) -> params` and `apply(params, obs, extra [E]) -> [hidden]`, within -1 and 1.

    Args:
      space: of the observations; planes [C, H, W] may stand alone or be part of a `Dict`.
      extra: E, numbers that join the observation.
      hidden: width of the dense layer.
      channels: of 3x3 layers over planes; none: planes are flattened like everything else.
    """
    layouts = _planes(space) if channels else []
    plain = flat_size(space) - sum(c * h * w for c, h, w in layouts)
    filtered = sum(channels[-1] * h * w for _, h, w in layouts)

    def init(key: Key) -> Params:
        dense_key, *keys = jax.random.split(key, 1 + len(layouts))
        params: Params = {"dense": linear_init(dense_key, plain + filtered + extra, hidden)}
        if layouts:
            pairs = zip(keys, layouts, strict=True)
            params["conv"] = [conv_init(k, (planes, *channels)) for k, (planes, _, _) in pairs]
        return params

    def apply(params: Params, obs: PyTree, extra: jax.Array) -> jax.Array:
        stacks = iter(params.get("conv", ()))
        parts = [
            conv(next(stacks), jnp.moveaxis(scale(part, x), 0, -1)).ravel()
            if channels and _are_planes(part)
            else flatten(part, x)
            for part, x in _leaves(space, obs)
        ]
        return jnp.tanh(linear(params["dense"], jnp.concatenate([*parts, extra])))

    return init, apply


def _are_planes(space: Space) -> bool:
    return isinstance(space, Box | MultiBinary) and len(space.shape) == 3


def _planes(space: Space) -> list[tuple[int, ...]]:
    """Shapes [C, H, W] of all planes in a space."""
    return [part.shape for part, _ in _leaves(space, None) if _are_planes(part)]


def _leaves(space: Any, obs: Any) -> list[tuple[Any, Any]]:
    """Every space that is no `Dict` or `Tuple`, with its part of the observation, if there is one.

    In the order of `metarl.nets.inputs.flatten`.
    """
    if isinstance(space, Dict):
        parts = [(part, None if obs is None else obs[name]) for name, part in space.items()]
    elif isinstance(space, Tuple):
        parts = list(zip(space.spaces, obs or [None] * len(space.spaces), strict=True))
    else:
        return [(space, obs)]
    return [leaf for part, value in parts for leaf in _leaves(part, value)]

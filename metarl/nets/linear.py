"""Affine maps and stacks of them."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from metarl.types import Key, Params


def linear_init(key: Key, n_in: int, n_out: int, scale: float = 2**0.5) -> Params:
    """Orthogonal weights times `scale`, zero bias. The key is consumed."""
    w = jax.nn.initializers.orthogonal(scale)(key, (n_in, n_out))
    return {"w": w, "b": jnp.zeros(n_out)}


def linear(params: Params, x: jax.Array) -> jax.Array:
    """[..., n_in] -> [..., n_out]."""
    return x @ params["w"] + params["b"]


def mlp_init(key: Key, sizes: Sequence[int]) -> list[Params]:
    """Layers between consecutive `sizes`. The key is consumed."""
    keys = jax.random.split(key, max(len(sizes) - 1, 1))
    return [linear_init(k, a, b) for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=False)]


def mlp(
    layers: list[Params], x: jax.Array, activation: Callable[[jax.Array], jax.Array] = jnp.tanh
) -> jax.Array:
    """Applies every layer with the activation behind it."""
    for layer in layers:
        x = activation(linear(layer, x))
    return x

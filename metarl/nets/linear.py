"""Affine maps and stacks of them."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from metarl.types import Key, Params

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def linear_init(key: Key, n_in: int, n_out: int, scale: float = 2**0.5) -> Params:
    """Orthogonal weights times `scale`, zero bias. The key is consumed."""
    return {"w": scale * orthogonal(key, n_in, n_out), "b": jnp.zeros(n_out)}


def lecun_init(key: Key, n_in: int, n_out: int) -> Params:
    """Truncated normal weights of variance `1 / n_in`, zero bias. The key is consumed."""
    return {"w": jax.nn.initializers.lecun_normal()(key, (n_in, n_out)), "b": jnp.zeros(n_out)}


def orthogonal(key: Key, n_in: int, n_out: int) -> jax.Array:
    """[n_in, n_out], orthonormal rows or columns, whichever are fewer. The key is consumed.

    What `jax.nn.initializers.orthogonal` draws, to rounding, by Gram and Schmidt's method (twice,
    which is exact enough) instead of LAPACK's: several of those calls on batches, as when layers
    are made for several seeds at once, can wait for each other for ever on a CPU of few cores
    (seen with jaxlib 0.10.2).
    """
    rows, columns = max(n_in, n_out), min(n_in, n_out)
    drawn = jax.random.normal(key, (rows, columns))
    product = partial(jnp.matmul, precision="highest")

    def add(i: jax.Array, done: jax.Array) -> jax.Array:
        column = drawn[:, i]
        for _ in range(2):
            column = column - product(done, product(column, done))
        return done.at[:, i].set(column / jnp.linalg.norm(column))

    found = jax.lax.fori_loop(0, columns, add, jnp.zeros_like(drawn))
    return found if n_in >= n_out else found.T


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
    return [x, *activations(layers, x, activation)][-1]


def activations(
    layers: list[Params], x: jax.Array, activation: Callable[[jax.Array], jax.Array] = jnp.tanh
) -> list[jax.Array]:
    """What `mlp` computes, behind every layer."""
    found = []
    for layer in layers:
        x = activation(linear(layer, x))
        found.append(x)
    return found


def layer_norm_init(width: int) -> Params:
    """Unit scale, zero shift."""
    return {"scale": jnp.ones(width), "shift": jnp.zeros(width)}


def layer_norm(params: Params, x: jax.Array) -> jax.Array:
    """Layer normalisation over the last axis (Ba et al. 2016, https://arxiv.org/abs/1607.06450)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = jnp.sqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + 1e-5)
    return params["scale"] * centred / deviation + params["shift"]

"""Small 3x3 convolutions as matrix products over shifted copies.

On grids of a few dozen cells a product beats XLA's convolution on the CPU, and it stays a product
when seeds are batched with `vmap`, where a convolution would fall back to slow grouped kernels.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from metarl.nets.linear import linear, linear_init
from metarl.types import Key, Params


def conv_init(key: Key, channels: Sequence[int]) -> list[Params]:
    """3x3 layers between consecutive `channels`. The key is consumed."""
    keys = jax.random.split(key, len(channels) - 1)
    pairs = zip(keys, channels[:-1], channels[1:], strict=True)
    return [linear_init(k, 9 * a, b) for k, a, b in pairs]


def conv(layers: list[Params], x: jax.Array) -> jax.Array:
    """[H, W, C] -> [H, W, C']: zero padding, a ReLU behind every layer."""
    for layer in layers:
        x = jax.nn.relu(linear(layer, patches(x)))
    return x


def patches(x: jax.Array) -> jax.Array:
    """The 3x3 neighbourhood of every cell, [H, W, C] -> [H, W, 9 C], zero outside."""
    h, w, _ = x.shape
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    return jnp.concatenate(
        [padded[i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=-1
    )


def windows(x: jax.Array, side: int, stride: int) -> jax.Array:
    """Squares of `side` cells at every `stride`-th cell, [H, W, C] -> [H', W', side * side * C].

    No padding; `stride` divides `side`. A square is told block by block of `stride` cells a side,
    from left to right and downwards, and so is each block cell by cell.
    """
    h, w = ((n - side) // stride + 1 for n in x.shape[:2])
    blocks = side // stride  # of a square's side
    rows, columns, channels = h + blocks - 1, w + blocks - 1, x.shape[2]
    x = x[: rows * stride, : columns * stride]
    x = x.reshape(rows, stride, columns, stride, channels).swapaxes(1, 2)
    x = x.reshape(rows, columns, stride * stride * channels)
    shifts = [(i, j) for i in range(blocks) for j in range(blocks)]
    return jnp.concatenate([x[i : i + h, j : j + w] for i, j in shifts], axis=-1)


def rings(x: jax.Array) -> jax.Array:
    """Every cell, the sum of its sides and that of its corners, [H, W, C] -> [H, W, 3 C].

    The part of `patches` that is the same for a board turned or mirrored; zero outside.
    """
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    above_below = padded[:-2] + padded[2:]  # [H, W + 2, C]
    sides = above_below[:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    corners = above_below[:, :-2] + above_below[:, 2:]
    return jnp.concatenate([x, sides, corners], axis=-1)

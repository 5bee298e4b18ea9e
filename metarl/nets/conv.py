"""Small 3x3 convolutions as matrix products over shifted copies.

On grids of a few dozen cells a product beats XLA's convolution on the CPU, and it stays a product
when seeds are batched with `vmap`, where a convolution would fall back to slow grouped kernels. The
copies are nine times as large as what they are copies of: see `metarl.ops.control.in_turn`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from metarl.nets.heads import apply_heads
from metarl.nets.inputs import scale
from metarl.nets.linear import linear, linear_init
from metarl.ops.control import in_turn
from metarl.types import Agent, AgentInput, Environment, Heads, Key, Params


def behind_convolutions(
    env: Environment,
    init: Callable[[Key], Params],
    convolved: Callable[[list[Params], jax.Array], jax.Array],
) -> Agent:
    """An agent without memory: convolutions over planes [C, H, W], a dense layer, linear heads.

    Args:
      env: whose observations are planes.
      init: makes params with the entries `conv`, `dense` and `heads`.
      convolved: from `params["conv"]` and an observation [H, W, C] to what is found there.
    """

    space: Any = env.observation_space

    def seen(params: Params, obs: jax.Array) -> jax.Array:
        x = jnp.moveaxis(scale(space, obs), 0, -1)
        return convolved(params["conv"], x).ravel()

    def said(params: Params, x: jax.Array, inputs: AgentInput) -> Heads:
        x = jax.nn.relu(linear(params["dense"], x))
        return apply_heads(params["heads"], x, env.action_space, inputs.action_mask)

    def apply(params: Params, carry: tuple, inputs: AgentInput) -> tuple[Heads, tuple]:
        return said(params, seen(params, inputs.obs), inputs), carry

    def unroll(params: Params, carry: tuple, inputs: AgentInput) -> tuple[Heads, tuple]:
        x = in_turn(partial(seen, params), inputs.obs)
        return jax.vmap(partial(said, params))(x, inputs), carry

    return Agent(init, tuple, apply, unroll)


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

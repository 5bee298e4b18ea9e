"""The agent of Bonnet et al. 2022 on Snake: a convolutional network of its own for every head.

From the official code of https://arxiv.org/abs/2211.10550. Its version of the game tells no legal
moves, so the agent does not look at them: it learns not to die.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from metarl.nets.inputs import scale
from metarl.nets.linear import linear, linear_init, mlp, mlp_init
from metarl.types import Agent, AgentInput, Environment, Heads, Key, Params

WIDTHS = {"logits": (64, 64)}  # of the dense layers; of all other heads (128, 128)
CHANNELS = 32


def snake_agent(env: Environment, heads: Mapping[str, int]) -> Agent:
    """Builds the agent: 2x2 convolutions of stride 2 and 1 and two dense layers for each head.

    Args:
      env: whose observations are planes with sides of even length.
      heads: name -> width, as the update rule declares them.
    """
    space: Any = env.observation_space
    planes, height, width = space.shape
    cells = height // 2 * (width // 2)

    def init_one(key: Key, name: str) -> Params:
        keys = jax.random.split(key, 4)
        dense = (cells * CHANNELS, *WIDTHS.get(name, (128, 128)))
        return {
            "strided": linear_init(keys[0], 4 * planes, CHANNELS),
            "conv": linear_init(keys[1], 4 * CHANNELS, CHANNELS),
            "dense": mlp_init(keys[2], dense),
            "out": linear_init(keys[3], dense[-1], heads[name], 0.01 if name == "logits" else 1.0),
        }

    def init(key: Key) -> Params:
        keys = jax.random.split(key, len(heads))
        return {name: init_one(k, name) for k, name in zip(keys, heads, strict=True)}

    def apply_one(params: Params, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(linear(params["strided"], apart_2x2(x)))
        x = jax.nn.relu(linear(params["conv"], around_2x2(x)))
        return linear(params["out"], mlp(params["dense"], x.ravel(), jax.nn.relu))

    def apply(params: Params, carry: tuple, inputs: AgentInput) -> tuple[Heads, tuple]:
        x = jnp.moveaxis(scale(space, inputs.obs), 0, -1)  # [H, W, C]
        return {name: apply_one(params[name], x) for name in heads}, carry

    return Agent(init, tuple, apply)


def apart_2x2(x: jax.Array) -> jax.Array:
    """[H, W, C] -> [H/2, W/2, 4 C]: the blocks that a convolution of stride 2 sees."""
    h, w, c = x.shape
    return x.reshape(h // 2, 2, w // 2, 2, c).swapaxes(1, 2).reshape(h // 2, w // 2, 4 * c)


def around_2x2(x: jax.Array) -> jax.Array:
    """[H, W, C] -> [H, W, 4 C]: each cell with those right and below, zero outside."""
    h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 1), (0, 1), (0, 0)))
    return jnp.concatenate(
        [padded[i : i + h, j : j + w] for i in range(2) for j in range(2)], axis=-1
    )

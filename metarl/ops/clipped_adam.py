"""Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980) with its steps held within bounds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl.types import Params, PyTree


class AdamState(NamedTuple):
    """Of `clipped_adam`."""

    steps: jax.Array  # [] int32
    mean: PyTree
    square: PyTree


def clipped_adam(b1: float = 0.9, b2: float = 0.999) -> optax.GradientTransformation:
    """Adam of learning rate one, each number of whose steps is held within -1 and 1.

    What it divides by is a constant to derivatives, so these are finite where a gradient is zero.
    """

    def init(params: Params) -> AdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamState(jnp.int32(0), zeros, zeros)

    def update(grads: PyTree, state: AdamState, params: Params | None = None):
        count = state.steps + 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, grads)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.square, grads)

        def step(m: jax.Array, v: jax.Array) -> jax.Array:
            # The denominator scales steps; that it moves with eta is no reason to change eta.
            root = jax.lax.stop_gradient(jnp.sqrt(v / (1 - b2**count)))
            return -jnp.clip(m / (1 - b1**count) / (root + 1e-8), -1, 1)

        return jax.tree.map(step, mean, square), AdamState(count, mean, square)

    return optax.GradientTransformation(init, update)

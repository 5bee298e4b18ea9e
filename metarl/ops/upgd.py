"""Utility-based perturbed gradient descent (Elsayed and Mahmood 2024, 2404.00781).

Addressing loss of plasticity and catastrophic forgetting in continual learning,
https://arxiv.org/abs/2404.00781: weights of little use are perturbed, those of great use are left
alone. The equations are those of the authors' code, in which the greatest utility is that of the
uncorrected trace.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from metarl.ops import keys
from metarl.types import Key, Params, PyTree


class UPGDState(NamedTuple):
    """What is kept of each weight."""

    steps: jax.Array  # [] int32, taken so far
    utility: PyTree  # like params: a decaying average of minus gradient times weight


def upgd(
    learning_rate: ArrayLike,
    *,
    key: Key | None = None,
    decay: ArrayLike = 0.999,
    noise: ArrayLike = 0.01,
    weight_decay: ArrayLike = 0.0,
    protecting: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """Builds the first-order, global form.

    With the scaled utility s in (0, 1) of each weight, a sigmoid of its utility over the greatest
    of all weights, a step is `-2 rate (gradient + noise) (1 - s)`: at s = 1/2, no utility, that of
    plain gradient descent. Where no weight has a positive utility the order is reversed, as in the
    authors' code.

    Args:
      learning_rate: of gradients and noise.
      key: of the noise of all steps, which is a function of it and of the count. All learners that
        the transformation moves have the same noise then. Without it every call needs one of its
        own: `update(grads, state, params, key=key)`.
      decay: of the utility's average.
      noise: standard deviation of the perturbation, in units of gradients.
      weight_decay: times the learning rate, how much of a weight is lost at each step.
      protecting: whether s also holds back the gradient; without that a step is
        `-rate (gradient + noise (1 - s))`.

    Returns:
      A transformation whose `update` needs params, and whose result is to be added to them.

    Raises:
      ValueError: in `update`, without params or without a key.
    """
    base: Any = key
    rate = jnp.asarray(learning_rate)

    def init(params: Params) -> UPGDState:
        return UPGDState(jnp.int32(0), jax.tree.map(jnp.zeros_like, params))

    def update(
        grads: PyTree, state: UPGDState, params: Params | None = None, *, key: Key | None = None
    ):
        if params is None:
            raise ValueError("upgd needs the params: call update(grads, state, params)")
        if key is None and base is None:
            raise ValueError("upgd needs a key: upgd(..., key=key), or update(..., key=key)")
        count = state.steps + 1
        trace = lambda u, g, p: decay * u - (1 - decay) * g * p  # noqa: E731
        utility = jax.tree.map(trace, state.utility, grads, params)
        held = scaled_utility(utility, 1 - jnp.asarray(decay) ** count)
        if key is None:
            key = jax.random.fold_in(base, state.steps)
        drawn = normals(key, params)

        def step(g: jax.Array, xi: jax.Array, s: jax.Array, p: jax.Array) -> jax.Array:
            push = 2 * (g + noise * xi) * (1 - s) if protecting else g + noise * xi * (1 - s)
            return -rate * (push + weight_decay * p)

        return jax.tree.map(step, grads, drawn, held, params), UPGDState(count, utility)

    return optax.GradientTransformationExtraArgs(init, update)


def scaled_utility(utility: PyTree, correction: ArrayLike) -> PyTree:
    """Utilities between 0 and 1, like params.

    Args:
      utility: the decaying average.
      correction: what an average that began at zero is divided by; the greatest one is not.
    """
    most = jnp.max(jnp.stack([jnp.max(u) for u in jax.tree.leaves(utility)]))
    unit = jnp.where(most == 0, 1, most)  # without any utility all are equal
    return jax.tree.map(lambda u: jax.nn.sigmoid(u / (correction * unit)), utility)


def normals(key: Key, like: PyTree) -> PyTree:
    """Standard normal numbers in the form of a tree of floats. The key is consumed.

    With a Threefry key they cost half of `jax.random.normal` on a CPU, and are not its numbers.
    """
    flat, unravel = ravel_pytree(like)
    data: Any = jax.random.key_data(key)
    if data.shape != (2,):
        return unravel(jax.random.normal(key, flat.shape, flat.dtype))
    counters = jnp.arange((flat.size + 1) // 2, dtype=jnp.uint32)
    words = jnp.concatenate(keys.threefry(data[0], data[1], counters))[: flat.size]
    return unravel(keys.normal(words).astype(flat.dtype))

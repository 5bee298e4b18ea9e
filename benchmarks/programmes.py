"""What a benchmark of environments steps: a batch of them as two functions over one carry."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete, Space

from metarl.ops import keys
from metarl.rollout import VectorEnv
from metarl.types import Key, PyTree

Draw = Callable[[Key], jax.Array]


def everything(carry: PyTree) -> PyTree:
    """All of a carry."""
    return carry


class Programme(NamedTuple):
    """A suite's environments in a batch; the carry is whatever one step hands to the next."""

    init: Callable[[Key], PyTree]
    step: Callable[[Key, PyTree, jax.Array], PyTree]  # carry after actions [N]
    draw: Draw  # a uniform action of one environment
    moved: Callable[[PyTree], PyTree] = everything  # what of a carry every step reads and writes
    length: int = 2**31 - 1  # steps of one scan at most, where a step is very slow


def ours(env: Any, venv: VectorEnv, params: PyTree, batch: int, kept: bool = False) -> Programme:
    """Ours; `kept` carries the outcome before the reset as well."""

    def step(key: Key, carry: PyTree, actions: jax.Array) -> PyTree:
        state, ts = venv.step(key, carry[0], actions, params)
        return state, ts if kept else ()

    def init(key: Key) -> PyTree:
        state = venv.init(key, params)
        actions = jnp.zeros_like(state.inputs.prev_action)
        shapes = jax.eval_shape(step, key, (state, ()), actions)[1]
        return state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def moved(carry: PyTree) -> PyTree:
        return carry[0].replace(starts=()), carry[1]

    return Programme(init, step, drawn_from(env.action_space), moved)


def drawn_from(space: Space) -> Draw:
    """Uniform actions of a gymnasium space, `Discrete` or `Box`.

    Raises:
      ValueError: a space of another kind.
    """
    if isinstance(space, Discrete):
        return below(int(space.n))
    if isinstance(space, Box):
        return between(space.low, space.high)
    raise ValueError(f"actions are Discrete or Box here, got {space}")


def below(bounds: Any) -> Draw:
    """Uniform integers below one bound, or below each of several."""
    sizes = np.ravel(bounds).tolist()

    def draw(key: Key) -> jax.Array:
        words = keys.words(key, len(sizes))
        parts = [keys.below(word, size) for word, size in zip(words, sizes, strict=True)]
        return jnp.stack(parts) if np.ndim(bounds) else parts[0]

    return draw


def between(low: np.ndarray, high: np.ndarray) -> Draw:
    """Uniform floats between two arrays."""
    shape, low, span = low.shape, np.ravel(low), np.ravel(high - low)

    def draw(key: Key) -> jax.Array:
        words = jnp.stack(keys.words(key, len(span)))
        unit = (words >> 8).astype(jnp.float32) * np.float32(2**-24)
        return jnp.asarray(low + unit * span, jnp.float32).reshape(shape)

    return draw


def scanned(programme: Programme, batch: int, length: int) -> Callable[..., PyTree]:
    """`length` steps of uniform actions."""
    draw = jax.vmap(programme.draw)

    def run(key: Key, carry: PyTree) -> PyTree:
        def step(carry: PyTree, key: Key) -> tuple[PyTree, None]:
            action_key, step_key = keys.split(key)
            return programme.step(step_key, carry, draw(keys.spread(action_key, batch))), None

        return jax.lax.scan(step, carry, jax.random.split(key, length))[0]

    return run


def bytes_per_env(carry: PyTree, batch: int) -> int:
    """Bytes of a batch's carry, shared among its environments."""
    return round(sum(leaf.nbytes for leaf in jax.tree.leaves(carry)) / batch)

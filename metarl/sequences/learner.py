"""Supervised learning of lessons: a memory core that reads them, and a step of its training."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl.nets.core import Core
from metarl.nets.linear import layer_norm, layer_norm_init, lecun_init, linear
from metarl.sequences.lessons import Lesson
from metarl.types import Key, Metrics, Params, PyTree


class Reader(NamedTuple):
    """A network that says at each step of a lesson which class it believes in."""

    init: Callable[[Key], Params]
    logits: Callable[[Params, Lesson], jax.Array]  # [T, ways]


def reader(core: Core, n_in: int, ways: int) -> Reader:
    """A linear embedding, a core from its empty memory, a layer norm and a linear read-out.

    Args:
      core: most often a stack of residual blocks (`metarl.nets.core`).
      n_in: width of the inputs of a lesson.
      ways: number of classes.
    """

    def init(key: Key) -> Params:
        in_key, core_key, out_key = jax.random.split(key, 3)
        return {
            "in": lecun_init(in_key, n_in, core.n_in),
            "core": core.init(core_key),
            "norm": layer_norm_init(core.n_out),
            "out": lecun_init(out_key, core.n_out, ways),
        }

    def logits(params: Params, lesson: Lesson) -> jax.Array:
        x = linear(params["in"], lesson.inputs)
        _, y = core.unroll(params["core"], core.carry(), x, None)
        return linear(params["out"], layer_norm(params["norm"], y))

    return Reader(init, logits)


def lesson_loss(logits: jax.Array, lesson: Lesson) -> jax.Array:
    """Mean cross-entropy over all that is asked for; leaves of any leading axes."""
    each = optax.softmax_cross_entropy_with_integer_labels(logits, lesson.targets)
    return jnp.sum(each * lesson.weight) / jnp.maximum(lesson.weight.sum(), 1)


def learn(
    net: Reader,
    optimizer: optax.GradientTransformation,
    params: Params,
    state: PyTree,
    lessons: Lesson,
) -> tuple[Params, PyTree, Metrics]:
    """One step on a batch of lessons [B, T, ...]; also their loss and the gradient's norm."""

    def loss(params: Params) -> jax.Array:
        return lesson_loss(jax.vmap(partial(net.logits, params))(lessons), lessons)

    value, grads = jax.value_and_grad(loss)(params)
    steps, state = optimizer.update(grads, state, params)
    metrics = {"loss": value, "grad_norm": optax.tree.norm(grads)}
    return optax.apply_updates(params, steps), state, metrics


def accuracy(logits: jax.Array, lesson: Lesson, *, shots: int, tasks: int = 1) -> jax.Array:
    """[tasks, shots + 1] share of right answers after so many examples of the class; NaN for none.

    Args:
      logits: [..., T, ways] of lessons with the same leading axes.
      lesson: what was asked for.
      shots: what came after more examples than this is left out.
      tasks: how many follow each other.
    """
    hit = (jnp.argmax(logits, axis=-1) == lesson.targets) * lesson.weight
    sums = jnp.zeros((2, tasks, shots + 1))
    sums = sums.at[:, lesson.task, lesson.shot].add(jnp.stack([hit, lesson.weight]), mode="drop")
    return sums[0] / jnp.where(sums[1] > 0, sums[1], jnp.nan)

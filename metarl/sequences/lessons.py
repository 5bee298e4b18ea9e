"""Few-shot lessons: sequences of examples in which classes must be learned from their labels.

The two ways to give labels, and two tasks in a row, are those of the self-referential weight
matrix (Irie et al. 2022, https://arxiv.org/abs/2202.05780), on synthetic sources. A lesson is drawn
from a key; many are a `vmap`.
"""

import jax
import jax.numpy as jnp
from flax import struct

from metarl.ops.keys import shuffled
from metarl.sequences.sources import Source
from metarl.types import Key


class Lesson(struct.PyTreeNode):
    """One sequence of T steps."""

    inputs: jax.Array  # [T, n_in + ways] an example and a label as one-hot, zeros where none is
    targets: jax.Array  # [T] int32, the class of the example
    weight: jax.Array  # [T] float32, 1 where the class is asked for, else 0
    shot: jax.Array  # [T] int32, how many examples of that class came before in this task
    task: jax.Array  # [T] int32, 0 or in two tasks in a row 0, then 1


def synchronous(key: Key, source: Source, *, ways: int, shots: int) -> Lesson:
    """Each class `shots` times in random order with its label, then a query without.

    Only the query, the last of `ways * shots + 1` steps, has weight. The key is consumed.
    """
    order_key, query_key, draw_key = jax.random.split(key, 3)
    shown = shuffled(order_key, ways * shots) % ways
    query = jax.random.randint(query_key, (1,), 0, ways)
    labels = jnp.concatenate([shown, query]).astype(jnp.int32)
    asked = jnp.arange(len(labels)) == ways * shots
    told = jnp.where(asked[:, None], 0.0, jax.nn.one_hot(labels, ways))
    return _lesson(draw_key, source, labels, told, asked)


def delayed(key: Key, source: Source, *, ways: int, shots: int) -> Lesson:
    """`ways * shots` examples, at each step the label of the one before; every step has weight.

    Labels are uniform and independent, so that nobody can tell a label without its example.
    Published sequences hold each class equally often, and so the last labels can be found by
    counting; here `shots` is the mean, and `Lesson.shot` can exceed it. The key is consumed.
    """
    label_key, draw_key = jax.random.split(key)
    labels = jax.random.randint(label_key, (ways * shots,), 0, ways)
    return _lesson(draw_key, source, labels, _before(labels, ways), jnp.ones(len(labels), bool))


def two_tasks(
    key: Key, first: Source, second: Source, *, ways: int, shots: int, trim: int
) -> Lesson:
    """Two delayed lessons without a mark between them, the order of the sources random.

    From the end of each up to `trim` steps are cut, how many is random; what is missing is at the
    end of the whole, with weight 0. At the step where the task changes the label is that of the
    step before, of the first task. The key is consumed.

    Args:
      key: consumed.
      first: of one task.
      second: of the other; its examples have the same width.
      ways: classes of each.
      shots: mean number of examples of each class, before any are cut.
      trim: at most so many steps of a task are cut, fewer than it has.

    Raises:
      ValueError: examples of different widths, or nothing might be left of a task.
    """
    length = ways * shots
    if first.n_in != second.n_in:
        raise ValueError(f"examples of two sources are {first.n_in} and {second.n_in} wide")
    if not 0 <= trim < length:
        raise ValueError(f"trim must lie in 0..{length - 1}, got {trim}")
    *keys, order_key, trim_key = jax.random.split(key, 4)
    parts = [
        delayed(k, source, ways=ways, shots=shots)
        for k, source in zip(keys, (first, second), strict=True)
    ]
    both = jax.tree.map(lambda *x: jnp.stack(x), *parts)  # [2, length, ...]
    swapped = jax.random.bernoulli(order_key).astype(jnp.int32)
    lengths = length - jax.random.randint(trim_key, (2,), 0, trim + 1)  # of first and second part
    step = jnp.arange(2 * length)
    task = (step >= lengths[0]).astype(jnp.int32)
    place = step - task * lengths[0]
    there = place < lengths[task]
    joined = jax.tree.map(lambda x: x[task ^ swapped, jnp.minimum(place, length - 1)], both)
    told = jnp.where(there[:, None], _before(joined.targets, ways), 0.0)
    examples = jnp.where(there[:, None], joined.inputs[:, : first.n_in], 0.0)
    return joined.replace(
        inputs=jnp.concatenate([examples, told], axis=1),
        weight=there.astype(jnp.float32),
        task=task,
    )


def _before(labels: jax.Array, ways: int) -> jax.Array:
    """[T, ways] the label of the step before; zeros at the first step."""
    return jnp.roll(jax.nn.one_hot(labels, ways), 1, axis=0).at[0].set(0.0)


def _lesson(
    key: Key, source: Source, labels: jax.Array, told: jax.Array, asked: jax.Array
) -> Lesson:
    """A lesson of one task with these labels."""
    task_key, example_key = jax.random.split(key)
    task = source.task(task_key, told.shape[1])
    keys = jax.random.split(example_key, len(labels))
    examples = jax.vmap(source.example, in_axes=(0, None, 0))(keys, task, labels)  # [T, n_in]
    seen = jnp.cumsum(jax.nn.one_hot(labels, told.shape[1], dtype=jnp.int32), axis=0)
    shot = jnp.take_along_axis(seen, labels[:, None], axis=1)[:, 0] - 1
    inputs = jnp.concatenate([examples, told], axis=1)
    weight = asked.astype(jnp.float32)
    return Lesson(inputs, labels, weight, shot, jnp.zeros_like(labels))

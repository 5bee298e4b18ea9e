"""What few-shot tasks are drawn from: classes, and noisy examples of them.

A source is a frozen dataclass with

  `n_in`: the width of an example;
  `task(key, ways) -> task`: a new task of so many classes, any pytree;
  `example(key, task, label) -> [n_in]`: one example, of unit scale, of the class `label`.

Keys are consumed.
"""

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import struct

from metarl.ops.keys import shuffled
from metarl.types import Key, PyTree


class Source(Protocol):
    """See the module."""

    @property
    def n_in(self) -> int:
        """The width of an example."""
        ...

    def task(self, key: Key, ways: int) -> PyTree:
        """A new task."""
        ...

    def example(self, key: Key, task: PyTree, label: jax.Array) -> jax.Array:
        """[n_in] one example of a class."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """Classes are Gaussian clouds; a task is their means, standard normal numbers themselves.

    The best possible player is known: `metarl.sequences.players`.
    """

    n_in: int = 16
    noise: float = 0.7  # standard deviation of an example around the mean of its class

    def task(self, key: Key, ways: int) -> jax.Array:
        """[ways, n_in] means."""
        return jax.random.normal(key, (ways, self.n_in))

    def example(self, key: Key, task: jax.Array, label: jax.Array) -> jax.Array:
        """[n_in] the mean and noise."""
        return task[label] + self.noise * jax.random.normal(key, (self.n_in,))


class Projection(struct.PyTreeNode):
    """A task of `Projected`."""

    matrix: jax.Array  # [base, n_in]
    classes: jax.Array  # [ways] int32, which class of the data set bears each label


@dataclass(frozen=True)
class Projected:
    """One data set seen through random linear maps, its classes renamed at random.

    After general-purpose in-context learning (Kirsch et al. 2022,
    https://arxiv.org/abs/2212.04458; from memory): entries of the map have variance 1 / base, and
    with few tasks a network memorises them, with many it learns to learn. The paper's data sets are
    of images. This one is synthetic and fixed by `seed`: each class is a few clusters, so that no
    linear function tells classes apart, and has a fixed number of examples. Another `seed` is
    another data set, to test on.
    """

    n_in: int = 16
    base: int = 16  # width of an example of the data set
    classes: int = 10  # of the data set; a task has some of them
    clusters: int = 2  # of a class
    examples: int = 100  # of a class
    noise: float = 0.5  # standard deviation within a cluster; that of the centres is 1
    tasks: int = 0  # how many there are; 0: any number
    seed: int = 0  # of the data set and, if there are few, of the tasks

    def data(self) -> jax.Array:
        """[classes, examples, base] the data set, of unit variance."""
        centre_key, noise_key = jax.random.split(jax.random.key(self.seed))
        centres = jax.random.normal(centre_key, (self.classes, self.clusters, self.base))
        shape = (self.classes, self.examples, self.base)
        of = jnp.arange(self.examples) % self.clusters  # the cluster of each example
        drawn = centres[:, of] + self.noise * jax.random.normal(noise_key, shape)
        return drawn / (1 + self.noise**2) ** 0.5

    def task(self, key: Key, ways: int) -> Projection:
        """A map and the classes' new names.

        Raises:
          ValueError: more ways than the data set has classes.
        """
        if ways > self.classes:
            raise ValueError(f"{ways} ways need as many classes; the data set has {self.classes}")
        if self.tasks:
            number = jax.random.randint(key, (), 0, self.tasks)
            key = jax.random.fold_in(jax.random.key(self.seed), number)
        map_key, class_key = jax.random.split(key)
        matrix = jax.random.normal(map_key, (self.base, self.n_in)) / self.base**0.5
        return Projection(matrix, shuffled(class_key, self.classes)[:ways])

    def example(self, key: Key, task: Projection, label: jax.Array) -> jax.Array:
        """[n_in] one of the examples of the class, mapped."""
        which = jax.random.randint(key, (), 0, self.examples)
        return self.data()[task.classes[label], which] @ task.matrix

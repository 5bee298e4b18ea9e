"""Learning lessons: losses by hand, accuracy by shot, and a network that finds them out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl.nets.core import block, core, stack
from metarl.sequences.learner import accuracy, learn, lesson_loss, reader
from metarl.sequences.lessons import Lesson, synchronous
from metarl.sequences.sources import Gaussian

WAYS, SHOTS, WIDTH = 2, 3, 16
SOURCE = Gaussian(4, 0.1)
DRAW = partial(synchronous, source=SOURCE, ways=WAYS, shots=SHOTS)


def batch(seed, count=64):
    return jax.vmap(DRAW)(jax.random.split(jax.random.key(seed), count))


@pytest.fixture(scope="module")
def net():
    return reader(stack([block(core("gru", WIDTH, WIDTH), hidden=32)]), SOURCE.n_in + WAYS, WAYS)


def lesson(targets, weight, shot, task):
    weight, zeros = jnp.array(weight, float), jnp.zeros((*np.shape(targets), 1))
    return Lesson(zeros, jnp.array(targets), weight, jnp.array(shot), jnp.array(task))


def test_the_loss_is_the_mean_of_what_is_asked_for():
    one = lesson([0, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0])
    logits = jnp.array([[0.0, 0.0], [9.0, 0.0], [1.0, 0.0]])
    by_hand = (np.log(2) + np.log(1 + np.e)) / 2
    np.testing.assert_allclose(lesson_loss(logits, one), by_hand, rtol=1e-6)
    both = jax.tree.map(lambda x: jnp.stack([x, x]), one)
    np.testing.assert_allclose(lesson_loss(jnp.stack([logits] * 2), both), by_hand, rtol=1e-6)


def test_accuracy_by_task_and_shot():
    one = lesson([0, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 0, 1, 3, 0], [0, 0, 0, 1, 1])
    said = jnp.eye(2)[jnp.array([0, 0, 1, 0, 0])]
    found = accuracy(said, one, shots=2, tasks=2)
    np.testing.assert_array_equal(found, [[0.5, 1, np.nan], [np.nan] * 3])  # shot 3 is left out
    np.testing.assert_array_equal(accuracy(said, one, shots=3, tasks=2)[1, 3], 1)


def test_the_gradient_reaches_everything_and_only_by_what_is_asked_for(net):
    params, lessons = net.init(jax.random.key(0)), batch(1, 4)

    def loss(params, lessons):
        return lesson_loss(jax.vmap(partial(net.logits, params))(lessons), lessons)

    grads, by_lesson = jax.jit(jax.grad(loss, argnums=(0, 1), allow_int=True))(params, lessons)
    for leaf in jax.tree.leaves(grads):
        assert jnp.isfinite(leaf).all() and (leaf != 0).any()
    assert (by_lesson.inputs[:, 0] != 0).any()  # the first example matters for the last answer
    silent = lessons.replace(weight=jnp.zeros_like(lessons.weight))
    assert all((x == 0).all() for x in jax.tree.leaves(jax.jit(jax.grad(loss))(params, silent)))


def test_a_network_learns_to_learn(net):
    optimizer = optax.adam(1e-2)
    params = net.init(jax.random.key(0))

    def step(loop, seed):
        params, state, metrics = learn(net, optimizer, loop[0], loop[1], batch(seed))
        return (params, state), metrics

    run = jax.jit(lambda loop: jax.lax.scan(step, loop, jnp.arange(150)))
    (params, _), metrics = run((params, optimizer.init(params)))
    assert set(metrics) == {"loss", "grad_norm"} and metrics["loss"].shape == (150,)
    test = batch(1000, 500)
    found = accuracy(jax.vmap(partial(net.logits, params))(test), test, shots=SHOTS)
    assert found.shape == (1, SHOTS + 1) and np.isnan(found[0, :-1]).all()
    assert found[0, -1] > 0.9 > 0.6 > jnp.exp(-metrics["loss"][0])  # from chance

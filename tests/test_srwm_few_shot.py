"""What can and what cannot learn to change itself, seen in the gradient of a few-shot lesson."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest

from metarl.recipes import srwm_few_shot
from metarl.sequences.learner import lesson_loss

SMALL = dataclasses.replace(srwm_few_shot.QUICK, width=8, heads=2, shots=2, widening=1)
D = 4  # width of a head


@pytest.fixture(scope="module")
def grads():
    """Of the loss of a few lessons, by variant: for the matrix of the core [H, d, 3 d + 4]."""
    part = srwm_few_shot.parts(SMALL)[0]
    lessons = jax.vmap(part.draw)(jax.random.split(jax.random.key(0), 3))

    def of(name):
        net = srwm_few_shot.network(SMALL, name, part)
        params = net.init(jax.random.key(1))

        def loss(params):
            return lesson_loss(jax.vmap(partial(net.logits, params))(lessons), lessons)

        found = jax.jit(jax.grad(loss))(params)
        return np.asarray(found["core"][0]["core"]["w"]), np.asarray(found["in"]["w"])

    return {name: of(name) for name in ("srwm", "detached", "static")}


def test_the_whole_gradient_trains_all_of_the_matrix(grads):
    w, _ = grads["srwm"]
    assert np.isfinite(w).all()
    for block in np.split(w, [D, 2 * D, 3 * D], axis=-1):
        assert np.abs(block).max() > 0


@pytest.mark.parametrize("name", ["detached", "static"])
def test_without_it_only_the_output_learns(grads, name):
    """Exactly nothing reaches queries, keys and rates, nor the embedding of labels."""
    w, embedding = grads[name]
    assert np.abs(w[..., :D]).max() > 0 and (w[..., D:] == 0).all()
    assert np.abs(embedding[: SMALL.n_in]).max() > 0
    assert (embedding[SMALL.n_in :] == 0).all()  # a query has no label
    assert (grads["srwm"][1][SMALL.n_in :] != 0).any()


def test_any_core_can_stand_there():
    part = srwm_few_shot.parts(SMALL)[1]
    lesson = part.draw(jax.random.key(0))
    for name in ("mingru", "none"):
        net = srwm_few_shot.network(SMALL, name, part)
        logits = jax.eval_shape(lambda net=net: net.logits(net.init(jax.random.key(0)), lesson))
        assert logits.shape == (2 * SMALL.later_ways * SMALL.later_shots, SMALL.later_ways)


def test_claims_hold_where_they_should():
    for name, value, expected in (
        ("srwm", 0.985, True), ("srwm", 0.97, False), ("detached", 0.7, True),
        ("detached", 0.85, False), ("static", 0.51, True), ("static", 0.6, False),
    ):  # fmt: skip
        claim = srwm_few_shot._claim(SMALL, name, np.full(3, value))
        assert claim.held is expected and srwm_few_shot.label(name) in claim.text


def test_steps_are_whole_chunks():
    with pytest.raises(ValueError, match="a multiple of rows"):
        srwm_few_shot.arms(dataclasses.replace(SMALL, steps=801))

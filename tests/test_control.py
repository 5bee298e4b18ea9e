"""What is rarely needed is right where it is needed, and elsewhere not even computed."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.ops.control import alone, apart, in_turn, rarely


def middle(row):
    """Something that leaves its name in a compiled programme."""
    return jnp.sort(row)[row.shape[0] // 2]


def value(needed, row):
    return rarely(needed, middle, (row,), jnp.float32(-1))


@pytest.mark.parametrize("needed", [[0, 0, 0], [0, 1, 0], [1, 1, 1]])
def test_rows_get_what_they_need(needed):
    rows = np.array([[3, 1, 2], [9, 7, 8], [5, 6, 4]], np.float32)
    expected = np.where(np.array(needed, bool), [2, 8, 5], -1)
    got = jax.jit(jax.vmap(value))(jnp.array(needed, bool), jnp.array(rows))
    np.testing.assert_array_equal(got, expected)


def test_it_works_alone_and_uncompiled():
    row = jnp.array([3.0, 1.0, 2.0])
    assert float(value(jnp.bool_(True), row)) == 2
    assert float(value(jnp.bool_(False), row)) == -1


def test_the_rare_side_is_not_hoisted_out_of_its_loop():
    args = (jnp.zeros(64, bool), jnp.zeros((64, 128)))
    text = str(jax.jit(jax.vmap(value)).lower(*args).compile().as_text())
    assert " while(" in text
    entry = text[text.index("\nENTRY ") :]
    assert " sort(" in text
    assert " sort(" not in entry


def test_apart_values_are_computed_once():
    """Two users of a costly value: its cosine is in one loop, not in both."""

    def two(x, y, keep):
        value = keep(jnp.cos(x))
        return value[:, None] + y, value[:, None] * y.T

    args = (jnp.zeros(64), jnp.zeros((64, 64)))
    count = lambda keep: str(  # noqa: E731
        jax.jit(lambda x, y: two(x, y, keep)).lower(*args).compile().as_text()
    ).count(" cosine(")
    assert count(apart) == 1
    expected, got = two(*args, lambda x: x), jax.jit(lambda x, y: two(x, y, apart))(*args)
    np.testing.assert_array_equal(got, expected)


def test_apart_passes_gradients_and_batches():
    loss = lambda x: (apart({"a": x**2})["a"] * x).sum()  # noqa: E731
    x = jnp.arange(3.0)
    np.testing.assert_allclose(jax.grad(loss)(x), 3 * x**2)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(loss)))(x), 3 * x**2)


def marks(place):
    """A formula with a condition that never changes."""
    cell = jnp.arange(77)
    return jnp.where(cell < 13, place, 2 * place) == cell


def test_nothing_is_moved_out_of_a_loop_from_what_is_computed_alone():
    def marked(compute):
        def turn(place, step):
            total = jax.vmap(compute)(place).sum(axis=1)
            return place + step, total

        run = lambda place, steps: jax.lax.scan(turn, place, steps)[1]  # noqa: E731
        args = (jnp.arange(64), jnp.arange(5))
        compiled = jax.jit(run).lower(*args).compile()
        loop = next(line for line in str(compiled.as_text()).splitlines() if " while(" in line)
        return compiled(*args), "[77]" in loop

    plain, hoisted = marked(marks)
    got, moved = marked(lambda place: alone(marks, place))
    np.testing.assert_array_equal(got, plain)
    assert hoisted  # or the next line proves nothing
    assert not moved


def test_alone_passes_gradients_and_batches():
    loss = lambda x: (alone(lambda a, b: a * b["c"], x, {"c": x}) * x).sum()  # noqa: E731
    x = jnp.arange(3.0)
    np.testing.assert_allclose(jax.grad(loss)(x), 3 * x**2)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(loss)))(x), 3 * x**2)


def test_rows_in_turn_are_those_at_once_with_their_derivatives_in_less_memory():
    wide = lambda w, x: jnp.exp(jnp.linspace(0, 1, 4096) * (w @ x)).mean()  # noqa: E731
    w, x = jnp.array([0.5, -1.0]), jax.random.normal(jax.random.key(0), (64, 2))
    loss = lambda way: lambda w, x: jnp.square(way(partial(wide, w), x)).sum()  # noqa: E731
    turns, once = loss(in_turn), loss(lambda f, x: jax.vmap(f)(x))

    def derivatives(loss):
        return jax.value_and_grad(loss, (0, 1))(w, x), jax.hessian(loss)(w, x)

    expected, got = (jax.jit(derivatives, static_argnums=0)(f) for f in (once, turns))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), got, expected)
    stack = jnp.stack([w, 2 * w])
    got, expected = (jax.vmap(jax.grad(f), (0, None))(stack, x) for f in (turns, once))
    np.testing.assert_allclose(got, expected, rtol=1e-4)

    def temporary(f):
        memory: Any = jax.jit(jax.grad(f)).lower(w, x).compile().memory_analysis()
        return memory.temp_size_in_bytes

    if jax.default_backend() == "cpu":
        assert temporary(turns) < temporary(once) / 8

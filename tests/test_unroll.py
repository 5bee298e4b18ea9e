"""Loops and gradients that are differentiated again: the same numbers, and less memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.ops.unroll import grad_by_forward_over_reverse, scale_gradient, unroll

LEVELS = (1, 2, 3, 4)


def close(a, b, rtol=1e-12):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol), a, b)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 7, 8, 12, 31])
def test_a_tree_of_checkpoints_is_a_scan(length):
    """Carries, outputs in their order, and derivatives, whether or not the length has divisors."""

    def total(run, x):
        carry, outs = run(lambda c: (jnp.sin(c * x["w"]) + 0.1, {"out": c[0] * x["w"]}), x["c"])
        return jnp.sum(carry) + jnp.dot(outs["out"], jnp.arange(1.0, length + 1)), (carry, outs)

    def scan(step, carry):
        return jax.lax.scan(lambda c, _: step(c), carry, None, length=length)

    @jax.jit
    def everything(x):
        runs = [lambda s, c, n=n: unroll(s, c, length, levels=n) for n in LEVELS]
        both = jax.value_and_grad(total, argnums=1, has_aux=True)
        return both(scan, x), [both(run, x) for run in runs]

    with jax.enable_x64(True):
        x = {"w": jnp.float64(1.3), "c": jnp.array([0.2, 0.5], jnp.float64)}
        expected, found = everything(x)
        for one in found:
            close(one, expected)


def test_a_tree_of_checkpoints_needs_a_level():
    with pytest.raises(ValueError, match="at least one level, got 0"):
        unroll(lambda c: (c, ()), jnp.float32(0), 3, levels=0)


def test_memory_grows_like_a_root_of_the_length():
    """Of 64 carries of 40 kB a scan keeps 64, two levels about 16, three about 12."""

    def carries(levels):
        def total(c):
            step = jax.checkpoint(lambda c: (jnp.sin(jnp.sin(c)), ()))
            return jnp.sum(unroll(step, c, 64, levels=levels)[0])

        plan: Any = jax.jit(jax.grad(total)).lower(jnp.zeros(10_000)).compile().memory_analysis()
        return plan.temp_size_in_bytes / 40_000

    one, two, three = carries(1), carries(2), carries(3)
    assert 64 <= one <= 68 and two <= 20 and three <= 18


def loss(params, scale, count, flags, key, shift):
    """Of every kind of argument; twice differentiable."""
    noise = jax.random.normal(key, params["w"].shape)
    x = jnp.tanh(params["w"] * scale["a"] + noise) * jnp.where(flags, 1.0, 0.3) * count
    return jnp.sum(x**2) * jnp.exp(scale["b"]) + jnp.sum(params["b"] * params["w"]) * shift, {
        "mean": jnp.mean(x)
    }


def arguments():
    w = jnp.array([0.3, -0.2, 0.7])
    params = {"w": w, "b": w + 1}
    scale = {"a": jnp.array([1.0, 2.0, 0.5]), "b": jnp.asarray(0.1)}
    flags = jnp.array([True, False, True])
    return params, scale, jnp.int32(3), flags, jax.random.key(1), jnp.asarray(0.4)


FLOATS = (0, 1, 5)


def along(gradient, args):
    """A number that depends on the gradient of the loss in a crooked way."""
    grads, aux = gradient(*args)
    return jnp.sum(jnp.sin(grads["w"])) + jnp.sum(grads["b"] ** 2), (grads, aux)


def test_forward_over_reverse_is_reverse_over_reverse():
    """In every floating argument, with integers, booleans and typed keys beside them."""
    with jax.enable_x64(True):
        args = arguments()

        def second(gradient):
            def outcome(*args):
                return along(gradient, args)

            return jax.jit(jax.value_and_grad(outcome, FLOATS, has_aux=True))(*args)

        expected = second(jax.grad(loss, has_aux=True))
        close(second(grad_by_forward_over_reverse(loss)), expected)
        assert all((x != 0).all() for x in jax.tree.leaves(expected[1]))


def test_forward_over_reverse_is_mapped():
    """Over all arguments, and over one of them while the others are shared."""
    count = 3
    args = arguments()
    keys = jax.random.split(jax.random.key(2), count)
    many = jax.tree.map(lambda x: jnp.stack([x * (1 + i) for i in range(count)]), args[0])
    for axes, given in (
        ((0, None, None, None, 0, None), (many, *args[1:4], keys, args[5])),
        ((None, None, None, None, 0, None), (*args[:4], keys, args[5])),
    ):

        def second(gradient, *args):
            return jax.grad(lambda *args: along(gradient, args)[0], FLOATS)(*args)

        def mapped(gradient, axes=axes, given=given):
            return jax.jit(jax.vmap(lambda *args: second(gradient, *args), axes))(*given)

        found = mapped(grad_by_forward_over_reverse(loss))
        close(found, mapped(jax.grad(loss, has_aux=True)), rtol=1e-5)


def test_forward_over_reverse_lets_nothing_through_the_auxiliary_output():
    gradient = grad_by_forward_over_reverse(loss)
    grads = jax.jit(jax.grad(lambda w, *rest: gradient(w, *rest)[1]["mean"]))(*arguments())
    assert all((x == 0).all() for x in jax.tree.leaves(grads))


def test_forward_over_reverse_keeps_less_than_reverse_over_reverse():
    """Ten layers of which the second derivative of the gradient would keep several each."""

    def deep(params, x):
        for _ in range(10):
            x = jnp.tanh(x @ params)
        return jnp.mean(x), ()

    def memory(gradient):
        outcome = lambda params, x: jnp.sum(gradient(params, x)[0] ** 2)  # noqa: E731
        lowered = jax.jit(jax.grad(outcome)).lower(jnp.zeros((8, 8)), jnp.zeros((4096, 8)))
        plan: Any = lowered.compile().memory_analysis()
        return plan.temp_size_in_bytes

    assert memory(grad_by_forward_over_reverse(deep)) < memory(jax.grad(deep, has_aux=True))


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0])
def test_scaled_gradients(factor):
    """The numbers stay; derivatives shrink; what has none is left alone."""

    def outcome(x):
        same = scale_gradient({"x": x, "n": jnp.int32(3)}, factor)
        return same["x"] ** 2 * same["n"], same["x"]

    slope, same = jax.grad(outcome, has_aux=True)(jnp.float32(0.7))
    np.testing.assert_allclose(same, 0.7, rtol=1e-6)
    np.testing.assert_allclose(slope, factor * 3 * 2 * 0.7, rtol=1e-6)

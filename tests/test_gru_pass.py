"""The written-out derivative of the GRU's pass against automatic differentiation, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.nets.gru import gru
from metarl.nets.gru_pass import gru_backwards

T, N, F, H = 6, 4, 3, 5


def given(seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape))  # noqa: E731
    params = {
        "in": {"w": draw(F, 3 * H), "b": draw(3 * H)},
        "rec": {"w": draw(H, 3 * H), "b": draw(3 * H)},
    }
    last = jnp.asarray(rng.random((T, N)) < 0.3).at[-1, 0].set(True)
    return params, draw(T, N, F), last


def plain(params, x, last):
    """One step after the other, differentiated by JAX."""
    h, found = jnp.zeros((N, H), x.dtype), []
    for t in reversed(range(T)):
        h = gru(params, jnp.where(last[t][:, None], 0, h), x[t])
        found.append(h)
    return jnp.stack(found[::-1])


def gradients(run, params, x, last):
    """Of a number on which every state bears in its own way."""
    weights = jnp.cos(jnp.arange(T * N * H, dtype=x.dtype)).reshape(T, N, H)
    loss = lambda params, x: jnp.sum(weights * run(params, x, last) ** 2)  # noqa: E731
    return jax.value_and_grad(loss, argnums=(0, 1))(params, x)


def test_states_and_gradients_equal_automatic_ones():
    with jax.enable_x64(True):
        found, expected = (jax.jit(gradients, static_argnums=0)(run, *given())
                           for run in (gru_backwards, plain))  # fmt: skip
        assert all(jnp.all(x != 0) for x in jax.tree.leaves(expected[1][0]))
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert a.dtype == b.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_lives_apart_have_the_gradients_of_each():
    """Under `vmap`, as `update` of one life meets it, and with one step there is no loop."""
    with jax.enable_x64(True):
        params, x, last = given()
        both, flags = jnp.stack([x, x[::-1]]), jnp.stack([last, last[::-1]])
        total = lambda run: jax.vmap(lambda x, last: gradients(run, params, x, last))(both, flags)  # noqa: E731
        for a, b in zip(*map(jax.tree.leaves, map(total, (gru_backwards, plain))), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
        one = gru_backwards(params, x[-1:], last[-1:])
        np.testing.assert_allclose(one, plain(params, x, last)[-1:], rtol=1e-12)


def test_forward_mode_is_refused():
    params, x, last = given()
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: gru_backwards(params, x, last), (x,), (x,))

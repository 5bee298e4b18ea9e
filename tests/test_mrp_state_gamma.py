"""The chain of signals and noise: its returns by hand, its meta-gradient by finite differences."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl.recipes.mrp_state_gamma import Settings, meta_loss, returns, rewards, truth


def test_returns_by_hand():
    found = returns(jnp.array([1.0, 2.0, 4.0]), jnp.array([0.5, 0.25, 0.9]))
    np.testing.assert_allclose(found, [1 + 0.5 * 3, 2 + 0.25 * 4, 4])


def test_signals_are_constant_and_noise_has_no_mean():
    settings = Settings()
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: rewards(settings, key)))(keys))
    np.testing.assert_allclose(drawn[:, 1::2], 0.1)
    np.testing.assert_allclose(drawn[:, ::2].mean(axis=0), 0, atol=0.08)
    np.testing.assert_allclose(drawn[:, ::2].std(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(truth(settings), np.repeat([0.5, 0.4, 0.3, 0.2, 0.1], 2), rtol=1e-5)


def plain_loss(discount, value, inner, outer, step):
    """In numpy, by the definition of the return as a sum of products."""
    n = len(inner)
    total = [sum(inner[j] * np.prod(discount[i:j]) for j in range(i, n)) for i in range(n)]
    value = value + step * (np.array(total) - value)
    goals = np.cumsum(outer[:, ::-1], axis=1)[:, ::-1]
    return np.mean((goals - value) ** 2)


def test_the_meta_gradient_equals_finite_differences():
    rng = np.random.default_rng(0)
    discount, value = rng.uniform(0.2, 0.9, 10), rng.normal(size=10)
    inner, outer = rng.normal(size=10), rng.normal(size=(3, 10))
    with jax.enable_x64(True):
        args = [jnp.asarray(x, jnp.float64) for x in (discount, value, inner, outer)]
        loss = lambda d: meta_loss(d, *args[1:], step=0.5)[0]  # noqa: E731
        found, grad = jax.jit(jax.value_and_grad(loss))(args[0])
    np.testing.assert_allclose(found, plain_loss(discount, value, inner, outer, 0.5), rtol=1e-10)
    for i, unit in enumerate(np.eye(10)):
        up, down = (
            plain_loss(discount + e * unit, value, inner, outer, 0.5) for e in (1e-5, -1e-5)
        )
        np.testing.assert_allclose(grad[i], (up - down) / 2e-5, rtol=1e-6, atol=1e-9)
    assert grad[-1] == 0  # the last discount multiplies nothing

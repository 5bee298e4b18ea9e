"""Utility-based perturbed gradient descent against steps computed by hand, and its noise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from metarl.ops.upgd import normals, upgd

RATE, DECAY, NOISE, WEIGHT_DECAY = 0.1, 0.9, 0.3, 0.02


def by_hand(params, grads, drawn, *, protecting):
    """Two steps in float64 numpy, all weights in one vector; the noise is given."""
    theta = np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)]).astype(float)
    trace = np.zeros_like(theta)
    for t, (g, xi) in enumerate(zip(grads, drawn, strict=True), 1):
        trace = DECAY * trace + (1 - DECAY) * (-g * theta)
        s = 1 / (1 + np.exp(-(trace / (1 - DECAY**t)) / trace.max()))
        push = 2 * (g + NOISE * xi) * (1 - s) if protecting else g + NOISE * xi * (1 - s)
        theta = theta * (1 - RATE * WEIGHT_DECAY) - RATE * push
    return theta


@pytest.mark.parametrize("protecting", [True, False])
def test_steps_equal_those_computed_by_hand(protecting):
    rng = np.random.default_rng(0)
    params = {"a": jnp.array(rng.normal(size=(3, 2)), jnp.float32), "b": jnp.array([0.5, -1.0])}
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    grads = rng.normal(size=(2, flat.size)).astype(np.float32)
    key = jax.random.key(1)
    optimizer = upgd(
        RATE, key=key, decay=DECAY, noise=NOISE, weight_decay=WEIGHT_DECAY, protecting=protecting
    )
    drawn = [
        jax.flatten_util.ravel_pytree(normals(jax.random.fold_in(key, t), params))[0]
        for t in range(2)
    ]
    expected = by_hand(params, grads, map(np.asarray, drawn), protecting=protecting)
    state = optimizer.init(params)
    for g in grads:
        steps, state = optimizer.update(unravel(jnp.array(g)), state, params)
        params = optax.apply_updates(params, steps)
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(params)[0], expected, rtol=2e-5)


def test_the_useful_weight_is_protected_by_half_the_way_to_one():
    """Utilities 2 and 0: s is sigmoid(1 / (1 - decay)) of the most useful weight, then 1 / 2."""
    params, grads = jnp.array([1.0, 0.0]), jnp.array([-2.0, 3.0])
    optimizer = upgd(1.0, key=jax.random.key(0), decay=0.5, noise=0.0)
    steps, _ = optimizer.update(grads, optimizer.init(params), params)
    # The greatest utility is not corrected: 2 / 1 = 2 over 1, so s = sigmoid(2) = 0.8808.
    np.testing.assert_allclose(steps, [4 * (1 - 0.880797), -3.0], rtol=1e-5)


def test_without_utility_and_noise_it_is_gradient_descent():
    params, grads = jnp.zeros(4), jnp.arange(4.0)
    optimizer = upgd(0.1, key=jax.random.key(0), noise=0.0)
    steps, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(steps, -0.1 * grads, rtol=1e-6)


def test_noise_is_normal_new_at_each_step_and_that_of_the_key():
    params = jnp.zeros(20_000)
    optimizer = upgd(1.0, key=jax.random.key(3), noise=1.0)
    state = optimizer.init(params)
    first, state = jax.jit(optimizer.update)(params, state, params)
    second, _ = jax.jit(optimizer.update)(params, state, params)
    assert scipy.stats.kstest(np.asarray(first), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    given = upgd(1.0, noise=1.0)
    key = jax.random.fold_in(jax.random.key(3), 0)
    same, _ = given.update(params, given.init(params), params, key=key)
    np.testing.assert_allclose(same, first, rtol=1e-6)


def test_it_asks_for_what_it_needs():
    params = jnp.zeros(2)
    optimizer = upgd(0.1)
    state = optimizer.init(params)
    with pytest.raises(ValueError, match="needs a key"):
        optimizer.update(params, state, params)
    with pytest.raises(ValueError, match="needs the params"):
        optimizer.update(params, state)

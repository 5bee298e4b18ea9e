"""The self-referential weight matrix against its equations, and its written-out derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.nets.core import core
from metarl.nets.fast_weights import CHUNK
from metarl.nets.srwm import drift

T, D, H = 19, 6, 2


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def by_hand(w, x, first, decay=0.0, softmax_input=False):
    """A plain loop over steps and heads; returns the output of every head and the last matrix."""
    heads, d, _ = w.shape
    now, out = w.copy(), []
    for t in range(len(x)):
        now = w.copy() if first is not None and first[t] else now
        said = []
        for h in range(heads):
            u = x[t, h * d : (h + 1) * d]
            u = softmax(u) if softmax_input else u
            z = u @ now[h]
            q, k = softmax(z[d : 2 * d]), softmax(z[2 * d : 3 * d])
            rate = 1 / (1 + np.exp(-z[3 * d :]))
            after = now[h].copy()
            for i, block in enumerate(
                (slice(0, d), slice(d, 2 * d), slice(2 * d, 3 * d), slice(3 * d, None))
            ):
                part = now[h][:, block]
                after[:, block] += rate[i] * np.outer(k, (q - k) @ part)
            said.append(z[:d])
            now[h] = after + decay * (w[h] - after)
        out.append(np.concatenate(said))
    return np.stack(out), now


@pytest.mark.parametrize(
    "settings",
    [{}, {"decay": 0.1}, {"softmax_input": True}, {"q_scale": 1.0, "beta_init": 1.0}],
    ids=str,
)
@pytest.mark.parametrize("resets", [False, True])
def test_it_follows_its_equations(settings, resets):
    made = core("srwm", D, D, heads=H, **settings)
    params = made.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (T, D))
    first = np.isin(np.arange(T), [0, 7, 8]) if resets else None
    memory, y = jax.jit(made.unroll)(params, made.carry(), x, first)
    w = np.asarray(params["w"])
    told = {name: settings[name] for name in ("decay", "softmax_input") if name in settings}
    out, last = by_hand(w, np.asarray(x), first, **told)
    np.testing.assert_allclose(y, out @ np.asarray(params["out"]), atol=2e-5)
    np.testing.assert_allclose(memory, last - w, atol=2e-5)
    np.testing.assert_allclose(drift(memory), abs(last - w).max(), atol=2e-5)
    assert abs(last - w).max() > 0.01


def gradients(settings, width, heads, length, first, name="srwm"):
    """Of unroll, and of step repeated in a scan, in float64."""
    made = core(name, width, width, heads=heads, **settings)
    with jax.enable_x64(True):
        params = made.init(jax.random.key(0))
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)
        x = jax.random.normal(jax.random.key(1), (length, width), jnp.float64)
        memory = 0.3 * jax.random.normal(jax.random.key(2), made.carry().shape, jnp.float64)
        weights = jax.random.normal(jax.random.key(3), (length, width), jnp.float64)

        def slow(params, memory, x):
            def body(memory, now):
                x, first = now
                return made.step(params, jnp.where(first, 0, memory), x)

            told = jnp.zeros(length, bool) if first is None else first
            return jax.lax.scan(body, memory, (x, told))

        def loss(run):
            def value(*args):
                memory, y = run(*args)
                return jnp.sum(weights * y) + jnp.sum(jnp.sin(memory))

            return jax.jit(jax.grad(value, argnums=(0, 1, 2)))

        fast = lambda params, memory, x: made.unroll(params, memory, x, first)  # noqa: E731
        return loss(fast)(params, memory, x), loss(slow)(params, memory, x)


RESETS = np.zeros(2 * CHUNK + 5, bool)
RESETS[[0, 3, 4, CHUNK - 1, CHUNK, CHUNK + 9, -1]] = True
CASES = {
    "whole": ({}, 6, 2, CHUNK + 3, None),
    "odd width": ({"q_scale": 1.0}, 9, 3, 7, None),
    "one head of one": ({}, 1, 1, 5, RESETS[:5]),
    "resets": ({"beta_init": 1.0}, 6, 2, len(RESETS), RESETS),
    "resets, odd": ({}, 5, 1, 2 * CHUNK, RESETS[: 2 * CHUNK]),
    "decay": ({"decay": 0.05}, 6, 2, CHUNK + 3, None),
    "decay and resets": ({"decay": 0.05, "softmax_input": True}, 6, 2, len(RESETS), RESETS),
}


@pytest.mark.parametrize("case", CASES)
def test_its_derivative_is_that_of_its_steps(case):
    ours, automatic = gradients(*CASES[case])
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(automatic), strict=True):
        assert a.dtype == jnp.float64
        np.testing.assert_allclose(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", ["delta", "fwp"])
def test_so_is_that_of_other_fast_weights(name):
    for first in (None, RESETS):
        ours, automatic = gradients({}, 6, 2, len(RESETS), first, name)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(automatic), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-10, rtol=1e-10)


def slow_weights(**settings):
    """Gradients [D, ...] of the blocks y, q, k and b of the slow weights, from the outputs."""
    made = core("srwm", D, D, heads=H, **settings)
    params = made.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (T, D))

    def loss(params):
        return jnp.sum(jnp.sin(made.unroll(params, made.carry(), x, None)[1]))

    d = D // H
    return jnp.split(jax.jit(jax.grad(loss))(params)["w"], [d, 2 * d, 3 * d], axis=-1)


def test_self_modification_is_learned_unless_it_is_cut_off():
    """The published RL code detaches the memory: exactly no gradient but to the block for y."""
    y, q, k, b = slow_weights()
    assert all((abs(block) > 0).any() for block in (y, q, k, b))
    y, *rest = slow_weights(detach=True)
    assert (abs(y) > 0).any() and not any(block.any() for block in rest)


def test_detaching_changes_no_output():
    outs = []
    for detach in (False, True):
        made = core("srwm", D, D, heads=H, detach=detach)
        x = jax.random.normal(jax.random.key(1), (T, D))
        first = jnp.arange(T) == 5
        outs.append(made.unroll(made.init(jax.random.key(0)), made.carry(), x, first))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *outs)


def test_without_modification_it_is_a_linear_map():
    made = core("srwm", D, D, heads=H, modify=False)
    params = made.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (T, D))
    memory, y = made.unroll(params, made.carry(), x, None)
    assert not memory.any()
    rows = [made.unroll(params, made.carry(), row[None], None)[1][0] for row in x[:3]]
    np.testing.assert_allclose(y[:3], jnp.stack(rows), atol=1e-6)


def test_the_default_start_is_stable_and_the_papers_now_and_then_is_not():
    """Share of 64 random heads of width 16 that pass an entry of 10 within 2048 steps."""
    noise = jax.random.normal(jax.random.key(1), (2048, 16))

    def largest(key, q_scale):
        made = core("srwm", 16, 16, heads=1, q_scale=q_scale)

        def body(loop, x):
            signal, memory, most = loop
            signal = 0.9 * signal + 0.19**0.5 * x
            memory, _ = made.step(made.init(key), memory, signal)
            return (signal, memory, jnp.maximum(most, drift(memory))), None

        return jax.lax.scan(body, (jnp.zeros(16), made.carry(), 0.0), noise)[0][2]

    keys = jax.random.split(jax.random.key(0), 64)
    most = jax.jit(jax.vmap(largest, in_axes=(0, None)))
    assert most(keys, 0.01).max() < 10 < most(keys, 1.0).max()


@pytest.mark.parametrize("settings", [{"heads": 4}, {"heads": 0}, {"decay": 1.0}], ids=str)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="srwm: "):
        core("srwm", D, D, **settings)

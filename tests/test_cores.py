"""What every memory core inherits: unroll is repeated step, and resets begin anew."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl import registry
from metarl.nets.core import block, core, stack

T, F, D = 21, 6, 8  # more steps than are rebuilt at a time
FIRST: Any = np.isin(np.arange(T), [4, 5, 9, 18])


@pytest.fixture(params=registry.CORES, scope="module")
def case(request):
    made = core(request.param, F, D)
    made = made._replace(step=jax.jit(made.step), unroll=jax.jit(made.unroll))
    params = made.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (T, F))
    memory, _ = made.unroll(params, made.carry(), x[:3] + 1, None)  # some memory to begin with
    return made, params, memory, x


def by_steps(made, params, memory, x, first):
    out = []
    for t in range(len(x)):
        memory = made.carry() if first is not None and first[t] else memory
        memory, y = made.step(params, memory, x[t])
        out.append(y)
    return memory, jnp.stack(out)


def close(a, b, tolerance=2e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance), a, b)


@pytest.mark.parametrize("first", [None, FIRST], ids=["whole", "resets"])
def test_unroll_is_repeated_step(case, first):
    made, params, memory, x = case
    out = made.unroll(params, memory, x, first)
    assert out[1].shape == (T, D) and jnp.isfinite(out[1]).all()
    close(out, by_steps(made, params, memory, x, first))


def test_pieces_make_the_whole(case):
    made, params, memory, x = case
    whole = made.unroll(params, memory, x, FIRST)
    middle, before = made.unroll(params, memory, x[:7], FIRST[:7])
    after, behind = made.unroll(params, middle, x[7:], FIRST[7:])
    close(whole, (after, jnp.concatenate([before, behind])))


def test_a_reset_is_a_fresh_start(case):
    made, params, memory, x = case
    _, y = made.unroll(params, memory, x, FIRST)
    _, fresh = made.unroll(params, made.carry(), x[9:18], None)
    close(y[9:18], fresh)


def test_memory_matters_or_there_is_none(case):
    made, params, memory, x = case
    _, old = made.unroll(params, memory, x, None)
    _, new = made.unroll(params, made.carry(), x, None)
    assert np.allclose(old, new) == (not jax.tree.leaves(memory))


def test_the_gradient_of_unroll_is_that_of_steps(case):
    """In float64; it reaches inputs, parameters and the memory at the start."""
    made, params, memory, x = case
    weights = np.random.default_rng(0).normal(size=(T, D))

    def loss(unroll, params, memory, x):
        memory, y = unroll(params, memory, x)
        floats = [m for m in jax.tree.leaves(memory) if jnp.issubdtype(m.dtype, jnp.floating)]
        return jnp.sum(weights * y) + sum(jnp.sum(jnp.sin(m)) for m in floats)

    def slow(params, memory, x):
        def body(memory, now):
            x, first = now
            memory = jax.tree.map(lambda a, b: jnp.where(first, a, b), made.carry(), memory)
            return made.step(params, memory, x)

        return jax.lax.scan(body, memory, (x, jnp.asarray(FIRST)))

    def fast(params, memory, x):
        return made.unroll(params, memory, x, jnp.asarray(FIRST))

    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda a: jnp.asarray(a, jnp.float64) if a.dtype == jnp.float32 else a,
            (params, memory, x),
        )
        grads = [
            jax.jit(jax.grad(lambda *a, u=u: loss(u, *a), argnums=(0, 1, 2), allow_int=True))(*wide)
            for u in (slow, fast)
        ]
    same = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10)  # noqa: E731
    for a, b in zip(*(jax.tree.leaves(g) for g in grads), strict=True):
        if a.dtype != jax.dtypes.float0:
            same(a, b)
    for leaf in jax.tree.leaves(grads[1][0]):
        assert (leaf != 0).any(), "no gradient reaches some parameters"


def test_blocks_and_stacks_are_cores():
    made = stack([block(core("gru", D, D), hidden=5), block(core("lstm", D, D), pre_norm=False)])
    params = made.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (T, D))
    close(
        made.unroll(params, made.carry(), x, FIRST),
        by_steps(made, params, made.carry(), x, FIRST),
    )
    with pytest.raises(ValueError, match="one width"):
        block(core("gru", F, D))
    with pytest.raises(ValueError, match="each other's widths"):
        stack([core("gru", F, D), core("gru", F, D)])


def test_an_unknown_core_is_named():
    with pytest.raises(ValueError, match="no memory core 'gruu'; did you mean gru"):
        core("gruu", F, D)

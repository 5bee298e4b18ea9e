"""The fused cipher against JAX's own, and exact arithmetic against Python's integers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.extend.random import threefry_2x32
from scipy.stats import chisquare, kstest, norm

from metarl.ops import keys

WORD = st.integers(0, 2**32 - 1)


def data(key):
    return np.asarray(jax.random.key_data(key))


@pytest.fixture(scope="module")
def drawn():
    """Four words from each of 2**18 spread keys."""
    draw = jax.jit(lambda key: jax.vmap(lambda k: keys.words(k, 4))(keys.spread(key, 2**18)))
    return [np.asarray(words) for words in draw(jax.random.key(7))]


@pytest.mark.parametrize("seed", [0, 1, 2**31 + 5])
def test_threefry_is_that_of_jax(seed):
    key = jnp.array([seed, 2**32 - 1 - seed], jnp.uint32)
    counters = jnp.array([0, 1, 2, 2**16, 2**32 - 1], jnp.uint32)
    expected = threefry_2x32(key, jnp.concatenate([jnp.zeros_like(counters), counters]))
    ours = jnp.concatenate(keys.threefry(key[0], key[1], counters))
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_split_is_that_of_jax(count):
    key = jax.random.key(3)
    np.testing.assert_array_equal(data(keys.split(key, count)), data(jax.random.split(key, count)))


def test_words_are_the_cipher_of_counters():
    key = jax.random.key(11)
    high, low = data(key)
    blocks = [keys.threefry(high, low, jnp.uint32(i)) for i in range(3)]
    expected = [word for block in blocks for word in block]
    for count in (1, 2, 5, 6):
        assert [int(w) for w in keys.words(key, count)] == [int(w) for w in expected[:count]]


def test_spread_keys_are_distinct_even_past_the_end_of_a_word():
    key = jax.random.wrap_key_data(jnp.array([5, 2**32 - 2], jnp.uint32))
    spread = data(keys.spread(key, 1000))
    assert len(np.unique(spread, axis=0)) == 1000
    np.testing.assert_array_equal(spread[:4, 1], [2**32 - 2, 2**32 - 1, 0, 1])


def test_neighbouring_keys_give_unrelated_words(drawn):
    assert len(np.unique(np.stack(drawn))) > 4 * 2**18 * (1 - 2e-4)  # birthdays alone: 1.2e-4
    words = drawn[0]
    flipped = np.unpackbits((words[1:] ^ words[:-1]).view(np.uint8)).reshape(-1, 32).mean(axis=0)
    assert np.abs(flipped - 0.5).max() < 5 * 0.5 / np.sqrt(len(words))


@pytest.mark.parametrize("bound", [4, 143, 1000])
def test_below_is_uniform(drawn, bound):
    for words in drawn:
        counts = np.bincount(keys.below(jnp.asarray(words), bound), minlength=bound)
        assert len(counts) == bound
        assert chisquare(counts).pvalue > 1e-4


@settings(deadline=None, max_examples=200)
@given(word=WORD, bound=st.integers(1, 65536))
@example(word=2**32 - 1, bound=65536)
@example(word=0, bound=1)
def test_below_rounds_down_for_an_array_bound(word, bound):
    drawn = keys.below(jnp.uint32(word), jnp.int32(bound))
    assert (int(drawn), drawn.dtype) == (word * bound >> 32, jnp.int32)


@settings(deadline=None, max_examples=200)
@given(word=WORD, bound=st.integers(1, 2**31))
@example(word=2**32 - 1, bound=2**31)
@example(word=2**32 - 1, bound=65537)
@example(word=2**16 - 1, bound=2**31 - 1)
def test_below_rounds_down_for_a_python_bound(word, bound):
    assert int(keys.below(jnp.uint32(word), bound)) == word * bound >> 32


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_generators_work(impl):
    key = jax.random.key(0, impl=impl)
    for many in (keys.spread(key, 6), keys.split(key, 6)):
        assert many.shape == (6,)
        assert many.dtype == key.dtype
        assert len(np.unique(data(many), axis=0)) == 6
    words = keys.words(key, 3)
    assert len({int(word) for word in words}) == 3
    assert all(word.dtype == jnp.uint32 and word.shape == () for word in words)
    assert jax.vmap(lambda k: keys.words(k, 2)[1])(keys.spread(key, 6)).shape == (6,)


def test_shuffles_are_orders_and_all_alike():
    some = jax.random.split(jax.random.key(3), 6000)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: keys.shuffled(key, 3)))(some))
    assert (np.sort(orders, axis=1) == np.arange(3)).all()
    counts = np.unique(orders @ np.array([9, 3, 1]), return_counts=True)[1]
    assert len(counts) == 6 and chisquare(counts).pvalue > 1e-3


def test_units_and_normals_have_their_distributions(drawn):
    words = jnp.asarray(drawn[0])
    units, normals = np.asarray(jax.jit(keys.unit)(words)), np.asarray(jax.jit(keys.normal)(words))
    assert units.dtype == normals.dtype == np.float32
    assert kstest(units, "uniform").pvalue > 1e-3 and kstest(normals, "norm").pvalue > 1e-3
    ends = jnp.array([0, 2**32 - 1], jnp.uint32)
    assert keys.unit(ends).tolist() == [0, 1 - 2**-24]
    np.testing.assert_allclose(keys.normal(ends), norm.ppf([2**-24, 1 - 2**-24]), rtol=1e-3)

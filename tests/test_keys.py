import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32

from metarl.ops import keys


@pytest.mark.parametrize("count", [1, 2, 5])
def test_words_are_threefrys_alone_and_in_batches(count):
    key = jax.random.key(3)
    blocks = np.arange((count + 1) // 2, dtype=np.uint32)
    data = jax.random.key_data(key)
    pairs = threefry_2x32((data[0], data[1]), jnp.stack([np.zeros_like(blocks), blocks]))
    expected = np.asarray(pairs).T.ravel()[:count]

    np.testing.assert_array_equal(keys.words(key, count), expected)
    for shape in [(1,), (3,), (2, 2)]:
        batch = jnp.broadcast_to(key, shape)
        draw = jax.vmap(lambda key: keys.words(key, count))
        for word, value in zip(
            (draw if len(shape) == 1 else jax.vmap(draw))(batch), expected, strict=True
        ):
            np.testing.assert_array_equal(word, np.full(shape, value))


def test_words_of_other_generators_are_their_own():
    key = jax.random.key(3, impl="rbg")
    np.testing.assert_array_equal(keys.words(key, 3), jax.random.bits(key, (3,), jnp.uint32))


def test_a_draw_alone_compiles_as_fast_as_one_in_a_batch():
    """Fused into its uses the cipher of one key took minutes; the operations bound that."""

    def planes(key):
        one, two = (keys.below(word, 16) for word in keys.words(key, 2))
        cell = jnp.arange(16)
        body = cell == one
        return jnp.concatenate([(body > 0)[None], body[None], (cell == two + (two >= one))[None]])

    for key in (jax.random.key(0), jax.random.split(jax.random.key(0), 1)):
        f = jax.jit(planes if key.ndim == 0 else jax.vmap(planes))
        assert f(key).sum() == 3


def test_gradients_pass_beside_words():
    def total(scale):
        return scale * keys.words(jax.random.key(0), 1)[0].astype(jnp.float32)

    np.testing.assert_allclose(jax.grad(total)(1.0), total(1.0))


@pytest.mark.parametrize("bound", [1, 7, 65535, 65536, 65537, 900_000, 2**24 + 5, 2**31])
def test_below_is_the_high_word_of_the_product(bound):
    words = np.random.default_rng(0).integers(0, 2**32, 1000, dtype=np.uint64)
    words[:4] = 0, 1, 65536, 2**32 - 1
    drawn = np.asarray(keys.below(jnp.asarray(words, jnp.uint32), bound))
    np.testing.assert_array_equal(drawn, (words * np.uint64(bound)) >> np.uint64(32))

"""Cheap randomness from typed keys, for code that draws at every environment step.

JAX compiles Threefry on the CPU as a rolled loop over whole arrays, about 40 ns a word there; the
same cipher unrolled is one fused loop and several times faster. It is the generator of
`jax.random`, so its quality is the same, but the stream is not.
"""

import jax
import jax.numpy as jnp

from metarl.ops.control import apart
from metarl.types import Key

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def split(key: Key, count: int = 2) -> Key:
    """`jax.random.split`, bit for bit where keys are partitionable Threefry, but fused on the CPU.

    The key is consumed.
    """
    data = jax.random.key_data(key)
    if data.shape != (2,):
        return jax.random.split(key, count)
    counters = jnp.arange(count, dtype=jnp.uint32)
    new = jnp.stack(threefry(data[0], data[1], counters), axis=-1)
    return jax.random.wrap_key_data(new, impl=jax.random.key_impl(key))


def fold_in(key: Key, number: jax.Array) -> Key:
    """`jax.random.fold_in`, bit for bit where keys are Threefry, but fused on the CPU."""
    data = jax.random.key_data(key)
    if data.shape != (2,):
        return jax.random.fold_in(key, number)
    new = jnp.stack(threefry(data[0], data[1], jnp.asarray(number).astype(jnp.uint32)))
    return jax.random.wrap_key_data(new, impl=jax.random.key_impl(key))


def spread(key: Key, count: int) -> Key:
    """`count` keys from one without hashing: `(a, b)` becomes `(a, b + i)`. The key is consumed.

    Threefry hashes its key, so keys that differ in one bit give unrelated draws. Whoever receives
    one must hash it (every draw and `split` does); never spread a spread key again, its neighbours
    would collide.

    Returns:
      [count] typed keys. Keys of another generator are split instead.
    """
    data = jax.random.key_data(key)
    if data.shape != (2,):
        return jax.random.split(key, count)
    low = data[1] + jnp.arange(count, dtype=jnp.uint32)
    high = jnp.broadcast_to(data[0], (count,))
    return jax.random.wrap_key_data(jnp.stack([high, low], axis=-1), impl=jax.random.key_impl(key))


def words(key: Key, count: int) -> tuple[jax.Array, ...]:
    """`count` random 32-bit words, each [] uint32. The key is consumed.

    A tuple, not an array: under `vmap` each word stays contiguous over the batch. They are kept
    apart from their users: fused into them the cipher would be computed several times, and an
    unbatched one copied so often that compilation does not end.
    """
    data = jax.random.key_data(key)
    if data.shape != (2,):
        return tuple(jax.random.bits(key, (count,), jnp.uint32))
    pairs = [threefry(data[0], data[1], jnp.uint32(i)) for i in range((count + 1) // 2)]
    return apart(tuple(word for pair in pairs for word in pair)[:count])


def shuffled(key: Key, count: int) -> jax.Array:
    """The numbers below `count` in random order, [count] int32. The key is consumed.

    One sort of random words, half of what `jax.random.permutation` costs; equal words, of which
    there are `count**2 / 2**33` pairs, keep their order.
    """
    return jnp.argsort(jax.random.bits(key, (count,), jnp.uint32)).astype(jnp.int32)


def below(word: jax.Array, bound: jax.Array | int) -> jax.Array:
    """A uniform integer in `[0, bound)` from a random word, int32.

    It is `floor(word * bound / 2**32)`: the bias is under `bound / 2**32`. A Python integer may be
    anything up to `2**31`; an array at most 65536.
    """
    over = bound >> 16 if isinstance(bound, int) and bound > 65536 else 0
    rest = jnp.asarray(bound - (over << 16), jnp.uint32)
    high, low = word >> 16, word & 0xFFFF
    product = high * rest + ((low * rest) >> 16)  # word * rest, without its lowest 16 bits
    if not over:
        return (product >> 16).astype(jnp.int32)
    carry = ((product & 0xFFFF) + ((low * over) & 0xFFFF)) >> 16
    return (high * over + (product >> 16) + ((low * over) >> 16) + carry).astype(jnp.int32)


def unit(word: jax.Array) -> jax.Array:
    """A uniform float32 in `[0, 1)` from a random word: one of 2**24 equal steps."""
    return (word >> 8).astype(jnp.float32) * jnp.float32(2**-24)


def normal(word: jax.Array) -> jax.Array:
    """A standard normal float32 from a random word, by the inverse distribution function.

    It takes 2**23 values, none beyond 5.3 either way.
    """
    centred = ((word >> 9).astype(jnp.float32) + 0.5) * jnp.float32(2**-22) - 1
    return jnp.float32(2**0.5) * jax.lax.erf_inv(centred)


def mix(x: jax.Array) -> jax.Array:
    """Another [...] uint32 for each: a hash that is one to one, by multiply, xor and shift.

    For many draws that hang on one random word, where Threefry would cost too much; `x` must
    already hold that word. The constants are Wellons' (https://nullprogram.com/blog/2018/07/31/).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def threefry(key0: jax.Array, key1: jax.Array, counter: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 with 20 rounds of the block `(0, counter)` (Salmon et al. 2011).

    Args:
      key0: [...] uint32, first key word.
      key1: [...] uint32, second key word.
      counter: [...] uint32.

    Returns:
      Two [...] uint32 words.
    """
    keys = (key0, key1, key0 ^ key1 ^ jnp.uint32(0x1BD11BDA))
    x0, x1 = keys[0] + jnp.zeros_like(counter), keys[1] + counter
    for i in range(5):
        for rotation in _ROTATIONS[i % 2]:
            x0 = x0 + x1
            x1 = x0 ^ ((x1 << rotation) | (x1 >> (32 - rotation)))
        x0 = x0 + keys[(i + 1) % 3]
        x1 = x1 + keys[(i + 2) % 3] + jnp.uint32(i + 1)
    return x0, x1

"""Memories that are linear in their past, so that a whole stream is one associative scan.

`h <- a h + b` with a and b [D] from the input alone: minGRU (Feng et al. 2024,
https://arxiv.org/abs/2410.01201) and the linear recurrent unit, a diagonal state space in discrete
time (Orvieto et al. 2023, https://arxiv.org/abs/2303.06349, in the line of S5, Smith et al. 2023,
https://arxiv.org/abs/2208.04933). A reset makes a = 0 (Lu et al. 2023,
https://arxiv.org/abs/2303.03982). Both from memory of the papers.
"""

from functools import partial

import jax
import jax.numpy as jnp

from metarl.nets.core import Core
from metarl.nets.linear import lecun_init, linear, linear_init
from metarl.types import Key, Params


def mingru(n_in: int, width: int) -> Core:
    """minGRU as a memory core: `h <- (1 - z) h + z g(x V)`, z = sigmoid(x Z).

    g(x) is x + 1/2 where x is positive, else sigmoid(x), as in the paper's form for long streams.
    """

    def init(key: Key) -> Params:
        return linear_init(key, n_in, 2 * width, 1.0)

    def gates(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        z, new = jnp.split(linear(params, x), 2, axis=-1)
        z = jax.nn.sigmoid(z)
        return 1 - z, z * jnp.where(new >= 0, new + 0.5, jax.nn.sigmoid(new))

    def step(params: Params, h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        a, b = gates(params, x)
        h = a * h + b
        return h, h

    def unroll(params: Params, h: jax.Array, x: jax.Array, first: jax.Array | None):
        states = scan(*gates(params, x), h, first)
        return states[-1], states

    return Core(init, lambda: jnp.zeros(width), step, unroll, n_in, width)


def lru(
    n_in: int, width: int, *, states: int = 0, smallest: float = 0.9, largest: float = 0.999
) -> Core:
    """The linear recurrent unit as a memory core: complex diagonal, real and imaginary part apart.

    Eigenvalues start uniformly in the ring of those moduli, at angles up to pi / 10; the input is
    scaled by `sqrt(1 - |eigenvalue|^2)`, and a learned share of it is passed on.

    Args:
      n_in: F.
      width: D.
      states: N, complex; 0 for half the width.
      smallest: modulus of an eigenvalue at the start, at least.
      largest: at most, below 1.

    Raises:
      ValueError: moduli out of order.
    """
    if not 0 < smallest < largest < 1:
        raise ValueError(f"lru: 0 < smallest < largest < 1, got {smallest} and {largest}")
    count = states or max(1, width // 2)

    def gates(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:  # complex [..., N]
        size = jnp.exp(-jnp.exp(params["log_decay"]))
        angle = jnp.exp(params["log_angle"])
        a = jax.lax.complex(size * jnp.cos(angle), size * jnp.sin(angle))
        real, imaginary = jnp.split(x @ params["in"], 2, axis=-1)
        return a, jnp.sqrt(1 - size**2) * jax.lax.complex(real, imaginary)

    def said(params: Params, h: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.concatenate([h.real, h.imag], axis=-1) @ params["out"] + x @ params["skip"]

    def apart(h: jax.Array) -> tuple[jax.Array, jax.Array]:
        return h.real, h.imag

    def step(params: Params, memory: tuple[jax.Array, jax.Array], x: jax.Array):
        a, b = gates(params, x)
        h = a * jax.lax.complex(*memory) + b
        return apart(h), said(params, h, x)

    def unroll(params: Params, memory: tuple, x: jax.Array, first: jax.Array | None):
        a, b = gates(params, x)
        h = scan(jnp.broadcast_to(a, b.shape), b, jax.lax.complex(*memory), first)
        return apart(h[-1]), said(params, h, x)

    carry = lambda: (jnp.zeros(count), jnp.zeros(count))  # noqa: E731
    init = partial(_ring, sizes=(n_in, count, width), moduli=(smallest, largest))
    return Core(init, carry, step, unroll, n_in, width)


def _ring(key: Key, *, sizes: tuple[int, int, int], moduli: tuple[float, float]) -> Params:
    """What an LRU starts with: inputs, states and outputs of these sizes."""
    n_in, count, width = sizes
    low, high = moduli
    size_key, angle_key, in_key, out_key, skip_key = jax.random.split(key, 5)
    square = jax.random.uniform(size_key, (count,)) * (high**2 - low**2) + low**2
    angle = jax.random.uniform(angle_key, (count,), minval=1e-3, maxval=jnp.pi / 10)
    return {
        "log_decay": jnp.log(-jnp.log(square) / 2),
        "log_angle": jnp.log(angle),
        "in": lecun_init(in_key, n_in, 2 * count)["w"],
        "out": lecun_init(out_key, 2 * count, width)["w"],
        "skip": lecun_init(skip_key, n_in, width)["w"],
    }


def scan(a: jax.Array, b: jax.Array, h: jax.Array, first: jax.Array | None) -> jax.Array:
    """[T, D] the states `h <- a h + b`, from h before the first step, with resets to zero.

    Args:
      a, b: [T, D], real or complex.
      h: [D].
      first: [T] bool, or None.
    """
    if first is not None:
        a = jnp.where(first[:, None], 0, a)
    b = b.at[0].add(a[0] * h)

    def join(early: tuple[jax.Array, jax.Array], late: tuple[jax.Array, jax.Array]):
        return early[0] * late[0], late[0] * early[1] + late[1]

    return jax.lax.associative_scan(join, (a, b))[1]

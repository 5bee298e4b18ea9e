"""The gated recurrent unit (Cho et al. 2014, https://arxiv.org/abs/1406.1078)."""

import jax
import jax.numpy as jnp

from metarl.nets.core import Core, cleared
from metarl.nets.linear import linear, linear_init
from metarl.types import Key, Params


def gru_init(key: Key, n_in: int, hidden: int) -> Params:
    """Input weights [n_in, 3 H] and recurrent weights [H, 3 H]. The key is consumed."""
    in_key, rec_key = jax.random.split(key)
    return {
        "in": linear_init(in_key, n_in, 3 * hidden, 1.0),
        "rec": linear_init(rec_key, hidden, 3 * hidden, 1.0),
    }


def gru(params: Params, h: jax.Array, x: jax.Array) -> jax.Array:
    """The next hidden state [H]; the reset gate acts on the recurrent product, as in cuDNN."""
    return _cell(params, h, linear(params["in"], x))


def _cell(params: Params, h: jax.Array, x: jax.Array) -> jax.Array:
    """The next hidden state from the products [3 H] with the inputs."""
    xz, xr, xn = jnp.split(x, 3, axis=-1)
    hz, hr, hn = jnp.split(linear(params["rec"], h), 3, axis=-1)
    z = jax.nn.sigmoid(xz + hz)
    n = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
    return (1 - z) * n + z * h


def gru_core(n_in: int, width: int) -> Core:
    """A GRU as a memory core; its products with the inputs are made for all steps at once."""

    def step(params: Params, h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = gru(params, h, x)
        return h, h

    def unroll(params: Params, h: jax.Array, x: jax.Array, first: jax.Array | None):
        def body(h: jax.Array, now: tuple[jax.Array, jax.Array | None]):
            x, first = now
            h = h if first is None else cleared(jnp.zeros(width), first, h)
            h = _cell(params, h, x)
            return h, h

        return jax.lax.scan(body, h, (linear(params["in"], x), first))

    init = lambda key: gru_init(key, n_in, width)  # noqa: E731
    return Core(init, lambda: jnp.zeros(width), step, unroll, n_in, width)

"""The gated recurrent unit (Cho et al. 2014, https://arxiv.org/abs/1406.1078)."""

import jax
import jax.numpy as jnp

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
    xz, xr, xn = jnp.split(linear(params["in"], x), 3, axis=-1)
    hz, hr, hn = jnp.split(linear(params["rec"], h), 3, axis=-1)
    z = jax.nn.sigmoid(xz + hz)
    n = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
    return (1 - z) * n + z * h

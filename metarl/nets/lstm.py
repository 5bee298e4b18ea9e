"""Long short-term memory (Hochreiter and Schmidhuber 1997), with the forget gate of Gers 2000."""

import jax
import jax.numpy as jnp

from metarl.nets.linear import lecun_init, linear, orthogonal
from metarl.types import Key, Params


def lstm_init(key: Key, n_in: int, hidden: int) -> Params:
    """Input weights [n_in, 4 H], recurrent weights [H, 4 H], zero biases. The key is consumed.

    The recurrent weights of each gate are orthogonal.
    """
    in_key, rec_key = jax.random.split(key)
    gates = [orthogonal(k, hidden, hidden) for k in jax.random.split(rec_key, 4)]
    return {
        "in": lecun_init(in_key, n_in, 4 * hidden),
        "rec": {"w": jnp.concatenate(gates, axis=1)},
    }


def lstm(
    params: Params, carry: tuple[jax.Array, jax.Array], x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The next cell and hidden state, [..., H] each; gates in the order in, forget, cell, out."""
    cell, h = carry
    i, f, g, o = jnp.split(linear(params["in"], x) + h @ params["rec"]["w"], 4, axis=-1)
    cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return cell, jax.nn.sigmoid(o) * jnp.tanh(cell)

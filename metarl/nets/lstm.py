"""Long short-term memory (Hochreiter and Schmidhuber 1997), with the forget gate of Gers 2000."""

import jax
import jax.numpy as jnp

from metarl.nets.core import Core, stepped
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


def truncated_lstm_init(key: Key, n_in: int, hidden: int) -> Params:
    """Weights as Haiku draws them, for a cell that remembers at first. The key is consumed.

    All are normal with a standard deviation of `(n_in + hidden) ** -0.5`, cut off at twice that;
    the bias of the forget gate is 1.
    """
    init = jax.nn.initializers.truncated_normal((n_in + hidden) ** -0.5)
    w = init(key, (n_in + hidden, 4 * hidden))
    forget = jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), hidden)
    return {"in": {"w": w[:n_in], "b": forget}, "rec": {"w": w[n_in:]}}


def lstm(
    params: Params, carry: tuple[jax.Array, jax.Array], x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The next cell and hidden state, [..., H] each; gates in the order in, forget, cell, out."""
    cell, h = carry
    i, f, g, o = jnp.split(linear(params["in"], x) + h @ params["rec"]["w"], 4, axis=-1)
    cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return cell, jax.nn.sigmoid(o) * jnp.tanh(cell)


def lstm_backwards(params: Params, x: jax.Array, last: jax.Array) -> jax.Array:
    """[T, N, H] the hidden states of many streams, from the last step to the first.

    The products with the inputs, only a few wide, stand within the loop: hoisted out of it their
    results are stored, and the derivative took a third longer (measured, two CPU cores).

    Args:
      params: of the cell.
      x: [T, N, F] inputs.
      last: [T, N] bool, where the states of later steps count as zero.
    """

    def step(carry: tuple[jax.Array, jax.Array], now: tuple[jax.Array, jax.Array]):
        x, last = now
        cell, h = (jnp.where(last[:, None], 0, state) for state in carry)
        carry = lstm(params, (cell, h), x)
        return carry, carry[1]

    zeros = jnp.zeros((x.shape[1], params["rec"]["w"].shape[0]), x.dtype)
    return jax.lax.scan(step, (zeros, zeros), (x, last), reverse=True)[1]


def lstm_core(n_in: int, width: int) -> Core:
    """An LSTM as a memory core."""

    def carry() -> tuple[jax.Array, jax.Array]:
        return jnp.zeros(width), jnp.zeros(width)

    def step(params: Params, memory: tuple[jax.Array, jax.Array], x: jax.Array):
        memory = lstm(params, memory, x)
        return memory, memory[1]

    init = lambda key: lstm_init(key, n_in, width)  # noqa: E731
    return Core(init, carry, step, stepped(step, carry), n_in, width)

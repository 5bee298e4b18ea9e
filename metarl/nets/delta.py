"""Fast weights written by a slow network: by the delta rule, or by plain addition.

The delta rule: Schlag et al. 2021 (https://arxiv.org/abs/2102.11174). Addition, the original fast
weight programmer: Schmidhuber 1992, in the form of linear attention (Katharopoulos et al. 2020,
https://arxiv.org/abs/2006.16236). Of each head, with memory S [d, d]:

    q, k = normalised(elu(x Q) + 1), normalised(elu(x K) + 1)    v = x V, b = sigmoid(x B)
    delta rule:  S <- S + outer(k, b (v - k S))                  addition:  S <- S + outer(k, v)
    y = q S, after the change

where `normalised` divides by the sum.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from metarl.nets.core import Core
from metarl.nets.fast_weights import Cell, Matrix, dense, one, unroller
from metarl.nets.linear import linear_init
from metarl.types import Key, Params

Read = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # q, k, v [H, d] and b [H, 1]


def delta(n_in: int, width: int, *, heads: int = 4) -> Core:
    """The delta net as a memory core, with a linear map behind its heads.

    Args:
      n_in: F.
      width: D.
      heads: H, dividing the width.

    Raises:
      ValueError: heads that do not divide the width.
    """
    return _fast_weights("delta", n_in, width, heads, _CELL, rates=1)


def fwp(n_in: int, width: int, *, heads: int = 4) -> Core:
    """The additive fast weight programmer as a memory core; otherwise as `delta`."""
    return _fast_weights("fwp", n_in, width, heads, _ADDITIVE, rates=0)


def _fast_weights(name: str, n_in: int, width: int, heads: int, cell: Cell, *, rates: int) -> Core:
    if heads < 1 or width % heads:
        raise ValueError(f"{name}: {heads} heads do not divide the width {width}")
    d = width // heads
    shape = (heads, d, d)
    whole = unroller(cell)

    def init(key: Key) -> Params:
        slow_key, out_key = jax.random.split(key)
        columns = heads * (3 * d + rates)
        return {
            "slow": linear_init(slow_key, n_in, columns, 1.0)["w"],
            "out": linear_init(out_key, width, width, 1.0)["w"],
        }

    def read(params: Params, x: jax.Array) -> Read:
        z = (x @ params["slow"]).reshape(*x.shape[:-1], heads, 3 * d + rates)
        q, k, v, b = jnp.split(z, [d, 2 * d, 3 * d], axis=-1)
        return _normalised(q), _normalised(k), v, jax.nn.sigmoid(b)

    def said(params: Params, y: jax.Array) -> jax.Array:
        return y.reshape(*y.shape[:-2], width) @ params["out"]

    def step(params: Params, memory: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        memory, y, _ = one(cell, 0.0, jnp.zeros(shape), memory, read(params, x))
        return memory, said(params, y)

    def unroll(params: Params, memory: jax.Array, x: jax.Array, first: jax.Array | None):
        memory, y = whole(jnp.zeros(shape), memory, read(params, x), first)
        return memory, said(params, y)

    return Core(init, lambda: jnp.zeros(shape), step, unroll, n_in, width)


def _normalised(x: jax.Array) -> jax.Array:
    x = jax.nn.elu(x) + 1
    return x / (jnp.sum(x, axis=-1, keepdims=True) + 1e-6)


def _forward(w: jax.Array, read: Read, *, rule: Callable) -> tuple[jax.Array, jax.Array]:
    q, k, *_ = read
    s = rule(w, read)
    return dense(w).through(q) + jnp.sum(q * k, axis=-1, keepdims=True) * s, s


def _change(read: Read, s: jax.Array) -> tuple[jax.Array, jax.Array]:
    return read[1], s


def _of_output(w: Matrix, read: Read, s: jax.Array, of_y: jax.Array) -> tuple[jax.Array, ...]:
    """Cotangents of q, k and s by the output, which is q (w + outer(k, s))."""
    q, k = read[:2]
    of_match = jnp.sum(s * of_y, axis=-1, keepdims=True)
    of_s = jnp.sum(q * k, axis=-1, keepdims=True) * of_y
    return w.back(of_y) + k * of_match, q * of_match, of_s


def _backward(w: Matrix, read: Read, s, of_y, of_k, of_s):
    q, k, v, b = read
    of_q, more_k, more_s = _of_output(w, read, s, of_y)
    of_s = of_s + more_s
    of_old = -b * of_s
    of_b = jnp.sum(of_s * (v - w.through(k)), axis=-1, keepdims=True)
    of_k = of_k + more_k + w.back(of_old)
    return (of_q, of_k, b * of_s, of_b), [(q, of_y), (k, of_old)]


def _backward_additive(w: Matrix, read: Read, s, of_y, of_k, of_s):
    of_q, more_k, more_s = _of_output(w, read, s, of_y)
    return (of_q, of_k + more_k, of_s + more_s, jnp.zeros_like(read[3])), [(read[0], of_y)]


def _delta_rule(w: jax.Array, read: Read) -> jax.Array:
    _, k, v, b = read
    return b * (v - dense(w).through(k))


def _addition(w: jax.Array, read: Read) -> jax.Array:
    return read[2]


_CELL = Cell(partial(_forward, rule=_delta_rule), _change, _backward)
_ADDITIVE = Cell(partial(_forward, rule=_addition), _change, _backward_additive)

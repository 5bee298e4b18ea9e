"""The self-referential weight matrix (Irie et al. 2022, https://arxiv.org/abs/2202.05780).

A matrix that computes its output, and also the keys, queries and learning rates by which it then
changes all of itself. In row vectors, one head of width d, all heads apart:

    [y, q, k, b] = u W    q = softmax(q), k = softmax(k), b = sigmoid(b)    W is [d, 3 d + 4]
    W <- W + outer(k, rates * ((q - k) W))

where `rates` [3 d + 4] holds each of the four numbers b over its block of W. So `y` is read before
the step's own change, and how W changes is learned by gradients through later steps alone: the
RL code of the paper cuts them at every step (`detach`), and never trains more than the block for y.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl.nets.core import Core, stepped
from metarl.nets.fast_weights import Cell, Matrix, one, unroller
from metarl.nets.linear import linear, linear_init
from metarl.types import Key, Params


class _Kept(NamedTuple):
    """What the derivative of a step needs beside its input: 5 d + 8 numbers of every head."""

    q: jax.Array | None  # [H, d], or to be had from W again, for less to keep
    k: jax.Array  # [H, d]
    b: jax.Array  # [H, 4]
    seen: jax.Array  # [H, 3 d + 4], (q - k) W


def srwm(
    n_in: int,
    width: int,
    *,
    heads: int = 4,
    q_scale: float = 0.01,
    beta_init: float = 0.0,
    decay: float = 0.0,
    softmax_input: bool = False,
    detach: bool = False,
    modify: bool = True,
) -> Core:
    """A self-referential weight matrix as a memory core, with a linear map behind its heads.

    Its memory is W less the slow weights, [H, d, 3 d + 4]: zero at birth and after a reset, and an
    update of the parameters moves running memories too. `drift` says how far they have gone. The
    paper's own start (`q_scale=1`) diverges now and then over a thousand steps and more: by a study
    of ours 0.6 % of random heads pass an entry of 10 by step 1024, none with the defaults here,
    which are from the authors' later code.

    Args:
      n_in: F; where it is not `width` a linear map stands in front.
      width: D.
      heads: H, dividing the width.
      q_scale: factor on the first weights for q.
      beta_init: mean of the first weights for b.
      decay: the share of the way back to the slow weights that W goes after each step.
      softmax_input: u is the softmax of x over a head, as in the paper's RL experiments; slower to
        learn.
      detach: no gradient through the memory, as in the paper's RL code.
      modify: False: W stays as it is.

    Raises:
      ValueError: heads that do not divide the width, or a decay outside [0, 1).
    """
    if heads < 1 or width % heads:
        raise ValueError(f"srwm: {heads} heads do not divide the width {width}")
    if not 0 <= decay < 1:
        raise ValueError(f"srwm: decay must lie in [0, 1), got {decay}")
    d = width // heads
    shape = (heads, d, 3 * d + 4)
    whole = unroller(_CELL, decay)
    carry = lambda: jnp.zeros(shape)  # noqa: E731

    def init(key: Key) -> Params:
        in_key, w_key, out_key = jax.random.split(key, 3)
        params = {
            "w": _slow_weights(w_key, heads, d, q_scale, beta_init),
            "out": linear_init(out_key, width, width, 1.0)["w"],
        }
        return params | ({} if n_in == width else {"in": linear_init(in_key, n_in, width, 1.0)})

    def read(params: Params, x: jax.Array) -> jax.Array:  # [..., F] -> [..., H, d]
        u = linear(params["in"], x) if "in" in params else x
        u = u.reshape(*x.shape[:-1], heads, d)
        return jax.nn.softmax(u) if softmax_input else u

    def said(params: Params, y: jax.Array) -> jax.Array:  # [..., H, d] -> [..., D]
        return y.reshape(*y.shape[:-2], width) @ params["out"]

    def step(params: Params, memory: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        # What the paper's RL code does; by default gradients pass.
        memory = jax.lax.stop_gradient(memory) if detach else memory
        w = params["w"] + memory
        after, y, _ = one(_CELL, decay, params["w"], w, read(params, x))
        return after - params["w"] if modify else memory, said(params, y)

    def unroll(params: Params, memory: jax.Array, x: jax.Array, first: jax.Array | None):
        base = params["w"]
        w, y = whole(base, base + memory, read(params, x), first)
        return w - base, said(params, y)

    along = stepped(step, carry) if detach or not modify else unroll  # the steps' own derivative
    return Core(init, carry, step, along, n_in, width)


def _slow_weights(key: Key, heads: int, d: int, q_scale: float, beta_init: float) -> jax.Array:
    w_key, b_key = jax.random.split(key)
    w = jax.random.normal(w_key, (heads, d, 3 * d)) * d**-0.5
    w = w.at[:, :, d : 2 * d].multiply(q_scale)
    b = beta_init + jax.random.normal(b_key, (heads, d, 4)) * d**-0.5
    return jnp.concatenate([w, b], axis=-1)


def drift(memory: jax.Array) -> jax.Array:
    """[] the largest entry of W less the slow weights, of memories [..., H, d, 3 d + 4]."""
    return jnp.abs(memory).max()


def _forward(w: jax.Array, u: jax.Array) -> tuple[jax.Array, _Kept]:
    d = u.shape[-1]
    y, q, k, b = jnp.split(jnp.einsum("hd,hde->he", u, w), [d, 2 * d, 3 * d], axis=-1)
    q, k, b = jax.nn.softmax(q), jax.nn.softmax(k), jax.nn.sigmoid(b)
    return y, _Kept(q, k, b, jnp.einsum("hd,hde->he", q - k, w))


def _change(u: jax.Array, kept: _Kept) -> tuple[jax.Array, jax.Array]:
    return kept.k, _rates(kept.b, u.shape[-1]) * kept.seen


def _rates(b: jax.Array, d: int) -> jax.Array:
    """[H, 3 d + 4] the learning rate of each column of W, from [H, 4]."""
    heads = b.shape[0]
    wide = jnp.broadcast_to(b[:, :3, None], (heads, 3, d)).reshape(heads, 3 * d)
    return jnp.concatenate([wide, jnp.broadcast_to(b[:, 3:], (heads, 4))], axis=-1)


def _backward(
    w: Matrix,
    u: jax.Array,
    kept: _Kept,
    of_y: jax.Array,
    of_k: jax.Array,
    of_s: jax.Array,
) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array]]]:
    q, k, b, seen = kept
    heads, d = u.shape
    q = jax.nn.softmax(w.through(u, slice(d, 2 * d))) if q is None else q
    of_seen, of_rates = _rates(b, d) * of_s, of_s * seen
    of_b = jnp.concatenate(
        [
            of_rates[:, : 3 * d].reshape(heads, 3, d).sum(axis=-1),
            of_rates[:, 3 * d :].sum(axis=-1, keepdims=True),
        ],
        axis=-1,
    )
    of_q = w.back(of_seen)
    parts = [of_y, _softmax_backward(q, of_q), _softmax_backward(k, of_k - of_q)]
    of_z = jnp.concatenate([*parts, b * (1 - b) * of_b], axis=-1)  # of u W
    return w.back(of_z), [(q - k, of_seen), (u, of_z)]


def _softmax_backward(p: jax.Array, of_p: jax.Array) -> jax.Array:
    return p * (of_p - jnp.sum(p * of_p, axis=-1, keepdims=True))


_CELL = Cell(_forward, _change, _backward, least=lambda kept: kept._replace(q=None))

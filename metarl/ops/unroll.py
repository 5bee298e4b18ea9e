"""Loops and gradients that are differentiated again, with less memory than plain nesting needs."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from metarl.types import PyTree

C = TypeVar("C")


def unroll(
    step: Callable[[C], tuple[C, PyTree]], carry: C, length: int, *, levels: int = 1
) -> tuple[C, PyTree]:
    """`step` repeated `length` times, with a tree of checkpoints for the backward pass.

    With `levels` L the backward pass holds about `length ** (1 / L)` carries of each level at a
    time, and computes the steps L - 1 times more. L = 1 is a plain scan: all carries, and whatever
    `step` itself keeps. The derivative is the same. After REPLAY's lazy tree (Engstrom et al. 2025,
    https://arxiv.org/abs/2503.13751), which trades memory for time in the same way.

    Args:
      step: from the carry to the next one and an output.
      carry: at the start.
      length: how many steps.
      levels: L, at least 1.

    Returns:
      The last carry, and outputs [length, ...].

    Raises:
      ValueError: fewer than one level.
    """
    if levels < 1:
        raise ValueError(f"a tree of checkpoints needs at least one level, got {levels}")
    part = 0 if levels == 1 else _part(length, levels)
    if part in (0, 1, length):
        return jax.lax.scan(lambda carry, _: step(carry), carry, None, length=length)
    count = length // part

    @partial(jax.checkpoint, prevent_cse=False)
    def segment(carry: C) -> tuple[C, PyTree]:
        return unroll(step, carry, part, levels=levels - 1)

    carry, outs = jax.lax.scan(lambda carry, _: segment(carry), carry, None, length=count)
    outs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outs)
    if count * part == length:
        return carry, outs
    rest = partial(unroll, step, length=length - count * part, levels=levels - 1)
    carry, more = jax.checkpoint(rest)(carry)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), outs, more)


def _part(length: int, levels: int) -> int:
    """Steps in each branch of a tree of checkpoints.

    A divisor of the length where one lies within a factor of two of the ideal: whatever is left
    over is a second programme to compile, at every level.
    """
    ideal = length ** ((levels - 1) / levels)
    near = [n for n in range(2, length) if length % n == 0 and ideal / 2 <= n <= 2 * ideal]
    return min(near, key=lambda n: abs(n / ideal - 1)) if near else round(ideal)


def grad_by_forward_over_reverse(
    loss: Callable[..., tuple[jax.Array, PyTree]],
) -> Callable[..., tuple[PyTree, PyTree]]:
    """`jax.grad(loss, has_aux=True)`, whose own reverse derivative is a forward one: MixFlow-MG.

    Differentiated again in reverse, a gradient keeps the intermediates of its own backward pass. A
    Hessian is symmetric, and so are mixed derivatives: the derivative of `<grad_0 loss, v>` in
    every argument is that of all gradients along `v` in the first one, which forward mode computes
    without keeping anything (Kemaev et al. 2025, https://arxiv.org/abs/2505.00793).

    Exact, for losses that are twice differentiable. Forward mode does not pass through the result,
    and the auxiliary output is a constant: no derivative passes through it.

    Args:
      loss: of the argument to differentiate and others; `(scalar, aux)`. It may close over
        constants alone.
    """

    def plain(*args: PyTree) -> tuple[PyTree, PyTree]:
        grads, aux = jax.grad(loss, has_aux=True)(*args)
        return grads, jax.lax.stop_gradient(aux)

    def forward(*args: PyTree) -> tuple[Any, Any]:
        return plain(*args), args

    def backward(args: tuple[PyTree, ...], cotangents: tuple[PyTree, PyTree]) -> tuple:
        along, _ = cotangents  # of the constants there is none
        leaves, form = jax.tree.flatten(args)
        floats = [jnp.issubdtype(x.dtype, jnp.floating) for x in leaves]
        first, rest = args[0], [x for x, f in zip(leaves, floats, strict=True) if f]

        def all_grads(first: PyTree) -> list[jax.Array]:
            def value(rest: list[jax.Array]) -> jax.Array:
                given = iter(rest)
                filled = [next(given) if f else x for x, f in zip(leaves, floats, strict=True)]
                return loss(*jax.tree.unflatten(form, filled))[0]

            count = len(jax.tree.leaves(first))
            return jax.grad(value)([*jax.tree.leaves(first), *rest[count:]])

        derivative = iter(jax.jvp(all_grads, (first,), (along,))[1])
        none = lambda x: np.zeros(x.shape, jax.dtypes.float0)  # noqa: E731
        found = [next(derivative) if f else none(x) for x, f in zip(leaves, floats, strict=True)]
        return jax.tree.unflatten(form, found)

    mixed = jax.custom_vjp(plain)
    mixed.defvjp(forward, backward)
    return mixed


def scale_gradient(tree: PyTree, factor: float) -> PyTree:
    """The same numbers; derivatives that pass are multiplied by `factor`."""

    def scaled(x: jax.Array) -> jax.Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return factor * x + (1 - factor) * jax.lax.stop_gradient(x)

    return jax.tree.map(scaled, tree)

"""Memories that are matrices, changed by rank one at each step: `W <- W + outer(k, s)`.

Their derivative needs the matrix of every step. To keep them all costs `T H d E` numbers for a
stream of T steps and H heads of [d, E]; here each is rebuilt on the way back, by taking away what
the step added, from a few vectors of each step. Across a reset a matrix cannot be rebuilt (the one
before it is gone), nor well where it decays. There the matrix before every `CHUNK` steps is kept,
and products with the others are those with that one, or with where resets lead, and with all that
was added since. Both are exact, up to rounding.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl.nets.core import cleared
from metarl.ops.control import apart
from metarl.types import PyTree

CHUNK = 16
_ALL = slice(None)


class Matrix(NamedTuple):
    """A matrix [H, d, E], known by its products."""

    through: Callable[..., jax.Array]  # [H, d] -> [H, E], or those columns that a slice names
    back: Callable[[jax.Array], jax.Array]  # [H, E] -> [H, d]


class Cell(NamedTuple):
    """One step of such a memory, for H heads of width d at once.

    `forward(w [H, d, E], x) -> (y, kept)`: the output, and what must be kept for the derivative.
    `change(x, kept) -> (k [H, d], s [H, E])`: what the step adds is their outer product.
    `backward(w, x, kept, y, k, s) -> (x, pairs)` with a `Matrix` and cotangents of the output, of k
      and of s (of both, only those through the change): the cotangent of x, and pairs ([H, d],
      [H, E]) whose outer products are what this step adds to that of the matrix.
    `least(kept)`: what must be kept where all entries of the matrix are at hand on the way back, as
      they are without resets and decay.
    """

    forward: Callable[[jax.Array, PyTree], tuple[PyTree, PyTree]]
    change: Callable[[PyTree, PyTree], tuple[jax.Array, jax.Array]]
    backward: Callable[..., tuple[PyTree, list[tuple[jax.Array, jax.Array]]]]
    least: Callable[[PyTree], PyTree] = lambda kept: kept


def unroller(cell: Cell, decay: float = 0.0) -> Callable[..., tuple[jax.Array, PyTree]]:
    """The memory over time: `(base, w, x, first) -> (w, y)`, differentiable in reverse, once.

    Args of the result:
      base: [H, d, E], where a reset leads, and a decay.
      w: [H, d, E] before the first step.
      x: [T, ...] what the cell reads.
      first: [T] bool, a reset comes before the step; None: nowhere.

    Args:
      cell: one step.
      decay: the share of the way to `base` that the matrix goes back after each step.
    """

    @jax.custom_vjp
    def run(base: jax.Array, w: jax.Array, x: PyTree, first: jax.Array | None):
        w, (y, _) = _forwards(cell, decay, base, w, (x, _upcoming(first)))
        return w, y

    def kept(base: jax.Array, w: jax.Array, x: PyTree, first: jax.Array | None):
        steps = (x, _upcoming(first))
        if first is None and not decay:
            after, (y, kept) = _forwards(cell, decay, base, w, steps, cell.least)
            return (after, y), (base, after, x, first, kept)
        starts, (y, kept) = _in_chunks(cell, decay, base, w, steps)
        return (starts[-1], y), (base, starts[:-1], x, first, kept)

    def cotangents(residuals: tuple, out: tuple[jax.Array, PyTree]):
        base, w, x, first, kept = residuals
        later, y = out
        if first is None and not decay:
            later, x = _backwards(cell, w, later, (x, kept, y))
            return jnp.zeros_like(base), later, x, None
        steps = (x, kept, y), first, _upcoming(first)
        return *_backwards_in_chunks(cell, decay, base, w, later, steps), None

    run.defvjp(kept, cotangents)

    def unroll(base: jax.Array, w: jax.Array, x: PyTree, first: jax.Array | None):
        if first is None:
            return run(base, w, x, None)
        later = jnp.asarray(first).at[0].set(False)
        return run(base, cleared(base, first[0], w), x, later)

    return unroll


def one(cell: Cell, decay: float, base: jax.Array, w: jax.Array, x: PyTree) -> tuple[Any, ...]:
    """One step: the matrix after it, the output, and what is kept for the derivative."""
    y, kept = cell.forward(w, x)
    return _changed(cell, decay, base, w, (x, kept, None)), y, kept


def _changed(cell: Cell, decay: float, base: jax.Array, w: jax.Array, step: tuple) -> jax.Array:
    """The matrix after a step `(x, kept, whether a reset follows)`."""
    x, kept, over = step
    k, s = apart(cell.change(x, kept))
    w = w + k[:, :, None] * s[:, None]
    w = w + decay * (base - w) if decay else w
    return w if over is None else jnp.where(over, base, w)


def _upcoming(first: jax.Array | None) -> jax.Array | None:
    """[T] bool, whether a reset follows each step; in the loop over what changes it costs least."""
    return None if first is None else jnp.concatenate([first[1:], jnp.zeros(1, bool)])


def _forwards(
    cell: Cell,
    decay: float,
    base: jax.Array,
    w: jax.Array,
    steps: PyTree,
    part: Callable[[PyTree], PyTree] = lambda kept: kept,
) -> Any:
    """The last matrix, and of each step the output and a part of what is kept."""

    def step(w: jax.Array, now: tuple[PyTree, jax.Array | None]):
        x, over = now
        y, kept = cell.forward(w, x)
        return _changed(cell, decay, base, w, (x, kept, over)), (y, part(kept))

    return jax.lax.scan(step, w, steps)


def _in_chunks(cell: Cell, decay: float, base: jax.Array, w: jax.Array, steps: PyTree) -> Any:
    """The matrix before each chunk and after the last; and as `_forwards`."""
    whole, rest = _cut(steps)

    def chunk(w: jax.Array, steps: PyTree):
        after, out = _forwards(cell, decay, base, w, steps)
        return after, (w, out)

    w, (starts, out) = jax.lax.scan(chunk, w, whole)
    out = jax.tree.map(_joined, out)
    if _length(rest):
        starts = jnp.concatenate([starts, w[None]])
        w, more = _forwards(cell, decay, base, w, rest)
        out = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), out, more)
    return jnp.concatenate([starts, w[None]]), out


def _backwards(cell: Cell, w: jax.Array, later: jax.Array, steps: PyTree) -> Any:
    """The cotangent of the first matrix and of the inputs, from the last matrix and its own."""

    def step(loop: tuple[jax.Array, jax.Array], now: PyTree):
        w, later = loop
        k, s = cell.change(*now[:2])
        w = w - k[:, :, None] * s[:, None]
        x, pairs = _through(cell, dense(w), later, now)
        return (w, _added(later, pairs)), x

    (_, later), x = jax.lax.scan(step, (w, later), steps, reverse=True)
    return later, x


def _through(cell: Cell, w: Matrix, later: jax.Array, now: PyTree) -> tuple[PyTree, PyTree]:
    """The cotangent of a step's input, and the pairs that it adds to the matrix's."""
    k, s = cell.change(*now[:2])
    of_k, of_s = jnp.einsum("hde,he->hd", later, s), jnp.einsum("hd,hde->he", k, later)
    x, pairs = cell.backward(w, *now, of_k, of_s)
    return x, apart(pairs)  # else each entry of their products computes them anew


def _added(later: jax.Array, pairs: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
    for a, b in pairs:
        later = later + a[:, :, None] * b[:, None]
    return later


def _backwards_in_chunks(
    cell: Cell, decay: float, base: jax.Array, starts: jax.Array, last: jax.Array, steps: PyTree
) -> tuple[jax.Array, jax.Array, PyTree]:
    """Cotangents of the base, of the first matrix and of the inputs.

    What a reset or a decay takes away from the matrix's cotangent is the base's.
    """

    def chunk(loop: tuple[jax.Array, jax.Array], now: tuple[jax.Array, PyTree]):
        total, later = loop
        start, (now, first, over) = now
        k, s = jax.vmap(cell.change, out_axes=1)(*now[:2])
        rows = jnp.concatenate([start, jnp.broadcast_to(base, start.shape), s], axis=1)

        def step(loop: tuple[jax.Array, jax.Array], now: tuple):
            total, later = loop
            shares, first, now = now
            if decay:
                total, later = total + decay * later, (1 - decay) * later
            x, pairs = _through(cell, _summed(rows, k, shares), later, now)
            later = _added(later, pairs)
            if first is not None:
                total, later = total + jnp.where(first, later, 0), jnp.where(first, 0, later)
            return (total, later), x

        shares = _shares(over, _length(now), decay)
        return jax.lax.scan(step, (total, later), (shares, first, now), reverse=True)

    whole, rest = _cut(steps)
    loop, tail = (jnp.zeros_like(last), last), None
    if _length(rest):
        loop, tail = chunk(loop, (starts[-1], rest))
        starts = starts[:-1]
    (total, later), x = jax.lax.scan(chunk, loop, (starts, whole), reverse=True)
    x = jax.tree.map(_joined, x)
    if tail is not None:
        x = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), x, tail)
    return total, later, x


def dense(w: jax.Array) -> Matrix:
    """A matrix with all its entries."""
    through = lambda x, of=_ALL: jnp.einsum("hd,hde->he", x, w[:, :, of])  # noqa: E731
    back = lambda e: jnp.einsum("hde,he->hd", w, e)  # noqa: E731
    return Matrix(through, back)


def _shares(over: jax.Array | None, length: int, decay: float) -> tuple[jax.Array, jax.Array]:
    """How much of a chunk's first matrix [C] and of each step's change [C, C] is in each matrix.

    The rest is what resets and decay lead to.
    """
    step = jnp.arange(length)
    resets = jnp.zeros(length) if over is None else jnp.cumsum(over) - over  # before each step
    age = step[:, None] - step
    of_start, of_changes = resets == 0, (resets[:, None] == resets) & (age > 0)
    left = (1 - decay) ** step, (1 - decay) ** jnp.maximum(age, 0)
    return of_start * left[0], of_changes * left[1]


def _summed(rows: jax.Array, k: jax.Array, shares: tuple[jax.Array, jax.Array]) -> Matrix:
    """A mean of two matrices and a share of each of C changes, `outer(k, s)`.

    Args:
      rows: [H, d + d + C, E] both matrices and every `s`, so that products are with all at once.
      k: [H, C, d].
      shares: [] of the first matrix, and [C].
    """
    d = k.shape[-1]
    of_start, of_changes = shares

    def through(x: jax.Array, of: slice = _ALL) -> jax.Array:
        match = of_changes * dense(k.swapaxes(1, 2)).through(x)
        parts = [of_start * x, (1 - of_start) * x, match]
        return dense(rows).through(jnp.concatenate(parts, axis=-1), of)

    def back(e: jax.Array) -> jax.Array:
        old, new, match = jnp.split(dense(rows).back(e), [d, 2 * d], axis=-1)
        return of_start * old + (1 - of_start) * new + dense(k).through(of_changes * match)

    return Matrix(through, back)


def _cut(steps: PyTree) -> tuple[PyTree, PyTree]:
    """Steps [T, ...] as whole chunks [T // C, C, ...], and what is left."""
    count = _length(steps) // CHUNK
    whole = jax.tree.map(lambda x: x[: count * CHUNK].reshape(count, CHUNK, *x.shape[1:]), steps)
    return whole, jax.tree.map(lambda x: x[count * CHUNK :], steps)


def _joined(x: jax.Array) -> jax.Array:
    """[chunks, C, ...] -> [T, ...]."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _length(steps: PyTree) -> int:
    return jax.tree.leaves(steps)[0].shape[0]

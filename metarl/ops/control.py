"""What keeps XLA's programmes cheap when a whole batch steps together."""

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metarl.types import PyTree


def apart(tree: PyTree) -> PyTree:
    """The same values, which XLA computes once and in loops of their own.

    Else it fuses a value into each of its users: the work is repeated in every one, and its loop
    takes their shape. `jax.lax.optimization_barrier` says so to accelerators, but the CPU drops it
    before it fuses; there a call that may not be inlined does the same.
    """
    barrier = jax.lax.optimization_barrier
    call = _uninlined(lambda x: x) or barrier
    return jax.lax.platform_dependent(tree, cpu=call, default=barrier)


def alone(compute: Callable[..., Any], *operands: PyTree) -> Any:
    """`compute(*operands)` as a computation of its own, in loops of its own.

    From the body of a loop XLA moves whatever does not change into arrays that every turn reads: of
    a picture's formula the conditions on the cell's number, without which the CPU cannot unroll it
    any more, so that it runs three times slower. Out of a call that may not be inlined it moves
    nothing. Elsewhere this is a plain call of `compute`.
    """
    call = _uninlined(compute) or compute
    return jax.lax.platform_dependent(*operands, cpu=call, default=compute)


def rarely(
    needed: jax.Array, compute: Callable[..., jax.Array], operands: PyTree, otherwise: jax.Array
) -> jax.Array:
    """`compute(*operands)` where `needed`, else `otherwise`; cheap on the CPU if no row needs it.

    Under `vmap` a `cond` computes both sides for every row. Here the CPU enters a loop of one turn
    only if some row of the batch needs it. Elsewhere such a loop would make the host wait for the
    device, so both sides are computed. Not differentiable in reverse.

    Args:
      needed: [] bool.
      compute: from the operands to what `otherwise` is like; it sees zeros where not needed.
      operands: a tuple of pytrees of arrays.
      otherwise: [...] the common case.
    """

    def turn(loop: tuple[jax.Array, jax.Array, PyTree]) -> tuple[jax.Array, Any, PyTree]:
        pending, _, operands = loop
        # Tied to `pending`, or XLA would hoist all of it out of the loop and always compute it.
        seen = jax.tree.map(lambda x: jnp.where(pending, x, jnp.zeros_like(x)), operands)
        return jnp.zeros_like(pending), compute(*seen), operands

    def loop(needed: jax.Array, operands: PyTree, otherwise: jax.Array) -> jax.Array:
        return jax.lax.while_loop(lambda loop: loop[0], turn, (needed, otherwise, operands))[1]

    def select(needed: jax.Array, operands: PyTree, otherwise: jax.Array) -> jax.Array:
        return jnp.where(needed, compute(*operands), otherwise)

    return jax.lax.platform_dependent(needed, operands, otherwise, cpu=loop, default=select)


def _uninlined(compute: Callable[..., Any]) -> Callable[..., Any] | None:
    """As a call that stays one; None where JAX has no longer any way to say so."""
    for place in ("xla_metadata", "scheduling_groups"):  # newer than JAX 0.10, and JAX 0.10
        with contextlib.suppress(ImportError, AttributeError):
            module = importlib.import_module(f"jax.experimental.{place}")
            return module.xla_metadata_call(compute, inlineable="false")
    return None


def in_batches(function: Callable[[jax.Array], PyTree], count: int, size: int) -> PyTree:
    """`function(i)` for every `i` below `count`, `size` of them at once; leaves [count, ...].

    `jax.lax.map` does this with `batch_size`, but not where a leaf has no entries, as that of a
    state without objects. The last batch is filled up with the last number.
    """
    size = min(size, count)
    numbers = jnp.minimum(jnp.arange(-(-count // size) * size), count - 1).reshape(-1, size)
    rows = jax.lax.map(jax.vmap(function), numbers)  # [batches, size, ...]
    return jax.tree.map(lambda x: x.reshape(numbers.size, *x.shape[2:])[:count], rows)


def in_turn(function: Callable[[PyTree], PyTree], rows: PyTree) -> Any:
    """`jax.vmap(function)(rows)`, which the CPU computes row after row, and anew for derivatives.

    For functions whose intermediate results are much larger than what they take and give, as
    convolutions by matrix products: of all rows together those leave the cache, and memory sets the
    pace. In turn they stay there, and to compute them twice costs less than to fetch them. A row
    may be a batch, by a `vmap` outside. Accelerators compute all rows at once.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(rows)
    return jax.lax.map(jax.checkpoint(function, prevent_cse=False), rows)

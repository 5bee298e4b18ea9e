"""Where two pytrees differ, in words."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from metarl.types import PyTree


def leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """Every leaf with its path, such as `(".body", ...)`."""
    return [(keystr(path), leaf) for path, leaf in tree_flatten_with_path(tree)[0]]


def kind(x: Any) -> str:
    """Shape and dtype, such as `[2, 3] uint8`."""
    weak = " (weak: write jnp.float32(1) for 1.0)" if getattr(x, "weak_type", False) else ""
    return f"{list(x.shape)} {x.dtype}{weak}"


def differences(a: PyTree, b: PyTree) -> Iterator[str]:
    """Where shapes, dtypes or structures differ, as ` at .path: [2] uint8, not [3] uint8`."""
    left, right = dict(leaves(a)), dict(leaves(b))
    for path in sorted(left.keys() ^ right.keys()):
        yield f"{_at(path)}: only one of the two has it"
    for path in sorted(left.keys() & right.keys()):
        if kind(left[path]) != kind(right[path]):
            yield f"{_at(path)}: {kind(left[path])}, not {kind(right[path])}"
    structures: list[Any] = [jax.tree.structure(tree) for tree in (a, b)]
    if left.keys() == right.keys() and structures[0] != structures[1]:
        yield ": the same leaves in different containers, or with different static fields"


def unequal(a: PyTree, b: PyTree, nudged: PyTree | None = None) -> Iterator[str]:
    """The first leaf whose values differ by more than rounding, as ` at .path`.

    Small numbers of a leaf may carry the rounding of its large ones, as after a matrix product; and
    all of them what `a` became by inputs as little apart as rounding brings them, in `nudged`.
    """
    moved = a if nudged is None else nudged
    for (path, x), (_, y), (_, z) in zip(leaves(a), leaves(b), leaves(moved), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        elif jnp.issubdtype(x.dtype, jnp.floating):
            noise = 1e-5 * max(1.0, _largest(y)) + _largest(np.asarray(z) - np.asarray(x))
            if np.allclose(x, y, rtol=1e-4, atol=noise, equal_nan=True):
                continue
        if not np.array_equal(x, y):
            yield _at(path)
            return


def nudge(tree: PyTree) -> PyTree:
    """The same with its fractions a few units of the last place away."""
    return jax.tree.map(
        lambda x: x * (1 + 1e-6) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def _largest(x: Any) -> float:
    """The largest finite size of a number."""
    x = np.asarray(x)
    return float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))


def _at(path: str) -> str:
    return f" at {path}" if path else ""

"""Open square grids whose cells are numbered `row * size + column`."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from metarl.envs.ways import ahead, heading
from metarl.ops import keys


def moved(cell: jax.Array, action: jax.Array, size: int) -> jax.Array:
    """The cell above, right, below or left of `cell`, or `cell` itself at the border.

    An action number out of range is clipped.
    """
    return ahead(cell, *heading(jnp.clip(action, 0, 3)), height=size, width=size)[0]


def another(word: jax.Array, count: int, *taken: jax.Array) -> jax.Array:
    """A uniform cell below `count` that is none of `taken`, one or two that differ; int32."""
    cell = keys.below(word, count - len(taken))
    low, high = jnp.minimum(taken[0], taken[-1]), jnp.maximum(taken[0], taken[-1])
    cell = cell + (cell >= low)  # skip them in ascending order
    return cell if len(taken) == 1 else cell + (cell >= high)


def coordinates(size: int, *cells: jax.Array) -> jax.Array:
    """Row and column of each cell in turn, [2 K] uint8."""
    pairs = [x for cell in cells for x in (cell // size, cell % size)]
    return jnp.stack(pairs).astype(jnp.uint8)


def planes(size: int, *cells: jax.Array) -> jax.Array:
    """A plane for each cell that marks it, [K, size, size] bool; -1 marks nothing."""
    marks = jnp.arange(size**2) == jnp.stack(cells)[:, None]
    return marks.reshape(-1, size, size)


def text(size: int, marks: Mapping[str, jax.Array]) -> str:
    """One character a cell: the sign of the last cell of `marks` that is there, or `.`."""
    signs = np.full(size**2, ".")
    for sign, cell in marks.items():
        if cell >= 0:
            signs[int(cell)] = sign
    return "\n".join("".join(row) for row in signs.reshape(size, size))

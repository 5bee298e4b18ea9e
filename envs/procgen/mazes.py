"""Perfect mazes of any odd size inside a fixed world, by Kruskal's algorithm, inside jit."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl.ops import keys
from metarl.types import Key


def kruskal(key: Key, world: int, size: jax.Array) -> jax.Array:
    """[world, world] bool, true where there is a wall; between any two rooms there is one way.

    The rooms are the cells an even number of rows and columns from the maze's corner, which is
    `(world - size) // 2` cells from the world's. Every spanning tree of rooms may come up: walls
    between rooms fall in random order where they part what is not yet joined. The key is consumed.

    Args:
      key: of this maze.
      world: side of the world, odd.
      size: [] int32, side of the maze, odd, from 1 to `world`.
    """
    side = (world + 1) // 2  # rooms of a side of the largest maze
    number = np.arange(side**2).reshape(side, side)
    ends = np.concatenate(  # [E, 2] the rooms on both sides of every inner wall
        [
            np.stack([number[:, :-1], number[:, 1:]], -1).reshape(-1, 2),
            np.stack([number[:-1], number[1:]], -1).reshape(-1, 2),
        ]
    )
    rooms = (size + 1) // 2
    row, column = jnp.divmod(jnp.arange(side**2), side)
    used = (row < rooms) & (column < rooms)  # [rooms]
    order = keys.shuffled(key, len(ends))
    pairs = jnp.asarray(ends)[order]

    def join(i: jax.Array, loop: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        label, fallen = loop
        a, b = pairs[i]
        falls = used[a] & used[b] & (label[a] != label[b])
        label = jnp.where(falls & (label == label[b]), label[a], label)
        return label, fallen.at[order[i]].set(falls)

    start = (jnp.arange(side**2), jnp.zeros(len(ends), bool))
    _, fallen = jax.lax.fori_loop(0, len(ends), join, start)
    free = jnp.zeros((world, world), bool).at[::2, ::2].set(used.reshape(side, side))
    across = fallen[: side * (side - 1)].reshape(side, side - 1)
    down = fallen[side * (side - 1) :].reshape(side - 1, side)
    free = free.at[::2, 1::2].set(across).at[1::2, ::2].set(down)
    corner = (world - size) // 2
    return ~jnp.roll(jnp.roll(free, corner, axis=0), corner, axis=1)


def odd_size(word: jax.Array, least: int, most: int) -> jax.Array:
    """A uniform odd number from `least` to `most`, both odd, from a random word."""
    return least + 2 * keys.below(word, (most - least) // 2 + 1)

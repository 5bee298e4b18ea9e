"""Pictures inside jit: tiles drawn as text on the host, cells to pixels on the device."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

Colour = tuple[int, int, int]


def tile(art: str, colours: Mapping[str, Colour]) -> np.ndarray:
    """[S, S', 3] uint8 from rows of signs, one sign a pixel; white space around rows is dropped.

    Raises:
      ValueError: rows of different lengths, or a sign without a colour.
    """
    rows = art.split()
    unknown = {sign for row in rows for sign in row} - set(colours)
    if len({len(row) for row in rows}) != 1 or unknown:
        raise ValueError(f"a tile needs rows of one length and known signs, not {sorted(unknown)}")
    return np.array([[colours[sign] for sign in row] for row in rows], np.uint8)


def tiled(ids: jax.Array, atlas: np.ndarray) -> jax.Array:
    """[H * S, W * S, 3] uint8: each cell of `ids` [H, W] shows its tile of `atlas` [K, S, S, 3]."""
    height, width = ids.shape
    size = atlas.shape[1]
    picture = jnp.asarray(atlas)[ids]  # [H, W, S, S, 3]
    return picture.transpose(0, 2, 1, 3, 4).reshape(height * size, width * size, 3)


def layered(
    planes: jax.Array, colours: np.ndarray, *, background: Colour = (24, 26, 32), pixels: int = 16
) -> jax.Array:
    """[H * pixels, W * pixels, 3] uint8: cells in the colour of the last plane that marks them.

    Args:
      planes: [C, H, W], marked where not zero; later planes lie above earlier ones.
      colours: [C, 3] uint8.
      background: where no plane marks.
      pixels: side of a cell; the last row and column of each are darker, so that cells show.
    """
    order = jnp.arange(1, planes.shape[0] + 1)[:, None, None]
    top = jnp.max(jnp.where(planes != 0, order, 0), axis=0)  # [H, W]
    flat = np.concatenate([np.array([background]), np.asarray(colours)]).astype(np.uint8)
    atlas = np.broadcast_to(flat[:, None, None], (len(flat), pixels, pixels, 3)).copy()
    atlas[:, -1, :] = atlas[:, -1, :] * 0.8
    atlas[:, :, -1] = atlas[:, :, -1] * 0.8
    return tiled(top, atlas)


def disc(
    picture: jax.Array, centre: jax.Array, radius: jax.Array | float, colour: Colour
) -> jax.Array:
    """`picture` [H, W, 3] uint8 with a disc in it.

    Args:
      picture: what lies below.
      centre: [2] row and column, in pixels.
      radius: in pixels.
      colour: of the disc.
    """
    return line(picture, centre, centre, radius, colour)


def line(
    picture: jax.Array, start: jax.Array, end: jax.Array, radius: jax.Array | float, colour: Colour
) -> jax.Array:
    """`picture` [H, W, 3] uint8 with a straight line in it, round at both ends.

    Args:
      picture: what lies below.
      start, end: [2] row and column, in pixels.
      radius: half the width, in pixels.
      colour: of the line.
    """
    pixel = jnp.moveaxis(jnp.indices(picture.shape[:2]), 0, -1) - start  # [H, W, 2]
    along = end - start
    share = (pixel @ along) / jnp.maximum(along @ along, 1e-6)
    away = pixel - jnp.clip(share, 0, 1)[..., None] * along
    inside = jnp.sum(away**2, axis=-1) <= radius**2
    return jnp.where(inside[..., None], jnp.array(colour, jnp.uint8), picture)

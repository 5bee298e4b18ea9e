"""What a game shows, as a scene of tiles and sprites, and the two ways to see it: planes, pixels.

A world is a grid of cells, each with one tile; sprites lie above it at any position, in units of
cells, rows downwards. A view is a square of `span` cells whose corner may lie anywhere, so that it
can follow the player. Kind 0 is empty ground; the others are a game's own.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.drawing import Colour, tile
from metarl.ops.control import apart

TEXTURE = 8  # pixels of a side of a tile's picture
_BAR = 0xFF5ADCFA  # a light yellow
_OPAQUE = 0xFEFFFFFF  # words of opaque pixels are larger: the opacity is the highest byte


class Sprites(struct.PyTreeNode):
    """`M` things that may lie between cells; later ones above earlier ones."""

    row: jax.Array  # [M] float32, of the centre: 0.5 is the middle of the first row of cells
    column: jax.Array  # [M] float32
    size: jax.Array  # [M] float32, side in cells
    kind: jax.Array  # [M] uint8, 0: not there
    among: tuple[int, ...] = struct.field(pytree_node=False, default=())  # its kinds; (): any


class Scene(struct.PyTreeNode):
    """One moment of a game and the part of it that is seen."""

    tiles: jax.Array  # [H, W] uint8, the kind of every cell of the world
    top: jax.Array  # [] float32, row of the view's upper edge
    left: jax.Array  # [] float32, column of the view's left edge
    sprites: Sprites | tuple[Sprites, ...] = ()  # many are cheaper in groups of few kinds
    gauges: jax.Array | None = None  # [E] float32 in 0..1, what a player knows besides
    span: int = struct.field(pytree_node=False, default=1)  # cells of a side of the view
    outside: int = struct.field(pytree_node=False, default=0)  # the kind beyond the world's edge


def whole(tiles: jax.Array, **rest: Any) -> Scene:
    """A view of the whole world, which is square."""
    return Scene(tiles, jnp.float32(0), jnp.float32(0), span=tiles.shape[0], **rest)


def centred(
    tiles: jax.Array, row: jax.Array, column: jax.Array, *, radius: int, outside: int, **rest: Any
) -> Scene:
    """A view of `radius` cells to all sides of the cell whose centre is at `row` and `column`."""
    top, left = (jnp.asarray(x, jnp.float32) - (radius + 0.5) for x in (row, column))
    return Scene(tiles, top, left, span=2 * radius + 1, outside=outside, **rest)


def kinds_seen(scene: Scene) -> jax.Array:
    """[span, span] uint8, the tile at the centre of every cell of the view; without sprites."""
    if scene.tiles.shape == (scene.span, scene.span):
        return scene.tiles
    rows, columns = (
        jnp.floor(edge + 0.5).astype(jnp.int32) + jnp.arange(scene.span)
        for edge in (scene.top, scene.left)
    )
    return _at(scene, rows, columns)


def planes(scene: Scene, kinds: int) -> jax.Array:
    """[kinds - 1 + E, span, span] uint8: where each kind but 0 is, 0 or 1, then gauges, 0 to 255.

    A sprite marks every cell whose centre it covers, and at least the one its own centre is in.
    """
    scene = apart(scene)
    flags = apart(_flags(scene, jnp.uint16 if kinds <= 17 else jnp.uint32))
    # Rows and columns are one axis until the end: XLA:CPU vectorises long loops alone.
    bit = np.arange(kinds - 1, dtype=flags.dtype)[:, None]
    marks = ((flags.ravel() >> bit) & 1).astype(jnp.uint8)
    if any(_knows_its_kinds(group, scene) for group in _groups(scene)):
        words = jnp.broadcast_to(_words(scene, kinds)[..., None], (kinds - 1, *flags.shape))
        column = np.tile(np.arange(scene.span, dtype=np.uint32), scene.span)
        marks |= ((words.reshape(kinds - 1, -1) >> column) & 1).astype(jnp.uint8)
    if scene.gauges is not None:
        level = jnp.round(jnp.clip(scene.gauges, 0, 1) * 255).astype(jnp.uint8)
        shown = jnp.broadcast_to(level[:, None], (level.shape[0], scene.span**2))
        marks = jnp.concatenate([marks, shown])
    return apart(marks).reshape(-1, scene.span, scene.span)


def picture(scene: Scene, atlas: np.ndarray, pixels: int = 64) -> jax.Array:
    """[3, pixels, pixels] uint8: tiles, then sprites, then gauges as bars along the lower edge.

    Args:
      scene: what to show.
      atlas: [K, 8, 8, 4] uint8, a picture of every kind with its opacity, 0 or 255.
      pixels: side of the picture.
    """
    scene = apart(scene)
    # A pixel is one word, so that it is looked up and chosen once and not for every colour.
    textures = jnp.asarray(np.ascontiguousarray(atlas).view(np.uint32).ravel())
    steps = (np.arange(pixels, dtype=np.float32) + 0.5) * (scene.span / pixels)
    rows, columns = scene.top + steps, scene.left + steps  # [pixels], in cells of the world
    cell = [jnp.floor(x).astype(jnp.int32) for x in (rows, columns)]
    texel = _texel(rows - cell[0])[:, None] * TEXTURE + _texel(columns - cell[1])[None, :]
    shown = textures[apart(_at(scene, *cell)).astype(jnp.int32) * TEXTURE**2 + texel]
    image = jnp.where(shown > jnp.uint32(_OPAQUE), shown, textures[texel])

    def draw(image: jax.Array, sprite: Sprites) -> tuple[jax.Array, None]:
        row = (rows - sprite.row) / sprite.size + 0.5
        column = (columns - sprite.column) / sprite.size + 0.5
        here = ((row >= 0) & (row < 1))[:, None] & ((column >= 0) & (column < 1))[None, :]
        texel = _texel(row)[:, None] * TEXTURE + _texel(column)[None, :]
        shown = textures[sprite.kind.astype(jnp.int32) * TEXTURE**2 + texel]
        here &= (shown > jnp.uint32(_OPAQUE)) & (sprite.kind > 0)
        return jnp.where(here, shown, image), None

    for group in _groups(scene):
        image = jax.lax.scan(draw, image, group)[0]
    if scene.gauges is not None:
        image = _bars(image, scene.gauges, pixels)
    return jnp.stack([(apart(image) >> shift).astype(jnp.uint8) for shift in (0, 8, 16)])


def atlas_of(
    art: Sequence[str], colours: Mapping[str, Colour], *, ground: Colour = (38, 42, 50)
) -> np.ndarray:
    """[K, 8, 8, 4] uint8 from one drawing of 8 by 8 signs a kind, empty ground first.

    `.` is transparent; of the ground it is the colour `ground`.

    Raises:
      ValueError: a drawing of another size, or a sign without a colour.
    """
    pictures = []
    for drawing in art:
        colour = tile(drawing, {".": ground, **colours})
        if colour.shape != (TEXTURE, TEXTURE, 3):
            raise ValueError(f"a tile has {TEXTURE} rows of {TEXTURE} signs, not {colour.shape}")
        opaque = np.array([[255 * (sign != ".") for sign in row] for row in drawing.split()])
        pictures.append(np.concatenate([colour, opaque[..., None].astype(np.uint8)], axis=-1))
    return np.stack(pictures)


def mirrored(drawing: str) -> str:
    """A drawing of one kind with left and right exchanged."""
    return " ".join(row[::-1] for row in drawing.split())


def turned(drawing: str, quarters: int = 1) -> str:
    """A drawing of one kind turned clockwise by so many quarters of a turn."""
    rows = np.rot90(np.array([list(row) for row in drawing.split()]), -quarters)
    return " ".join("".join(row) for row in rows)


def _at(scene: Scene, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """[R, C] uint8, the tiles at rows [R] and columns [C]; beyond the world the kind `outside`."""
    height, width = scene.tiles.shape
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    strip = scene.tiles[jnp.clip(rows, 0, height - 1)]  # whole rows are plain copies
    return jnp.where(inside, strip[:, jnp.clip(columns, 0, width - 1)], jnp.uint8(scene.outside))


def _flags(scene: Scene, dtype: type) -> jax.Array:
    """[span, span], bit `k - 1` of a cell's word says that kind `k` is there.

    Words and not planes of every kind, and sprites one by one in one expression, which XLA makes
    one loop: some 20 times faster on a CPU than a product of matrices.
    """
    flag = lambda kind: jnp.where(kind > 0, dtype(1) << (kind - 1).astype(dtype), 0)  # noqa: E731
    flags = flag(kinds_seen(scene))
    for group in _groups(scene):
        if _knows_its_kinds(group, scene):
            continue
        rows = _covered(group.row - scene.top, group.size, scene.span)
        columns = _covered(group.column - scene.left, group.size, scene.span)
        high = jnp.where(rows, flag(group.kind)[:, None], dtype(0))
        wide = jnp.where(columns, ~dtype(0), dtype(0))
        for down, across in zip(*apart((high, wide)), strict=True):
            flags |= down[:, None] & across
    return flags


def _words(scene: Scene, kinds: int) -> jax.Array:
    """[kinds - 1, span] uint32, bit `c` says that something of a kind is in a row's column `c`.

    The same for sprites that know their kinds: rows of them, not cells.
    """
    rows_of: list[list[jax.Array]] = [[] for _ in range(kinds - 1)]
    bit = np.uint32(1) << np.arange(scene.span, dtype=np.uint32)
    for group in _groups(scene):
        if not _knows_its_kinds(group, scene):
            continue
        rows = _bits(group.row - scene.top, group.size, scene.span)
        columns = _bits(group.column - scene.left, group.size, scene.span)
        kind, rows, columns = apart((group.kind.astype(jnp.uint32), rows, columns))
        wanted = np.repeat(np.array(group.among, np.uint32), scene.span)
        own = np.tile(bit, len(group.among))
        words = jnp.zeros(len(own), jnp.uint32)
        for m in range(len(kind)):
            here = (kind[m] == wanted) & (rows[m] & own != 0)
            words |= jnp.where(here, columns[m], jnp.uint32(0))
        marked = apart(words).reshape(len(group.among), scene.span)
        for one, row in zip(group.among, marked, strict=True):
            rows_of[one - 1].append(row)
    nothing = jnp.zeros(scene.span, jnp.uint32)
    return apart(jnp.stack([functools.reduce(jnp.bitwise_or, rows, nothing) for rows in rows_of]))


def _groups(scene: Scene) -> tuple[Sprites, ...]:
    return (scene.sprites,) if isinstance(scene.sprites, Sprites) else scene.sprites


def _knows_its_kinds(group: Sprites, scene: Scene) -> bool:
    return bool(group.among) and scene.span <= 32


def _covered(centre: jax.Array, size: jax.Array, span: int) -> jax.Array:
    """[M, span] bool, where a sprite lies along one axis; `centre` is from the view's edge."""
    cells = jnp.arange(span)
    distance = jnp.abs(cells + 0.5 - centre[:, None])
    own = jnp.floor(centre)[:, None] == cells
    return own | (distance < size[:, None] / 2)


def _bits(centre: jax.Array, size: jax.Array, span: int) -> jax.Array:
    """[M] uint32, the same as bits of a word."""
    own, reach = jnp.floor(centre), size / 2 + 0.5
    first = jnp.minimum(own, jnp.floor(centre - reach) + 1)
    end = jnp.maximum(own + 1, jnp.ceil(centre + reach) - 1)
    first, end = (jnp.clip(x, 0, span).astype(jnp.uint32) for x in (first, end))
    return (jnp.uint32(1) << end) - (jnp.uint32(1) << first)  # 1 << 32 is 0


def _texel(fraction: jax.Array) -> jax.Array:
    return jnp.clip((fraction * TEXTURE).astype(jnp.int32), 0, TEXTURE - 1)


def _bars(image: jax.Array, gauges: jax.Array, pixels: int) -> jax.Array:
    """A row of pixels a gauge, in a picture of 64, the first lowest, as long as they are full."""
    thick = max(pixels // 64, 1)
    row, column = jnp.arange(pixels)[:, None], jnp.arange(pixels)[None, :]
    number = (pixels - 1 - row) // thick  # which gauge a row of pixels belongs to
    level = gauges[jnp.clip(number, 0, gauges.shape[0] - 1)]
    full = (number < gauges.shape[0]) & (column < level * pixels)
    return jnp.where(full, jnp.uint32(_BAR), image)

"""Sokoban levels on the host, packed: Boxoban's 10 by 10 boards take 17 bytes each.

A border of walls is implied, so only the inner walls are stored, one bit a cell; targets, boxes and
the player are cell numbers `row * width + column`. The unpacked form is a board of flags, one byte
a cell. `Levels` is what a compiled step draws from.
"""

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

WALL, TARGET, BOX, PLAYER = 1, 2, 4, 8  # bits of a cell
SIGNS = {
    " ": 0,
    "#": WALL,
    ".": TARGET,
    "$": BOX,
    "*": BOX | TARGET,
    "@": PLAYER,
    "+": PLAYER | TARGET,
}
_ARRAYS = ("shape", "walls", "targets", "boxes", "player")


class Levels(struct.PyTreeNode):
    """The levels of one board size, as leaves of an environment's params: one row is one start."""

    board: jax.Array  # [L, cells] uint8, bits WALL, TARGET and BOX
    player: jax.Array  # [L] int32, cell number
    left: jax.Array  # [L] int32, boxes that are not on a target
    height: int = struct.field(pytree_node=False)
    width: int = struct.field(pytree_node=False)


@dataclass(frozen=True, eq=False)
class LevelTable:
    """`L` levels of one size; a slice or an index array of a table is a table.

    A level with fewer than `B` boxes repeats its last box and its last target.
    """

    height: int
    width: int
    walls: np.ndarray  # [L, bytes] uint8, bits of the inner cells, row by row
    targets: np.ndarray  # [L, B] uint8, or uint16 beyond 256 cells
    boxes: np.ndarray  # [L, B]
    player: np.ndarray  # [L]

    @classmethod
    def pack(cls, boards: np.ndarray) -> "LevelTable":
        """Packs boards that `faults` finds no fault with.

        Args:
          boards: [L, H, W] uint8 flags.

        Raises:
          ValueError: a board breaks a rule of the game, named with the level's number from 0.
        """
        boards = np.asarray(boards, np.uint8)
        if boards.ndim != 3 or not len(boards) or min(boards.shape[1:]) < 3:
            raise ValueError(
                f"boards must be [L, H, W] of at least 1 by 3 by 3, got {boards.shape}"
            )
        for level, fault in faults(boards)[:1]:
            raise ValueError(f"level {level}: {fault}")
        count, height, width = boards.shape
        cells = boards.reshape(count, -1)
        most = int(((cells & BOX) > 0).sum(1).max())
        small = np.uint8 if height * width <= 256 else np.uint16
        return cls(
            height,
            width,
            np.packbits(boards[:, 1:-1, 1:-1].reshape(count, -1) & WALL, axis=1),
            _cells_with(cells, TARGET, most).astype(small),
            _cells_with(cells, BOX, most).astype(small),
            _cells_with(cells, PLAYER, 1)[:, 0].astype(small),
        )

    @classmethod
    def join(cls, tables: Sequence["LevelTable"]) -> "LevelTable":
        """One table of all the levels, in order.

        Raises:
          ValueError: no table, or boards of different sizes.
        """
        sizes = {(t.height, t.width) for t in tables}
        if len(sizes) != 1:
            raise ValueError(f"tables to join must have boards of one size, got {sorted(sizes)}")
        most = max(t.boxes.shape[1] for t in tables)

        def stack(name: str) -> np.ndarray:
            return np.concatenate([_widen(getattr(t, name), most) for t in tables])

        walls = np.concatenate([t.walls for t in tables])
        player = np.concatenate([t.player for t in tables])
        return cls(*sizes.pop(), walls, stack("targets"), stack("boxes"), player)

    @classmethod
    def load(cls, path: str | Path) -> "LevelTable":
        """Reads what `save` wrote, without pickle, and checks every level.

        Raises:
          ValueError: the file is no level table, is damaged, or holds an impossible level.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in _ARRAYS}
            height, width = (int(n) for n in arrays.pop("shape"))
            table = cls(height, width, **arrays)
            boards = table.boards()
        except (
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise ValueError(f"{path} is not a level table: {error}") from error
        for level, fault in faults(boards)[:1]:
            raise ValueError(f"{path}, level {level}: {fault}")
        return table

    def save(self, path: str | Path) -> None:
        """Writes a compressed npz file, whose name should end in `.npz`."""
        arrays = {name: getattr(self, name) for name in _ARRAYS[1:]}
        shape = np.array([self.height, self.width])
        np.savez_compressed(path, shape=shape, **arrays)

    def boards(self) -> np.ndarray:
        """[L, H, W] uint8 flags, the inverse of `pack`."""
        count, inner = len(self), (self.height - 2, self.width - 2)
        board = np.full((count, self.height, self.width), WALL, np.uint8)
        bits = np.unpackbits(self.walls, axis=1, count=inner[0] * inner[1])
        board[:, 1:-1, 1:-1] = bits.reshape(count, *inner)
        cells, rows = board.reshape(count, -1), np.arange(count)[:, None]
        cells[rows, self.targets] |= TARGET
        cells[rows, self.boxes] |= BOX
        cells[rows, self.player[:, None]] |= PLAYER
        return board

    def turned(self) -> "LevelTable":
        """Each level in every way to turn and mirror it: eight of a square board, four of others.

        The levels as they are come first. All ways are of the split of the level's room.
        """
        boards = self.boards()
        turns = range(4) if self.height == self.width else (0, 2)
        both = (boards, boards[:, ::-1])
        ways = [np.rot90(side, turn, axes=(1, 2)) for side in both for turn in turns]
        return LevelTable.pack(np.concatenate(ways))

    def levels(self) -> Levels:
        """The form that a compiled step draws from, on the default device."""
        cells = self.boards().reshape(len(self), -1)
        left = ((cells & (BOX | TARGET)) == BOX).sum(1)
        return Levels(
            board=jnp.asarray(cells & ~np.uint8(PLAYER)),
            player=jnp.asarray(self.player, jnp.int32),
            left=jnp.asarray(left, jnp.int32),
            height=self.height,
            width=self.width,
        )

    def text(self, level: int) -> str:
        """One level in the usual signs, `#` wall, `@` player, `$` box, `.` target."""
        return draw(self[[level]].boards()[0])

    def __len__(self) -> int:
        return len(self.player)

    def __getitem__(self, index: slice | Iterable[int] | np.ndarray) -> "LevelTable":
        rows = index if isinstance(index, slice) else np.asarray(index)
        arrays = (self.walls[rows], self.targets[rows], self.boxes[rows], self.player[rows])
        return LevelTable(self.height, self.width, *arrays)


def draw(board: np.ndarray) -> str:
    """A board [H, W] of flags in the usual signs."""
    signs = {flags: sign for sign, flags in SIGNS.items()}
    return "\n".join("".join(signs[int(cell)] for cell in row) for row in board)


def faults(boards: np.ndarray) -> list[tuple[int, str]]:
    """What breaks the rules of the game, as (level, words), by level.

    Args:
      boards: [L, H, W] uint8 flags.
    """
    cells = boards.reshape(len(boards), -1)
    inner = boards[:, 1:-1, 1:-1].reshape(len(boards), -1)
    players, boxes, targets = (((cells & bit) > 0).sum(1) for bit in (PLAYER, BOX, TARGET))
    walls_inside = ((inner & WALL) > 0).sum(1)
    border_walls = ((cells & WALL) > 0).sum(1) - walls_inside
    known = np.isin(cells, list(SIGNS.values())).all(1)
    solved = ((cells & (BOX | TARGET)) == BOX).sum(1) == 0
    checks = (
        (~known, lambda i: "two things that cannot share a cell do"),
        (players == 0, lambda i: "no player ('@' or '+')"),
        (players > 1, lambda i: f"{players[i]} players, expected one"),
        (
            boxes != targets,
            lambda i: f"{boxes[i]} boxes and {targets[i]} targets, expected as many",
        ),
        (boxes == 0, lambda i: "no box"),
        (
            border_walls < cells.shape[1] - inner.shape[1],
            lambda i: "an open border; all cells of the outer rows and columns must be walls '#'",
        ),
        (solved & (boxes > 0), lambda i: "solved already, every box is on a target"),
    )
    found = [(int(i), say(i)) for bad, say in checks for i in np.flatnonzero(bad)]
    return sorted(found, key=lambda fault: fault[0])


def _cells_with(cells: np.ndarray, bit: int, most: int) -> np.ndarray:
    """[L, most] cell numbers that hold `bit`; rows with fewer repeat their last."""
    level, cell = np.nonzero(cells & bit)
    count = np.bincount(level, minlength=len(cells))
    first = np.cumsum(count) - count
    return cell[first[:, None] + np.minimum(np.arange(most), count[:, None] - 1)]


def _widen(cells: np.ndarray, most: int) -> np.ndarray:
    """[L, most], the last column repeated."""
    return np.pad(cells, ((0, 0), (0, most - cells.shape[1])), mode="edge")

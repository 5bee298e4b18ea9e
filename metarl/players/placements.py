"""All placements of a few mines on a small board, as tables of the host.

What opens together depends on the placement alone: cells without a number that touch are one
region, and open with all their neighbours. So the fewest actions that finish a board are the
regions that are closed and the closed cells with a number that touch no region.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

MOST = 100_000  # placements; 6 by 6 cells with 4 mines have 58905


class Placements(NamedTuple):
    """All placements of one number of mines; `P` rows."""

    mines: np.ndarray  # [P, cells] bool
    numbers: np.ndarray  # [P, cells] uint8, mines around
    region: np.ndarray  # [P, cells] int16, the least cell of a region; `cells` where there is none
    lonely: np.ndarray  # [P, cells] bool, cells with a number that open with no other

    @property
    def empty(self) -> np.ndarray:
        """[P, cells] bool, the cells of regions."""
        return self.region < self.region.shape[1]

    @property
    def whole(self) -> np.ndarray:
        """[P, cells] bool, the cells that open all others."""
        alone = (self.regions == 1) & ~self.lonely.any(axis=1)
        return self.empty & alone[:, None]

    @property
    def regions(self) -> np.ndarray:
        """[P] int, how many."""
        return (self.region == np.arange(self.region.shape[1])).sum(axis=1)


@functools.lru_cache(maxsize=4)
def placements(height: int, width: int, mines: int) -> Placements:
    """Every placement, in the order of `itertools.combinations`.

    Raises:
      ValueError: there are too many.
    """
    cells = height * width
    if math.comb(cells, mines) > MOST:
        raise ValueError(
            f"{height} by {width} cells have {math.comb(cells, mines)} placements of {mines} "
            f"mines; exact players take up to {MOST}"
        )
    near = neighbours(height, width)
    chosen = np.array(list(itertools.combinations(range(cells), mines)))
    laid = np.zeros((len(chosen), cells), bool)
    laid[np.arange(len(chosen))[:, None], chosen] = True
    numbers = laid.astype(np.uint8) @ near.astype(np.uint8)
    empty = (numbers == 0) & ~laid
    region = np.where(empty, np.arange(cells), cells).astype(np.int16)
    while True:  # the least number spreads through each region
        around = np.stack([region[:, near[cell]].min(axis=1) for cell in range(cells)], axis=1)
        spread = np.where(empty, np.minimum(region, around), cells).astype(np.int16)
        if (spread == region).all():
            break
        region = spread
    touched = (empty.astype(np.uint8) @ near.astype(np.uint8)) > 0
    return Placements(laid, numbers, region, ~laid & ~empty & ~touched)


def neighbours(height: int, width: int) -> np.ndarray:
    """[cells, cells] bool, whether two different cells touch, corners included."""
    row, column = np.divmod(np.arange(height * width), width)
    apart = np.maximum(abs(row[:, None] - row), abs(column[:, None] - column))
    return apart == 1


def clicks_left(table: Placements) -> np.ndarray:
    """[P, cells] int, the fewest actions that finish a board after the opening of a cell.

    Args:
      table: of the placements; a row of the result means nothing where the cell is a mine.
    """
    count = table.regions + table.lonely.sum(axis=1)
    return count[:, None] - (table.empty | table.lonely)


def opening_chances(table: Placements) -> np.ndarray:
    """[P, cells] float64, the chance of each free opening: uniform, but none that opens all.

    Where it would, a uniform cell with a number takes its place (`Minesweeper.free_opening`).
    """
    safe, whole = ~table.mines, table.whole
    numbered = safe & ~table.empty
    share = 1 / safe.sum(axis=1, keepdims=True)
    moved = whole.sum(axis=1, keepdims=True) * share / numbered.sum(axis=1, keepdims=True)
    return np.where(whole | ~safe, 0, share) + np.where(numbered, moved, 0)


def turn_bound(height: int, width: int, mines: int, turns: int) -> float:
    """The share of boards, with their free opening, that anyone can finish in so many actions.

    Raises:
      ValueError: there are too many placements.
    """
    table = placements(height, width, mines)
    chances = opening_chances(table)
    return float((chances * (clicks_left(table) <= turns)).sum() / len(chances))

"""Boards as bit sets: a set of cells is one Python integer, so that a flood fill is a few shifts.

The wall border keeps a shift from running over the end of a row.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from metarl.envs.levels.table import BOX, PLAYER, TARGET, WALL

FAR = 10**6  # a distance that no board has


class Level(NamedTuple):
    """One board as bit sets."""

    width: int
    floor: int  # every cell that is no wall
    targets: int
    boxes: int
    player: int

    @classmethod
    def of(cls, board: np.ndarray) -> "Level":
        """From a board [H, W] of flags."""
        cells = board.ravel()
        masks = ((cells & WALL) == 0, cells & TARGET, cells & BOX, cells & PLAYER)
        return cls(board.shape[1], *(union(np.flatnonzero(mask).tolist()) for mask in masks))

    @property
    def moves(self) -> tuple[int, int, int, int]:
        """How far up, right, down and left move a bit."""
        return moves(self.width)


def moves(width: int) -> tuple[int, int, int, int]:
    """How far up, right, down and left move a bit on a board of that width."""
    return -width, 1, width, -1


def union(cells: Iterable[int]) -> int:
    """The set of these cell numbers."""
    return sum(1 << cell for cell in set(cells))


def members(cells: int) -> Iterator[int]:
    """The cell numbers of a set, rising."""
    while cells:
        low = cells & -cells
        yield low.bit_length() - 1
        cells ^= low


def shift(cells: int, move: int) -> int:
    """Every cell moved."""
    return cells << move if move > 0 else cells >> -move


def around(cells: int, width: int) -> int:
    """All cells one step from these."""
    return cells << 1 | cells >> 1 | cells << width | cells >> width


def reach(start: int, free: int, width: int) -> int:
    """The cells of `free` that can be walked to from `start`, which is among them."""
    found, edge = start, start
    while edge:
        edge = around(edge, width) & free & ~found
        found |= edge
    return found


def walk(start: int, goal: int, free: int, width: int) -> list[int]:
    """The actions of a shortest walk between two single cells of one region of `free`."""
    layers = [start]
    seen = start
    while not layers[-1] & goal:
        edge = around(layers[-1], width) & free & ~seen
        if not edge:
            raise ValueError("the walk has no way to its goal")
        seen |= edge
        layers.append(edge)
    actions = []
    for layer in reversed(layers[:-1]):
        for action, move in enumerate(moves(width)):
            if shift(goal, -move) & layer:
                goal = shift(goal, -move)
                actions.append(action)
                break
    return actions[::-1]


class PushBound:
    """A lower bound on the pushes that boxes still need; `alive` are the cells worth standing on.

    Each box goes to a target of its own and boxes do not stand in each other's way: the cheapest
    assignment of lone boxes. It is at least `FAR` only where no solution exists.
    """

    def __init__(self, floor: int, targets: int, width: int):
        self._distance = np.stack(
            [_pulls(1 << target, floor, width) for target in members(targets)]
        )  # [B, cells]
        self._known: dict[int, int] = {}
        self.alive = union(np.flatnonzero(self._distance.min(0) < FAR).tolist())

    def __call__(self, boxes: int) -> int:
        """The bound for a set of as many boxes as there are targets."""
        if boxes not in self._known:
            cost = self._distance[:, list(members(boxes))]
            self._known[boxes] = int(cost[linear_sum_assignment(cost)].sum())
        return self._known[boxes]


def _pulls(target: int, floor: int, width: int) -> np.ndarray:
    """[cells] the pushes that bring a lone box from each cell to the target, or FAR."""
    distance = np.full(floor.bit_length() + width, FAR)
    seen, edge, count = target, target, 0
    while edge:
        distance[list(members(edge))] = count
        pulled = 0
        for move in moves(width):  # the player backs off, so two cells must be floor
            pulled |= shift(edge, move) & floor & shift(floor, -move)
        edge = pulled & ~seen
        seen |= edge
        count += 1
    return distance

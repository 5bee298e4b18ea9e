"""What anyone can reach at Sokoban: fewest steps by breadth-first search, on the host."""

from typing import NamedTuple

import numpy as np

from metarl.envs.levels.solve import fewest_steps
from metarl.envs.levels.table import BOX, TARGET, LevelTable


class Bound(NamedTuple):
    """Of a set of levels and a limit of steps."""

    solvable: float  # share of levels that can be solved in time
    steps: float  # mean of the fewest steps, of those
    best_return: float  # mean of the best returns, of those, by the published rewards


def optimal_steps(levels: LevelTable) -> np.ndarray:
    """[L] int, the fewest steps that solve each level; -1 where there is no solution.

    Raises:
      RuntimeError: a level is too large for the search.
    """
    found = (fewest_steps(board) for board in levels.boards())
    return np.array([-1 if actions is None else len(actions) for actions in found])


def step_bound(levels: LevelTable, max_steps: int) -> Bound:
    """The bound that a limit of steps sets on every player; raises as `optimal_steps`."""
    steps = optimal_steps(levels)
    cells = levels.boards().reshape(len(levels), -1)
    left = ((cells & (BOX | TARGET)) == BOX).sum(axis=1)
    in_time = (steps >= 0) & (steps <= max_steps)
    best = 10 + left - 0.1 * steps
    if not in_time.any():
        return Bound(0.0, float("nan"), float("nan"))
    return Bound(*(float(x) for x in (in_time.mean(), steps[in_time].mean(), best[in_time].mean())))

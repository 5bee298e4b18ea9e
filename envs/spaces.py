"""Spaces that several environments share."""

from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete


class Choices:
    """For environments with `num_actions` actions, numbered from 0."""

    @property
    def num_actions(self) -> int:
        """How many; a field or a constant of the class may say it."""
        raise NotImplementedError

    @property
    def action_space(self) -> Discrete:
        """One number for each action."""
        return Discrete(self.num_actions)


class FourMoves(Choices):
    """For environments whose actions are up, right, down, left, in that order."""

    num_actions: ClassVar[int] = 4


def coordinate_space(size: int, count: int, *more: int) -> MultiDiscrete:
    """Row and column of `count` cells of a grid, then `more` numbers, each below its entry.

    Agents read it one-hot. The type is the smallest of uint8, uint16 and int32 that holds it.
    """
    bounds = [*[size] * (2 * count), *more]
    dtype: Any = (
        np.uint8 if max(bounds) <= 2**8 else np.uint16 if max(bounds) <= 2**16 else np.int32
    )
    return MultiDiscrete(bounds, dtype=dtype)

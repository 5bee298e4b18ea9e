"""Spaces that several environments share."""

from gymnasium.spaces import Discrete


class FourMoves:
    """For environments whose actions are up, right, down, left, in that order."""

    @property
    def num_actions(self) -> int:
        """Four moves."""
        return 4

    @property
    def action_space(self) -> Discrete:
        """Up, right, down, left."""
        return Discrete(4)

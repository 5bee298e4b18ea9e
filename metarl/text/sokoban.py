"""Sokoban in words, its boards as in the prompts of LaMer (https://arxiv.org/abs/2512.16848).

0:######
1:#_P_X#
2:#__XO#
3:#____#
4:#___O#
5:######
"""

from dataclasses import dataclass

from metarl.text.grid import GridCodec
from metarl.types import PyTree

SIGNS = str.maketrans(" .$@*+", "_OXP\N{SQUARE ROOT}S")  # from those of `render_text`
_UNSEEN = str.maketrans("O\N{SQUARE ROOT}S", "_XP")  # where targets are hidden


@dataclass(frozen=True)
class SokobanCodec(GridCodec):
    """Moves are up, right, down and left; the first three of an answer are played.

    A board shows `#` for a wall, `_` for the floor, `O` for a target, `X` for a box, `P` for the
    player, a square root for a box on a target and `S` for the player on one. A move that changes
    nothing costs what no answer costs, as a step does. Hidden targets are not shown.
    """

    moves: int = 3

    def describe_task(self) -> str:
        """The rules."""
        env = self.inner
        targets = (
            "Targets are not shown, and a box on one looks like any other: only the reward tells."
            if env.hidden_targets
            else "O is a target; \N{SQUARE ROOT} is a box on a target; S is you on a target."
        )
        return (
            f"You play Sokoban on a board of {env.height} rows and {env.width} columns.\n"
            "On the board # is a wall; _ is the floor; X is a box; P is you, the player. "
            f"{targets}\n"
            "You move up, right, down or left. Moving into a box pushes it if the cell behind it "
            "is free of walls and boxes; boxes cannot be pulled, so one in a corner is stuck. You "
            "win when every box is on a target."
        )

    def render(self, state: PyTree, params: PyTree) -> str:
        """One line a row."""
        text = self.env.render_text(state, params).translate(SIGNS)
        if self.inner.hidden_targets:
            text = text.translate(_UNSEEN)
        return "\n".join(f"{i}:{row}" for i, row in enumerate(text.split("\n")))

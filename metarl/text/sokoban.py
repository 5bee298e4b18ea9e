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


@dataclass(frozen=True)
class SokobanCodec(GridCodec):
    """Moves are up, right, down and left; the first three of an answer are played.

    A board shows `#` for a wall, `_` for the floor, `O` for a target, `X` for a box, `P` for the
    player, a square root for a box on a target and `S` for the player on one. A move that changes
    nothing costs what no answer costs, as a step does.
    """

    moves: int = 3

    def describe_task(self) -> str:
        """The rules."""
        env = self.inner
        return (
            f"You play Sokoban on a board of {env.height} rows and {env.width} columns.\n"
            "A board shows # for a wall; _ for the floor; O for a target; X for a box; P for you, "
            "the player; \N{SQUARE ROOT} for a box on a target; S for you on a target.\n"
            "You move up, right, down or left. Moving into a box pushes it if the cell behind it "
            "is free of walls and boxes; boxes cannot be pulled, so one in a corner is stuck. You "
            "win when every box is on a target."
        )

    def render(self, state: PyTree, params: PyTree) -> str:
        """One line a row."""
        rows = self.env.render_text(state, params).translate(SIGNS).split("\n")
        return "\n".join(f"{i}:{row}" for i, row in enumerate(rows))

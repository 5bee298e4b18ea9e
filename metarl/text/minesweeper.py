"""Minesweeper in words, its boards as in the prompts of LaMer (https://arxiv.org/abs/2512.16848).

Row 1: ? ? . 1
Row 2: ? ? 2 *
"""

import re
from dataclasses import dataclass

from metarl.text.answers import ACTION, tagged
from metarl.text.grid import GridCodec
from metarl.types import PyTree

SIGNS = str.maketrans("#", "?")  # `render_text` and the prompts agree on all others
_CELL = re.compile(r"\(\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*\)")


@dataclass(frozen=True)
class MinesweeperCodec(GridCodec):
    """Cells are `(row, column)`, counted from 1; one is opened a turn.

    A board shows `?` for a closed cell, `.` for an open one without mines around, their number, and
    `*` for an open mine. An open cell that is chosen again costs what no answer costs, and the game
    goes on, whatever the environment makes of it.
    """

    penalty: float = 1.0

    def describe_task(self) -> str:
        """The rules."""
        env = self.inner
        flood = "Where it has no mine around, its neighbours open too. " if env.flood_fill else ""
        return (
            f"You play Minesweeper on a board of {env.height} rows and {env.width} columns, which "
            f"hides {env.mines} mines. Rows and columns are counted from 1.\n"
            "A board shows ? for a closed cell; . for an open cell with no mine around it; 1 to 8 "
            "for an open cell with so many mines among its eight neighbours; * for a mine that was "
            "opened.\n"
            f"Each turn you open one cell. {flood}A mine ends the game, and it is lost. You win "
            "when every cell without a mine is open. Choosing an open cell wastes the turn."
        )

    def form(self) -> str:
        """How to answer, with an example."""
        return (
            f"Answer with the cell to open as (row, column) inside <{ACTION}> tags, such as "
            f"<{ACTION}>{self.word(self.num_actions - 1)}</{ACTION}>."
        )

    def render(self, state: PyTree, params: PyTree) -> str:
        """One line a row."""
        rows = self.env.render_text(state, params).translate(SIGNS).split("\n")
        return "\n".join(f"Row {i}: {' '.join(row)}" for i, row in enumerate(rows, 1))

    def word(self, action: int) -> str:
        """The cell."""
        row, column = divmod(action, self.inner.width)
        return f"({row + 1}, {column + 1})"

    def parse(self, text: str) -> tuple[tuple[int, ...], bool]:
        """The first cells between the last tags that lie on the board."""
        env = self.inner
        found = _CELL.findall(tagged(text, ACTION) or "")
        cells = [(int(row) - 1, int(column) - 1) for row, column in found]
        actions = [
            row * env.width + column
            for row, column in cells
            if 0 <= row < env.height and 0 <= column < env.width
        ]
        return tuple(actions[: self.moves]), bool(actions)

"""What a language agent is reminded of: the attempt in progress, and earlier ones of the trial.

In the code of LaMer (https://arxiv.org/abs/2512.16848), with reflection off, the attempts were not
told apart, and from the second on the history shown was the first's, without the board. Here the
attempts are kept apart in every mode, and no text is made without the board as it is now.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

Mode = Literal["history", "reflection", "both"]


@dataclass
class _Attempt:
    boards: list[str]  # at the start and after each turn
    moves: list[str] = field(default_factory=list)  # as they are told
    rewards: list[float] = field(default_factory=list)
    won: bool | None = None  # None while it goes on
    reflection: str = ""

    def lines(self, number: int, first_move: int, boards: set[int]) -> list[str]:
        """Its moves from one on, the boards after some of them, and how it ended."""
        lines = []
        for turn in range(first_move, len(self.moves)):
            after = f", and then the board was\n{self.boards[turn + 1]}" if turn in boards else ""
            reward = f"{self.rewards[turn]:+.4g}"
            lines.append(
                f"Attempt {number}, turn {turn + 1}: {self.moves[turn]}, reward {reward}{after}"
            )
        if self.won is not None:
            lines.append(f"Attempt {number} was {'won' if self.won else 'lost'}.")
        return lines


class TrialMemory:
    """The memory of one trial; another trial has another.

    `begin` opens an attempt, `add_step` tells it on, `end_episode` ends it, `add_reflection` keeps
    the lesson of the one that has ended last. With mode `history` later attempts are reminded of
    the moves and boards of earlier ones, with `reflection` of the lessons, with `both` of both. The
    attempt in progress is always told, its last `actions` moves with their last `boards` boards;
    the attempt that has ended last, which is to be reflected on, with all of its last boards too.

    Args:
      mode: history, reflection or both.
      actions: the most moves told of the attempt in progress.
      boards: the most boards told of it, besides the one of now.

    Raises:
      ValueError: no such mode.
    """

    def __init__(self, mode: Mode = "both", *, actions: int = 7, boards: int = 2):
        if mode not in get_args(Mode):
            raise ValueError(f"no memory {mode!r}; known: {', '.join(get_args(Mode))}")
        self.mode, self.actions, self.boards = mode, actions, boards
        self._attempts: list[_Attempt] = []

    @property
    def attempt(self) -> int:
        """Attempts begun."""
        return len(self._attempts)

    @property
    def reflections(self) -> list[str]:
        """The lesson of each attempt begun, empty where there is none."""
        return [attempt.reflection for attempt in self._attempts]

    @property
    def board(self) -> str:
        """As it is now.

        Raises:
          RuntimeError: no attempt was begun.
        """
        return self._last().boards[-1]

    @property
    def start(self) -> str:
        """The board as it was at the start of the attempt.

        Raises:
          RuntimeError: no attempt was begun.
        """
        return self._last().boards[0]

    def begin(self, board: str) -> None:
        """Opens the next attempt.

        Raises:
          RuntimeError: the one before has not ended.
        """
        if self._attempts and self._last().won is None:
            raise RuntimeError(f"attempt {self.attempt} has not ended; tell `end_episode` first")
        self._attempts.append(_Attempt([board]))

    def add_step(self, move: str, reward: float, board: str) -> None:
        """One turn of the attempt in progress, and the board after it.

        Raises:
          RuntimeError: no attempt is in progress.
        """
        attempt = self._open()
        attempt.moves.append(move)
        attempt.rewards.append(reward)
        attempt.boards.append(board)

    def end_episode(self, won: bool) -> None:
        """Ends the attempt in progress.

        Raises:
          RuntimeError: none is.
        """
        self._open().won = won

    def add_reflection(self, lesson: str) -> None:
        """Keeps the lesson of the attempt that has ended last; `answers.remark` finds it.

        Raises:
          RuntimeError: an attempt is in progress, or none was begun.
        """
        attempt = self._last()
        if attempt.won is None:
            raise RuntimeError(f"attempt {self.attempt} has not ended; tell `end_episode` first")
        attempt.reflection = lesson

    def context(self, budget_chars: int = 8000) -> str:
        """All of it in words, the oldest first; the last lines are the board as it is now.

        What does not fit is left out from the oldest on, piece by piece, but never the board: with
        a budget that is too small for it, it stands alone.

        Raises:
          RuntimeError: no attempt was begun.
        """
        now = self._last()
        heading = "The board now:" if now.won is None else "The board at the end:"
        end = f"{heading}\n{now.boards[-1]}"
        pieces = [line for i in range(self.attempt - 1) for line in self._earlier(i)]
        moves = len(now.moves)
        count = self.boards if now.won is None else self.actions
        first = max(moves - self.actions, 0)
        pieces += now.lines(self.attempt, first, set(range(moves - 1 - count, moves - 1)))
        return "\n".join([*_newest(pieces, budget_chars - len(end)), end])

    def _earlier(self, index: int) -> list[str]:
        """An attempt before the last one, as far as the mode keeps it."""
        attempt, number = self._attempts[index], index + 1
        lines = []
        if self.mode != "reflection":
            lines += attempt.lines(number, 0, set(range(len(attempt.moves))))
        if self.mode != "history" and attempt.reflection:
            lines.append(f"What you noted after attempt {number}: {attempt.reflection}")
        return lines

    def _last(self) -> _Attempt:
        if not self._attempts:
            raise RuntimeError("no attempt was begun; tell `begin` first")
        return self._attempts[-1]

    def _open(self) -> _Attempt:
        attempt = self._last()
        if attempt.won is not None:
            raise RuntimeError(f"attempt {self.attempt} has ended; tell `begin` first")
        return attempt


def _newest(pieces: list[str], room: int) -> list[str]:
    """As many of the last pieces as fit, each with a line break, with a word on those left out."""
    left_out = "(What came before is left out.)"
    if sum(len(piece) + 1 for piece in pieces) <= room:
        return pieces
    room -= len(left_out) + 1
    kept: list[str] = []
    for piece in reversed(pieces):
        room -= len(piece) + 1
        if room < 0:
            break
        kept.insert(0, piece)
    return [left_out, *kept] if kept else []

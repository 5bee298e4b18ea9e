"""What a language agent is asked, and the protocols between it and an environment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metarl.types import PyTree


@dataclass(frozen=True)
class Prompt:
    """One question to a language agent; only `system` and `text` are for its eyes.

    The other entries tell test doubles and records where the question stands.
    """

    system: str  # the task, the same in all prompts of a run
    text: str  # what has happened, then the board as it is now, then what to answer
    trial: int  # which board, from 0
    attempt: int  # from 0
    turn: int  # of the attempt, from 0; of a reflection the number of turns played
    reflect: bool = False  # asks for lessons instead of a move
    board: str = ""  # as it is now
    start: str = ""  # as it was at the start of the attempt
    legal: tuple[str, ...] = ()  # the moves that are possible, in words


class TextCodec(Protocol):
    """How an environment with numbered actions looks and is played in words.

    `parse(f"<action>{word(a)}</action>") == ((a,), True)` for every action a.
    """

    @property
    def moves(self) -> int:
        """The most moves played of one answer."""
        ...

    @property
    def penalty(self) -> float:
        """What an answer without a move costs, as a positive number; so does a forbidden move."""
        ...

    def describe_task(self) -> str:
        """The rules, and the signs of the board."""
        ...

    def form(self) -> str:
        """What an answer looks like, with an example."""
        ...

    def render(self, state: PyTree, params: PyTree) -> str:
        """The board of one environment, the same text for whatever looks the same."""
        ...

    def word(self, action: int) -> str:
        """An action as it stands in an answer."""
        ...

    def legal(self, action_mask: np.ndarray | None) -> list[str]:
        """Words of the actions that `TimeStep.action_mask` [A] allows; of all for None."""
        ...

    def parse(self, text: str) -> tuple[tuple[int, ...], bool]:
        """The actions of an answer, `moves` at most, and whether there is any. Never raises."""
        ...


class TextPolicy(Protocol):
    """A language agent: answers many prompts at once."""

    def act(self, prompts: Sequence[Prompt], /) -> Sequence[str | None]:
        """One answer for each prompt, in their order; None where there was none to be had."""
        ...

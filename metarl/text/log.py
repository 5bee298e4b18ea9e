"""What came of trials in words: answers, rewards, pass@k, and what one can learn from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from metarl.ops.statistics import mean_interval
from metarl.text.types import Prompt


@dataclass(frozen=True)
class Turn:
    """One question and what came of its answer."""

    prompt: Prompt
    answer: str | None  # None: there was none
    valid: bool  # it names a move, or, of a reflection, has a remark
    actions: tuple[int, ...] = ()  # those played, in order; forbidden ones among them
    rewards: tuple[float, ...] = ()  # of each, or one penalty for no move; empty for reflections
    forbidden: int = 0  # how many of the actions the mask forbade; they cost the penalty alone

    @property
    def reward(self) -> float:
        """All of the turn's."""
        return float(sum(self.rewards))


@dataclass(frozen=True)
class Attempt:
    """One attempt at a board."""

    turns: tuple[Turn, ...]
    won: bool
    reflection: Turn | None = None  # on it, if one was asked for

    @property
    def ret(self) -> float:
        """Its undiscounted return."""
        return float(sum(turn.reward for turn in self.turns))


@dataclass(frozen=True)
class TrialLog:
    """Trials that were played: for each board its attempts, `attempts` of them at most."""

    trials: tuple[tuple[Attempt, ...], ...]
    attempts: int

    @property
    def success(self) -> np.ndarray:
        """[N, n] bool, whether each attempt was won; False for those not played."""
        won = np.zeros((len(self.trials), self.attempts), bool)
        for board, trial in enumerate(self.trials):
            won[board, : len(trial)] = [attempt.won for attempt in trial]
        return won

    @property
    def pass_at(self) -> np.ndarray:
        """[N, n] bool, whether any of the first k attempts was won, for k from 1 to n."""
        return np.maximum.accumulate(self.success, axis=1)

    def turns(self) -> Iterator[Turn]:
        """Every turn of every attempt, reflections left out."""
        return (turn for trial in self.trials for attempt in trial for turn in attempt.turns)

    def reflections(self) -> Iterator[Turn]:
        """Every reflection."""
        return (a.reflection for trial in self.trials for a in trial if a.reflection)

    def summary(self) -> dict[str, Any]:
        """What can be told in numbers: pass@k with 95 % intervals over boards, and counts."""
        turns, reflections = list(self.turns()), list(self.reflections())
        passed = self.pass_at
        played = [len(trial) for trial in self.trials]
        firsts = [trial[0].ret for trial in self.trials]
        return {
            "boards": len(self.trials),
            "attempts": self.attempts,
            **{
                f"pass@{k + 1}": mean_interval(passed[:, k], within=(0, 1))
                for k in range(self.attempts)
            },
            "first_return": mean_interval(np.array(firsts)),
            "attempts_played": sum(played),
            "turns": len(turns),
            "moves": sum(len(turn.actions) for turn in turns),
            "invalid_answers": sum(not turn.valid for turn in turns),
            "unanswered": sum(turn.answer is None for turn in [*turns, *reflections]),
            "forbidden_moves": sum(turn.forbidden for turn in turns),
            "reflections": len(reflections),
            "invalid_reflections": sum(not turn.valid for turn in reflections),
        }

"""Language agents that are none: by script, by chance, and by a player that sees arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from metarl.text.answers import ACTION, REMARK
from metarl.text.types import Prompt

Script = Sequence[str] | Callable[[Prompt], str | None]


def action(*words: str) -> str:
    """An answer that plays these moves."""
    return f"<{ACTION}>{', '.join(words)}</{ACTION}>"


@dataclass(frozen=True)
class ScriptedPolicy:
    """Answers from a list, over and over, or as a function of the prompt says.

    Args:
      script: the answer of each turn of an attempt, from the first again when they are used up; or
        a function, which is asked for reflections too.
      lesson: what it remembers of a failed attempt, where it has a list.

    Raises:
      ValueError: an empty list.
    """

    script: Script
    lesson: str = "Nothing."

    def __post_init__(self):
        if not callable(self.script) and not self.script:
            raise ValueError("a script needs at least one answer")

    def act(self, prompts: Sequence[Prompt], /) -> list[str | None]:
        """The answers."""
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> str | None:
        if callable(self.script):
            return self.script(prompt)
        if prompt.reflect:
            return f"<{REMARK}>{self.lesson}</{REMARK}>"
        return self.script[prompt.turn % len(self.script)]


@dataclass(frozen=True)
class RandomTextPolicy:
    """Plays uniform legal moves; its answers depend on the seed and on where the prompt stands.

    Args:
      seed: of its choices.
      moves: how many moves it names, the later ones perhaps not possible by then.
    """

    seed: int = 0
    moves: int = 1

    def act(self, prompts: Sequence[Prompt], /) -> list[str]:
        """The answers."""
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> str:
        if prompt.reflect:
            return f"<{REMARK}>Chance has no lessons.</{REMARK}>"
        rng = np.random.default_rng([self.seed, prompt.trial, prompt.attempt, prompt.turn])
        return action(*(str(word) for word in rng.choice(prompt.legal, self.moves)))

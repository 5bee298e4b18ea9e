"""What a language model can be trained on: answers with their returns over attempts."""

from collections import defaultdict
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from metarl.ops.trial_returns import trial_returns
from metarl.text.log import TrialLog, Turn
from metarl.text.types import Prompt


@dataclass(frozen=True)
class Lesson:
    """A question and an answer, and what came of it."""

    prompt: Prompt
    answer: str
    ret: float  # from here to the end of the trial
    adv: float  # less the mean of all boards at the same place


def lessons(
    log: TrialLog,
    *,
    discount: float = 0.95,
    attempt_discount: float = 0.6,
    chained: bool = False,
) -> list[Lesson]:
    """Every answer of a log with its return, in the order of boards and of play.

    A step is a turn, and its reward that of all its moves. A reflection is worth what the attempt
    after it returns from its start, later ones included, without another discount: so it is in
    LaMer's code (https://arxiv.org/abs/2512.16848, by a summary), and its formula does not speak of
    it. An advantage compares an answer with those of all boards at the same turn of the same
    attempt, a reflection with those on the same attempt; without division by their spread. A turn
    without an answer counts in the returns and means, but there is nothing to learn from it.

    Args:
      log: of trials.
      discount: from turn to turn.
      attempt_discount: from attempt to attempt.
      chained: see `metarl.ops.trial_returns.trial_returns`.
    """
    attempts = [(attempt, trial) for trial in log.trials for attempt in trial]
    flat = [(turn, attempt, trial) for attempt, trial in attempts for turn in attempt.turns]
    ended = np.array([turn is attempt.turns[-1] for turn, attempt, _ in flat])
    rets = trial_returns(
        jnp.array([turn.reward for turn, _, _ in flat]),
        jnp.asarray(ended),
        jnp.asarray(ended & [attempt is trial[-1] for _, attempt, trial in flat]),
        discount=discount,
        attempt_discount=attempt_discount,
        chained=chained,
    )
    each = iter(np.asarray(rets).tolist())
    worth: list[tuple[Turn, float]] = []
    for trial in log.trials:
        own = [[(turn, next(each)) for turn in attempt.turns] for attempt in trial]
        for number, attempt in enumerate(trial):
            worth += own[number]
            if attempt.reflection:
                worth.append((attempt.reflection, own[number + 1][0][1]))
    return _compared(worth)


def _compared(worth: list[tuple[Turn, float]]) -> list[Lesson]:
    """Lessons of turns with their returns, where there was an answer."""
    places = defaultdict(list)
    for turn, ret in worth:
        places[_place(turn.prompt)].append(ret)
    means = {place: float(np.mean(rets)) for place, rets in places.items()}
    return [
        Lesson(turn.prompt, turn.answer, ret, ret - means[_place(turn.prompt)])
        for turn, ret in worth
        if turn.answer is not None
    ]


def _place(prompt: Prompt) -> tuple[int, int]:
    return prompt.attempt, -1 if prompt.reflect else prompt.turn

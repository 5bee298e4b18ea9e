"""Trials of several attempts at the same board, played in words by a language agent."""

from collections.abc import Callable

import numpy as np

from metarl.text.boards import Boards
from metarl.text.log import TrialLog
from metarl.text.memory import Mode, TrialMemory
from metarl.text.one_trial import OneTrial, Rules
from metarl.text.types import TextCodec, TextPolicy
from metarl.types import Environment, PyTree
from metarl.wrappers.trial import Trial


def run_text_trials(
    env: Environment,
    codec: TextCodec,
    policy: TextPolicy,
    *,
    boards: int,
    attempts: int = 3,
    turns: int = 7,
    memory: Mode = "both",
    reflect: bool = True,
    stop_on_success: bool = True,
    params: PyTree = None,
    sample_task: bool = False,
    split: str | None = None,
    seed: int = 0,
    budget_chars: int = 8000,
    report: Callable[[int, int], None] | None = None,
) -> TrialLog:
    """Plays `boards` trials at once, each of up to `attempts` attempts from the same start.

    Every round asks for one answer for each trial in progress, so the policy sees large batches. An
    answer may hold several moves, of which all rewards count; the moves after the episode's end are
    not played. An answer without a move, or none at all, costs a turn and `codec.penalty`, and the
    board stays as it is. So does a move that the action mask forbids, while those beside it are
    played. An attempt is lost with the episode or when its turns are used up.

    A prompt reads, behind the rules, which are its `system` part:

        Attempt 2 of 3, turn 2 of 7.
        Attempt 1, turn 1: (1, 1), reward +0.5, and then the board was
        Row 1: 1 ? ?
        Row 2: ? ? ?
        Attempt 1, turn 2: (2, 2), reward -0.1, and then the board was
        Row 1: 1 ? ?
        Row 2: ? * ?
        Attempt 1 was lost.
        What you noted after attempt 1: (2, 2) is a mine.
        Attempt 2, turn 1: (1, 1), reward +0.5
        The board now:
        Row 1: 1 ? ?
        Row 2: ? ? ?
        Answer with the cell to open as (row, column) inside <action> tags, such as ...

    Args:
      env: an environment with numbered actions; no `trial` of the wrappers'.
      codec: how it reads and is played.
      policy: who plays.
      boards: trials.
      attempts: n, at most.
      turns: answers in an attempt, at most.
      memory: what of earlier attempts is told: history, reflection or both.
      reflect: ask for a lesson after each attempt that failed and has a successor; never with
        memory `history`, which would not tell it. With memory `reflection` and no reflecting
        nothing is told of earlier attempts: a control.
      stop_on_success: end a trial with its first success.
      params: of the environment; its defaults if None.
      sample_task: draw params for each board.
      split: of the tasks drawn.
      seed: of boards and tasks. The first n boards are the same for any number of boards.
      budget_chars: of what is told before the answer's form; the board is never cut.
      report: is told how many turns are used up or not needed any more, and of how many.

    Raises:
      ValueError: no boards, attempts or turns; a `trial` of the wrappers'; tasks to be drawn of
        which there are none; or a policy that gives another number of answers than there are
        prompts.
    """
    if min(boards, attempts, turns) < 1:
        raise ValueError(f"need a board, an attempt and a turn, got {boards}, {attempts}, {turns}")
    if isinstance(env, Trial):
        raise ValueError("run_text_trials makes the attempts itself; give it the inner environment")
    if sample_task and not hasattr(env, "sample_params"):
        raise ValueError(f"{type(env).__name__} has no `sample_params`, so no tasks can be drawn")
    params = env.default_params() if params is None else params
    table = Boards(env, params, boards, seed=seed, sample_task=sample_task, split=split)
    asks = reflect and memory != "history"
    rules = Rules(codec, attempts, turns, asks, stop_on_success, budget_chars)
    trials = [OneTrial(rules, i, TrialMemory(memory)) for i in range(boards)]
    for trial in trials:
        trial.begin(table.text(trial.index, codec), table.mask(trial.index))
    while going := [trial for trial in trials if not trial.over]:
        prompts = [trial.prompt() for trial in going]
        answers = policy.act(prompts)
        if len(answers) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts got {len(answers)} answers; one each, please")
        for trial, prompt, answer in zip(going, prompts, answers, strict=True):
            trial.take(prompt, answer)
        _play(table, codec, going)
        _restart(table, codec, going)
        if report:
            report(sum(trial.spent for trial in trials), boards * attempts * turns)
    return TrialLog(tuple(tuple(trial.done) for trial in trials), attempts)


def _play(table: Boards, codec: TextCodec, trials: list[OneTrial]) -> None:
    """Plays what was answered, one move of every board at a time, and closes the turns."""
    acting = [trial for trial in trials if trial.acting]
    while True:
        which, actions = np.zeros(table.count, bool), np.zeros(table.count, np.int32)
        for trial in acting:
            action = trial.next_move(table.mask(trial.index))
            if action is not None:
                which[trial.index], actions[trial.index] = True, action
        if not which.any():
            break
        reward, last, won = table.move(which, actions)
        for trial in acting:
            if which[i := trial.index]:
                trial.moved(float(reward[i]), bool(last[i]), bool(won[i]))
    for trial in acting:
        trial.close(table.text(trial.index, codec), table.mask(trial.index))


def _restart(table: Boards, codec: TextCodec, trials: list[OneTrial]) -> None:
    """Puts the boards of trials that try again back to their starts."""
    again = [trial for trial in trials if trial.restarting]
    if not again:
        return
    which = np.zeros(table.count, bool)
    which[[trial.index for trial in again]] = True
    table.restart(which)
    for trial in again:
        trial.begin(table.text(trial.index, codec), table.mask(trial.index))

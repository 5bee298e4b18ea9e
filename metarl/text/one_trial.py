"""One trial in progress: what is asked next, and what an answer does."""

from dataclasses import dataclass, field

import numpy as np

from metarl.text.answers import remark
from metarl.text.log import Attempt, Turn
from metarl.text.memory import TrialMemory
from metarl.text.types import Prompt, TextCodec

REFLECT = (
    "This attempt was not won, and you will try again from the same start. Think about what went "
    "wrong, and what to do instead. End with what you want to remember, inside <remark> tags: "
    "<remark>...</remark>."
)


@dataclass(frozen=True)
class Rules:
    """What all trials of a run have in common."""

    codec: TextCodec
    attempts: int
    turns: int
    reflect: bool
    stop_on_success: bool
    budget_chars: int


@dataclass
class OneTrial:
    """A trial's own account; the board itself is played elsewhere.

    Each round: `prompt`, `take` its answer, play what `next_move` gives until it gives None, tell
    each with `moved`, then `close` the turn. Where `restarting` is set after that, put the board
    back to its start and `begin`.
    """

    rules: Rules
    index: int
    memory: TrialMemory
    done: list[Attempt] = field(default_factory=list)  # attempts that have ended
    over: bool = False
    restarting: bool = False
    reflecting: bool = False
    acting: bool = False  # an answer was taken and its turn is not closed
    mask: np.ndarray | None = None  # [A] bool, legal actions now
    _turns: list[Turn] = field(default_factory=list)
    _now: "_Open | None" = None

    def begin(self, board: str, mask: np.ndarray | None) -> None:
        """Starts the next attempt."""
        self.memory.begin(board)
        self.mask, self._turns, self.restarting = mask, [], False

    @property
    def spent(self) -> int:
        """Turns used up, those of ended attempts that were not needed among them."""
        if self.over:
            return self.rules.attempts * self.rules.turns
        begun = self._turns if self.memory.attempt > len(self.done) else ()
        return len(self.done) * self.rules.turns + len(begun)

    def prompt(self) -> Prompt:
        """What is asked now."""
        rules = self.rules
        attempt, turn = self.memory.attempt, len(self._turns)
        where = f"Attempt {attempt} of {rules.attempts}, "
        where += "which has ended." if self.reflecting else f"turn {turn + 1} of {rules.turns}."
        return Prompt(
            system=rules.codec.describe_task(),
            text="\n".join(
                [
                    where,
                    self.memory.context(rules.budget_chars),
                    REFLECT if self.reflecting else rules.codec.form(),
                ]
            ),
            trial=self.index,
            attempt=attempt - 1,
            turn=turn,
            reflect=self.reflecting,
            board=self.memory.board,
            start=self.memory.start,
            legal=() if self.reflecting else tuple(rules.codec.legal(self.mask)),
        )

    def take(self, prompt: Prompt, answer: str | None) -> None:
        """Reads the answer to `prompt`: moves, or what is to be remembered."""
        if self.reflecting:
            lesson = remark(answer or "")
            self.memory.add_reflection(lesson or "")
            reflection = Turn(prompt, answer, lesson is not None)
            last = self.done.pop()
            self.done.append(Attempt(last.turns, last.won, reflection))
            self.reflecting, self.restarting = False, True
            return
        actions, valid = self.rules.codec.parse(answer or "")
        self._now = _Open(prompt, answer, valid, list(actions))
        self.acting = True
        if not valid:
            self._now.rewards.append(-self.rules.codec.penalty)

    def next_move(self, mask: np.ndarray | None) -> int | None:
        """The next action to play; None where the turn is over. `mask` is that of the board now."""
        self.mask, now = mask, self._now
        while now is not None and now.queue and not now.ended:
            action = now.queue.pop(0)
            now.actions.append(action)
            if mask is None or mask[action]:
                now.words.append(self.rules.codec.word(action))
                return action
            now.words.append(f"{self.rules.codec.word(action)} (not possible)")
            now.rewards.append(-self.rules.codec.penalty)
            now.forbidden += 1
        return None

    def moved(self, reward: float, last: bool, won: bool) -> None:
        """What came of the action that `next_move` gave."""
        now = self._opened()
        now.rewards.append(reward)
        now.ended, now.won = last, won

    def close(self, board: str, mask: np.ndarray | None) -> None:
        """Ends the turn, and with it perhaps the attempt and the trial."""
        now, rules = self._opened(), self.rules
        turn = now.closed()
        self._turns.append(turn)
        self.mask, self.acting, self._now = mask, False, None
        self.memory.add_step(", ".join(now.words) or "no valid move", turn.reward, board)
        if not now.ended and len(self._turns) < rules.turns:
            return
        self.memory.end_episode(now.won)
        self.done.append(Attempt(tuple(self._turns), now.won))
        self.over = len(self.done) == rules.attempts or (now.won and rules.stop_on_success)
        self.reflecting = rules.reflect and not now.won and not self.over
        self.restarting = not self.reflecting and not self.over

    def _opened(self) -> "_Open":
        if self._now is None:
            raise RuntimeError("no answer was taken; tell `take` first")
        return self._now


@dataclass
class _Open:
    """A turn whose moves are being played."""

    prompt: Prompt
    answer: str | None
    valid: bool
    queue: list[int]
    actions: list[int] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    forbidden: int = 0
    ended: bool = False
    won: bool = False

    def closed(self) -> Turn:
        """As it is kept."""
        actions, rewards = tuple(self.actions), tuple(self.rewards)
        return Turn(self.prompt, self.answer, self.valid, actions, rewards, self.forbidden)

"""Any environment with numbered actions and `render_text`, in words."""

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from metarl.envs.spaces import FourMoves
from metarl.text.answers import ACTION, tagged
from metarl.types import PyTree
from metarl.wrappers.base import Wrapper

FOUR_MOVES = "up", "right", "down", "left"


@dataclass(frozen=True)
class GridCodec:
    """Shows `render_text` as it is; the rules are the docstring of the environment's class.

    That may be more than the observation shows, where an environment hides something from agents.
    Actions are numbers, or up, right, down and left where they are such moves, and an answer is one
    of them: `<action>left</action>`.

    Args:
      env: an environment with a Discrete action space and `render_text`, wrapped or not.
      moves: the most moves played of one answer, where they are separated by commas.
      penalty: what an answer without a move costs.

    Raises:
      ValueError: the environment has other actions, or no `render_text`.
    """

    env: Any
    moves: int = 1
    penalty: float = 0.1

    def __post_init__(self):
        name = type(self.inner).__name__
        if not hasattr(self.env.action_space, "n"):
            raise ValueError(f"{name} has no numbered actions, which a language agent could name")
        if not hasattr(self.env, "render_text"):
            raise ValueError(f"{name} has no `render_text`, so there is nothing to read")
        if self.moves < 1:
            raise ValueError(f"an answer needs at least 1 move, got {self.moves}")

    @property
    def inner(self) -> Any:
        """The environment without wrappers."""
        env = self.env
        while isinstance(env, Wrapper):
            env = env.env
        return env

    def describe_task(self) -> str:
        """The docstring, and the moves."""
        about = inspect.getdoc(type(self.inner)) or type(self.inner).__name__
        words = ", ".join(map(self.word, range(self.num_actions)))
        return f"You play this game.\n{about}\n\nMoves are: {words}."

    def form(self) -> str:
        """How to answer, with an example."""
        example = ", ".join([self.word(self.num_actions - 1), self.word(0)][: self.moves])
        many = "one move" if self.moves == 1 else f"up to {self.moves} moves, separated by commas,"
        return f"Answer with {many} inside <{ACTION}> tags, such as <{ACTION}>{example}</{ACTION}>."

    def render(self, state: PyTree, params: PyTree) -> str:
        """As `render_text` shows it."""
        return self.env.render_text(state, params)

    @property
    def num_actions(self) -> int:
        """How many actions there are."""
        return int(self.env.action_space.n)

    def word(self, action: int) -> str:
        """A direction, or the number."""
        return FOUR_MOVES[action] if isinstance(self.inner, FourMoves) else str(action)

    def legal(self, action_mask: np.ndarray | None) -> list[str]:
        """Words of the actions that the mask allows."""
        mask = np.ones(self.num_actions, bool) if action_mask is None else np.asarray(action_mask)
        return [self.word(int(action)) for action in np.flatnonzero(mask)]

    def parse(self, text: str) -> tuple[tuple[int, ...], bool]:
        """The moves between the last tags, words that are none left out."""
        numbers = {self.word(action): action for action in range(self.num_actions)}
        words = (tagged(text, ACTION) or "").lower().split(",")
        actions = [numbers[word.strip()] for word in words if word.strip() in numbers]
        return tuple(actions[: self.moves]), bool(actions)

"""Exact players that read the prompts, as yardsticks for language agents.

What they know stands in the text of a prompt, so what a memory forgets they do not know either.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl.envs.levels.solve import fewest_steps
from metarl.envs.levels.table import SIGNS
from metarl.envs.minesweeper import Minesweeper
from metarl.players.minesweeper import MINE, Knowledge, posterior_player
from metarl.text.answers import REMARK
from metarl.text.grid import GridCodec
from metarl.text.minesweeper import MinesweeperCodec
from metarl.text.policies import ScriptedPolicy, action
from metarl.text.sokoban import SIGNS as WORDS
from metarl.text.sokoban import SokobanCodec
from metarl.text.types import Prompt
from metarl.types import AgentInput

_CODES = {"?": 0, "*": MINE, ".": 1, **{str(n): n + 1 for n in range(1, 9)}}
_FLAGS = {sign.translate(WORDS): flags for sign, flags in SIGNS.items()}


def exact_player(codec: GridCodec, seed: int = 0) -> ScriptedPolicy:
    """The exact player of a game.

    Args:
      codec: of Minesweeper, or of Sokoban with targets that are shown.
      seed: of choices between what is equally good.

    Raises:
      ValueError: there is none for this game.
    """
    if isinstance(codec, MinesweeperCodec):
        return minesweeper_player(codec.inner, seed)
    if isinstance(codec, SokobanCodec) and not codec.inner.hidden_targets:
        return sokoban_player(codec)
    name = type(codec.inner).__name__
    raise ValueError(
        f"there is no exact player of {name}, only of Minesweeper, and of Sokoban with its targets"
    )


def minesweeper_player(env: Minesweeper, seed: int = 0) -> ScriptedPolicy:
    """The posterior player (`metarl.players.minesweeper`), by all boards that the prompt shows.

    Its lesson of a failed attempt is the board at the end.

    Args:
      env: Minesweeper without wrappers.
      seed: of choices between equally good cells.

    Raises:
      ValueError: the board has too many placements of mines.
    """
    player, codec = posterior_player(env), MinesweeperCodec(env)
    none = jnp.zeros(env.num_actions, bool)

    @jax.jit
    def logits(known: jax.Array, now: jax.Array, lone: jax.Array) -> jax.Array:
        number = jnp.where(now > 0, now - 1, 0)
        inputs: Any = AgentInput(
            obs=jnp.stack([now > 0, number]).astype(jnp.uint8),
            prev_action=jnp.int32(0),
            prev_reward=jnp.float32(0),
            first=jnp.bool_(False),
        )
        return player.apply({}, Knowledge(known, none, lone), inputs)[0]["logits"]

    def answer(prompt: Prompt) -> str:
        if prompt.reflect:
            return f"<{REMARK}>At the end it was\n{prompt.board}\n</{REMARK}>"
        known = np.max(minesweeper_boards(prompt.text, env.height, env.width), axis=0)
        start, now = (
            minesweeper_boards(text, env.height, env.width)[-1]
            for text in (prompt.start, prompt.text)
        )
        lone = np.sum(start > 0) == 1
        best = np.flatnonzero(np.asarray(logits(known, now, lone)) == 0)
        rng = np.random.default_rng([seed, prompt.trial, prompt.attempt, prompt.turn])
        return action(codec.word(int(rng.choice(best))))

    return ScriptedPolicy(answer)


def minesweeper_boards(text: str, height: int, width: int) -> list[np.ndarray]:
    """All boards [cells] uint8 in a text: 0 for a closed cell, its number plus 1, or `MINE`."""
    sign = "[?.*1-8]"
    rows = [rf"Row {i}: ((?:{sign} ){{{width - 1}}}{sign})" for i in range(1, height + 1)]
    return [
        np.array([_CODES[sign] for row in found.groups() for sign in row.split()], np.uint8)
        for found in re.finditer("\n".join(rows), text)
    ]


def sokoban_player(codec: SokobanCodec) -> ScriptedPolicy:
    """Plays a shortest solution of the board that the prompt shows, `codec.moves` at a time."""
    height = codec.inner.height

    def answer(prompt: Prompt) -> str:
        if prompt.reflect:
            return f"<{REMARK}>There are too few turns.</{REMARK}>"
        steps = fewest_steps(sokoban_board(prompt.text, height))
        if steps is None:
            return action(prompt.legal[0])  # boxes are stuck
        return action(*(codec.word(int(step)) for step in steps[: codec.moves]))

    return ScriptedPolicy(answer)


def sokoban_board(text: str, height: int) -> np.ndarray:
    """[H, W] uint8, the flags of the last board in a text."""
    sign = f"[{re.escape(''.join(_FLAGS))}]"
    rows = [rf"{i}:({sign}+)" for i in range(height)]
    *_, found = re.finditer("\n".join(rows), text)
    return np.array([[_FLAGS[sign] for sign in row] for row in found.groups()], np.uint8)

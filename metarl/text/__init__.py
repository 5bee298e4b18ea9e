"""Language agents at the same tasks as all others: boards in words, trials, memory, endpoints.

    from metarl.text import RandomTextPolicy, codec_for, run_text_trials
    env = metarl.make("Minesweeper-v0", height=6, width=6, mines=3, flood_fill=True)
    log = run_text_trials(env, codec_for(env), RandomTextPolicy(), boards=64)
    log.summary()["pass@3"]

All of it runs on the host, but the boards. A language agent is whatever answers a list of prompts
(`TextPolicy`); `metarl.text.endpoint` asks a server that speaks OpenAI's chat protocol.
"""

from typing import Any

from metarl.envs.minesweeper import Minesweeper
from metarl.envs.sokoban import Sokoban
from metarl.text.grid import GridCodec
from metarl.text.lessons import Lesson, lessons
from metarl.text.log import Attempt, TrialLog, Turn
from metarl.text.memory import TrialMemory
from metarl.text.minesweeper import MinesweeperCodec
from metarl.text.policies import RandomTextPolicy, ScriptedPolicy
from metarl.text.sokoban import SokobanCodec
from metarl.text.trials import run_text_trials
from metarl.text.types import Prompt, TextCodec, TextPolicy

__all__ = [
    "Attempt",
    "GridCodec",
    "Lesson",
    "MinesweeperCodec",
    "Prompt",
    "RandomTextPolicy",
    "ScriptedPolicy",
    "SokobanCodec",
    "TextCodec",
    "TextPolicy",
    "TrialLog",
    "TrialMemory",
    "Turn",
    "codec_for",
    "lessons",
    "run_text_trials",
]


def codec_for(env: Any) -> GridCodec:
    """The codec of Minesweeper, of Sokoban, or the one for all other grids.

    Raises:
      ValueError: the environment cannot be played in words.
    """
    codec = GridCodec(env)
    for kind, own in ((Minesweeper, MinesweeperCodec), (Sokoban, SokobanCodec)):
        if isinstance(codec.inner, kind):
            return own(env)
    return codec

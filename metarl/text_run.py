"""A run of trials in words: the agent and its environment by name, the transcript, the result."""

import math
import pathlib
import signal
import time
from collections.abc import Mapping
from typing import Any

import jax

import metarl
from metarl.build import make_env
from metarl.config import Part
from metarl.files import write_json
from metarl.io.runs import claimed
from metarl.run import Reporter, Stopped
from metarl.text import RandomTextPolicy, ScriptedPolicy, TextPolicy, codec_for, run_text_trials
from metarl.text.endpoint import EndpointPolicy
from metarl.text.grid import GridCodec
from metarl.text.log import TrialLog
from metarl.text.players import exact_player
from metarl.text.transcript import Recorded, Transcript
from metarl.text_config import TextConfig

PUBLISHED: Mapping[str, Part] = {  # the settings of LaMer, by short names
    "minesweeper": Part("TrialMinesweeper-v0"),
    "sokoban": Part("Sokoban-v0", {"height": 6, "width": 6, "boxes": 2}),
}
_PUBLISHED_TURNS, _TURNS = 7, 30  # of an attempt, and of one elsewhere


def play(config: TextConfig, path: pathlib.Path, report: Reporter) -> TrialLog:
    """Plays, and writes `transcript.jsonl` and `result.json`.

    The same call goes on with what was interrupted: answers in the transcript are not asked for
    again.

    Args:
      config: the task and the agent.
      path: folder of the results.
      report: is told how it goes.

    Raises:
      ValueError: an unknown name or setting, or the folder holds something else.
      EndpointError: the server cannot be used.
      Stopped: Ctrl-C.
    """
    env, params, resolved = make_env(part_of(config.env))
    codec = codec_for(env)
    local = _local(config, codec)
    folder, start = claimed(path, config.dumps()), time.monotonic()

    def progress(done: int, total: int) -> None:
        rate = done / max(time.monotonic() - start, 1e-9)
        report.progress(done, total, rate, math.nan, "turns")

    with folder.locked(), Transcript(path / "transcript.jsonl", config.agent) as transcript:
        try:
            log = run_text_trials(
                env,
                codec,
                Recorded(local, transcript) if local else _endpoint(config, transcript),
                boards=config.boards,
                attempts=config.attempts,
                turns=config.turns
                or (_PUBLISHED_TURNS if config.env.name in PUBLISHED else _TURNS),
                memory=config.memory,
                reflect=config.reflect,
                params=params,
                sample_task=config.sample_task,
                split=config.split,
                seed=config.seed,
                report=progress,
            )
        except KeyboardInterrupt:
            raise Stopped(signal.SIGINT, folder, again=f"{config.command} --out") from None
    result = _result(config, str(resolved), log, f"{config.command} --out {path}")
    result["seconds"] = round(time.monotonic() - start, 1)
    write_json(path / "result.json", result)
    return log


def part_of(env: Part) -> Part:
    """An environment by its short name, with the published settings but for those given."""
    if env.name not in PUBLISHED:
        return env
    published = PUBLISHED[env.name]
    return Part(published.name, {**published.fields, **env.fields})


def sentences(log: TrialLog) -> list[str]:
    """The result in words."""
    told = log.summary()
    passed = [f"pass@{k + 1} {_percent(told[f'pass@{k + 1}'])}" for k in range(log.attempts)]
    lines = [
        f"{', '.join(passed)} over {told['boards']} boards",
        f"{told['turns']} turns, {told['invalid_answers']} without a move, "
        f"{told['forbidden_moves']} forbidden moves; {told['reflections']} reflections, "
        f"{told['invalid_reflections']} without a remark; {told['unanswered']} questions got no "
        "answer",
    ]
    return lines


def _local(config: TextConfig, codec: GridCodec) -> TextPolicy | None:
    """A policy that needs no server; None where a server plays."""
    if config.policy == "random":
        return RandomTextPolicy(config.seed, codec.moves)
    if config.policy == "exact":
        return exact_player(codec, config.seed)
    if config.script is not None:
        return ScriptedPolicy(config.script.read_text().splitlines())
    return None


def _endpoint(config: TextConfig, transcript: Transcript) -> EndpointPolicy:
    where = str(config.endpoint), str(config.model)
    return EndpointPolicy(*where, transcript=transcript, **config.request())


def _result(config: TextConfig, env: str, log: TrialLog, command: str) -> dict[str, Any]:
    """What result.json says."""
    versions = {"metarl": metarl.__version__, "jax": jax.__version__}
    if config.policy == "endpoint":
        import openai

        versions["openai"] = openai.__version__
    told = {
        name: {"mean": value[0], "interval": value[1:]} if isinstance(value, tuple) else value
        for name, value in log.summary().items()
    }
    return {
        "command": command,
        "env": env,
        "agent": config.agent,
        "endpoint": config.endpoint,
        "memory": config.memory,
        "reflect": config.reflect,
        "seed": config.seed,
        **told,
        "won_at": [len(trial) if trial[-1].won else 0 for trial in log.trials],
        "versions": versions,
    }


def _percent(interval: tuple[float, float, float]) -> str:
    mean, low, high = (100 * x for x in interval)
    return f"{mean:.1f} % [{low:.1f}, {high:.1f}]"

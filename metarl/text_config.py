"""What a run of trials in words needs to be told. Imports nothing heavy."""

import json
import pathlib
import shlex
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from metarl.config import Part

_TASK = (
    "env", "sample_task", "split", "boards", "attempts", "turns", "memory", "reflect", "seed",
    "policy",
)  # fmt: skip
_SAMPLING = ("model", "temperature", "top_p", "max_tokens", "extra")

_LEAST = {"boards": 1, "attempts": 1, "turns": 0, "seed": 0, "retries": 0, "concurrency": 1}


@dataclass(frozen=True)
class TextConfig:
    """Trials of several attempts at the same board, and who plays them."""

    env: Part = Part("minesweeper")
    """`minesweeper` or `sokoban` as published, or any environment id, then settings."""
    sample_task: bool = False
    """Draw a task for each board, where the environment has tasks: hidden rules, for example."""
    split: Literal["train", "heldout"] | None = None
    """Of the tasks drawn; the splits share none."""
    endpoint: str | None = None
    """Base URL of a server that speaks OpenAI's chat protocol: http://localhost:8000/v1."""
    model: str | None = None
    """Name of the model there."""
    policy: Literal["endpoint", "random", "exact", "scripted"] = "endpoint"
    """Who plays; all but `endpoint` are for comparison and tests. `exact` knows Minesweeper and
    Sokoban."""
    script: pathlib.Path | None = None
    """For `scripted`: a file with an answer a line, one a turn, over and over."""
    boards: int = 64
    """How many boards, played side by side."""
    attempts: int = 3
    """Attempts at each board, at most; the first success is the last."""
    turns: int = 0
    """Answers in an attempt, at most; 0 takes the published 7, and elsewhere 30."""
    memory: Literal["history", "reflection", "both"] = "both"
    """What is told of earlier attempts: moves and boards, the agent's own lessons, or both."""
    reflect: bool = True
    """Ask for lessons; without, and with memory `reflection`, nothing is told: a control."""
    seed: int = 0
    """Of the boards, and of the random policy."""
    temperature: float = 0.7
    """Of the model's sampling; negative leaves it to the server, as for the next two."""
    top_p: float = 0.8
    """Of the model's sampling."""
    max_tokens: int = 1024
    """Of an answer."""
    extra: str = "{}"
    """More entries of a request, as JSON: {"top_k": 20}."""
    timeout: float = 120.0
    """Seconds to wait for an answer."""
    retries: int = 2
    """Of one question."""
    concurrency: int = 16
    """Questions under way at the same time."""

    def __post_init__(self):
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        if not self.timeout > 0:
            raise ValueError(f"--timeout must be positive, got {self.timeout}")
        if self.split and not self.sample_task:
            raise ValueError("--split is of the tasks that --sample-task draws")
        if self.policy == "endpoint" and not (self.endpoint and self.model):
            raise ValueError(
                "say who plays: --endpoint URL --model NAME, or --policy random, exact or scripted"
            )
        if self.policy != "endpoint" and (self.endpoint or self.model):
            raise ValueError(f"--policy {self.policy} asks no endpoint and no model")
        if (self.policy == "scripted") != (self.script is not None):
            raise ValueError("--policy scripted and --script FILE go together")
        self.request()

    @property
    def agent(self) -> dict[str, Any]:
        """Who plays, in entries of a record: what its answers depend on."""
        if self.policy != "endpoint":
            return {"policy": self.policy}
        return {name: getattr(self, name) for name in _SAMPLING}

    def request(self) -> dict[str, Any]:
        """How a model is asked: what `metarl.text.endpoint.EndpointPolicy` takes.

        Raises:
          ValueError: `extra` is no JSON object.
        """
        try:
            extra = json.loads(self.extra)
        except ValueError as error:
            raise ValueError(f"--extra should be JSON, got {self.extra!r}: {error}") from error
        if not isinstance(extra, dict):
            raise ValueError(f"--extra should be a JSON object, got {self.extra!r}")
        sampling = {n: getattr(self, n) for n in ("temperature", "top_p", "max_tokens")}
        asking = {n: getattr(self, n) for n in ("timeout", "retries", "concurrency")}
        known = {name: value if value >= 0 else None for name, value in sampling.items()}
        return {**known, **asking, "extra": extra}

    def dumps(self) -> str:
        """What a run in the same folder must agree on, as JSON; the server may have moved."""
        entries = {name: getattr(self, name) for name in _TASK} | self.agent
        entries |= {"env": asdict(self.env), "script": self.script and self.script.read_text()}
        return json.dumps(entries, indent=2) + "\n"

    @property
    def command(self) -> str:
        """The command line that says so."""
        words = ["metarl", "text-trials"]
        for field in fields(TextConfig):
            value, flag = getattr(self, field.name), field.name.replace("_", "-")
            if value == field.default:
                continue
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                words += [f"--{flag}", *(str(value).split() if flag == "env" else [str(value)])]
        return shlex.join(words)

"""What a run needs to be told, as frozen dataclasses; the command line is derived from them.

Imports nothing heavy, so that a typing error costs no second.
"""

import ast
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

Value = bool | int | float | str | None | tuple["Value", ...]


@dataclass(frozen=True)
class Part:
    """A name and settings, on the command line `ppo epochs=2`."""

    name: str
    fields: dict[str, Value] = field(default_factory=dict)

    @classmethod
    def parse(cls, words: list[str]) -> "Part":
        """From `["ppo", "epochs=2"]`.

        Raises:
          ValueError: no name, or a setting without `=` or given twice.
        """
        if not words or "=" in words[0]:
            raise ValueError(f"expected a name, then settings such as size=6, got {words}")
        settings: dict[str, Value] = {}
        for word in words[1:]:
            name, equals, text = word.partition("=")
            if not equals or not name:
                raise ValueError(f"settings of {words[0]} read name=value, got {word!r}")
            if name in settings:
                raise ValueError(f"{name} is given twice to {words[0]}")
            settings[name] = read_value(text)
        return cls(words[0], settings)

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{k}={show_value(v)}" for k, v in self.fields.items())])


@dataclass(frozen=True)
class Config:
    """One training run. The parts take settings: `--rule ppo epochs=2 learning_rate=3e-4`."""

    env: Part
    """Environment id, then its fields, its parameters, and wrappers: `Snake-v0 size=6
    max_steps=500 frame_stack=4`."""
    rule: Part = Part("ppo")
    """Update rule, then its settings."""
    agent: Part = Part("auto")
    """Agent, then its settings. `auto` is conv for images of cells, and mlp for the rest."""
    reset: Part = Part("fresh")
    """`fresh` starts, or `pool size=1024 refresh=8`: stored starts, some renewed each step."""
    num_envs: int = 128
    """Environments stepped together by each seed."""
    length: int = 32
    """Steps of every environment between two updates."""
    steps: int = 2_000_000
    """Environment steps of each seed in all, rounded up to whole updates."""
    seeds: tuple[int, ...] = (0,)
    """One learner a seed, all in one compiled programme."""
    log_every: int = 0
    """Updates per row of metrics.csv; 0 chooses."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints: what a crash may lose."""
    tick_seconds: float = 1.0
    """Seconds between looks at the device, to log and to notice Ctrl-C. Never changes a result."""

    def __post_init__(self):
        for name in ("num_envs", "length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{_flag(name)} must be at least 1, got {getattr(self, name)}")
        for name in ("log_every", "checkpoint_seconds", "tick_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{_flag(name)} must not be negative, got {getattr(self, name)}")
        if self.steps < self.steps_per_update:
            raise ValueError(
                f"--steps {self.steps} is less than one update, which takes {self.num_envs} "
                f"environments x {self.length} steps = {self.steps_per_update}"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds needs one or more different numbers, got {self.seeds}")
        if not all(0 <= seed < 2**32 for seed in self.seeds):
            raise ValueError(f"--seeds must lie in 0..{2**32 - 1}, got {self.seeds}")
        if self.reset.name not in ("fresh", "pool"):
            raise ValueError(f"--reset is fresh or pool, got {self.reset.name!r}")

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one seed between two updates."""
        return self.num_envs * self.length

    @property
    def updates(self) -> int:
        """Updates in all."""
        return -(-self.steps // self.steps_per_update)

    @property
    def updates_per_row(self) -> int:
        """`log_every`, or enough for 200 rows, but never more than 262144 steps of all seeds."""
        if self.log_every:
            return min(self.log_every, self.updates)
        small = 2**18 // (self.steps_per_update * len(self.seeds))
        return max(1, min(self.updates // 200, small))

    def dumps(self) -> str:
        """As JSON, which `loads` reads back exactly."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def loads(cls, text: str) -> "Config":
        """From JSON.

        Raises:
          ValueError: not JSON, unknown or missing entries, or impossible values.
        """
        entries = json.loads(text)
        known = {f.name for f in fields(cls)}
        if not isinstance(entries, dict) or set(entries) != known:
            wrong = sorted(known.symmetric_difference(entries)) if entries else "nothing"
            raise ValueError(f"entries of a configuration are {sorted(known)}; see {wrong}")
        for name in ("env", "rule", "agent", "reset"):
            part = entries[name]
            entries[name] = Part(part["name"], {k: _tuples(v) for k, v in part["fields"].items()})
        return cls(**{**entries, "seeds": tuple(entries["seeds"])})


def read_value(text: str) -> Value:
    """A number, true or false, none, a tuple such as `64,64`, or else the text itself."""
    words: dict[str, Value] = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return _tuples(value) if isinstance(value, int | float | str | tuple | list) else text


def show_value(value: Value) -> str:
    """What `read_value` reads back, without spaces."""
    if isinstance(value, tuple):
        if not value or any(isinstance(v, tuple) for v in value):
            return repr(value).replace(" ", "")
        return ",".join(map(show_value, value)) + ("," if len(value) == 1 else "")
    return str(value)


def whole_number(text: str) -> int:
    """`2000000`, `2_000_000` or `2e6`.

    Raises:
      ValueError: not a whole number.
    """
    try:
        return int(text)
    except ValueError:
        if not float(text).is_integer():
            raise ValueError(f"expected a whole number, got {text}") from None
        return int(float(text))


def _tuples(value: Any) -> Value:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")

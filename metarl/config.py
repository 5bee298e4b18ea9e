"""What a run needs to be told, as frozen dataclasses; the command line is derived from them.

Imports nothing heavy, so that a typing error costs no second.
"""

import ast
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

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
        return cls(words[0], _settings(words[0], words[1:]))

    @classmethod
    def of(cls, entry: Any) -> "Part":
        """From what `dataclasses.asdict` and JSON make of it."""
        return cls(entry["name"], {k: _tuples(v) for k, v in entry["fields"].items()})

    @property
    def title(self) -> str:
        """The name; of a file of weights only what stands between its folder and its suffix."""
        stem, suffix, _ = self.name.rpartition(".npz")
        return stem.rpartition("/")[2] if suffix else self.name

    def __str__(self) -> str:
        return " ".join([self.name, *_shown(self.fields)])


@dataclass(frozen=True)
class Tune:
    """Hyperparameters to learn, with bijections: `discount=sigmoid entropy_cost=softplus,0.1`."""

    fields: dict[str, Value] = field(default_factory=dict)

    @classmethod
    def parse(cls, words: list[str]) -> "Tune":
        """From `["discount=sigmoid", "entropy_cost=softplus,0.1"]`; raises as `Part.parse`."""
        return cls(_settings("--tune", words))

    @classmethod
    def of(cls, entry: Any) -> "Tune":
        """From what `dataclasses.asdict` and JSON make of it."""
        return cls({k: _tuples(v) for k, v in entry["fields"].items()})

    def __str__(self) -> str:
        return " ".join(_shown(self.fields))


@dataclass(frozen=True)
class Stored:
    """How configurations, which are dataclasses, are written and read."""

    def dumps(self) -> str:
        """As JSON, which `loads` reads back exactly."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def loads(cls, text: str) -> Self:
        """From JSON.

        Raises:
          ValueError: not JSON, unknown or missing entries, or impossible values.
        """
        entries = json.loads(text)
        known = {f.name for f in fields(cls)}
        if not isinstance(entries, dict) or set(entries) != known:
            wrong = sorted(known.symmetric_difference(entries)) if entries else "nothing"
            raise ValueError(f"entries of a configuration are {sorted(known)}; see {wrong}")
        kinds = {f.name: f.type for f in fields(cls)}
        parts = {
            name: kind.of(entries[name])
            for name, kind in kinds.items()
            if kind in (Part, Tune)  # the classes themselves: annotations are not strings here
        }
        return cls(**{**entries, **parts, "seeds": tuple(entries["seeds"])})

    def check_run(self) -> None:
        """Raises ValueError where seeds or seconds are impossible."""
        own: Any = self
        for name in ("log_every", "checkpoint_seconds", "tick_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{_flag(name)} must not be negative, got {getattr(self, name)}")
        if not own.seeds or len(set(own.seeds)) < len(own.seeds):
            raise ValueError(f"--seeds needs one or more different numbers, got {own.seeds}")
        if not all(0 <= seed < 2**32 for seed in own.seeds):
            raise ValueError(f"--seeds must lie in 0..{2**32 - 1}, got {own.seeds}")


@dataclass(frozen=True)
class Config(Stored):
    """One training run. The parts take settings: `--rule ppo epochs=2 learning_rate=3e-4`."""

    env: Part
    """Environment id, then its fields, its parameters, and wrappers: `Snake-v0 size=6
    max_steps=500 frame_stack=4`."""
    rule: Part = Part("ppo")
    """Update rule, then its settings."""
    agent: Part = Part("auto")
    """Agent, then its settings. `auto`: conv for planes of cells, nature for pictures, else mlp."""
    reset: Part = Part("fresh")
    """`fresh` starts; `pool size=1024 refresh=8`: stored starts, some renewed each step; `grouped
    size=8`: of trials, so many environments in a row play the same ones (`--rule grpo`)."""
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
        self.check_run()
        if self.steps < self.steps_per_update:
            raise ValueError(
                f"--steps {self.steps} is less than one update, which takes {self._product()} "
                f"= {self.steps_per_update}"
            )
        if self.reset.name not in ("fresh", "pool", "grouped"):
            raise ValueError(f"--reset is fresh, pool or grouped, got {self.reset.name!r}")

    @property
    def steps_per_rollout(self) -> int:
        """Environment steps of one learner between two of its updates."""
        return self.num_envs * self.length

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one seed between two updates."""
        return self.steps_per_rollout

    def _product(self) -> str:
        return f"{self.num_envs} environments x {self.length} steps"

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


@dataclass(frozen=True)
class MetaConfig(Config):
    """One run of an outer loop, which learns some of a rule's hyperparameters."""

    rule: Part = Part("a2c")
    """Update rule whose hyperparameters are learned, then its settings: where they begin."""
    tune: Tune = Tune({"discount": "sigmoid", "lambda_": "sigmoid"})
    """What is learned, each through a bijection from an unbounded number: `discount=sigmoid
    lambda_=sigmoid,0,1 entropy_cost=softplus`."""
    outer: Part = Part("metagrad")
    """Outer loop, then its settings: `metagrad updates=5 mix=1.0`, `bmg updates=6 bootstrap=9`,
    `forward decay=1`, `truncated updates=8 window=2`."""
    objective: Part = Part("policy_gradient")
    """What the outer loop wants, then its settings: `policy_gradient discount=0.99`."""
    learners: int = 1
    """Population of each seed, which shares what is learned."""
    lifetime: int = 0
    """Updates of a learner until it is born anew; lives are staggered. 0: one life."""
    meta_learning_rate: float = 3e-3
    """Of Adam, which moves what is learned."""
    meta_max_norm: float = 1.0
    """The meta-gradient is clipped to this global norm; 0 does not clip."""
    meta_eps_root: float = 0.0
    """Of that Adam, inside the root: larger ones make steps along tiny meta-gradients shorter."""

    def __post_init__(self):
        for name, least in (("learners", 1), ("lifetime", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{_flag(name)} must be at least {least}, got {getattr(self, name)}"
                )
        for name in ("meta_max_norm", "meta_eps_root"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{_flag(name)} must not be negative, got {getattr(self, name)}")
        if not 0 < self.meta_learning_rate < float("inf"):
            raise ValueError(f"--meta-learning-rate must be above 0, got {self.meta_learning_rate}")
        for name in ("updates", "bootstrap", "window"):
            value = self.outer.fields.get(name, 1)
            if type(value) is not int or value < 1:
                raise ValueError(f"--outer {self.outer.name} {name} must be at least 1: {value!r}")
        if 0 < self.lifetime < self.inner_updates:
            raise ValueError(
                f"--lifetime {self.lifetime} is shorter than one update of the outer loop, for "
                f"which a learner makes {self.inner_updates}"
            )
        super().__post_init__()

    @property
    def inner_updates(self) -> int:
        """Updates that every learner makes for one of the outer loop."""
        given: dict[str, Any] = self.outer.fields
        return given.get("updates", 1) + given.get("bootstrap", 1) - 1

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one seed between two updates of the outer loop."""
        return self.steps_per_rollout * self.inner_updates * self.learners

    def _product(self) -> str:
        return f"{super()._product()} x {self.inner_updates} updates x {self.learners} learners"


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


def _settings(what: str, words: list[str]) -> dict[str, Value]:
    """`name=value` words as a dictionary."""
    settings: dict[str, Value] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ValueError(f"settings of {what} read name=value, got {word!r}")
        if name in settings:
            raise ValueError(f"{name} is given twice to {what}")
        settings[name] = read_value(text)
    return settings


def _shown(settings: dict[str, Value]) -> list[str]:
    return [f"{name}={show_value(value)}" for name, value in settings.items()]


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

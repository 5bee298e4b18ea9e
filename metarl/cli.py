"""`metarl ...`: the command line, derived by tyro from dataclasses of commands."""

import os
import re
import sys
from typing import Any

import tyro

import metarl
from metarl import registry
from metarl.catalogue import Envs, Parts, Recipes
from metarl.commands import (
    CheckEnv,
    Evaluate,
    Found,
    MetaTrain,
    MetaTrainRule,
    Play,
    Render,
    Reproduce,
    Resume,
    Train,
)
from metarl.config import Part, Tune, whole_number
from metarl.rule_commands import Compare, EvaluateRule, Inspect, Report
from metarl.text_commands import TextTrials

COMMANDS: dict[str, Any] = {
    "train": Train,
    "meta-train": MetaTrain,
    "resume": Resume,
    "evaluate": Evaluate,
    "evaluate-rule": EvaluateRule,
    "compare": Compare,
    "report": Report,
    "inspect": Inspect,
    "play": Play,
    "render": Render,
    "envs": Envs,
    "check-env": CheckEnv,
    "parts": Parts,
    "reproduce": Reproduce,
    "recipes": Recipes,
    "text-trials": TextTrials,
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command line; returns the exit code."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        return _overview()
    if name == "--version":
        print(f"metarl {metarl.__version__}")
        return 0
    if name not in COMMANDS:
        hint = registry.did_you_mean(name, list(COMMANDS))
        return _fail(f"no command {name!r}{hint} known: {', '.join(COMMANDS)}", 2)
    sys.path.append(os.getcwd())  # where `module:Class` may lie; last, so that it shadows nothing
    kind: Any = COMMANDS[name]
    if name == "meta-train" and rest and _names_training(rest[0]):
        kind = MetaTrainRule
    with _constructors():
        command = tyro.cli(kind, prog=f"metarl {name}", args=_scales_last(rest))
    return _run(command)


def _run(command: Any) -> int:
    """Calls a command; what goes wrong in an expected way becomes one sentence and an exit code.

    With METARL_TRACEBACK=1 in the environment Python's own traceback is shown instead.
    """
    from metarl.io.checkpoint import CorruptError
    from metarl.run import Diverged, Stopped

    try:
        command()
    except Stopped as stop:
        return _fail(str(stop), 128 + stop.number)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except (Diverged, CorruptError, Found) as error:
        return _fail(str(error), 1)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("METARL_TRACEBACK") == "1":
            raise
        return _fail(str(error), 2)
    return 0


def _scales_last(words: list[str]) -> list[str]:
    """So that settings may also stand behind `--quick` and its like."""
    return sorted(words, key=lambda word: word in ("--quick", "--laptop", "--long"))


def _names_training(word: str) -> bool:
    """Whether it reads like a meta-training, or the module of one, and not like an environment."""
    return re.fullmatch(r"[a-z0-9_.]+", word) is not None and word not in registry.registered()


def _overview() -> int:
    width = max(map(len, COMMANDS))
    print("usage: metarl COMMAND ...\n")
    print("Train agents in JAX, compiled end to end, and look at what they learned.\n")
    for name, command in COMMANDS.items():
        print(f"  {name:{width}}  {command.__doc__.strip().splitlines()[0]}")
    print("\n`metarl COMMAND --help` tells more. A first run: metarl train Snake-v0 size=6")
    return 0


def _constructors() -> Any:
    """How a `Part` reads on the command line, and whole numbers such as 2e6."""
    constructors = tyro.constructors.ConstructorRegistry()
    spec = tyro.constructors.PrimitiveConstructorSpec

    @constructors.primitive_rule
    def rule(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
        if info.type in (Part, Tune):
            kind = info.type
            return spec(
                nargs="*",
                metavar="NAME [SETTING=VALUE ...]" if kind is Part else "NAME=BIJECTION ...",
                instance_from_str=kind.parse,
                is_instance=lambda x: isinstance(x, kind),
                str_from_instance=lambda x: str(x).split(),
            )
        if info.type is int:
            return spec(
                nargs=1,
                metavar="INT",
                instance_from_str=lambda words: whole_number(words[0]),
                is_instance=lambda x: type(x) is int,
                str_from_instance=lambda x: [str(x)],
            )
        return None

    return constructors


def _fail(message: str, code: int) -> int:
    print(f"metarl: {message}", file=sys.stderr)
    return code

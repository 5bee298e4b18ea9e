"""`metarl ...`: the command line, derived from dataclasses by tyro.

JAX is imported only after the command line has parsed, so `--help` and typing errors are instant.
"""

import dataclasses
import os
import pathlib
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

import metarl
from metarl import registry
from metarl.config import Config, Part, whole_number
from metarl.console import Console


def _env(hint: str) -> Any:
    return tyro.conf.arg(metavar="ENV [SETTING=VALUE ...]", help_behavior_hint=hint)


Path = pathlib.Path
RunPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class Train(Config):
    """Train an agent, evaluate it, draw its learning curve and film it.

    Names take settings: `metarl train Snake-v0 size=6 --rule ppo entropy_cost=0.02 --seeds 0 1 2`.
    `metarl parts` lists rules, agents and their settings; `metarl envs` lists environments.
    Ctrl-C saves and stops; `metarl resume RUN` continues to the same result, bit for bit.
    """

    env: Annotated[Part, tyro.conf.Positional, _env("(required)")]
    """Environment id, then its fields, parameters, wrappers: Snake-v0 size=6 frame_stack=4."""
    out: Path | None = None
    """Folder of the run; by default a new one in runs/."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.io.runs import free_path
        from metarl.outcome import finish
        from metarl.run import train

        config = Config(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Config)})
        out = self.out or free_path(Path("runs"), f"{self.env.name}-{self.rule.name}".lower())
        with Console() as report:
            folder, learner = train(config, out, report)
        finish(folder, learner, report)


@dataclass(frozen=True)
class Resume:
    """Continue an interrupted run from its newest checkpoint; finish it like `train`."""

    run: RunPath
    """Folder of the run."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.outcome import finish
        from metarl.run import resume

        with Console() as report:
            folder, learner = resume(self.run, report)
        finish(folder, learner, report)


@dataclass(frozen=True)
class Evaluate:
    """Play episodes with a run's agents and with the random policy; save evaluation.json."""

    run: RunPath
    """Folder of the run."""
    episodes: int = 100
    """Episodes of each seed's agent."""
    seed: int = 0
    """Of the evaluation's randomness, which is apart from training's."""
    max_steps: int = 10_000
    """Where an episode without an end is cut off."""
    greedy: bool = False
    """Take the likeliest action instead of sampling."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.outcome import load, score, sentence

        with Console() as report:
            folder, parts, learner = load(self.run, report)
            options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
            del options["run"]
            report.line(sentence(score(folder, parts, learner, **options)))
            report.line(f"details: {folder.evaluation}")


@dataclass(frozen=True)
class Play:
    """Play an environment with the keyboard, or watch a trained agent: `metarl play --run RUN`."""

    env: Annotated[Part, tyro.conf.Positional, _env("(default: that of the run)")] = Part("")
    """Environment id, then its fields and parameters."""
    run: Path | None = None
    """Folder of a run whose agent plays."""
    agent_seed: int | None = None
    """Which seed's agent; by default the first."""
    seed: int = 0
    """Of the episodes."""
    fps: float = 8.0
    """Steps a second of an agent."""
    episodes: int = 0
    """Stop after so many; 0 goes on until q."""

    def __call__(self) -> None:
        """Runs the command."""
        import jax

        from metarl.play import Terminal, play, setting

        env, env_params, player = setting(self.env, self.run, self.agent_seed, Console())
        key, screen = jax.random.key(self.seed), Terminal()
        play(env, env_params, key, screen, player=player, fps=self.fps, episodes=self.episodes)


@dataclass(frozen=True)
class Render:
    """Film a trained agent as a GIF."""

    run: RunPath
    """Folder of the run."""
    out: Path | None = None
    """The GIF; by default play.gif in the folder of the run."""
    agent_seed: int | None = None
    """Which seed's agent; by default the first."""
    seed: int = 0
    """Of the episodes."""
    episodes: int = 3
    """How many, one after the other."""
    steps: int = 400
    """Where the film ends at the latest."""
    fps: float = 12.5
    """Steps shown a second."""
    side: int = 256
    """Pixels of the longer side, at least."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.outcome import agent_index, film, load

        folder, parts, learner = load(self.run, Console())
        index = agent_index(parts.config, self.agent_seed)
        options: dict[str, Any] = {
            name: getattr(self, name) for name in ("seed", "episodes", "steps", "fps", "side")
        }
        print(film(parts, learner, self.out or folder.gif, index=index, **options))


@dataclass(frozen=True)
class Envs:
    """List the environments with the shapes of their observations and actions."""

    def __call__(self) -> None:
        """Runs the command."""
        rows = []
        for name in registry.registered():
            try:
                env = registry.make(name)
                rows.append((name, _space(env.observation_space), _space(env.action_space)))
            except Exception as error:  # one broken plug-in must not hide the others
                rows.append((name, f"cannot be made: {error}", ""))
        Console().table(("environment", "observation", "action"), rows)


@dataclass(frozen=True)
class Parts:
    """List the update rules and the agents with their settings and defaults."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.build import rule_settings, settings

        rows = [
            ("rule", name, {**one, **two})
            for name in sorted(registry.RULES)
            for one, two in [rule_settings(name)]
        ]
        rows += [("agent", n, settings(registry.agent_builder(n))) for n in sorted(registry.AGENTS)]
        shown = [
            (kind, str(Part(name)), str(Part(name, fields)).partition(" ")[2])
            for kind, name, fields in rows
        ]
        Console().table(("kind", "name", "settings"), shown)


COMMANDS: dict[str, Any] = {
    "train": Train,
    "resume": Resume,
    "evaluate": Evaluate,
    "play": Play,
    "render": Render,
    "envs": Envs,
    "parts": Parts,
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
    with _constructors():
        command = tyro.cli(COMMANDS[name], prog=f"metarl {name}", args=rest)
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
    except (Diverged, CorruptError) as error:
        return _fail(str(error), 1)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("METARL_TRACEBACK") == "1":
            raise
        return _fail(str(error), 2)
    return 0


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
        if info.type is Part:
            return spec(
                nargs="*",
                metavar="NAME [SETTING=VALUE ...]",
                instance_from_str=Part.parse,
                is_instance=lambda x: isinstance(x, Part),
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


def _space(space: Any) -> str:
    """A space in a few characters: `uint8[5, 12, 12]`, `4 actions`."""
    if hasattr(space, "n"):
        return f"{int(space.n)} choices"
    return f"{space.dtype}{list(space.shape)}" if space.shape else str(space)


def _fail(message: str, code: int) -> int:
    print(f"metarl: {message}", file=sys.stderr)
    return code

"""The commands of `metarl ...`, each a dataclass of its options with what it does.

JAX is imported only when one is called, so that `--help` and typing errors are instant.
"""

import dataclasses
import pathlib
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from metarl.config import Config, MetaConfig, Part
from metarl.console import Console


def _env(hint: str) -> Any:
    return tyro.conf.arg(metavar="ENV [SETTING=VALUE ...]", help_behavior_hint=hint)


_recipe = tyro.conf.arg(metavar="RECIPE [SETTING=VALUE ...]", help_behavior_hint="(required)")

Path = pathlib.Path
RunPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class Train(Config):
    """Train an agent, evaluate it, draw its learning curve and film it.

    Names take settings: `metarl train Snake-v0 size=6 --rule ppo entropy_cost=0.02 --seeds 0 1 2`.
    `metarl parts` lists rules, agents and their settings; `metarl envs` lists environments.
    `gym/CartPole-v1`, and any other id of Gymnasium's behind `gym/`, is stepped on the host.
    Ctrl-C saves and stops; `metarl resume RUN` continues to the same result, bit for bit.
    """

    env: Annotated[Part, tyro.conf.Positional, _env("(required)")]
    """Environment id, then its fields, parameters, wrappers: Snake-v0 size=6 frame_stack=4."""
    out: Path | None = None
    """Folder of the run; by default a new one in runs/."""

    def __call__(self) -> None:
        """Runs the command."""
        config = Config(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Config)})
        _trained(config, self.out, f"{self.env.name}-{self.rule.title}")


@dataclass(frozen=True)
class MetaTrain(MetaConfig):
    """Learn a rule's hyperparameters online with an outer loop; then as `train`.

    `metarl meta-train Snake-v0 size=6 --tune discount=sigmoid entropy_cost=softplus --outer
    metagrad updates=5 mix=1.0`. `metarl parts` lists outer loops, and `--tune` takes any number
    that `metarl parts` lists for the rule. The run logs eta, the hyperparameters in use, and the
    meta-gradient with its noise, and draws the schedules found: eta.png.
    """

    env: Annotated[Part, tyro.conf.Positional, _env("(required)")]
    """Environment id, then its fields, parameters, wrappers: Snake-v0 size=6 frame_stack=4."""
    out: Path | None = None
    """Folder of the run; by default a new one in runs/."""

    def __call__(self) -> None:
        """Runs the command."""
        names = [f.name for f in dataclasses.fields(MetaConfig)]
        config = MetaConfig(**{name: getattr(self, name) for name in names})
        _trained(config, self.out, f"{self.env.name}-{self.rule.title}-{self.outer.name}")


@dataclass(frozen=True)
class MetaTrainRule:
    """Learn an update rule, and test it on levels that it never saw.

    `metarl meta-train lpg_grid --quick` takes minutes on two cores; `metarl recipes` lists what can
    be learned. Writes the weights, which `--rule` and `metarl.rules.load` take, curves and
    TensorBoard files. Ctrl-C saves; `metarl resume RUN` continues to the same result, bit for bit.
    """

    training: Annotated[Part, tyro.conf.Positional, _recipe]
    """Name, then settings: `metarl meta-train lpg_grid hidden=64 lives=64`."""
    quick: bool = False
    """Settings that show learning within ten minutes on two cores."""
    laptop: bool = False
    """Settings that learn a useful rule there in an hour or two; the default is as published."""
    seeds: tuple[int, ...] = (0,)
    """One meta-training a seed, one after the other."""
    log_every: int = 0
    """Meta-updates per row of metrics.csv; 0 makes about 200 rows."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints: what a crash may lose."""
    tick_seconds: float = 1.0
    """Seconds between looks at the device, to log and to notice Ctrl-C. Never changes a result."""
    out: Path | None = None
    """Folder of the run; by default a new one in runs/."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.configs import TrainingConfig
        from metarl.training import build_training

        if self.quick and self.laptop:
            raise ValueError("--quick and --laptop exclude each other")
        scale = "quick" if self.quick else "laptop" if self.laptop else "full"
        names = ("training", "seeds", "log_every", "checkpoint_seconds", "tick_seconds")
        config = TrainingConfig(**{name: getattr(self, name) for name in names})
        _trained(build_training(config, scale).config, self.out, self.training.name)


def _trained(config: Any, out: Path | None, stem: str) -> None:
    """Trains in a new folder and tells how well."""
    from metarl.io.runs import free_path
    from metarl.outcome import finish
    from metarl.run import train

    stem = stem.lower().replace("/", "-").replace(":", "-")
    with Console() as report:
        folder, learner = train(config, out or free_path(Path("runs"), stem), report)
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
    split: str | None = None
    """Of trials that draw their tasks: `heldout` or `train`; by default as in training."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.outcome import load, score, sentence

        with Console() as report:
            folder, parts, learner = load(self.run, report)
            options = {name: value for name, value in vars(self).items() if name != "run"}
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
        names = ("seed", "episodes", "steps", "fps", "side")
        options = {name: getattr(self, name) for name in names}
        print(film(parts, learner, self.out or folder.gif, index=index, **options))


@dataclass(frozen=True)
class CheckEnv:
    """Say in words what is wrong with an environment: `metarl check-env my_module:MyEnv`.

    Checks the form of the class, shapes and types, random play, that one call equals a batch and
    compiled code equals plain code, task distributions, auto-reset without a second compilation,
    and what Gymnasium's own checker says. Modules are looked for in the current folder too.
    """

    env: Annotated[Part, tyro.conf.Positional, _env("(required)")]
    """A registered id or module:Class, then settings."""
    steps: int = 128
    """Length of the random play."""
    seed: int = 0
    """Of the random play."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.checks import found

        problems = 0
        for problems, problem in enumerate(found(self.env, steps=self.steps, seed=self.seed), 1):
            print(f"{problems}. {problem}", flush=True)
        if problems:
            raise Found(f"{self.env.name} has {problems} problem{'s' * (problems > 1)}")
        print(f"{self.env.name} keeps the contract; nothing found")


class Found(Exception):
    """A check found something; the message counts it."""


@dataclass(frozen=True)
class Reproduce:
    """Run a published experiment and say whether its claim held: `metarl recipes` lists them.

    Writes result.json and figure.png. Ctrl-C saves; the same command with the same --out goes on.
    """

    recipe: Annotated[Part, tyro.conf.Positional, _recipe]
    """Name, then settings: `metarl reproduce outer_value seeds=3`."""
    quick: bool = False
    """A reduced form of under three minutes."""
    long: bool = False
    """The published scale, where a recipe has one: for a GPU or a night."""
    out: Path | None = None
    """Folder of the results; by default a new one in runs/."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.io.runs import free_path
        from metarl.reproduce import reproduce

        if self.quick and self.long:
            raise ValueError("--quick and --long exclude each other")
        scale = "quick" if self.quick else "long" if self.long else "full"
        out = self.out or free_path(Path("runs"), self.recipe.name)
        with Console() as report:
            reproduce(self.recipe, out, report, scale=scale)

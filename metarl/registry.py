"""Names: environments, agents, rules, outer loops. Imports no JAX, so listing them is instant.

Other distributions add names from their own pyproject.toml, without a line here:

    [project.entry-points."metarl.envs"]
    "Maze3D-v0" = "maze3d.env:Maze3D"
"""

import dataclasses
import difflib
import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from metarl.tables import (
    AGENTS,
    CORES,
    OBJECTIVES,
    OUTER_LOOPS,
    PUBLISHED,
    RECIPES,
    RULES,
    TRAININGS,
)

ENTRY_POINT_GROUP = "metarl.envs"

_REGISTRY: dict[str, tuple[str | Callable[..., Any], dict[str, Any]]] = {
    "Acrobot-v0": ("metarl.envs.acrobot:Acrobot", {}),
    "Asterix-v0": ("metarl.envs.minatar.asterix:Asterix", {}),
    "Bandit-v0": ("metarl.envs.bandit:Bandit", {}),
    "Breakout-v0": ("metarl.envs.minatar.breakout:Breakout", {}),
    "CartPole-v0": ("metarl.envs.cartpole:CartPole", {}),
    "Catch-v0": ("metarl.envs.catch:Catch", {}),
    "DarkKeyToDoor-v0": ("metarl.envs.key_to_door:KeyToDoor", {}),
    "DarkRoom-v0": ("metarl.envs.key_to_door:KeyToDoor", {"locked": False}),
    "DeepSea-v0": ("metarl.envs.deep_sea:DeepSea", {}),
    "DelayedChain-v0": ("metarl.envs.delayed_chain:DelayedChain", {}),
    "DelayedChainDistractor-v0": ("metarl.envs.delayed_chain:DelayedChain", {"distractors": 20}),
    "DelayedChainLong-v0": ("metarl.envs.delayed_chain:DelayedChain", {"max_length": 50}),
    "DelayedChainLongNoisy-v0": (
        "metarl.envs.delayed_chain:DelayedChain",
        {"max_length": 50, "noisy": True},
    ),
    "DelayedChainNoisy-v0": ("metarl.envs.delayed_chain:DelayedChain", {"noisy": True}),
    "DiscountingChain-v0": ("metarl.envs.discounting_chain:DiscountingChain", {}),
    "Freeway-v0": ("metarl.envs.minatar.freeway:Freeway", {}),
    "GaussianBandit-v0": ("metarl.envs.bandit:GaussianBandit", {}),
    "GridWorld-v0": ("metarl.envs.gridworld:GridWorld", {}),
    "LPGAll-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "all"}),
    "LPGDense-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "dense"}),
    "LPGLarge-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "large"}),
    "LPGLong-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "long"}),
    "LPGLongDense-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "long_dense"}),
    "LPGLonger-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "longer"}),
    "LPGMazes-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "mazes"}),
    "LPGMedium-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "medium"}),
    "LPGRandAll-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "rand_all"}),
    "LPGRandDense-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "rand_dense"}),
    "LPGRandLong-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "rand_long"}),
    "LPGRandSmall-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "rand_small"}),
    "LPGRandSparse-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "rand_sparse"}),
    "LPGRandVeryDense-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "rand_very_dense"}),
    "LPGSmall-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "small"}),
    "LPGSparse-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "sparse"}),
    "LPGTabular-v0": ("metarl.envs.lpg.grid:LPGGrid", {"mode": "tabular"}),
    "Maze-v0": ("metarl.envs.maze:Maze", {}),
    "Minesweeper-v0": ("metarl.envs.minesweeper:Minesweeper", {}),
    "MountainCar-v0": ("metarl.envs.mountain_car:MountainCar", {}),
    "Navigation-v0": ("metarl.envs.navigation:Navigation", {}),
    "Pendulum-v0": ("metarl.envs.pendulum:Pendulum", {}),
    "ProbeAction-v0": ("metarl.envs.probe:Probe", {}),
    "ProbeDelay-v0": ("metarl.envs.probe:Probe", {"length": 5}),
    "ProbeDiscount-v0": ("metarl.envs.probe:Probe", {"choices": 1, "length": 3}),
    "ProbeMemory-v0": ("metarl.envs.probe:Probe", {"length": 4, "answer": "last", "hide": True}),
    "ProbeValue-v0": ("metarl.envs.probe:Probe", {"choices": 1}),
    "ProcBigFish-v0": ("metarl.envs.procgen.bigfish:BigFish", {}),
    "ProcCaveFlyer-v0": ("metarl.envs.procgen.caveflyer:CaveFlyer", {}),
    "ProcDodgeball-v0": ("metarl.envs.procgen.dodgeball:Dodgeball", {}),
    "ProcHeist-v0": ("metarl.envs.procgen.heist:Heist", {}),
    "ProcJumper-v0": ("metarl.envs.procgen.jumper:Jumper", {}),
    "ProcLeaper-v0": ("metarl.envs.procgen.leaper:Leaper", {}),
    "ProcMaze-v0": ("metarl.envs.procgen.maze:Maze", {}),
    "ProcMiner-v0": ("metarl.envs.procgen.miner:Miner", {}),
    "ProcStarPilot-v0": ("metarl.envs.procgen.starpilot:StarPilot", {}),
    "Seaquest-v0": ("metarl.envs.minatar.seaquest:Seaquest", {}),
    "Snake-v0": ("metarl.envs.snake:Snake", {}),
    "Sokoban-v0": ("metarl.envs.sokoban:Sokoban", {}),
    "SpaceInvaders-v0": ("metarl.envs.minatar.space_invaders:SpaceInvaders", {}),
    "TMaze-v0": ("metarl.envs.t_maze:TMaze", {}),
    "TabularMDP-v0": ("metarl.envs.tabular:TabularMDP", {}),
    "TrialMinesweeper-v0": ("metarl.envs.minesweeper_trials:TrialMinesweeper", {}),
    "TwoColours-v0": ("metarl.envs.two_colours:TwoColours", {}),
    "TwoColoursEpisodic-v0": ("metarl.envs.two_colours:TwoColours", {"horizon": 16}),
    "Umbrella-v0": ("metarl.envs.umbrella:Umbrella", {}),
    "brax/ant": ("metarl.envs.brax:Brax", {"name": "ant"}),
    "brax/ant-direction": ("metarl.envs.brax_goals:BraxGoal", {"name": "ant", "task": "direction"}),
    "brax/ant-velocity": ("metarl.envs.brax_goals:BraxGoal", {"name": "ant", "task": "velocity"}),
    "brax/fast": ("metarl.envs.brax:Brax", {"name": "fast"}),
    "brax/halfcheetah": ("metarl.envs.brax:Brax", {"name": "halfcheetah"}),
    "brax/halfcheetah-direction": (
        "metarl.envs.brax_goals:BraxGoal",
        {"name": "halfcheetah", "task": "direction"},
    ),
    "brax/halfcheetah-velocity": (
        "metarl.envs.brax_goals:BraxGoal",
        {"name": "halfcheetah", "task": "velocity"},
    ),
    "brax/hopper": ("metarl.envs.brax:Brax", {"name": "hopper"}),
    "brax/humanoid": ("metarl.envs.brax:Brax", {"name": "humanoid"}),
    "brax/humanoidstandup": ("metarl.envs.brax:Brax", {"name": "humanoidstandup"}),
    "brax/inverted_double_pendulum": (
        "metarl.envs.brax:Brax",
        {"name": "inverted_double_pendulum"},
    ),
    "brax/inverted_pendulum": ("metarl.envs.brax:Brax", {"name": "inverted_pendulum"}),
    "brax/pusher": ("metarl.envs.brax:Brax", {"name": "pusher"}),
    "brax/reacher": ("metarl.envs.brax:Brax", {"name": "reacher"}),
    "brax/swimmer": ("metarl.envs.brax:Brax", {"name": "swimmer"}),
    "brax/walker2d": ("metarl.envs.brax:Brax", {"name": "walker2d"}),
}


def register(name: str, entry_point: str | Callable[..., Any], **kwargs: Any) -> None:
    """Adds an environment id.

    Args:
      name: the id, by convention `Name-vN`; raise N when a change makes results incomparable.
      entry_point: a class, or `"module:Class"` that is imported on first use.
      **kwargs: static fields of the class; `make` can override them.

    Raises:
      ValueError: the id is taken.
    """
    if name in _REGISTRY or name in _plugins():
        raise ValueError(f"environment {name!r} is already registered; choose another id")
    _REGISTRY[name] = (entry_point, kwargs)


def registered() -> tuple[str, ...]:
    """All known ids, plug-ins included, sorted."""
    return tuple(sorted({*_REGISTRY, *_plugins()}))


def make(name: str, /, **overrides: Any) -> Any:
    """Builds the environment called `name`; `overrides` are its static fields.

    `"module:Class"` names one that is not registered.

    Raises:
      ValueError: no such id (a near one is suggested), no such field, or a field with a bad value.
    """
    entry_point, kwargs = _find(name)
    build = load(entry_point) if isinstance(entry_point, str) else entry_point
    if dataclasses.is_dataclass(build):
        fields = [f.name for f in dataclasses.fields(build) if f.init]
        for override in overrides:
            if override not in fields:
                hint = did_you_mean(override, fields)
                raise ValueError(f"{name} has no field {override!r}{hint} it has {fields}")
    return build(**{**kwargs, **overrides})


def agent_builder(name: str) -> Callable[..., Any]:
    """The builder `(env, heads, **options) -> Agent` called `name`, or at `"module:function"`.

    Raises:
      ValueError: no such agent.
    """
    return load(_lookup("agent", AGENTS, name))


def core_builder(name: str) -> Callable[..., Any]:
    """The builder `(n_in, width, **options) -> Core` called `name`, or at `"module:function"`.

    Raises:
      ValueError: no such memory core.
    """
    return load(_lookup("memory core", CORES, name))


def rule_module(name: str) -> Any:
    """The module of the update rule called `name`, or that of a dotted path or `module:function`.

    Raises:
      ValueError: no such rule.
    """
    name = PUBLISHED[name].rule if name in PUBLISHED else name
    return importlib.import_module(_lookup("rule", RULES, name).partition(":")[0])


def outer_builder(name: str) -> Callable[..., Any]:
    """The builder `(inner, **options) -> MetaLearner` called `name`, or at `"module:function"`.

    Raises:
      ValueError: no such outer loop.
    """
    return load(_lookup("outer loop", OUTER_LOOPS, name))


def objective_builder(name: str) -> Callable[..., Any]:
    """The builder `(agent, **options) -> Objective` of that name; raises as `outer_builder`."""
    return load(_lookup("objective", OBJECTIVES, name))


def recipe_module(name: str) -> Any:
    """The module of the recipe called `name`, or of that dotted path; raises as `rule_module`."""
    return importlib.import_module(_lookup("recipe", RECIPES, name))


def training_module(name: str) -> Any:
    """The module of the meta-training called `name`; otherwise as `recipe_module`."""
    return importlib.import_module(_lookup("meta-training", TRAININGS, name))


def load(path: str) -> Callable[..., Any]:
    """What `"module:attribute"` names.

    Raises:
      ValueError: the path has no colon, or the module has no such attribute.
    """
    module, _, attribute = path.partition(":")
    if not attribute:
        raise ValueError(f"entry point {path!r} should read 'module:Class'")
    found = importlib.import_module(module)
    if not hasattr(found, attribute):
        raise ValueError(f"module {module!r} has no {attribute!r}")
    return getattr(found, attribute)


def did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    """`"; did you mean X?"`, or a bare `";"` when no known word is near."""
    close = difflib.get_close_matches(word.lower(), [k.lower() for k in known], n=1, cutoff=0.5)
    return f"; did you mean {next(k for k in known if k.lower() == close[0])}?" if close else ";"


def unknown(kind: str, name: str, known: list[str] | tuple[str, ...]) -> ValueError:
    """The error to raise where there is no such name."""
    shown = ", ".join(known) or "none"
    return ValueError(f"no {kind} {name!r}{did_you_mean(name, known)} known: {shown}")


def _find(name: str) -> tuple[str | Callable[..., Any], dict[str, Any]]:
    if name in _REGISTRY:
        return _REGISTRY[name]
    plugins = _plugins()
    if name in plugins:
        return plugins[name].value, {}
    if ":" in name:
        return name, {}
    raise unknown("environment", name, registered())


def _lookup(kind: str, table: dict[str, str], name: str) -> str:
    if name not in table and "." not in name and ":" not in name:
        raise unknown(kind, name, sorted(table))
    return table.get(name, name)


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}

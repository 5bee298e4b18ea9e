"""Named lists of environments on which update rules are compared, with how they are played.

A suite is a convention: ids, the budget of steps, how experience is cut into updates, and where the
episodes that score an agent are cut off. Scores of different conventions cannot be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from metarl import registry


@dataclass(frozen=True)
class Suite:
    """What is played, and how."""

    ids: tuple[str, ...]
    why: str
    steps: int = 640_000  # environment steps of each seed
    num_envs: int = 64  # of each seed
    length: int = 20  # steps between updates
    max_steps: int = 2000  # where an episode that scores an agent is cut off
    split: str | None = None  # each seed has a level of its own of this split; None: the default

    def __post_init__(self):
        for name in ("steps", "num_envs", "length", "max_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.ids or len(set(self.ids)) < len(self.ids):
            raise ValueError(f"name one or more environments, each once; got {list(self.ids)}")


def _games(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{name}-v0" for name in names)


SUITES = {
    "atari": Suite(
        tuple(f"gym/ale_py:ALE/{n}-v5" for n in ("Breakout", "Freeway", "Pong", "SpaceInvaders")),
        "what published rules are judged by; needs the extra atari, and runs on the host",
        steps=10_000_000,
        max_steps=27_000,
    ),
    "brax": Suite(
        tuple(f"brax/{n}" for n in ("ant", "halfcheetah", "hopper", "humanoid", "walker2d")),
        "continuous control, on which rules for Discrete actions do not work; better on a GPU",
        steps=5_000_000,
        max_steps=1000,
    ),
    "bsuite-probes": Suite(
        _games(
            "",
            *("Bandit", "Catch", "DeepSea", "DelayedChain", "DiscountingChain", "Umbrella"),
            *("ProbeAction", "ProbeDelay", "ProbeDiscount", "ProbeMemory", "ProbeValue"),
        ),
        "each tests one ability and has a known best return; ProbeMemory needs a memory",
        steps=200_000,
        num_envs=16,
        max_steps=200,
    ),
    "classic": Suite(
        _games("", "Acrobot", "CartPole", "MountainCar", "Pendulum"),
        "known to everybody; Pendulum alone is continuous",
        steps=500_000,
        num_envs=16,
        length=32,
        max_steps=500,
    ),
    "grid": Suite(
        _games("LPG", "All", "Small", "Medium", "Large"),
        "levels like those that the learned rules shipped here were trained on",
        split="train",
    ),
    "grid-heldout": Suite(
        _games("LPG", "All", "Mazes", "Dense", "Sparse", "Long", "Longer", "LongDense"),
        "levels on which no rule shipped here was trained: the other half of the random ones, "
        "mazes, and the hand-made settings; the best possible return is known",
        split="heldout",
    ),
    "minatar": Suite(
        _games("", "Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders"),
        "games small enough for many seeds; budget and cut-off are those of the recipe groove",
        max_steps=1000,
    ),
    "procgen": Suite(
        tuple(f"Proc{n}-v0" for n in ("BigFish", "CaveFlyer", "Dodgeball", "Heist", "Jumper"))
        + tuple(f"Proc{n}-v0" for n in ("Leaper", "Maze", "Miner", "StarPilot")),
        "a new level in each episode, so that learning by heart earns nothing",
        steps=5_000_000,
        length=64,
        max_steps=1000,
    ),
}


def suite(named: str | Sequence[str]) -> Suite:
    """A suite by its name, or the environments of these ids by the common convention.

    Ids may have settings: `"Snake-v0 size=6"`. One word that is a registered id is that
    environment.

    Raises:
      ValueError: no such suite or id; a near one is suggested.
    """
    if isinstance(named, str):
        if named in SUITES:
            return SUITES[named]
        if not _is_id(named):
            hint = registry.did_you_mean(named, [*SUITES, *registry.registered()])
            raise ValueError(f"no suite or environment {named!r}{hint} suites: {', '.join(SUITES)}")
        named = (named,)
    for name in named:
        if not _is_id(name):
            raise registry.unknown("environment", name, registry.registered())
    return Suite(tuple(named), "named one by one")


def _is_id(name: str) -> bool:
    word = name.split()[0] if name.split() else ""
    return word in registry.registered() or ":" in word or word.startswith("gym/")

"""Temporally aware LPG: evolved over whole lives, of which the rule is told how much is over."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import log
from typing import Any

import jax.numpy as jnp

from metarl.meta.whole_lives import log_uniform
from metarl.rules import lpg, ta_lpg
from metarl.trainings.common import Training
from metarl.trainings.grid import LPG_FIELDS, grid, grid_test, training_levels
from metarl.trainings.search import Search, search
from metarl.types import Agent, Eta, Key, UpdateRule

PAPER = "Jackson et al. 2024, https://arxiv.org/abs/2402.05828"
CLAIM = "A learned update rule that knows the time: lives of any length end better"


@dataclass(frozen=True)
class Settings(Search):
    """Numbers of the meta-training; defaults are those of the released code.

    With `timed=False` the same search is made for LPG, which is not told the time: what TA-LPG is
    to be compared with.
    """

    env: str = "LPGAll-v0"
    timed: bool = True
    from_zero: bool = True  # where the search starts; else at LPG's random weights
    workers: int = 64  # environments of each life
    length: int = 20  # T
    shortest: int = 10  # updates of a life
    longest: int = 250
    core: str = "gru"
    hidden: int = 256
    targets: int = 8  # width of y
    policy_rate: float = 40.0
    y_rate: float = 4.0
    y_cost: float = 0.5
    test_levels: int = 256
    test_lifetimes: tuple[int, ...] = (25, 100, 250, 1000)  # updates

    def __post_init__(self):
        super().__post_init__()
        if min(self.test_lifetimes, default=0) < 1:
            raise ValueError(f"test_lifetimes must be at least 1, got {self.test_lifetimes}")


QUICK = Settings(
    env="LPGSmall-v0",
    from_zero=False,
    updates=250,
    pairs=32,
    chunk=4,
    workers=16,
    hidden=16,
    test_levels=64,
    test_lifetimes=(25, 250),
)
LAPTOP = replace(
    QUICK, updates=3000, hidden=32, test_levels=128, test_lifetimes=Settings.test_lifetimes
)


def training(settings: Settings) -> Training:
    """LPG with or without a clock, on random grid-worlds, with lives of random length."""
    fields = {name: getattr(settings, name) for name in LPG_FIELDS}
    parts = grid(
        settings.env,
        partial(timed if settings.timed else lpg.lpg, **fields),
        targets=settings.targets,
        workers=settings.workers,
    )
    outer = search(
        settings,
        (parts.agent, parts.rule, parts.venv),
        parts.ret,
        training_levels(parts.env),
        length=settings.length,
        lifetime=log_uniform(settings.shortest, settings.longest),
        from_zero=settings.from_zero,
    )
    lives: Any = {"workers": settings.workers, "length": settings.length}
    steps = 2 * settings.pairs * settings.workers * settings.length
    return Training(
        rule="ta_lpg" if settings.timed else "lpg",
        fields={**fields, **({"lifetime": settings.longest} if settings.timed else {})},
        heads={"targets": settings.targets},
        steps_per_update=round(steps * mean_lifetime(settings.shortest, settings.longest)),
        begin=outer.init,
        update=outer.update,
        test=grid_test(
            parts, levels=settings.test_levels, lifetimes=settings.test_lifetimes, **lives
        ),
    )


def timed(agent: Agent, heads: Mapping[str, int], **fields: Any) -> UpdateRule:
    """TA-LPG whose network at first is LPG's, drawn with the same key, and deaf to the time.

    Drawn like the others, the weights of log N, a number around 4, would drive the core into
    saturation.
    """
    plain, rule = lpg.lpg(agent, heads, **fields), ta_lpg.ta_lpg(agent, heads, **fields)

    def init_eta(key: Key) -> Eta:
        eta = plain.init_eta(key)
        inner = eta["core"]["in"]
        weights = jnp.concatenate([inner["w"], jnp.zeros((2, inner["w"].shape[1]))])
        return {**eta, "core": {**eta["core"], "in": {**inner, "w": weights}}}

    return rule._replace(init_eta=init_eta)


def mean_lifetime(shortest: int, longest: int) -> float:
    """Of lives whose logarithm is uniform."""
    return (longest - shortest) / log(longest / shortest) if longest > shortest else longest

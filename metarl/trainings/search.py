"""What meta-trainings by evolution over whole lives share: the numbers of the search."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optax

from metarl.meta.first_returns import Return
from metarl.meta.whole_lives import Generations, Parts, annealed_adam, whole_lives
from metarl.types import Key, PyTree


@dataclass(frozen=True)
class Search:
    """Numbers of a search for eta; defaults are those of TA-LPG's released code."""

    updates: int = 2500  # generations
    pairs: int = 512  # of etas in each
    meta_learning_rate: float = 1e-2
    rate_decay: float = 0.999  # a generation
    least_rate: float = 1e-5
    momentum: float = 0.99
    std: float = 0.1  # of the etas tried, around the mean
    std_decay: float = 1.0
    least_std: float = 0.1
    chunk: int = 32  # pairs that live at once

    def __post_init__(self):
        for name in ("std", "least_std", "rate_decay", "std_decay"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


def search(
    settings: Search, parts: Parts, ret: Return, levels: Callable[[Key], PyTree], **rest: Any
) -> Generations:
    """The outer loop with these numbers; the other arguments are those of `whole_lives`."""
    rate, floor = settings.meta_learning_rate, settings.least_rate
    std = optax.exponential_decay(settings.std, 1, settings.std_decay, end_value=settings.least_std)
    return whole_lives(
        *parts,
        annealed_adam(rate, decay=settings.rate_decay, least=floor, b1=settings.momentum),
        ret,
        levels,
        pairs=settings.pairs,
        std=std,
        chunk=settings.chunk,
        **rest,
    )

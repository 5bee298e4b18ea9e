"""Named settings and level distributions of the LPG grid-worlds, as one table.

Oh et al. 2020 (https://arxiv.org/abs/2007.08794) name the first ten; the others are from GROOVE
(Jackson et al. 2023, https://arxiv.org/abs/2310.02782) and its code. Where the two differ:
`longer` has the paper's five bad objects, `longer_groove` the code's three; the paper's grid for it
is 7 by 9, here it is the code's 9 by 9. `tabular`, which the code advertises but cannot build, is
one of the five hand-made tabular modes, drawn uniformly.
"""

from dataclasses import dataclass
from typing import NamedTuple

from metarl.envs.lpg.mazes import MAZES

Range = float | tuple[float, float]  # a constant, or the bounds of a draw


class Kind(NamedTuple):
    """A type of object: objects of one type share their numbers."""

    reward: Range  # uniform
    p_terminate: Range  # log-uniform; that a pick-up ends the episode
    p_respawn: Range  # log-uniform; that an absent object returns, for every step
    copies: int = 1


@dataclass(frozen=True)
class Mode:
    """A distribution of levels. Start and objects lie on distinct random cells without a wall."""

    size: int | tuple[int, int]  # side of the grid, uniform with both bounds
    max_steps: int | tuple[int, int]  # log-uniform, rounded
    kinds: tuple[Kind, ...]
    objects: tuple[int, int] | None = None  # how many of the objects there are, uniform; None: all
    maps: tuple[str, ...] = ()  # names of walls, one is drawn
    scattered: int = 0  # walls on distinct cells of the largest grid; beyond the grid they are lost
    tabular: bool = True  # fixed places; else objects return to random cells

    @property
    def max_size(self) -> int:
        """The largest side."""
        return bounds(self.size)[1]

    @property
    def slots(self) -> int:
        """The largest number of objects."""
        return sum(kind.copies for kind in self.kinds)


def bounds(numbers: Range | tuple[int, int]) -> tuple:
    """A constant as bounds that are equal; bounds as they are."""
    return numbers if isinstance(numbers, tuple) else (numbers, numbers)


def _random(
    objects: tuple[int, int],
    others: Range = (-1.0, 1.0),
    **rest: int | tuple,
) -> Mode:
    """Objects of as many types, the first one good; `others` bounds the other types' rewards."""
    chances = (0.01, 1.0), (0.001, 0.1)
    kinds = (Kind((0.0, 1.0), *chances), *[Kind(others, *chances)] * (objects[1] - 1))
    return Mode(kinds=kinds, objects=objects, **rest)  # type: ignore[arg-type]


_DENSE = (Kind(1.0, 0.0, 0.05, copies=2), Kind(-1.0, 0.5, 0.1), Kind(-1.0, 0.0, 0.5))
_LONG = (Kind(1.0, 0.0, 0.01, copies=2), Kind(-1.0, 0.5, 1.0, copies=2))
_ALL = _random((1, 5), size=(4, 10), max_steps=(20, 750), scattered=15)


def _longer(bad: int) -> Mode:
    kinds = (Kind(1.0, 0.1, 0.01, copies=2), Kind(-1.0, 0.8, 1.0, copies=bad))
    return Mode(9, 2000, kinds, maps=("longer",))


def _mazes(*names: str) -> Mode:
    return _random((3, 3), (0.0, 1.0), size=13, max_steps=(25, 50), maps=names)


MODES = {
    "dense": Mode(11, 500, _DENSE),
    "sparse": Mode(13, 50, (Kind(1.0, 1.0, 0.0), Kind(-1.0, 1.0, 0.0))),
    "long": Mode(11, 1000, _LONG),
    "longer": _longer(5),
    "long_dense": Mode(11, 2000, (Kind(1.0, 0.0, 0.005, copies=4),), maps=("long_dense",)),
    "rand_dense": Mode(11, 500, _DENSE, tabular=False),
    "rand_long": Mode(11, 1000, _LONG, tabular=False),
    "rand_small": Mode(
        7,
        500,
        (Kind(1.0, 0.0, 0.05, copies=2), Kind(-1.0, 0.5, 0.1, copies=2)),
        maps=("rand_small",),
        tabular=False,
    ),
    "rand_sparse": Mode(
        7, 50, (Kind(1.0, 1.0, 1.0), Kind(-1.0, 1.0, 1.0, copies=2)), tabular=False
    ),
    "rand_very_dense": Mode(11, 2000, (Kind(1.0, 0.0, 1.0),), tabular=False),
    "longer_groove": _longer(3),
    "all": _ALL,
    "small": _random((1, 3), size=(4, 6), max_steps=(20, 100), scattered=7),
    "medium": _random((2, 4), size=(6, 8), max_steps=(100, 250), scattered=10),
    "large": _random((2, 5), size=(8, 10), max_steps=(250, 750), scattered=15),
    "rand_all": _random((1, 5), size=(4, 10), max_steps=(20, 750), scattered=15, tabular=False),
    "mazes": _mazes(*MAZES),
    **{maze: _mazes(maze) for maze in MAZES},
}

MIXTURES = {"tabular": ("dense", "sparse", "long", "longer", "long_dense")}


def parts(name: str) -> tuple[Mode, ...]:
    """The modes that a name stands for: itself, or those of a mixture.

    Raises:
      ValueError: no such mode.
    """
    names = MIXTURES.get(name, (name,))
    if names[0] not in MODES:
        raise ValueError(f"no mode {name!r}; known: {', '.join(sorted({*MODES, *MIXTURES}))}")
    return tuple(MODES[name] for name in names)

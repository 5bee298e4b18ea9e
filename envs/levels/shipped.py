"""The level tables that come with the package, so that Sokoban needs no download.

`python -m metarl.envs.levels shipped` makes them anew, byte for byte.
"""

from dataclasses import replace
from pathlib import Path

from metarl.envs.levels.generate import LevelSpec, generate
from metarl.envs.levels.table import LevelTable

SHIPPED = (LevelSpec(10, 10, 4), LevelSpec(6, 6, 2, max_steps=30))
COUNTS = {"train": 4000, "heldout": 500}
_UNSHIPPED_COUNT = 100


def default_levels(height: int, width: int, boxes: int, split: str) -> LevelTable:
    """The shipped table of that size and split, or, where there is none, 100 levels made now.

    Raises:
      ValueError: no such split, or levels of that kind cannot be made.
    """
    spec = LevelSpec(height, width, boxes, split=split)
    path = shipped_path(spec)
    return LevelTable.load(path) if path.exists() else generate(_UNSHIPPED_COUNT, 0, spec)


def write_shipped() -> None:
    """Writes every shipped table beside this file."""
    for spec in SHIPPED:
        for split, count in COUNTS.items():
            chosen = replace(spec, split=split)
            generate(count, 0, chosen).save(shipped_path(chosen))


def shipped_path(spec: LevelSpec) -> Path:
    """Where a table lies or would lie, e.g. `10x10-4-train.npz`."""
    name = f"{spec.height}x{spec.width}-{spec.boxes}-{spec.split}.npz"
    return Path(__file__).with_name(name)

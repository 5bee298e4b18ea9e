"""Level tables from the command line: `python -m metarl.envs.levels --help`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from metarl.envs.levels.boxoban import load_levels
from metarl.envs.levels.generate import LevelSpec, generate
from metarl.envs.levels.shipped import write_shipped

_PLAIN = LevelSpec()


def make(out: Path, count: int = 1000, seed: int = 0, spec: LevelSpec = _PLAIN) -> None:
    """Makes levels and saves them as a table.

    Args:
      out: the table to write, an .npz file.
      count: how many different levels.
      seed: the same seed gives the same levels.
      spec: what they should be like.
    """
    generate(count, seed, spec).save(out)
    print(f"{count} levels: {out}")


def pack(paths: list[Path], out: Path) -> None:
    """Packs level texts into a table, which loads far faster.

    Args:
      paths: text files and folders of them.
      out: the table to write, an .npz file.
    """
    table = load_levels(paths)
    table.save(out)
    print(f"{len(table)} levels: {out}")


if __name__ == "__main__":
    commands: dict[str, Callable[..., Any]] = {"make": make, "pack": pack, "shipped": write_shipped}
    tyro.extras.subcommand_cli_from_dict(commands)

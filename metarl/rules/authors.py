"""Weights that their authors publish and that do not come with metarl: where to get them."""

import os
import pathlib
from typing import NamedTuple

from metarl import files
from metarl.registry import PUBLISHED


class Source(NamedTuple):
    """Whose file it is."""

    variable: str  # of the environment, which names the folder that holds the file
    file: str  # as it is published
    place: str  # from where
    alone: bool = False  # then the variable may also name the file itself


def source_of(name: str) -> Source | None:
    """Where the weights of this name come from; None: it is no name."""
    if name not in PUBLISHED:
        return None
    if name == "disco103":
        place = "https://github.com/google-deepmind/disco_rl, in disco_rl/update_rules/weights"
        return Source("METARL_DISCO103", "disco_103.npz", place, alone=True)
    place = "https://github.com/AlexGoldie/rl-learned-optimization"
    return Source("METARL_OPEN", f"{name.removeprefix('open-')}_OPEN.npy", place)


def find(name: str) -> pathlib.Path:
    """The file of weights: by its path, or by a name of `PUBLISHED` and what its variable says.

    Raises:
      ValueError: no such file; it says where to get it and what to set.
    """
    source = source_of(name)
    given = name if source is None else os.environ.get(source.variable, "")
    path = pathlib.Path(given).expanduser()
    if source and given and (path.is_dir() or not source.alone):
        path = path / source.file
    if given and path.is_file():
        return path.resolve()
    if source is None:
        known = ", ".join(PUBLISHED)
        raise ValueError(f"no file {name!r}; give weights its path, or one of the names {known}")
    found = f"{source.variable} says {given}, where it is not" if given else "they are not here"
    raise ValueError(
        f"the weights {name} do not come with metarl, and {found}: get {source.file} from "
        f"{source.place}, and name {'the file' if source.alone else 'its folder'} in the "
        f"environment variable {source.variable}, or give its path as weights=PATH"
    )


def digest(path: pathlib.Path) -> str:
    """Of a file's content, `sha256:` and 16 digits."""
    return files.digest(path.read_bytes())

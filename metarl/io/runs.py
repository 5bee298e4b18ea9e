"""The folder of a run: where everything lies, and who may write there."""

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

from metarl.files import write_atomically


@dataclass(frozen=True)
class RunFolder:
    """Names of the files of one run."""

    path: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        """The resolved configuration; a folder that has it is a run."""
        return self.path / "config.json"

    @property
    def metrics(self) -> pathlib.Path:
        """One row a seed and logging point."""
        return self.path / "metrics.csv"

    @property
    def tensorboard(self) -> pathlib.Path:
        """Event files, one folder a seed."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> pathlib.Path:
        """The newest few checkpoints."""
        return self.path / "checkpoints"

    @property
    def curve(self) -> pathlib.Path:
        """The learning curve."""
        return self.path / "curve.png"

    @property
    def schedules(self) -> pathlib.Path:
        """What an outer loop has made of each hyperparameter."""
        return self.path / "eta.png"

    @property
    def levels(self) -> pathlib.Path:
        """What a learned rule's agents earn on levels that it never saw."""
        return self.path / "levels.png"

    def weights(self, seed: int) -> pathlib.Path:
        """The update rule that a meta-training has learned."""
        return self.path / f"eta-{seed}.npz"

    @property
    def evaluation(self) -> pathlib.Path:
        """Scores of the trained agents and of the random policy."""
        return self.path / "evaluation.json"

    @property
    def gif(self) -> pathlib.Path:
        """An evaluation episode to look at."""
        return self.path / "play.gif"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing to this run; the lock dies with the process.

        Raises:
          ValueError: another process is writing.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"another process is writing to {self.path}") from None
            yield


def new_run(path: pathlib.Path) -> RunFolder:
    """A folder that holds no run yet.

    Raises:
      ValueError: it holds one, or is a file.
    """
    folder = RunFolder(path)
    if folder.config.exists():
        raise ValueError(
            f"{path} already holds a run; continue it with `metarl resume {path}`, or choose "
            "another folder with --out"
        )
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, not a folder; choose another with --out")
    return folder


def claimed(path: pathlib.Path, config: str) -> RunFolder:
    """The folder, which from now on belongs to what `config` says, as it may already.

    Raises:
      ValueError: it holds something else.
    """
    folder = RunFolder(path)
    if folder.config.exists() and folder.config.read_text() != config:
        raise ValueError(
            f"{path} holds another run, or other settings (see {folder.config}); choose another "
            "folder with --out"
        )
    if not folder.config.exists() and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} is not an empty folder; choose another with --out")
    write_atomically(folder.config, config.encode())
    return folder


def find_run(path: pathlib.Path) -> RunFolder:
    """The folder of an existing run.

    Raises:
      ValueError: there is none.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        near = sorted(p.parent for p in path.parent.glob("*/config.json"))
        known = f"; runs beside it: {', '.join(map(str, near[:8]))}" if near else ""
        raise ValueError(f"{path} holds no run (no config.json){known}")
    return folder


def free_path(parent: pathlib.Path, stem: str) -> pathlib.Path:
    """`parent/stem-1`, or the first such number that does not exist."""
    number = 1
    while (parent / f"{stem}-{number}").exists():
        number += 1
    return parent / f"{stem}-{number}"

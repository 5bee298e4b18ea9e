"""Reads Sokoban levels from text in the layout of Boxoban (Guez et al. 2018).

    ; 0
    #####
    #@$.#
    #####

A line that starts with `;` opens a level, an empty line ends one. Signs: `#` wall, `@` player,
`$` box, `.` target, `*` box on a target, `+` player on a target, space for floor.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarl.envs.levels.table import SIGNS, LevelTable, faults

_NO_LEVELS = re.compile(r"(license|notice|readme)\b", re.IGNORECASE)
_UNKNOWN = 255


class _Block(NamedTuple):
    """One level as it stands in the text."""

    line: int  # the number of its first row, from 1
    rows: list[str]


def load_levels(paths: str | Path | Iterable[str | Path]) -> LevelTable:
    """Reads every level of a file, of a folder, or of several of them: all or nothing.

    A file is text, or a saved table if its name ends in `.npz`. A folder stands for its `.txt`
    files, subfolders included, in the order of their paths; files called license, notice or
    readme are passed over.

    Raises:
      FileNotFoundError: a path does not exist, or there is no level file.
      ValueError: no level, a level that breaks a rule of the game, or sizes that differ; the
        message names file and line.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    files = [file for path in given for file in _files(Path(path))]
    if not files:
        raise FileNotFoundError("no level file was named; give a file or a folder of .txt files")
    tables = [_read(file) for file in files]
    for file, found in zip(files, tables, strict=True):
        size, first = _size(found), _size(tables[0])
        if size != first:
            raise ValueError(f"{file}: levels of {size}, but {files[0]} has {first}")
    return LevelTable.join(tables)


def parse_levels(text: str, name: str = "text") -> LevelTable:
    """Reads every level of `text`, which errors call `name`.

    Raises:
      ValueError: as `load_levels`.
    """
    blocks = _blocks(text, name)
    height, width = _shape(blocks, name)
    joined = "".join("".join(block.rows) for block in blocks)
    signs = np.frombuffer(joined.encode("latin-1", "replace"), np.uint8)
    flags = np.full(256, _UNKNOWN, np.uint8)
    flags[[ord(sign) for sign in SIGNS]] = list(SIGNS.values())
    boards = flags[signs].reshape(-1, height, width)
    for level, row, column in np.argwhere(boards == _UNKNOWN)[:1]:
        line, rows = blocks[level]
        raise ValueError(
            f"{name}, line {line + row}: unknown sign {rows[row][column]!r} in column {column + 1};"
            f" levels are drawn with {' '.join(SIGNS)!r}"
        )
    for level, fault in faults(boards)[:1]:
        raise ValueError(f"{name}, level at line {blocks[level].line}: {fault}")
    return LevelTable.pack(boards)


def _read(file: Path) -> LevelTable:
    if file.suffix == ".npz":
        return LevelTable.load(file)
    return parse_levels(file.read_text(encoding="latin-1"), str(file))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; give a file or a folder of .txt files")
        return [path]
    files = [f for f in sorted(path.rglob("*.txt")) if not _NO_LEVELS.match(f.name)]
    if not files:
        raise FileNotFoundError(f"{path} holds no .txt file with levels, nor do its subfolders")
    return files


def _blocks(text: str, name: str) -> list[_Block]:
    """The levels as rows, their form not yet checked."""
    blocks: list[_Block] = []
    header, is_open = 0, False  # line of a header that still waits for rows; inside a level
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        row = line.rstrip("\r")
        if row.startswith(";") and header:
            break
        if row.startswith(";"):
            header, is_open = number, False
        elif not row:
            is_open = False
        elif is_open:
            blocks[-1].rows.append(row)
        else:
            blocks.append(_Block(number, [row]))
            header, is_open = 0, True
    if header:
        raise ValueError(f"{name}, line {header}: no level below {lines[header - 1]!r}; cut short?")
    if not blocks:
        raise ValueError(f"{name}: no level in it")
    return blocks


def _shape(blocks: list[_Block], name: str) -> tuple[int, int]:
    """Height and width that all levels share."""
    shapes = [(len(block.rows), len(block.rows[0])) for block in blocks]
    usual = Counter(shapes).most_common(1)[0][0]
    for (line, rows), shape in zip(blocks, shapes, strict=True):
        for offset, row in enumerate(rows):
            if len(row) != shape[1]:
                raise ValueError(
                    f"{name}, line {line + offset}: a row of {len(row)} cells in a level whose "
                    f"first row has {shape[1]}"
                )
        if shape != usual:
            raise ValueError(
                f"{name}, level at line {line}: {shape[0]} rows of {shape[1]} cells where most "
                f"levels have {usual[0]} of {usual[1]}; is it cut short, or the sizes mixed?"
            )
        if min(shape) < 3:
            raise ValueError(f"{name}, level at line {line}: fewer than 3 rows or columns")
    return usual


def _size(levels: LevelTable) -> str:
    return f"{levels.height} rows of {levels.width} cells"

"""An inspection as a folder: its numbers, and figures of them."""

import pathlib

from metarl.files import write_json
from metarl.inspection import Inspection
from metarl.inspection.panels import panels_of
from metarl.io.panels import draw


def save(found: Inspection, folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes `inspection.json` and a PNG for each figure; replaces those that are there.

    Returns:
      The paths.
    """
    path = folder / "inspection.json"
    write_json(path, found.numbers(), indent=None)
    title = f"{found.rule}, lives in {found.env}"
    figures = panels_of(found).items()
    return [path, *(draw(panels, folder / f"{name}.png", title=title) for name, panels in figures)]

"""Writes docs/recipes/README.md from the results in docs/recipes: NAME.json and NAME.png of each.

    metarl reproduce NAME --out runs/NAME
    cp runs/NAME/result.json docs/recipes/NAME.json; cp runs/NAME/figure.png docs/recipes/NAME.png
    python docs/recipes.py

A long run lies beside the full one as NAME-long.json and NAME-long.png.
"""

import json
import pathlib
from typing import Any

from metarl import registry

HERE = pathlib.Path(__file__).parent / "recipes"
PAGE = HERE / "README.md"
HEAD = """# Published results, run again

Made by `python docs/recipes.py` from the results in this folder. `metarl reproduce NAME` runs one
again: its `result.json` and `figure.png` are what is kept here. Whether a claim held is decided by
the recipe, in words and numbers that were fixed in its file, and not every one did. Intervals are
of 95 %: Student's t, and a bootstrap from 20 samples on.
"""


def page() -> str:
    """The whole page: a table of all results, then each of them."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(HERE.glob("*.json"))}
    head = "| recipe | claim | held | seconds |\n|---|---|---|---|"
    rows = [head, *(_row(stem, result) for stem, result in found.items())]
    known = {result["recipe"] for result in found.values()}
    missing = [name for name in sorted(registry.RECIPES) if name not in known]
    rest = [f"Not recorded yet: {', '.join(f'`{name}`' for name in missing)}."] if missing else []
    parts = [HEAD, "\n".join(rows), *rest, *(section(*item) for item in found.items())]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def section(stem: str, result: dict[str, Any]) -> str:
    """One result."""
    head = "| claim | published | measured | held |\n|---|---|---|---|"
    keys = ("text", "published", "measured")
    rows = [
        " | ".join(["", *(_cell(claim[key]) for key in keys), _word(claim["held"]), ""]).strip()
        for claim in result["claims"]
    ]
    seconds = ", ".join(f"{arm} {time:,.0f}" for arm, time in result["seconds"].items())
    settings = " ".join(f"{k}={_short(v)}" for k, v in result["settings"].items())
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    parts = [
        f"## {stem}",
        f"{result['paper']}: {result['claim']}.",
        "\n".join([head, *rows]),
        "\n".join(f"- {note}" for note in result["notes"]),
        f"Seeds: {_seeds(result)}. Seconds: {seconds}. Device: {result['device']}; {versions}.",
        f"Settings: `{settings}`",
        f"![{stem}]({stem}.png)",
        f"File: `metarl/recipes/{result['recipe']}.py`",
    ]
    return "\n\n".join(part for part in parts if part)


def _row(stem: str, result: dict[str, Any]) -> str:
    held = sum(claim["held"] for claim in result["claims"])
    seconds = sum(result["seconds"].values())
    verdict = f"{held} of {len(result['claims'])}"
    return f"| [{stem}](#{stem}) | {_cell(result['claim'])} | {verdict} | {seconds:,.0f} |"


def _seeds(result: dict[str, Any]) -> str:
    """How many, by every setting whose name has `seeds` in it."""
    counts = {k: v for k, v in result["settings"].items() if "seeds" in k}
    told = [_short(v) if k == "seeds" else f"{k} {_short(v)}" for k, v in counts.items()]
    return ", ".join(told) or "see the claims"


def _word(held: bool) -> str:
    return "yes" if held else "no"


def _short(value: Any) -> str:
    return ",".join(map(_short, value)) if isinstance(value, list) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())

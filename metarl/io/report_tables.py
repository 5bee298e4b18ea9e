"""Pieces of HTML for reports; all text is escaped here, once."""

import base64
import html
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Real = float | np.ndarray  # of a single number


class Raw(str):
    """HTML that is finished; any other string is text and gets escaped."""


def text(value: Any) -> Raw:
    """Escapes what is not HTML yet."""
    return value if isinstance(value, Raw) else Raw(html.escape(str(value)))


def tag(name: str, inner: Any, **attributes: str) -> Raw:
    """An element; `class_` is its class."""
    told = "".join(f' {k.rstrip("_")}="{html.escape(v)}"' for k, v in attributes.items())
    return Raw(f"<{name}{told}>{text(inner)}</{name}>")


def joined(parts: Iterable[Any], between: str = "\n") -> Raw:
    """Pieces one after the other."""
    return Raw(between.join(text(part) for part in parts))


def bullets(lines: Sequence[Any]) -> Raw:
    """A list."""
    return tag("ul", joined(tag("li", line) for line in lines)) if lines else Raw()


class Number(Raw):
    """What stands at the right of its column."""


def number(value: Real = np.nan, low: Real = np.nan, high: Real = np.nan) -> Number:
    """A number of three figures, with its interval if there is one; a dash where there is none."""
    if not np.isfinite([float(low), float(high)]).all():
        return Number(_short(value))
    ends = f"[{_short(low)}, {_short(high)}]"
    return Number(f'{_short(value)} <span class="range">{ends}</span>')


def count(value: int) -> Number:
    """A whole number, by thousands."""
    return Number(f"{value:,}")


def _short(real: Real) -> str:
    value = float(real)
    if not np.isfinite(value):
        return "–"
    said = f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"
    return said.replace("-", "−") if value else "0"


def table(
    head: Sequence[Any], rows: Iterable[Sequence[Any]], caption: str = "", kind: str = ""
) -> Raw:
    """A table whose rows begin with their names; it scrolls where it is too wide."""
    rows = [list(row) for row in rows]
    right = [any(isinstance(row[i], Number) for row in rows) for i in range(len(head))]
    class_of = lambda i: "number" if right[i] else "text"  # noqa: E731
    top = joined((tag("th", h, class_=class_of(i)) for i, h in enumerate(head)), "")
    body = joined(
        tag(
            "tr",
            joined(
                (
                    tag("td" if i else "th", cell, class_=class_of(i) if i else "name")
                    for i, cell in enumerate(row)
                ),
                "",
            ),
        )
        for row in rows
    )
    inner = joined([tag("thead", tag("tr", top)), tag("tbody", body)])
    scrolled = tag("div", tag("table", inner, class_=kind), class_="scroll")
    return joined([tag("p", caption, class_="soft"), scrolled] if caption else [scrolled])


def picture(path: pathlib.Path, alt: str, caption: Any = "") -> Raw:
    """A PNG or GIF inside of the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    kind = path.suffix.removeprefix(".")
    image = Raw(f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(alt)}">')
    return tag("figure", joined([image, tag("figcaption", caption)] if caption else [image]))


def facts(known: Any) -> Any:
    """Nested values in words: `a 1, b 2`."""
    if isinstance(known, dict):
        return ", ".join(f"{k} {facts(v)}" for k, v in known.items()) or "none"
    if isinstance(known, list | tuple):
        return ", ".join(str(facts(v)) for v in known) or "none"
    return "none" if known is None or known == "" else str(known)

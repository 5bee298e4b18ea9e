"""What stands between tags in an answer: `... <action>up, left</action>`."""

import re

ACTION, REMARK = "action", "remark"
LONGEST_REMARK = 2000  # characters kept


def tagged(text: str, tag: str) -> str | None:
    """What the last whole pair of tags encloses, stripped; None without one. Never raises.

    The last, because models repeat the question, and try answers before they decide.
    """
    ends = [match.start() for match in re.finditer(f"</{tag}>", text, re.IGNORECASE | re.ASCII)]
    if not ends:
        return None
    opened = _after_last(text[: ends[-1]], tag)
    return None if opened is None else opened.strip()


def remark(text: str) -> str | None:
    """The lesson of a reflection, at most 2000 characters; None without one. Never raises.

    A remark that was cut off before its closing tag counts: its beginning is better than nothing.
    """
    found = tagged(text, REMARK)
    if found is None:
        found = _after_last(text, REMARK)
    return found.strip()[:LONGEST_REMARK].strip() or None if found else None


def _after_last(text: str, tag: str) -> str | None:
    """What follows the last opening tag."""
    starts = [match.end() for match in re.finditer(f"<{tag}>", text, re.IGNORECASE | re.ASCII)]
    return text[starts[-1] :] if starts else None

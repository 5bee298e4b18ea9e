"""Files that are never half, their digests, and names for them."""

import hashlib
import json
import math
import os
import pathlib
import re
from typing import Any

import numpy as np


def digest(data: bytes) -> str:
    """Of a file's content, `sha256:` and 16 digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()[:16]


def plain_name(text: str) -> str:
    """Words as a name for a file: small letters, digits, dots and hyphens, at most 80."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower())[:80]


def as_json(value: Any) -> Any:
    """A value as JSON has it: arrays are lists, named tuples objects, and what is not finite null.

    Raises:
      TypeError: something in it has no form in JSON.
    """
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: as_json(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "__array__"):
        return as_json(np.asarray(value).tolist())
    raise TypeError(f"{type(value).__name__} does not fit into JSON")


def write_json(path: pathlib.Path, value: Any, *, indent: int | None = 2) -> None:
    """Replaces `path` by a value as JSON, in the form of `as_json`, atomically."""
    text = json.dumps(as_json(value), indent=indent, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def write_atomically(path: pathlib.Path, data: bytes) -> None:
    """Replaces `path` by `data`; a reader, or a power cut, sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""Files that are never half, their digests, and names for them."""

import hashlib
import os
import pathlib
import re


def digest(data: bytes) -> str:
    """Of a file's content, `sha256:` and 16 digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()[:16]


def plain_name(text: str) -> str:
    """Words as a name for a file: small letters, digits, dots and hyphens, at most 80."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower())[:80]


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

"""Checkpoints: one file each, written whole or not at all, and checked before anything is read.

A file is a line `metarl-checkpoint 1 <sha256>` followed by msgpack (`flax.serialization`): the
leaves of a pytree by their path, and a small dictionary of what the host has to remember. No
pickle, no threads: what survives a `kill -9` is decided by one rename.
"""

import hashlib
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from metarl.files import write_atomically
from metarl.types import PyTree

_MAGIC = b"metarl-checkpoint 1 "
_NAME = re.compile(r"update_(\d+)\.ckpt")


class CorruptError(Exception):
    """The file is not a whole checkpoint."""


class MismatchError(ValueError):
    """The checkpoint is whole but belongs to another configuration."""


def save(
    folder: pathlib.Path, update: int, tree: PyTree, host: dict[str, Any], *, keep: int = 3
) -> pathlib.Path:
    """Writes a checkpoint and deletes all but the newest `keep`.

    Args:
      folder: where checkpoints live; made if absent.
      update: number of updates done, which names the file.
      tree: arrays and typed keys.
      host: numbers and strings the host needs to go on.
      keep: how many files stay, at least 1.
    """
    leaves = {name: _pack(x) for name, x in _named(tree).items()}
    payload = serialization.msgpack_serialize({"host": host, "leaves": leaves}, in_place=True)
    digest = hashlib.sha256(payload).hexdigest().encode()
    path = folder / f"update_{update:012d}.ckpt"
    write_atomically(path, _MAGIC + digest + b"\n" + payload)
    for old in listed(folder)[:-keep]:
        old.unlink()
    return path


def listed(folder: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoints of a folder, oldest first; half-written files are not among them."""
    return sorted(p for p in folder.glob("*.ckpt") if _NAME.fullmatch(p.name))


def load(path: pathlib.Path, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """The tree and the host's dictionary of one checkpoint.

    Args:
      path: a file that `save` wrote.
      like: a pytree of the same structure; its leaves need only shapes and dtypes.

    Raises:
      CorruptError: the file is cut short or its checksum is wrong.
      MismatchError: a leaf is missing, unknown, or of another shape or dtype.
    """
    content = _read(path)
    found, wanted = content["leaves"], _named(like)
    for kind, names in (("lacks", wanted.keys() - found.keys()), ("has", found - wanted.keys())):
        if names:
            raise MismatchError(
                f"{path} {kind} {_some(sorted(names))}, unlike this configuration: "
                "it was written by another agent, rule or environment"
            )
    leaves = [_unpack(path, name, found[name], x) for name, x in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), content["host"]


def load_newest(
    folder: pathlib.Path, like: PyTree, warn: Callable[[str], None]
) -> tuple[PyTree, dict[str, Any]] | None:
    """The newest whole checkpoint, or None where the folder holds none at all.

    A damaged file is named through `warn` and the one before it is tried.

    Raises:
      CorruptError: there are checkpoints and every one is damaged.
      MismatchError: as `load`.
    """
    paths = listed(folder)
    for path in reversed(paths):
        try:
            return load(path, like)
        except CorruptError as error:
            warn(f"{error}; trying the checkpoint before it")
    if paths:
        raise CorruptError(
            f"every checkpoint in {folder} is damaged; delete that folder to start over"
        )
    return None


def _read(path: pathlib.Path) -> dict[str, Any]:
    header, _, payload = path.read_bytes().partition(b"\n")
    if not header.startswith(_MAGIC):
        raise CorruptError(f"{path} does not begin like a checkpoint of this version")
    if header[len(_MAGIC) :] != hashlib.sha256(payload).hexdigest().encode():
        raise CorruptError(f"{path} is cut short or changed: its checksum is wrong")
    return serialization.msgpack_restore(payload)


def _named(tree: PyTree) -> dict[str, Any]:
    """Leaves by their path, in the order of the tree."""
    return {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _pack(x: Any) -> Any:
    """An array as numpy; a typed key as its words and the name of its generator."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return {"impl": str(jax.random.key_impl(x)), "words": np.asarray(jax.random.key_data(x))}
    return np.asarray(x)


def _unpack(path: pathlib.Path, name: str, packed: Any, wanted: Any) -> jax.Array:
    if isinstance(packed, dict):
        found = jax.random.wrap_key_data(jnp.array(packed["words"]), impl=packed["impl"])
    else:
        found = packed
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise MismatchError(
            f"{path}: {name.lstrip('.')} is {found.dtype}{list(found.shape)}, but this "
            f"configuration needs {wanted.dtype}{list(wanted.shape)}"
        )
    return jnp.array(found)


def _some(names: list[str], count: int = 3) -> str:
    shown = ", ".join(name.lstrip(".") for name in names[:count])
    return shown + (f" and {len(names) - count} more" if len(names) > count else "")

"""The published weights of Disco103, from the file of its authors.

It is `disco_rl/update_rules/weights/disco_103.npz` of https://github.com/google-deepmind/disco_rl,
of whose licences one is CC-BY 4.0 and the other Apache 2.0; it does not come with this package.
"""

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from metarl.nets.disco import PER_ACTION, SEEN, Sizes, disco_init
from metarl.rules.authors import find
from metarl.types import Eta

SHA256 = "dac840a15b81e8805326363458c33979626172618f620d9e6e170315388530aa"


def published(name: str, sizes: Sizes) -> Eta:
    """The weights as eta.

    Args:
      name: of the file, or `disco103` for the one that METARL_DISCO103 names; see `authors.find`.
      sizes: what the network should be.

    Raises:
      ValueError: no such file, another one, or a network of other sizes.
    """
    path = find(name)
    data = path.read_bytes()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            entries = {key: archive[key] for key in archive.files}
    except Exception as error:  # whatever a file that is cut short makes it say
        raise ValueError(f"{path}: cut short, or no file of weights ({error})") from error
    try:
        eta = converted(entries, sizes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise ValueError(
            f"{path} has the form of Disco103's weights, but is not that file: its sha256 is "
            f"{found}, not {SHA256}"
        )
    return eta


def converted(entries: Mapping[str, np.ndarray], sizes: Sizes) -> Eta:
    """Eta from the arrays of a file, [in, out] where ours are, but for LSTMs.

    Haiku's have one matrix for input and state and the gates in the order in, cell, forget, out,
    and add 1 to the forget gate, which is part of the bias here.

    Raises:
      ValueError: an array that is missing, unknown or of another shape or dtype.
    """
    form = shapes(sizes)
    for kind, names in (("lacks", form.keys() - entries), ("has", entries.keys() - form)):
        if names:
            raise ValueError(f"it {kind} {', '.join(sorted(names))}, unlike Disco103's weights")
    for name, shape in form.items():
        x = entries[name]
        if x.shape != shape or x.dtype != np.float32:
            raise ValueError(
                f"{name} is {x.dtype}{list(x.shape)}, but of these sizes it would be "
                f"float32{list(shape)}; sizes are {sizes._asdict()}"
            )
    found: dict[str, Any] = {}
    for path, prefix in LAYERS.items():
        w, b = entries[f"{prefix}/w"], entries[f"{prefix}/b"]
        w = w[0] if w.ndim == 3 else w  # a convolution of one step
        layer = _lstm(w, b) if path.endswith("core") else {"w": w, "b": b}
        found |= {f"{path}/{name}": x for name, x in _flat(layer).items()}
    like = jax.eval_shape(lambda: disco_init(jax.random.key(0), sizes))
    pick = lambda path, _: found[_name(path)]  # noqa: E731
    return jax.tree_util.tree_map_with_path(pick, like)


def _life(inner: str) -> str:
    return f"lstm/~/meta_lstm/~unroll/{inner}"


LAYERS = {  # of eta -> where they are in the file
    **{f"embed/y/{i}": f"lstm/mlp/~/linear_{i}" for i in (0, 1)},
    **{f"embed/z/{i}": f"lstm/mlp_1/~/linear_{i}" for i in (0, 1)},
    "embed/mix/0": "lstm/sequential/conv1_d",
    "embed/mix/1": "lstm/sequential/conv1_d_1",
    "core": "lstm/lstm/linear",
    "gate": "lstm/linear",
    "summary": "lstm/linear_1",
    "y": "lstm/linear_2",
    "z": "lstm/linear_3",
    "policy/0": "lstm/sequential_1/conv1_d",
    "policy/1": "lstm/linear_4",
    **{f"life/embed/y/{i}": _life(f"mlp/~/linear_{i}") for i in (0, 1)},
    **{f"life/embed/z/{i}": _life(f"mlp_1/~/linear_{i}") for i in (0, 1)},
    "life/embed/mix/0": _life("sequential/conv1_d"),
    "life/embed/mix/1": _life("sequential/conv1_d_1"),
    "life/in": _life("mlp_2/~/linear_0"),
    "life/core": _life("lstm/linear"),
}


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """What is in the file of a network of these sizes."""
    y, hidden, memory, width = sizes
    embed: dict[str, tuple[int, ...]]
    embed = {"y/0": (y, width), "y/1": (width, 1), "z/0": (y, width), "z/1": (width, 1)}
    embed |= {"mix/0": (1, 2 * PER_ACTION, width), "mix/1": (1, 2 * width, 2)}
    layers = {
        **{f"embed/{name}": shape for name, shape in embed.items()},
        "core": (SEEN + hidden, 4 * hidden),
        "gate": (memory, hidden),
        "summary": (hidden, 1),
        "y": (hidden, y),
        "z": (hidden, y),
        "policy/0": (1, 2 * (hidden + 2), width),
        "policy/1": (width, 1),
        **{f"life/embed/{name}": shape for name, shape in embed.items()},
        "life/in": (SEEN + 2, width),
        "life/core": (width + memory, 4 * memory),
    }
    weights = {f"{LAYERS[name]}/w": shape for name, shape in layers.items()}
    return weights | {f"{LAYERS[name]}/b": shape[-1:] for name, shape in layers.items()}


def _lstm(w: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """As `metarl.nets.lstm` has it."""
    gates = lambda x: np.concatenate([np.split(x, 4, axis=-1)[i] for i in (0, 2, 1, 3)], axis=-1)  # noqa: E731
    hidden = len(b) // 4
    bias = gates(b)
    bias[hidden : 2 * hidden] += 1
    return {"in": {"w": gates(w)[:-hidden], "b": bias}, "rec": {"w": gates(w)[-hidden:]}}


def _flat(layer: dict[str, Any]) -> dict[str, np.ndarray]:
    return {_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(layer)}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")

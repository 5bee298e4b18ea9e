"""JSON that any reader takes."""

import json
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from metarl.files import write_json


class Point(NamedTuple):
    x: float
    y: float


def test_arrays_become_lists_and_what_is_not_finite_null(tmp_path):
    value = {
        "array": np.array([[1.5, np.nan], [np.inf, 0]]),
        "scalars": (np.float32(0.5), jnp.int32(3), np.bool_(True), -np.inf),
        "named": Point(1, np.float64("nan")),
        "rest": ["text", 7, False, None],
    }
    write_json(tmp_path / "new" / "value.json", value)
    text = (tmp_path / "new" / "value.json").read_text()
    assert text.endswith("}\n") and "NaN" not in text and "Infinity" not in text
    assert json.loads(text) == {
        "array": [[1.5, None], [None, 0.0]],
        "scalars": [0.5, 3, True, None],
        "named": {"x": 1, "y": None},
        "rest": ["text", 7, False, None],
    }


def test_what_has_no_form_is_refused_and_the_file_stays(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, 1, indent=None)
    with pytest.raises(TypeError, match="set does not fit into JSON"):
        write_json(path, {"a": {1}})
    assert path.read_text() == "1\n"

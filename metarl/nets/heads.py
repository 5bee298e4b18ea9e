"""Linear read-outs: one per head that the update rule asked for."""

from collections.abc import Mapping

import jax

from metarl.nets.linear import linear, linear_init
from metarl.ops.distributions import masked
from metarl.types import Heads, Key, Params

_SMALL = ("logits", "mean", "log_std")  # a new policy is nearly uniform


def heads_init(key: Key, width: int, heads: Mapping[str, int]) -> Params:
    """Weights per head: scale 0.01 for policies, 1 for the rest. The key is consumed."""
    keys = jax.random.split(key, len(heads))
    scales = [0.01 if name in _SMALL else 1.0 for name in heads]
    return {
        name: linear_init(k, width, size, scale)
        for k, (name, size), scale in zip(keys, heads.items(), scales, strict=True)
    }


def apply_heads(params: Params, x: jax.Array, mask: jax.Array | None) -> Heads:
    """[width] -> {name: [size]}; illegal actions get no probability."""
    return masked({name: linear(layer, x) for name, layer in params.items()}, mask)

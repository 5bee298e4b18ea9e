"""Linear read-outs: one per head that the update rule asked for.

A Gaussian policy speaks in units of the action space: where an agent says mean 0 and log_std 0, the
head is the middle of the box and the logarithm of half its width; unbounded actions keep their own
unit. So a new agent's actions fill the box whatever its size, a third of them lying outside.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Space

from metarl.nets.linear import linear, linear_init
from metarl.ops.distributions import masked
from metarl.types import Heads, Key, Params

POLICY_HEADS = ("logits", "mean", "log_std")  # their weights start small: nearly uniform


def heads_init(
    key: Key, width: int, heads: Mapping[str, int], *, free_log_std: bool = False
) -> Params:
    """Weights per head: scale 0.01 for policies, 1 for the rest. The key is consumed.

    With `free_log_std` the head of that name has a bias alone: the same spread in every state. The
    head `epsilon` never has more: it is one number, which starts at 1 and which a rule writes.
    """
    keys = jax.random.split(key, len(heads))
    scales = [0.01 if name in POLICY_HEADS else 1.0 for name in heads]
    params = {
        name: linear_init(k, width, size, scale)
        for k, (name, size), scale in zip(keys, heads.items(), scales, strict=True)
    }
    if free_log_std and "log_std" in params:
        del params["log_std"]["w"]
    if "epsilon" in params:
        params["epsilon"] = {"b": jnp.ones(heads["epsilon"])}
    return params


def with_epsilon(params: Params, epsilon: jax.Array) -> Params:
    """An agent's params with another probability of exploring, a number.

    Raises:
      ValueError: the agent has no head of that name.
    """
    if "epsilon" not in params["heads"]:
        raise ValueError(f"no head 'epsilon' among {sorted(params['heads'])}; declare it in heads")
    old = params["heads"]["epsilon"]["b"]
    head = {"b": jnp.broadcast_to(epsilon, old.shape).astype(old.dtype)}
    return {**params, "heads": {**params["heads"], "epsilon": head}}


def apply_heads(
    params: Params, x: jax.Array | Mapping[str, jax.Array], actions: Space, mask: jax.Array | None
) -> Heads:
    """[width], or one for each head, -> {name: [size]}; illegal actions get no probability."""
    return masked(in_units_of(actions, raw_heads(params, x)), mask)


def raw_heads(params: Params, x: jax.Array | Mapping[str, jax.Array]) -> Heads:
    """The same as the linear maps say it, with no mask and in the agent's own unit."""
    each = x if isinstance(x, Mapping) else dict.fromkeys(params, x)
    return {
        name: linear(layer, each[name]) if "w" in layer else jnp.asarray(layer["b"])
        for name, layer in params.items()
    }


def in_units_of(actions: Space, heads: Heads) -> Heads:
    """The heads of a Gaussian policy from the unit of the agent to that of the action space."""
    if not isinstance(actions, Box) or "mean" not in heads:
        return heads
    bounded = actions.bounded_below & actions.bounded_above
    low, high = (np.where(bounded, x, y) for x, y in ((actions.low, -1.0), (actions.high, 1.0)))
    middle, half = np.float32((high + low) / 2), np.float32((high - low) / 2)
    mean, log_std = heads["mean"] * half + middle, heads["log_std"] + np.log(half)
    return {**heads, "mean": mean, "log_std": log_std}

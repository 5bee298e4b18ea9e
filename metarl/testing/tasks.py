"""Task distributions: what `sample_params` and `mutate` return must be playable. Only traced."""

import inspect
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from metarl.testing.compare import differences
from metarl.testing.shapes import reason
from metarl.types import PyTree


def task_problems(env: Any, params: PyTree) -> Iterator[str]:
    """What is wrong with an environment's tasks, where it has any."""
    key = jax.random.key(0)
    if hasattr(env, "sample_params"):
        parameters = inspect.signature(env.sample_params).parameters
        for split in ("train", "heldout") if "split" in parameters else (None,):
            yield from _sample_problems(env, key, split)
    if hasattr(env, "mutate"):
        try:
            changed = jax.eval_shape(env.mutate, key, params)
        except Exception as error:  # it is the caller's own code: anything may happen
            yield f"`mutate` cannot be compiled: {reason(error)}"
            return
        for difference in differences(changed, params):
            yield f"`mutate` returns other params than it was given{difference}"


def _sample_problems(env: Any, key: jax.Array, split: str | None) -> Iterator[str]:
    """A batch of tasks can be drawn and each can be played."""
    options = {} if split is None else {"split": split}
    words = "" if split is None else f" with split={split!r}"

    def start(key: jax.Array) -> PyTree:
        return env.reset(key, env.sample_params(key, **options))

    try:
        one = jax.eval_shape(lambda key: env.sample_params(key, **options), key)
        jax.eval_shape(jax.vmap(start), jnp.stack([key] * 2))
    except Exception as error:  # it is the caller's own code: anything may happen
        yield f"`sample_params`{words}, mapped over keys, gives no start: {reason(error)}"
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(one):
        if getattr(leaf, "weak_type", False) and leaf.dtype != bool:
            yield f"`sample_params`{words} returns a weak{jax.tree_util.keystr(path)}; give a dtype"

"""What can be said of an environment before it runs: its form, and what tracing tells."""

import copy
import os
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from metarl.ops.sampling import random_action
from metarl.testing.compare import differences, kind, leaves
from metarl.types import PyTree, TimeStep

_JAX = os.path.dirname(jax.__file__)


def form_problems(env: Any) -> Iterator[str]:
    """What the class itself shows, without a call of `reset` or `step`."""
    for name in ("observation_space", "action_space"):
        space = getattr(env, name, None)
        if not isinstance(space, spaces.Space):
            yield f"`{name}` is {space!r}; make it a property that returns a gymnasium Space"
    for name in ("default_params", "reset", "step"):
        if not callable(getattr(env, name, None)):
            yield f"there is no method `{name}`; see metarl.types.Environment"
    space = getattr(env, "action_space", None)
    if isinstance(space, spaces.Discrete):
        if space.start != 0:
            yield f"`action_space` starts at {space.start}; number actions from 0"
        count = getattr(env, "num_actions", None)
        if count != space.n:
            yield f"`num_actions` is {count}, but `action_space` has {space.n}; make them equal"
    yield from _hash_problems(env)


def shape_problems(env: Any, params: PyTree) -> Iterator[str]:
    """Types, shapes and structure of what the methods return. Nothing is compiled."""
    for path, leaf in leaves(params):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
            yield f"params{path} is {leaf!r}; make it an array, such as jnp.float32({leaf!r})"
    key, action = jax.random.key(0), random_action(env.action_space, jax.random.key(0))
    start, problem = _traced_step("reset", env.reset, key, params)
    if problem:
        yield problem
        return
    after, problem = _traced_step("step", env.step, key, start[0], action, params)
    if problem:
        yield problem
        return
    wrong = [
        *_timestep_problems(env, "reset", start[1]),
        *_timestep_problems(env, "step", after[1]),
    ]
    yield from wrong
    for difference in differences(after[0], start[0]):
        yield f"the state of `step` is not that of `reset`{difference}; make them equal"
    for difference in differences(after[1], start[1]) if not wrong else ():
        yield f"the time step of `step` is not that of `reset`{difference}; make them equal"
    yield from _batch_problems(env, key, action, params)
    yield from _view_problems(env, start[0], start[1], params)


def _hash_problems(env: Any) -> Iterator[str]:
    """Equal environments share one compiled programme."""
    try:
        twin = copy.deepcopy(env)
        equal = hash(env) == hash(twin) and env == twin
    except TypeError as error:
        yield (
            f"it cannot be hashed ({error}); decorate the class with @dataclass(frozen=True), keep "
            "sizes and switches as its fields, and move arrays into the params"
        )
    else:
        if not equal:
            yield "an equal copy does not compare equal; decorate it with @dataclass(frozen=True)"


def _traced(what: str, function: Callable[..., Any], *args: Any) -> tuple[Any, str | None]:
    """The shapes of `function(*args)`, or why there are none."""
    try:
        return jax.eval_shape(function, *args), None
    except Exception as error:  # it is the caller's own code: anything may happen
        return None, f"{what} cannot be compiled: {reason(error)}"


def reason(error: Exception) -> str:
    """What was raised and where, outside JAX, and what to do if a traced value was the cause."""
    said = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _JAX not in f.filename]
    traced = isinstance(error, jax.errors.JAXTypeError | jax.errors.JAXIndexError)
    advice = (
        "; choose with jnp.where and index with arrays: no `if`, `int()` or numpy on what depends "
        "on the state, the action or the params"
    )
    return f"{said} ({frames[-1].filename}:{frames[-1].lineno}){advice if traced else ''}"


def _traced_step(name: str, method: Callable[..., Any], *args: Any) -> tuple[Any, str | None]:
    """The same for `reset` and `step`, which return a pair."""
    out, problem = _traced(f"`{name}`", method, *args)
    pair = isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], TimeStep)
    if problem or pair:
        return out, problem
    return None, f"`{name}` returns a {type(out).__name__}; return (state, metarl.types.TimeStep)"


def _timestep_problems(env: Any, name: str, ts: TimeStep) -> Iterator[str]:
    """The fields of a traced time step against the spaces."""
    for difference in differences(ts.obs, _example(env.observation_space)):
        yield f"the observation of `{name}` is not that of observation_space{difference}"
    scalars = {"reward": np.float32, "terminated": np.bool_, "truncated": np.bool_}
    for field, dtype in scalars.items():
        for difference in differences(getattr(ts, field), jax.ShapeDtypeStruct((), dtype)):
            yield f"`{name}` returns a wrong {field}{difference}"
    if ts.action_mask is not None and isinstance(env.action_space, spaces.Discrete):
        mask = jax.ShapeDtypeStruct((int(env.action_space.n),), np.bool_)
        for difference in differences(ts.action_mask, mask):
            yield f"`{name}` returns a wrong action_mask{difference}: one bool for each action"


def _batch_problems(env: Any, key: jax.Array, action: jax.Array, params: PyTree) -> Iterator[str]:
    """A task distribution is a `vmap` over params."""

    def first_step(params: PyTree, key: jax.Array, action: jax.Array):
        state, _ = env.reset(key, params)
        return env.step(key, state, action, params)

    batch = jax.tree.map(lambda x: jnp.stack([x] * 2), (params, key, action))
    _, problem = _traced("a vmap over params", jax.vmap(first_step), *batch)
    if problem:
        yield problem


def _view_problems(env: Any, state: PyTree, ts: TimeStep, params: PyTree) -> Iterator[str]:
    """The optional methods `observe` and `render`."""
    if hasattr(env, "observe"):
        seen, problem = _traced("`observe`", env.observe, state, params)
        if problem:
            yield problem
        for difference in differences(seen, (ts.obs, ts.action_mask)) if not problem else ():
            yield f"`observe` differs from the (obs, action_mask) of `reset`{difference}"
    if hasattr(env, "render"):
        picture, problem = _traced("`render`", env.render, state, params)
        if problem:
            yield problem
        elif (len(picture.shape), picture.shape[-1:], picture.dtype) != (3, (3,), np.uint8):
            yield f"`render` returns {kind(picture)}; return a picture [height, width, 3] uint8"


def _example(space: spaces.Space) -> PyTree:
    """Shapes and dtypes of a space's elements; JAX's 32 bits stand for numpy's 64."""
    if isinstance(space, spaces.Dict):
        return {name: _example(part) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_example(part) for part in space.spaces)
    return jax.ShapeDtypeStruct(space.shape or (), jax.dtypes.canonicalize_dtype(space.dtype))

"""Several games at once for one agent: their streams side by side, each game stepped alone.

SRWM's multi-task setting (Irie et al. 2022, https://arxiv.org/abs/2202.05780): one agent, several
procedurally generated games. No branch chooses a game, so no game's step is computed for the
streams of another, as `jax.lax.switch` would do under `vmap`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from metarl.ops import keys
from metarl.registry import make, unknown
from metarl.rollout import Reset, VectorEnv, fresh, vectorize
from metarl.types import Environment, Key, PyTree, TimeStep, VectorState
from metarl.wrappers.alike import Alike, alike

GAME_SETS: Mapping[str, tuple[str, ...]] = {  # by mode; of SRWM's, those that there are here
    "memory": ("ProcDodgeball-v0", "ProcHeist-v0", "ProcMaze-v0", "ProcMiner-v0"),
    "easy": ("ProcBigFish-v0", "ProcMaze-v0", "ProcLeaper-v0", "ProcStarPilot-v0"),
}
LEVELS: Mapping[str, int] = {"memory": 500, "easy": 200}  # of each game in training, as in SRWM


def game_set(name: str) -> tuple[Alike, ...]:
    """The games of a set, in the mode of that name, with one observation space.

    `"memory"` has all four games of SRWM's memory mode. `"easy"` has four of its first six: there
    is no fruitbot and no plunder here.

    Raises:
      ValueError: no such set.
    """
    if name not in GAME_SETS:
        raise unknown("set of games", name, [*GAME_SETS])
    return alike([make(game, mode=name) for game in GAME_SETS[name]])


def together(
    envs: Sequence[Environment], num_envs: int | Sequence[int], reset: Reset = fresh
) -> VectorEnv:
    """Steps several environments as one; its params are a tuple of theirs.

    Streams lie in the order of the environments. State and starts are tuples too; of `info` remains
    what all of them tell, in one form. An agent for all of them is built from any of them.

    Args:
      envs: with equal spaces (`metarl.wrappers.alike.alike` makes them so).
      num_envs: streams of each.
      reset: as of `vectorize`, for each of them.

    Raises:
      ValueError: no environments, different spaces, or other numbers than one for each.
    """
    envs = tuple(envs)
    counts = (num_envs,) * len(envs) if isinstance(num_envs, int) else tuple(num_envs)
    if not envs or len(counts) != len(envs):
        raise ValueError(f"together needs environments and a number for each, got {counts}")
    for env in envs[1:]:
        for space in ("observation_space", "action_space"):
            if getattr(env, space) != getattr(envs[0], space):
                raise ValueError(
                    f"{env} has another {space} than {envs[0]}; make them alike "
                    "(metarl.wrappers.alike) or play them apart"
                )
    return _join([vectorize(env, n, reset) for env, n in zip(envs, counts, strict=True)], counts)


def _join(venvs: Sequence[VectorEnv], counts: tuple[int, ...]) -> VectorEnv:
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    slices = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]

    def init(key: Key, params: PyTree) -> VectorState:
        states = [
            venv.init(k, p)
            for venv, k, p in zip(venvs, jax.random.split(key, len(venvs)), params, strict=True)
        ]
        return _joined(states, counts)

    def step(
        key: Key, state: VectorState, actions: jax.Array, params: PyTree
    ) -> tuple[VectorState, TimeStep]:
        states, steps = [], []
        for i, (venv, k) in enumerate(zip(venvs, keys.split(key, len(venvs)), strict=True)):
            own = VectorState(
                state.env[i],
                jax.tree.map(lambda x, i=i: x[slices[i]], state.inputs),
                state.starts[i],
            )
            own, ts = venv.step(k, own, actions[slices[i]], params[i])
            states.append(own)
            steps.append(ts)
        return _joined(states, counts), _concatenated(_in_one_form(steps, counts))

    return VectorEnv(init, step)


def _joined(states: Sequence[VectorState], counts: tuple[int, ...]) -> VectorState:
    inputs = [state.inputs for state in states]
    masked = _masked(inputs, counts)
    env, starts = (tuple(getattr(s, name) for s in states) for name in ("env", "starts"))
    return VectorState(env, _concatenated(masked), starts)


def _in_one_form(steps: Sequence[TimeStep], counts: tuple[int, ...]) -> list[TimeStep]:
    """The same, with the entries of `info` that all have with one shape and dtype."""
    form: Callable[[Any], Any] = lambda x: (x.shape[1:], x.dtype)  # noqa: E731
    first = steps[0].info
    common = [
        name
        for name in first
        if all(name in ts.info and form(ts.info[name]) == form(first[name]) for ts in steps)
    ]
    told = [ts.replace(info={name: ts.info[name] for name in common}) for ts in steps]
    return _masked(told, counts)


def _masked(rows: Sequence[Any], counts: tuple[int, ...]) -> list[Any]:
    """The same, with masks for all if some have one: where there is none every action is legal."""
    masks = [row.action_mask for row in rows]
    some = next((mask for mask in masks if mask is not None), None)
    if some is None:
        return list(rows)
    every = lambda count: jnp.ones((count, *some.shape[1:]), bool)  # noqa: E731
    filled = [every(n) if m is None else m for m, n in zip(masks, counts, strict=True)]
    return [row.replace(action_mask=m) for row, m in zip(rows, filled, strict=True)]


def _concatenated(rows: Sequence[PyTree]) -> Any:
    return jax.tree.map(lambda *x: jnp.concatenate(x), *rows)

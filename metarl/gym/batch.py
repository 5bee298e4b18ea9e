"""The compiled half of the vector environment: pure functions over all rows at once."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from gymnasium.vector import AutoresetMode

from metarl.ops import keys
from metarl.rollout import Pool, Reset, where
from metarl.types import Environment, PyTree, TimeStep

_POOL = 0x706F6F6C  # folded into a key, apart from what its stream draws


class Plan(NamedTuple):
    """All that is static: equal plans share compiled programmes."""

    env: Environment
    num_envs: int
    mode: AutoresetMode
    reset: Reset
    task_axis: int | None  # 0: params have a row for each environment


class Loop(struct.PyTreeNode):
    """What goes from step to step."""

    key: jax.Array  # [N] keys, the rest of each row's random stream
    state: PyTree  # [N, ...]
    ts: TimeStep  # [N, ...] what was shown last
    last: jax.Array  # [N] bool, the episode ended with the last step
    starts: PyTree  # of the pool: its key and its rows


@partial(jax.jit, static_argnums=0)
def begin(plan: Plan, words: jax.Array, params: PyTree) -> Loop:
    """Starts all rows, with the random streams of `words` [N, 2]."""
    key = jax.random.wrap_key_data(words, impl="threefry2x32")
    starts: PyTree = ()
    if isinstance(plan.reset, Pool):
        fill, draw = keys.split(jax.random.fold_in(key[0], _POOL))
        starts = (draw, plan.reset.init(plan.env, fill, params))
    key, now = _split(key)
    state, ts = jax.vmap(plan.env.reset, in_axes=(0, plan.task_axis))(now, params)
    return Loop(key, state, ts, jnp.zeros(plan.num_envs, bool), starts)


@partial(jax.jit, static_argnums=0)
def renew(
    plan: Plan, loop: Loop, mask: jax.Array, seeded: jax.Array, words: jax.Array, params: PyTree
) -> Loop:
    """Starts the rows of `mask` [N], with a new stream where `seeded` [N]."""
    key = where(seeded, jax.random.wrap_key_data(words, impl="threefry2x32"), loop.key)
    rest, now = _split(key)
    loop = loop.replace(key=where(mask, rest, key), last=loop.last & ~mask)
    return _restart(plan, mask, now, loop, params)


@partial(jax.jit, static_argnums=0)
def step(
    plan: Plan, loop: Loop, actions: jax.Array, params: PyTree
) -> tuple[Loop, TimeStep | None]:
    """One step of every row, and what `SAME_STEP` replaced, [N, ...]."""
    over = loop.last
    rest, now = _split(loop.key)
    state, ts = jax.vmap(plan.env.step, in_axes=(0, 0, 0, plan.task_axis))(
        now, loop.state, actions, params
    )
    loop = loop.replace(key=rest, state=state, ts=ts, last=ts.last)
    if plan.mode == AutoresetMode.NEXT_STEP:
        loop = _restart(plan, over, now, loop, params)  # of these rows `now` served nothing else
        return loop.replace(last=loop.ts.last), None
    if plan.mode == AutoresetMode.DISABLED:
        return loop, None
    rest, now = _split(loop.key)
    loop = loop.replace(key=where(ts.last, rest, loop.key))
    new = _restart(plan, ts.last, now, loop, params)
    outcome = {"reward": ts.reward, "terminated": ts.terminated, "truncated": ts.truncated}
    return new.replace(ts=new.ts.replace(**outcome)), ts


@partial(jax.jit, static_argnums=0)
def pictures(plan: Plan, state: PyTree, params: PyTree) -> jax.Array:
    """[N, H, W, 3] uint8."""
    env: Any = plan.env
    return jax.vmap(env.render, in_axes=(0, plan.task_axis))(state, params)


def _restart(plan: Plan, mask: jax.Array, now: jax.Array, loop: Loop, params: PyTree) -> Loop:
    """New starts in the rows of `mask` [N], from the keys `now` [N]; no work if there are none."""

    def anew(loop: Loop) -> Loop:
        starts = loop.starts
        if isinstance(plan.reset, Pool):
            state, ts, starts = _pooled(plan, loop, params)
        else:
            state, ts = jax.vmap(plan.env.reset, in_axes=(0, plan.task_axis))(now, params)
        state, ts = where(mask, (state, ts), (loop.state, loop.ts))
        return loop.replace(state=state, ts=ts, starts=starts)

    return jax.lax.cond(jnp.any(mask), anew, lambda loop: loop, loop)


def _pooled(plan: Plan, loop: Loop, params: PyTree) -> tuple[PyTree, TimeStep, PyTree]:
    """Stored starts: states, what they show, and the pool afterwards."""
    rest, now = keys.split(loop.starts[0])
    env: Any = plan.env
    draw: Any = plan.reset
    state, shown, rows = draw.draw(env, loop.starts[1], now, params, plan.num_envs)
    if hasattr(env, "observe"):
        shown = jax.vmap(env.observe, in_axes=(0, None))(state, params)
    zero = jax.tree.map(jnp.zeros_like, loop.ts)
    return state, zero.replace(obs=shown[0], action_mask=shown[1]), (rest, rows)


def _split(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[N] keys into [N] that go on and [N] that are drawn from."""
    both = jax.vmap(keys.split)(key)
    return both[:, 0], both[:, 1]

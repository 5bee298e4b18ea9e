"""What happens when an environment is played: endings, bounds, and one result however it is run."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl.ops.sampling import random_action
from metarl.testing.compare import nudge, unequal
from metarl.types import Key, PyTree, TimeStep

STREAMS = 4  # the first half plays legal actions alone, the second half any action
REPEATED = 4  # steps that are run again alone, and without compilation


class Played(NamedTuple):
    """Random play without a reset: [N, T, ...] states and time steps before and after each step."""

    before: tuple[PyTree, TimeStep]
    key: Key
    action: jax.Array
    after: tuple[PyTree, TimeStep]


def play(env: Any, params: PyTree, steps: int, key: Key) -> tuple[Played, PyTree]:
    """Plays `STREAMS` streams in one programme. The key is consumed.

    Returns:
      What was played, and the params of each stream, [N, ...].
    """
    many = jax.tree.map(lambda x: jnp.stack([x] * STREAMS), params)
    legal = jnp.arange(STREAMS) < STREAMS // 2
    fresh = jax.random.split(key, (STREAMS, 2 * steps + 1))

    def stream(fresh: Key, params: PyTree, legal: jax.Array) -> Played:
        def step(now: tuple[PyTree, TimeStep], pair: tuple[Key, Key]):
            mask = None if now[1].action_mask is None else now[1].action_mask | ~legal
            action = random_action(env.action_space, pair[0], mask)
            after = env.step(pair[1], now[0], action, params)
            return after, Played(now, pair[1], action, after)

        pairs = (fresh[1::2], fresh[2::2])
        return jax.lax.scan(step, env.reset(fresh[0], params), pairs)[1]

    return jax.jit(jax.vmap(stream))(fresh, many, legal), many


def play_problems(env: Any, params: PyTree, played: Played, many: PyTree) -> Iterator[str]:
    """Endings, bounds and views."""
    ts = jax.device_get(played.after[1])
    last = ts.terminated | ts.truncated  # [N, T]
    running = np.cumsum(last, axis=1) - last == 0  # up to and with the first end
    start = jax.tree.map(lambda x: x[:, 0], jax.device_get(played.before[1]))
    if (start.terminated | start.truncated).any():
        yield "`reset` returns a state that has ended already; start with both flags False"
    yield from _endings(ts, last, running)
    yield from _bounds(env, start.obs, np.ones(STREAMS, bool), "of `reset`")
    yield from _bounds(env, ts.obs, running, "in play")
    yield from _bounds(env, ts.obs, ~running, "past the end, where stepping should be harmless,")
    if hasattr(env, "observe"):
        view = jax.jit(jax.vmap(jax.vmap(env.observe, in_axes=(0, None))))(played.after[0], many)
        shown = _rows((ts.obs, ts.action_mask), running)
        for path in unequal(_rows(jax.device_get(view), running), shown):
            yield f"`observe` of a state differs{path} from what the step that led to it showed"
    if hasattr(env, "render_text"):
        text = env.render_text(_rows(played.before[0], (0, 0)), params)
        if not isinstance(text, str) or not text:
            yield f"`render_text` returns {text!r}; return a string that shows the state"


def repeat_problems(env: Any, params: PyTree, played: Played) -> Iterator[str]:
    """The same `reset` and steps without compilation, compiled, and compiled in a batch."""
    key = jax.random.key(0)
    yield from _same("reset", jax.jit(env.reset)(key, params), partial(env.reset, key, params))
    step = jax.jit(env.step)
    for t in range(min(REPEATED, played.key.shape[1])):
        state, key, action, batched = _rows((played.before[0], *played[1:]), (-1, t))
        args = (key, state, action, params)
        alone, nudged = step(*args), step(key, nudge(state), action, params)
        found = [*_same("step", alone, partial(env.step, *args), nudged)]
        for path in unequal(alone, batched, nudged) if not found else ():
            found += [f"`step` in a batch differs{path} from `step` alone; keep its rows apart"]
        if found:
            yield found[0]
            return


def _endings(ts: TimeStep, last: np.ndarray, running: np.ndarray) -> Iterator[str]:
    """Flags, masks and rewards of [N, T] steps."""
    both = running & ts.terminated & ts.truncated
    if both.any():
        yield f"step {_time(both)} terminates and truncates; truncated = ... & ~terminated"
    if ts.action_mask is not None:
        stuck = running & ~last & ~ts.action_mask.any(axis=-1)
        if stuck.any():
            yield f"step {_time(stuck)} leaves no legal action; end the episode, or allow them all"
    wrong = ~np.isfinite(ts.reward)
    if wrong.any():
        yield f"step {_time(wrong)} pays {ts.reward[wrong][0]}; a reward is finite, always"


def _bounds(env: Any, obs: PyTree, where: np.ndarray, when: str) -> Iterator[str]:
    """The first observation that is not in its space, among those `where` is true."""
    space = env.observation_space
    for index in map(tuple, np.argwhere(where)):
        if not space.contains(one := _rows(obs, index)):
            yield f"an observation {when} is not in {space}: {one}; widen the space or mend it"
            return


def _same(
    name: str, compiled: PyTree, plain: Callable[[], PyTree], nudged: PyTree | None = None
) -> Iterator[str]:
    """One call: compiled, and twice as it is."""
    first, second = plain(), plain()
    for path in unequal(first, second):
        yield f"`{name}` called twice with equal arguments differs{path}; draw from its key alone"
        return
    for path in unequal(compiled, first, nudged):
        yield f"`{name}` compiled differs{path} from `{name}` as it is; keep it a pure function"


def _rows(tree: PyTree, index: Any) -> PyTree:
    return jax.tree.map(lambda x: x[index], tree)


def _time(where: np.ndarray) -> int:
    return int(np.argwhere(where)[0][1])

"""Can every level be won? Scripted and searching players, on many levels side by side."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl.types import PyTree


class Played(NamedTuple):
    """Outcomes of one episode on each of `L` levels."""

    ret: jax.Array  # [L] float32, undiscounted
    length: jax.Array  # [L] int32
    terminated: jax.Array  # [L] bool, the task ended within the steps
    last: PyTree  # [L, ...] the states at the end


def play_levels(
    env: Any,
    params: PyTree,
    prepare: Callable[[PyTree], PyTree],
    player: Callable[[PyTree, PyTree], tuple[PyTree, jax.Array]],
    *,
    steps: int,
) -> Played:
    """One episode on every level of a procedurally generated environment, in one programme.

    Args:
      env: whose steps need no key.
      params: with `levels` [L, ...].
      prepare: from the first state to what the player remembers.
      player: from memory and state to memory and action.
      steps: where an episode is cut off.
    """
    key = jax.random.key(0)  # not used: all that happens follows from level and actions

    def episode(level: PyTree) -> Played:
        task = params.replace(levels=jax.tree.map(lambda x: x[None], level))
        state, _ = env.reset(key, task)

        def step(loop: tuple) -> tuple:
            memory, played = loop
            memory, action = player(memory, played.last)
            state, ts = env.step(key, played.last, action, task)
            ended = played.terminated | ts.terminated
            return memory, Played(played.ret + ts.reward, played.length + 1, ended, state)

        def going(loop: tuple) -> jax.Array:
            return ~loop[1].terminated & (loop[1].length < steps)

        start = Played(jnp.float32(0), jnp.int32(0), jnp.bool_(False), state)
        return jax.lax.while_loop(going, step, (prepare(state), start))[1]

    return jax.jit(jax.vmap(episode))(params.levels)


def foresee(game: Any, world: PyTree, plans: jax.Array) -> tuple[jax.Array, jax.Array, PyTree]:
    """What plans lead to in a procedurally generated game, which its steps decide alone.

    Args:
      game: with `advance`.
      world: now.
      plans: [P, H] actions.

    Returns:
      Returns [P] float32 until the task ends, steps [P] int32 that it goes on, at most H, and the
      worlds [P, ...] after H steps, meaningless where the task ended before.
    """

    def follow(plan: jax.Array) -> tuple[jax.Array, jax.Array, PyTree]:
        def step(loop: tuple, action: jax.Array) -> tuple[tuple, None]:
            ret, alive, going, world = loop
            world, reward, ended = game.advance(world, action)
            ret = jnp.where(going, ret + reward, ret)
            going &= ~ended
            return (ret, alive + going, going, world), None

        start = (jnp.float32(0), jnp.int32(0), jnp.bool_(True), world)
        ret, alive, _, last = jax.lax.scan(step, start, plan)[0]
        return ret, alive, last

    return jax.vmap(follow)(plans)

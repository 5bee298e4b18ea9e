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

    # It runs for longer than it compiles, whatever XLA is told to make haste with.
    optimised = {"xla_backend_optimization_level": 3}
    return jax.jit(jax.vmap(episode), compiler_options=optimised)(params.levels)


def foresee(game: Any, world: PyTree, plans: jax.Array) -> tuple[jax.Array, jax.Array, PyTree]:
    """What plans lead to in a procedurally generated game, which its steps decide alone.

    Args:
      game: with `advance`.
      world: now.
      plans: [P, H] actions.

    Returns:
      Returns [P] float32 until the task ends, steps [P] int32 after which it goes on, at most H,
      and the worlds [P, ...] then, or where the task ended.
    """

    def outcome(plan: jax.Array) -> tuple[jax.Array, jax.Array, PyTree]:
        last, earned, lasted, ended = _follow(game, world, plan)
        return earned, lasted - ended, last

    return jax.vmap(outcome)(plans)


def look_ahead(
    game: Any,
    draw: Callable[[jax.Array], jax.Array],
    worth: Callable[[PyTree, jax.Array, jax.Array, jax.Array], jax.Array],
    *,
    hold: int,
    steps: int,
) -> tuple[Callable, Callable]:
    """A player for `play_levels` that tries out plans in the true game and follows the best.

    Args:
      game: whose `advance(world, action)` is the truth.
      draw: from the number of the turn [] int32 to plans [P, H] int32 of actions, each held for
        `hold` steps. After the first action of the best plan it is another turn; what is left of
        that plan, its last action again at the end, is tried too, and so are ways to leave it later
        for each of the new ones.
      worth: of a plan, from the world after it, what it earned [] float32, the steps it lasted
        [] int32, and whether it ended the task [] bool.
      hold: steps.
      steps: of the episode.

    Returns:
      `prepare`, which plans the whole episode, and `player`, which plays it.
    """

    def follow(world: PyTree, plan: jax.Array) -> tuple[PyTree, jax.Array, jax.Array, jax.Array]:
        return _follow(game, world, jnp.repeat(plan, hold))

    def prepare(state: PyTree) -> jax.Array:
        def turn(loop: tuple) -> tuple:
            number, world, _, kept, actions = loop
            new = draw(number)
            cut = 1 + jnp.arange(new.shape[0])[:, None] % (new.shape[1] - 1)
            late = jnp.where(jnp.arange(new.shape[1]) < cut, kept, new)
            plans = jnp.concatenate([kept[None], new, late])
            values = jax.vmap(lambda plan: worth(*follow(world, plan)))(plans)
            best = plans[jnp.argmax(values)]
            world, _, _, ended = follow(world, best[:1])
            kept = jnp.concatenate([best[1:], best[-1:]])
            return number + 1, world, ended, kept, actions.at[number].set(best[0])

        def going(loop: tuple) -> jax.Array:
            return ~loop[2] & (loop[0] * hold < steps)

        first = draw(jnp.int32(0))[0]
        actions = jnp.zeros(-(-steps // hold), first.dtype)
        start = (jnp.int32(0), state.world, jnp.bool_(False), first, actions)
        return jax.lax.while_loop(going, turn, start)[-1]

    def player(actions: jax.Array, state: PyTree) -> tuple[jax.Array, jax.Array]:
        return actions, actions[state.time // hold]

    return prepare, player


def _follow(
    game: Any, world: PyTree, actions: jax.Array
) -> tuple[PyTree, jax.Array, jax.Array, jax.Array]:
    """The world after actions [H], or where the task ended; the return, the steps, the end."""

    def step(loop: tuple, action: jax.Array) -> tuple[tuple, None]:
        world, earned, lasted, ended = loop
        new, reward, end = game.advance(world, action)
        world = jax.tree.map(lambda x, y: jnp.where(ended, x, y), world, new)
        earned = earned + jnp.where(ended, 0, reward)
        return (world, earned, lasted + ~ended, ended | end), None

    start = (world, jnp.float32(0), jnp.int32(0), jnp.bool_(False))
    return jax.lax.scan(step, start, actions)[0]

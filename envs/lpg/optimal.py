"""Exact optima of tabular LPG grid-worlds by dynamic programming, backwards in time.

What a step is worth depends on the cell it leads to and the objects there were before it, not on
where it came from; and objects return independently. So a step of the programme is a mixture along
each object's own axis and a maximum over five moves: about `15 * num_states` operations, where a
transition matrix would take `num_states**2`.
"""

import jax
import jax.numpy as jnp

from metarl.envs.lpg.grid import LPGGrid
from metarl.envs.lpg.level import Params


def optimal_return(env: LPGGrid, params: Params, discount: float = 1.0) -> jax.Array:
    """The best expected return of an episode, [] float32; jit- and vmap-able over `params`.

    Args:
      env: a tabular one; static under jit.
      params: the level; `max_steps` is a loop's length, and under `vmap` the largest counts.
      discount: of rewards, for every step; 1 for the plain return.

    Raises:
      ValueError: the objects' places are random.
    """
    _check(env)
    moves = _moves(env, params)

    def another_step(_: jax.Array, values: jax.Array) -> jax.Array:
        return _action_values(env, params, moves, values, discount).max(axis=0)

    zero = jnp.zeros((env.size**2, 2**env.objects))
    values = jax.lax.fori_loop(0, params.max_steps, another_step, zero)
    return values[params.start, env.number(params.present)]


def optimal_policy(
    env: LPGGrid, params: Params, horizon: int, discount: float = 1.0
) -> tuple[jax.Array, jax.Array]:
    """Values and a best action of every state, by the number of steps that are left.

    Args:
      env, params, discount: as `optimal_return` takes them.
      horizon: H, the most steps left that are asked for; `max_steps` for whole episodes.

    Returns:
      values [H + 1, num_states] float32, the best expected return with so many steps left, and
      actions [H + 1, num_states] uint8, the first among the best; both by `env.index`. With no
      step left all are 0. `memory = 5 * H * num_states` bytes.

    Raises:
      ValueError: the objects' places are random.
    """
    _check(env)
    moves = _moves(env, params)

    def another_step(values: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        worth = _action_values(env, params, moves, values, discount)
        values, actions = worth.max(axis=0), jnp.argmax(worth, axis=0).astype(jnp.uint8)
        return values, (values.T.ravel(), actions.T.ravel())  # objects first, as `index` counts

    zero = jnp.zeros((env.size**2, 2**env.objects))
    _, (values, actions) = jax.lax.scan(another_step, zero, None, length=horizon)
    return _from_zero(values), _from_zero(actions)


def _action_values(
    env: LPGGrid, params: Params, moves: jax.Array, values: jax.Array, discount: float
) -> jax.Array:
    """[5, cells, 2**N] float32, what each action is worth if states after it are worth `values`."""
    cells, count = values.shape
    after = values
    for i in range(env.objects):  # object i is bit i: the axis with 2**i entries behind it
        absent, there = jnp.moveaxis(after.reshape(cells, -1, 2, 2**i), 2, 0)
        here = (jnp.arange(cells) == params.cells[i])[:, None, None]
        returns = absent + params.p_respawn[i] * (there - absent)
        after = jnp.stack([returns, jnp.where(here, absent, there)], axis=2).reshape(cells, count)
    taken = (jnp.arange(cells)[:, None] == params.cells)[:, None] & env.bits(jnp.arange(count))
    reward = jnp.sum(taken * params.rewards, axis=-1)  # [cells, 2**N]
    survival = 1 - jnp.minimum(jnp.sum(taken * params.p_terminate, axis=-1), 1)
    return (reward + discount * survival * after)[moves]


def _moves(env: LPGGrid, params: Params) -> jax.Array:
    """[5, cells] int32, where each action leads from each cell."""
    to = jax.vmap(env.target, in_axes=(0, None, None))
    cells = jnp.arange(env.size**2)
    return jax.vmap(to, in_axes=(None, 0, None))(cells, jnp.arange(5), params)


def _check(env: LPGGrid) -> None:
    if not env.tabular:
        raise ValueError(f"mode {env.mode!r} has random places: no table of states, no optimum")


def _from_zero(x: jax.Array) -> jax.Array:
    """Zeros before the first row of [H, ...]."""
    return jnp.concatenate([jnp.zeros_like(x[:1]), x])

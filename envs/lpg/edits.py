"""Small edits of LPG grid levels that stay among the levels their mode draws (as ACCEL needs).

Unlike `level.mutate`, which edits any level, these never leave the support of the distribution: no
more walls than the mode scatters, mazes keep theirs, and numbers stay within their bounds. (But a
level drawn with fewer objects for want of free cells may get more room.)
"""

import jax
import jax.numpy as jnp
import numpy as np

from metarl.envs.lpg.grid import LPGGrid
from metarl.envs.lpg.level import Params, choose, inside, log_uniform, uniform
from metarl.envs.lpg.modes import Mode, bounds, parts
from metarl.envs.splits import draw_level
from metarl.types import Key

EDITS = (
    "add a wall",
    "remove a wall",
    "move a wall",
    "move the start",
    "move an object",
    "another reward",
    "another p_terminate",
    "another p_respawn",
)
NUMBERS = {"reward": "rewards", "p_terminate": "p_terminate", "p_respawn": "p_respawn"}


def edit(env: LPGGrid, key: Key, params: Params, split: str | None = None) -> Params:
    """A level with one edit, each kind that is possible as likely. The key is consumed.

    A wall comes, goes or moves where the mode scatters walls; start or an object moves to a free
    cell; or the reward or a probability of a type of object is drawn anew. Size, clock and the
    number of objects stay. Whether free cells are connected is not checked, as in `sample`.
    Where no edit is possible the level is returned as it is.

    Args:
      env: whose mode draws such levels; of mixtures, only start and objects move.
      key: of the edit.
      params: the level.
      split: edits until the level belongs to it, as `params` must: edits of training levels would
        else show half of the held-out ones.
    """
    return draw_level(lambda key: _edited(env, key, params), key, split)


def possible(env: LPGGrid, params: Params) -> jax.Array:
    """[8] bool, which of `EDITS` a level allows."""
    modes = parts(env.mode)
    free, taken, used = _cells(env, params)
    room = jnp.sum(free & ~taken)  # for one thing more
    spare = room - (0 if env.tabular else env.objects)
    least, most = _wall_bounds(modes[0], params.size)
    scatters = jnp.bool_(len(modes) == 1 and modes[0].scattered > 0)
    walls = jnp.sum(params.walls)
    return jnp.stack(
        [
            scatters & (walls < most) & (spare > 0),
            scatters & (walls > least),
            scatters & (walls > 0) & (room > 0),
            room > 0,
            (room > 0) & jnp.any(used) & env.tabular,
            *[jnp.any(used & _varied(env, name)[params.kinds]) for name in NUMBERS],
        ]
    )


def _edited(env: LPGGrid, key: Key, params: Params) -> Params:
    """A level with one edit. The key is consumed."""
    which, wall, place, pick, value = jax.random.uniform(key, (5,))
    free, taken, used = _cells(env, params)
    what = choose(which, possible(env, params))  # -1: none is
    cell, objects = jnp.arange(env.size**2), jnp.arange(env.objects)
    spot = choose(place, free & ~taken)
    gone = (cell == choose(wall, params.walls)) & ((what == 1) | (what == 2))
    come = (cell == spot) & ((what == 0) | (what == 2))
    one = choose(pick, used)
    new = params.replace(
        walls=(params.walls & ~gone) | come,
        start=jnp.where(what == 3, spot, params.start),
        cells=jnp.where((objects == one) & (what == 4), spot, params.cells),
    )
    return new.replace(**_redrawn(env, params, what, used, draws=jnp.stack([pick, value])))


def _redrawn(
    env: LPGGrid, params: Params, what: jax.Array, used: jax.Array, *, draws: jax.Array
) -> dict[str, jax.Array]:
    """The objects' numbers, of which the edit `what` draws one anew for all objects of a type."""
    kinds = parts(env.mode)[0].kinds
    found = {}
    pick, value = draws
    for i, (name, leaf) in enumerate(NUMBERS.items()):
        old = getattr(params, leaf)
        ranges = [getattr(kind, name) for kind in kinds]
        drawn = (uniform if name == "reward" else log_uniform)(value, ranges)
        one = choose(pick, used & _varied(env, name)[params.kinds])
        same = used & (params.kinds == params.kinds[one]) & (what == 5 + i)
        found[leaf] = jnp.where(same, drawn[params.kinds], old)
    return found


def _varied(env: LPGGrid, name: str) -> jax.Array:
    """[kinds] bool, of which types a number is not constant; of mixtures, none."""
    modes = parts(env.mode)
    ranges = [bounds(getattr(kind, name)) for kind in modes[0].kinds if len(modes) == 1]
    if not ranges:
        return jnp.zeros(1, bool)
    return jnp.asarray(np.array([low < high for low, high in ranges]))


def _cells(env: LPGGrid, params: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
    """[cells] bool: without a wall, and taken by start or objects; [N] bool, objects there are."""
    used = params.present | (params.p_respawn > 0)
    cell = jnp.arange(env.size**2)
    taken = cell == params.start
    if env.tabular:
        taken |= jnp.any((cell[:, None] == params.cells) & used, axis=1)
    return inside(params.size, env.size) & ~params.walls, taken, used


def _wall_bounds(mode: Mode, side: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The fewest and the most walls on a grid of that side: the others fell beyond it."""
    beyond = mode.max_size**2 - side**2
    return jnp.maximum(mode.scattered - beyond, 0), jnp.minimum(mode.scattered, side**2)

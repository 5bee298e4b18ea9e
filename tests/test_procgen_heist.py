"""Heist: its levels by search, keys and doors by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.procgen.game import Params
from metarl.envs.procgen.heist import World
from metarl.envs.ways import distances
from metarl.testing.levels import play_levels

MODES = ("easy", "hard", "memory")
WAYS = jnp.array([7, 3, 5, 1])  # right, down, up, left


@pytest.fixture(scope="module", params=MODES)
def game(request):
    return metarl.make("ProcHeist-v0", mode=request.param)


def prepare(state):
    """The distances to key 0, 1, 2 and to the gem, each with the doors that are open by then."""
    world = state.world
    side = world.walls.shape[0]
    cell = jnp.arange(side**2).reshape(side, side)

    def stage(k, target):
        shut = jnp.isin(cell, jnp.where(jnp.arange(3) >= k, world.doors, -1))
        return jnp.pad(distances(~world.walls & ~shut, target), 1, constant_values=10**6)

    return jax.vmap(stage)(jnp.arange(4), jnp.append(world.keys, world.gem))


def player(fields, state):
    world = state.world
    pending = jnp.append(world.keys >= 0, True)
    far = fields[jnp.argmax(pending)]
    row, column = jnp.divmod(world.thief, world.walls.shape[0])
    around = [(1, 2), (2, 1), (0, 1), (1, 0)]
    return fields, WAYS[jnp.argmin(jnp.stack([far[row + r, column + c] for r, c in around]))]


def test_every_level_can_be_won_and_keys_come_in_order(game):
    params = game.default_params(num_levels=200)
    doors = np.asarray(params.levels.doors)
    assert ((doors >= 0) == (np.asarray(params.levels.keys) >= 0)).all()
    assert set((doors >= 0).sum(axis=1)) >= ({0, 1, 2} if game.mode == "easy" else {0, 1, 2, 3})
    played = play_levels(game, params, prepare, player, steps=1000)
    assert (played.ret == 10).mean() >= 0.99
    assert not np.asarray(played.last.world.keys >= 0).any()  # the player took them all


def test_without_its_key_the_gem_is_out_of_reach(game):
    levels = game.default_params(num_levels=64).levels
    side = levels.walls.shape[-1]
    cell = jnp.arange(side**2).reshape(side, side)
    open_ways = lambda w: ~w.walls & ~jnp.isin(cell, w.doors)  # noqa: E731
    far = jax.jit(jax.vmap(lambda w: distances(open_ways(w), w.gem).ravel()[w.thief]))(levels)
    assert ((far == side**2) == (levels.doors[:, 0] >= 0)).all()


def test_edits_keep_levels_winnable(game):
    params = game.default_params(num_levels=64)
    changed = jax.jit(game.mutate)(jax.random.key(0), params)
    assert (changed.levels.walls != params.levels.walls).any()
    assert (play_levels(game, changed, prepare, player, steps=1000).ret == 10).mean() >= 0.99


def test_keys_doors_and_gem_by_hand():
    game = metarl.make("ProcHeist-v0")
    walls = np.ones((9, 9), bool)
    walls[0, :6] = False
    level = World(
        jnp.asarray(walls),
        thief=jnp.int32(1),
        gem=jnp.int32(5),
        doors=jnp.array([2, 4, -1]),
        keys=jnp.array([0, 3, -1]),
        held=jnp.zeros(3, bool),
    )
    params = Params(jax.tree.map(lambda x: x[None], level), jnp.int32(1000))
    step = jax.jit(game.step)
    state, ts = game.reset(jax.random.key(0), params)
    assert game.render_text(state, params).splitlines()[0] == "r@RgG*###"
    right, left = 7, 1
    expected = [  # action, what the row shows afterwards
        (right, "r@RgG*###"),  # the red door is shut
        (left, "@ RgG*###"),  # takes the red key
        (right, " @RgG*###"),
        (right, "  @gG*###"),  # opens the red door
        (right, "   @G*###"),
        (right, "    @*###"),
        (right, "     @###"),
    ]
    for action, row in expected:
        assert not ts.last
        state, ts = step(jax.random.key(0), state, jnp.int32(action), params)
        assert game.render_text(state, params).splitlines()[0] == row
    assert ts.terminated and ts.reward == 10
    assert [int(level) for level in ts.obs[-3:, 0, 0]] == [255, 255, 0]

"""Miner: its levels by a careful digger, what falls and rolls by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.procgen.game import Params
from metarl.envs.procgen.miner import (
    BOULDER,
    DIAMOND,
    EXIT,
    FALLING_BOULDER,
    FALLING_DIAMOND,
    FREE,
    MINER,
    Miner,
    World,
)
from metarl.envs.ways import distances
from metarl.testing.levels import play_levels

UP, RIGHT, DOWN, LEFT, STAY = WAYS = (5, 7, 3, 1, 4)


@pytest.fixture(scope="module", params=("easy", "hard", "memory"))
def game(request):
    return metarl.make("ProcMiner-v0", mode=request.param)


def seen_from(cells, down, right):
    """What lies so many rows below and columns to the right; beyond the edge solid, or False."""
    padded = jnp.pad(cells, 1, constant_values=False if cells.dtype == bool else MINER)
    height, width = cells.shape
    return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]


def careful(cells):
    """Where one may dig without anything falling or rolling."""
    boulder = (cells == BOULDER) | (cells == FALLING_BOULDER)
    above, below = seen_from(boulder, -1, 0), seen_from(cells, 1, 0)
    perched = boulder & (below >= BOULDER) & (below <= FALLING_DIAMOND)
    dug_above, dug_below = seen_from(cells, -1, 0) == FREE, below == FREE
    rolls = jnp.zeros_like(boulder)
    for side in (-1, 1):
        rolls |= seen_from(perched, 0, side) & dug_below
        rolls |= seen_from(perched, -1, side) & dug_above
    return ~boulder & ~above & ~rolls


def digger(game):
    """Goes to the nearest diamond, or to the exit, by careful ways; looks two steps ahead."""
    ways = jnp.array(WAYS)

    def dies(world, action):
        _, reward, ended = game.advance(world, action)
        return ended & (reward < 10)

    def player(memory, state):
        world = state.world
        diamond = (world.cells == DIAMOND) | (world.cells == FALLING_DIAMOND)
        goal = jnp.where(world.left > 0, diamond, world.cells == EXIT)
        far = distances(careful(world.cells), goal).ravel()

        def cost(action):
            after, reward, _ = game.advance(world, action)
            trapped = jnp.all(jax.vmap(lambda a: dies(after, a))(ways))
            cost = far[after.miner] - 100 * reward + 0.5 * (after.miner == world.miner)
            return cost + 1e6 * trapped + 1e7 * dies(world, action)

        return memory, ways[jnp.argmin(jax.vmap(cost)(ways))]

    return lambda state: (), player


@pytest.mark.parametrize("most", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_every_level_can_be_won(game, most):
    params = game.default_params(num_levels=most if game.mode == "memory" else 200)
    played = play_levels(game, params, *digger(game), steps=1000)
    won = played.terminated & (played.ret == 10 + params.levels.total)
    assert won.mean() >= 0.99
    assert (params.levels.cells == BOULDER).mean() > 0.12
    assert abs(float((params.levels.cells == DIAMOND).mean()) - 0.03) < 0.004


@pytest.mark.parametrize("most", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_edits_keep_levels_winnable(game, most):
    count = most if game.mode == "memory" else 30
    params = game.default_params(num_levels=count)
    changed = jax.jit(game.mutate)(jax.random.key(0), params)
    assert (params.levels.cells != changed.levels.cells).sum() == count
    played = play_levels(game, changed, *digger(game), steps=1000)
    assert (played.ret == 10 + changed.levels.total).all()


SIGNS = " .o*O+E@"


@pytest.fixture(scope="module")
def play():
    """`(rows, actions) -> rows after each action and the last time step`, on a 4 by 4 world."""
    game = Miner()
    step = jax.jit(game.step)

    def run(rows, *actions):
        kinds = np.array([[SIGNS.index(sign) for sign in row] for row in rows], np.uint8)
        miner = int(np.flatnonzero(kinds.ravel() == MINER)[0])
        cells = np.where(kinds == MINER, FREE, kinds)
        left = jnp.int32((kinds == DIAMOND).sum() + (kinds == FALLING_DIAMOND).sum())
        world = World(jnp.asarray(cells), jnp.int32(miner), left, left)
        params = Params(jax.tree.map(lambda x: x[None], world), jnp.int32(1000))
        state, ts = game.reset(jax.random.key(0), params)
        for action in actions:
            state, ts = step(jax.random.key(0), state, jnp.int32(action), params)
        shown = np.array(state.world.cells)
        shown.ravel()[state.world.miner] = MINER
        return ["".join(SIGNS[kind] for kind in row) for row in shown], ts

    return run


@pytest.mark.parametrize(
    ("before", "actions", "after"),
    [  # a boulder falls once what was below it has gone, and comes to rest
        ((".o..", "@...", "....", "...."), [RIGHT], [".o..", " @..", "....", "...."]),
        ((".o..", ".@..", "....", "...."), [RIGHT], [". ..", ".O@.", "....", "...."]),
        ((".o..", ".@..", "....", "...."), [RIGHT, STAY], [". ..", ".o@.", "....", "...."]),
        # it rolls off another one, to the left where both sides are free
        (("....", " o @", " o .", "...."), [UP], ["...@", "o   ", " o .", "...."]),
        (("....", " o @", " o .", "...."), [UP, STAY, STAY], ["...@", "    ", "oo .", "...."]),
        (("....", ".o @", ".o .", "...."), [UP, STAY, STAY], ["...@", ".   ", ".oo.", "...."]),
        # it does not roll off dirt, nor where the miner is in the way
        (("....", "o  @", ".. .", "...."), [UP], ["...@", "o   ", ".. .", "...."]),
        (("....", ".o@.", ".o .", "...."), [STAY], ["....", ".o@.", ".o .", "...."]),
        # pushing: only a resting one, to a side, where there is room
        (("....", "@o .", "....", "...."), [RIGHT], ["....", " @o.", "....", "...."]),
        (("....", "@o..", "....", "...."), [RIGHT], ["....", "@o..", "....", "...."]),
        (("@...", "o...", " ...", "...."), [DOWN], ["@...", " ...", "O...", "...."]),
        (("@O .", "  ..", "....", "...."), [RIGHT], ["@  .", " O..", "....", "...."]),
        # the miner holds what rests above, and the edge holds everything
        (("o...", "@...", "....", "...."), [STAY], ["o...", "@...", "....", "...."]),
        (("....", "....", "....", "o @."), [LEFT], ["....", "....", "....", "o@ ."]),
    ],
)
def test_what_moves(play, before, actions, after):
    rows, ts = play(before, *actions)
    assert rows == after and not ts.last


def test_what_was_falling_kills_and_what_rested_does_not(play):
    assert play(("O...", " ...", "@...", "...."), STAY)[1].last.item() is False  # not yet
    _, ts = play(("O...", " ...", "@...", "...."), STAY, STAY)
    assert ts.terminated and ts.reward == 0
    _, ts = play(("O...", " ...", "@...", "...."), STAY, DOWN)
    assert not ts.last  # it follows the miner down
    _, ts = play(("+...", "@...", "....", "...."), STAY)
    assert ts.terminated  # diamonds kill as well


def test_diamonds_and_the_exit(play):
    rows, ts = play(("@*E.", "....", "....", "...."), RIGHT)
    assert rows[0] == " @E." and ts.reward == 1 and not ts.last
    _, ts = play(("@*E.", "....", "....", "...."), RIGHT, RIGHT)
    assert ts.reward == 10 and ts.terminated
    rows, ts = play(("@E*.", "....", "....", "...."), RIGHT)
    assert ts.reward == 0 and not ts.last
    rows, ts = play(("@E*.", "....", "....", "...."), RIGHT, RIGHT)
    assert rows[0] == " E@." and ts.reward == 1
    _, ts = play(("@E*.", "....", "....", "...."), RIGHT, RIGHT, LEFT)
    assert ts.reward == 10 and ts.terminated

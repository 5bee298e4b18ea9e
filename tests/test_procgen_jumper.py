"""Jumper: its levels by exhaustive search with rules written a second time, its rules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.procgen.jumper import Level, reach, standing
from metarl.envs.splits import side
from metarl.testing.levels import foresee

UP, RIGHT, DOWN, LEFT, STAY = 5, 7, 3, 1, 4
ACTIONS = np.array([STAY, LEFT, RIGHT, UP, 2, 8])
RISES = np.array([2, 1, 1, 1, 1, 0, -1, -1, -2])


def overlaps(flags, row, column):
    """Whether squares of a cell with corners at half cells overlap marked cells."""
    return (
        flags[row // 2, column // 2]
        | flags[(row + 1) // 2, column // 2]
        | flags[row // 2, (column + 1) // 2]
        | flags[(row + 1) // 2, (column + 1) // 2]
    )


def moved(walls, row, column, phase, again, right, jumps):
    """A step of many rabbits, in plain numpy, half cell by half cell."""
    ground = (phase >= 5) & overlaps(walls, row + 1, column)
    second = jumps & ~ground & again & (phase >= 4)
    phase = np.where(ground, 6, phase)
    phase[(jumps & ground) | second] = 0
    again = (again & ~second) | ground
    column = column + right * ~overlaps(walls, row, column + right)
    rise, done = RISES[phase], np.zeros(len(row), bool)
    for half in (1, 2):
        goes = (abs(rise) >= half) & ~done
        hit = goes & overlaps(walls, row - np.sign(rise), column)
        row = row - np.sign(rise) * (goes & ~hit)
        done |= hit
    phase = np.minimum(phase + 1, 8)
    phase[done] = np.where(rise[done] > 0, 5, 6)
    return row, column, phase, again | (done & (rise < 0))


def search(level, everywhere=False):
    """Actions to the carrot, fewest first; or all cells [side, side] in which it may stand."""
    walls, spikes, rabbit, carrot = (np.asarray(x) for x in jax.tree.leaves(level))
    n = len(walls)
    shape = (2 * n, 2 * n, 9, 2)
    parent = np.full(np.prod(shape), -1)
    by = np.zeros(np.prod(shape), np.int8)
    start = np.ravel_multi_index((2 * int(rabbit[0]), 2 * int(rabbit[1]), 6, 1), shape)
    parent[start], found = start, np.array([start])
    while len(found):
        old = np.repeat(found, len(ACTIONS))
        action = np.tile(ACTIONS, len(found))
        row, column, phase, again = np.unravel_index(old, shape)
        row, column, phase, again = moved(
            walls, row, column, phase, again == 1, action // 3 - 1, action % 3 == 2
        )
        new = np.ravel_multi_index((row, column, phase, again.astype(int)), shape)
        won = (abs(row - 2 * int(carrot[0])) < 2) & (abs(column - 2 * int(carrot[1])) < 2)
        lives = ~overlaps(spikes, row, column)
        if (won & lives).any() and not everywhere:
            i = np.argmax(won & lives)
            plan, at = [action[i]], old[i]
            while at != start:
                plan.append(by[at])
                at = parent[at]
            return plan[::-1]
        fresh = np.flatnonzero(lives & (parent[new] < 0))
        new, first = np.unique(new[fresh], return_index=True)
        parent[new], by[new] = old[fresh][first], action[fresh][first]
        found = new
    row, column, *_ = np.unravel_index(np.flatnonzero(parent >= 0), shape)
    cells = np.zeros((n, n), bool)
    whole = (row % 2 == 0) & (column % 2 == 0)
    cells[row[whole] // 2, column[whole] // 2] = True
    return cells & np.asarray(standing(level.walls)) if everywhere else []


def returns(game, levels, steps=400):
    """[L] what the search found brings in the game itself."""
    count = len(levels.rabbit)
    plans = np.full((count, 1, steps), STAY)
    for i, level in enumerate(zip(*jax.tree.leaves(jax.device_get(levels)), strict=True)):
        plan = search(Level(*level))
        plans[i, 0, : len(plan)] = plan
    play = jax.jit(jax.vmap(lambda level, plan: foresee(game, game.begin(level), plan)[0][0]))
    return play(levels, plans)


@pytest.fixture(scope="module")
def game():
    return metarl.make("ProcJumper-v0")


@pytest.mark.parametrize(
    ("mode", "count"),
    [
        *(("easy", 200), ("hard", 30), ("memory", 30)),
        *(pytest.param(mode, 200, marks=pytest.mark.slow) for mode in ("hard", "memory")),
    ],
)
def test_every_level_can_be_won(mode, count):
    game = metarl.make("ProcJumper-v0", mode=mode)
    params = game.default_params(num_levels=count)
    assert (returns(game, params.levels) == 10).mean() >= 0.99
    assert params.max_steps == (2000 if mode == "memory" else 1000)
    assert bool(params.levels.spikes.any()) == (mode != "memory")


def test_edits_keep_levels_winnable(game):
    params = game.default_params(num_levels=200)
    held = game.default_params(num_levels=20, split="heldout")
    assert (jax.vmap(side)(params.levels) == 0).all() and (jax.vmap(side)(held.levels) == 1).all()
    changed, edit = params, jax.jit(game.mutate)
    for key in jax.random.split(jax.random.key(0), 4):
        changed = edit(key, changed)
    for name in ("walls", "carrot"):
        assert (getattr(changed.levels, name) != getattr(params.levels, name)).any()
    assert (returns(game, changed.levels) == 10).mean() >= 0.99


def test_what_counts_as_reached_can_be_reached(game):
    levels = game.default_params(num_levels=200).levels
    n = levels.walls.shape[1]
    start = levels.rabbit @ jnp.array([n, 1])
    rounds = jax.device_get(jax.jit(jax.vmap(reach))(levels.walls, levels.spikes, start))
    for i, level in enumerate(zip(*jax.tree.leaves(jax.device_get(levels)), strict=True)):
        if i % 8 == 0:
            assert not ((rounds[i] < n * n) & ~search(Level(*level), everywhere=True)).any()


def room(*rows):
    """A level of 8 cells a side from signs: wall #, spikes ^, carrot *, rabbit @."""
    signs = np.array([list(row) for row in ("########", *rows, "########")])
    place = lambda sign: jnp.asarray(np.argwhere(signs == sign)[0], jnp.uint8)  # noqa: E731
    return Level(jnp.asarray(signs == "#"), jnp.asarray(signs == "^"), place("@"), place("*"))


@pytest.fixture(scope="module")
def trace(game):
    advance = jax.jit(game.advance)

    def run(level, actions):
        world, seen = game.begin(level), []
        for action in actions:
            world, reward, ended = advance(world, jnp.int32(action))
            seen.append((int(world.row), int(world.column), float(reward), bool(ended)))
        return seen

    return run


EMPTY = ("#      #",) * 5
HALL = room(*EMPTY, "#@    *#")  # the rabbit's corner is at row 12 and column 2, in half cells


def test_it_runs_by_half_cells_to_the_carrot(trace):
    seen = trace(HALL, [LEFT, RIGHT, RIGHT, *[RIGHT] * 8])
    assert [column for _, column, *_ in seen] == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert {row for row, *_ in seen} == {12}
    assert [x[2:] for x in seen].index((10, True)) == 9  # at 11, less than a cell from 12


def test_a_jump_rises_three_cells_and_a_second_one_more(trace):
    rows = [row for row, *_ in trace(HALL, [UP, *[STAY] * 10])]
    assert rows == [10, 9, 8, 7, 6, 6, 7, 8, 10, 12, 12]
    # Up again at once or in the next steps does nothing; from the fourth step it is a second jump.
    rows = [row for row, *_ in trace(HALL, [UP, UP, UP, UP, STAY, UP, UP, STAY, STAY, STAY, UP])]
    assert rows == [10, 9, 8, 7, 6, 4, 3, 2, 2, 2, 3]  # the ceiling stops it; no third jump
    assert [row for row, *_ in trace(HALL, [UP] * 5)][-1] == 5  # the fifth starts at 7


def test_it_falls_off_edges_and_can_jump_then(trace):
    cliff = room(*EMPTY[:3], "#@     #", "##     #", "##   * #")
    seen = trace(cliff, [RIGHT, RIGHT, *[STAY] * 3])
    assert [(row, column) for row, column, *_ in seen] == [
        (8, 3),
        (9, 4),
        (10, 4),
        (12, 4),
        (12, 4),
    ]
    assert [row for row, *_ in trace(cliff, [RIGHT, RIGHT, UP])] == [8, 9, 7]


def test_spikes_end_the_episode(trace):
    seen = trace(room(*EMPTY, "#@ ^  *#"), [RIGHT] * 3)
    assert [x[2:] for x in seen] == [(0, False), (0, False), (0, True)]  # the third overlaps them
    seen = trace(room(*EMPTY, "#@ ^  *#"), [RIGHT, 8, *[RIGHT] * 9])
    assert seen[-1][2:] == (10, True) and not any(ended for *_, ended in seen[:-1])


def test_gauges_point_to_the_carrot(game):
    gauges = game.scene(game.begin(HALL)).gauges
    np.testing.assert_allclose(gauges, [0.5, (5 / 8 + 1) / 2, 0, 0, 6 / 8, 1])


def test_reaching_by_hand():
    level = room("#    * #", "# ######", "#      #", "###### #", "#@  ^  #", "########")
    rounds = reach(level.walls, level.spikes, jnp.int32(5 * 8 + 1))
    assert (rounds[5] < 64).tolist() == [False, True, True, True, False, False, False, False]
    assert not (rounds[:5] < 64).any()  # the spikes cannot be jumped: the ceiling is too low
    free = jnp.zeros_like(level.spikes)
    rounds = reach(level.walls, free, jnp.int32(5 * 8 + 1))
    assert (rounds[1, 1:7] < 64).tolist() == [False] + [True] * 5
    assert search(level) == [] and len(search(level.replace(spikes=free))) > 10

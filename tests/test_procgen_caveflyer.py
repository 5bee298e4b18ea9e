"""CaveFlyer: its levels by a pilot with a map, its rules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.procgen.caveflyer import Level, dangers
from metarl.envs.procgen.caves import cave, largest, widened
from metarl.envs.splits import side
from metarl.envs.ways import distances, shortest_ways
from metarl.testing.levels import play_levels

FIRE = 9


def number(cell, n):
    return cell[0].astype(jnp.int32) * n + cell[1]


def safe_way(level):
    """[side, side] bool, the way to the goal that nothing deadly comes near, ship to goal."""
    n = len(level.walls)
    far = distances(~level.walls, number(level.ship, n))
    return shortest_ways(far, jnp.arange(n**2).reshape(n, n) == number(level.goal, n))


def pilot(speed=0.3):
    """Flies from cell to cell of the safe way: turns to where it wants to speed up, and thrusts."""
    ahead = jnp.array([(-1, 0), (0, 1), (1, 0), (0, -1)])

    def prepare(state):
        level = state.world.level
        return distances(safe_way(level), number(level.goal, len(level.walls)))

    def player(far, state):
        w = state.world
        place, here = jnp.stack([w.row, w.column]), jnp.floor(jnp.stack([w.row, w.column]))
        around = here.astype(jnp.int32) + ahead
        near = far.at[around[:, 0], around[:, 1]].get(mode="fill", fill_value=10**6)
        # Off the way after a turn too wide: back to the nearest of its cells.
        lost = far[tuple(here.astype(jnp.int32))] >= far.size
        cells = jnp.stack(jnp.divmod(jnp.arange(far.size), far.shape[0]), -1)
        off = jnp.abs(cells + 0.5 - place).sum(-1) + 10**6 * (far.ravel() >= far.size)
        to = jnp.where(lost, cells[jnp.argmin(off)], around[jnp.argmin(near)]) + 0.5
        off = to - place
        wanted = off * jnp.minimum(speed / jnp.maximum(jnp.linalg.norm(off), 1e-6), 0.5)
        push = wanted - 0.9 * jnp.stack([w.down, w.right])
        heading = jnp.arctan2(push[1], -push[0]) * 8 / jnp.pi
        turn = (heading - w.heading + 8) % 16 - 8
        column = jnp.where(turn > 0.5, 2, jnp.where(turn < -0.5, 0, 1))
        strong = jnp.linalg.norm(push) > 0.03
        row = jnp.where(strong & (jnp.abs(turn) < 1.6), 2, 1)
        return far, 3 * column + jnp.where(strong & (jnp.abs(turn) > 6.4), 0, row)

    return prepare, player


def played(game, params):
    return play_levels(game, params, *pilot(), steps=1000)


@pytest.fixture(scope="module")
def game():
    return metarl.make("ProcCaveFlyer-v0")


@pytest.mark.parametrize(
    ("mode", "count"),
    [
        *(("easy", 200), ("hard", 30), ("memory", 30)),
        *(pytest.param(mode, 200, marks=pytest.mark.slow) for mode in ("hard", "memory")),
    ],
)
def test_every_level_can_be_won(mode, count):
    game = metarl.make("ProcCaveFlyer-v0", mode=mode)
    end = played(game, game.default_params(num_levels=count))
    assert ((end.ret >= 10) & end.terminated).mean() >= 0.99


@jax.jit
@jax.vmap
def whole(level):
    """Whether the way is whole and nothing deadly ever comes near it."""
    n = len(level.walls)
    way = safe_way(level)
    near = [widened(way)[level.ship[0], level.ship[1]], way[level.goal[0], level.goal[1]]]
    places = jnp.linspace(0, 1, 7)[:, None, None] * level.stroll + level.danger + 0.5
    row, column = jnp.floor(places).astype(jnp.int32).transpose(2, 0, 1)
    safe = ~widened(way)[row, column] & ~level.walls[row, column]
    here = number(level.target.T, n)
    reached = distances(~level.walls, number(level.ship, n)).ravel()[here] < n * n
    return near[0] & near[1] & safe.all() & reached.all()


def test_levels_are_whole_and_edits_keep_them_so(game):
    params = game.default_params(num_levels=200)
    held = game.default_params(num_levels=20, split="heldout")
    assert (jax.vmap(side)(params.levels) == 0).all() and (jax.vmap(side)(held.levels) == 1).all()
    changed, edit = params, jax.jit(game.mutate)
    for key in jax.random.split(jax.random.key(0), 4):
        changed = edit(key, changed)
    for name in ("goal", "target", "danger"):
        assert (getattr(changed.levels, name) != getattr(params.levels, name)).any()
    assert whole(params.levels).all() and whole(changed.levels).all()
    end = played(game, changed)
    assert ((end.ret >= 10) & end.terminated).mean() >= 0.99


def test_caves_are_smooth_and_the_largest_is_found():
    free = cave(jax.random.key(0), 9, walls=1.0)
    assert np.argwhere(free).tolist() == [[r, c] for r in (3, 4, 5) for c in (3, 4, 5)]
    assert cave(jax.random.key(0), 9, walls=0.0).sum() == 49 - 4  # corners have 5 walls around
    found = largest(jnp.array([[1, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1]], bool))
    assert found.astype(int).tolist() == [[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]]


def level(target=(0, 0), danger=(0, 0), stroll=(0, 0), goal=(27, 27), heading=0):
    """An empty cave with the ship in its middle; of things that are several, one."""
    walls = np.ones((30, 30), bool)
    walls[1:-1, 1:-1] = False
    several = lambda cell, n: np.array([cell, *[(0, 0)] * (n - 1)])  # noqa: E731
    u = lambda x: jnp.asarray(x, jnp.uint8)  # noqa: E731
    return Level(
        jnp.asarray(walls), u((15, 15)), u(heading), u(goal), u(several(target, 3)),
        u(several(danger, 7)), jnp.asarray(several(stroll, 7), jnp.int8), u(np.zeros(7)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trace(game):
    advance = jax.jit(game.advance)

    def run(level, actions):
        world, seen = game.begin(level), []
        for action in actions:
            world, reward, ended = advance(world, jnp.int32(action))
            seen.append((world, float(reward), bool(ended)))
        return seen

    return run


def test_the_ship_turns_thrusts_and_glides(trace):
    world = trace(level(), [5, 5, 4])[-1][0]  # 0.05, then 0.095, then 0.0855 up
    np.testing.assert_allclose(15.5 - world.row, 0.05 + 0.095 + 0.0855, rtol=1e-5)
    np.testing.assert_allclose(world.down, -0.0855, rtol=1e-5)
    assert world.column == 15.5 and world.right == 0
    world = trace(level(), [7] * 4 + [5])[-1][0]  # a quarter to the right
    assert world.heading == 4 and world.row == 15.5
    np.testing.assert_allclose(world.column, 15.55, rtol=1e-6)
    world = trace(level(), [1] * 3 + [2])[-1][0]  # the fourth turn left while thrusting
    assert world.heading == 12
    np.testing.assert_allclose(world.column, 15.45, rtol=1e-6)
    assert trace(level(), [3])[-1][0].row > 15.5  # back


def test_the_ship_stops_at_walls(trace):
    worlds = [world for world, *_ in trace(level(), [5] * 60)]
    assert worlds[-1].down == 0 and 1.3 <= worlds[-1].row < 1.8
    assert not any(ended for *_, ended in trace(level(), [5] * 60))


def test_five_hits_destroy_a_target(trace):
    seen = trace(level(target=(12, 15)), [FIRE] * 24)
    # Shots go 0.8 a step from 15.5 at steps 0, 4, 8, 12, 16; the third step of each comes near.
    assert [int(world.health[0]) for world, *_ in seen] == [
        *[5] * 2, *[4] * 4, *[3] * 4, *[2] * 4, *[1] * 4, *[0] * 6,
    ]  # fmt: skip
    assert [reward for _, reward, _ in seen] == [0] * 18 + [3] + [0] * 5
    assert list(map(int, seen[0][0].shot)) == [1, 0, 0, 0] and seen[0][0].wait == 3
    assert list(map(int, seen[5][0].shot)) == [1, 0, 0, 0]  # the first is gone


def test_walls_end_shots(trace):
    shots = [bool(world.shot[0]) for world, *_ in trace(level(), [FIRE, *[4] * 19])]
    assert shots == [True] * 18 + [False] * 2  # 15.5 - 0.8 * 19 is in the wall


def test_obstacles_and_enemies_kill(trace):
    assert not trace(level(danger=(13, 15)), [4] * 9)[-1][2]
    seen = trace(level(danger=(13, 15)), [5] * 9)
    assert [e for *_, e in seen].index(True) == min(
        i for i, (world, *_) in enumerate(seen) if world.row - 13.5 < 0.75
    )
    seen = trace(level(danger=(15, 12), stroll=(0, 3)), [4] * 12)
    columns = [float(dangers(world.level, world.time)[1][0]) for world, *_ in seen]
    assert columns[:3] == [12.75, 13.0, 13.25] and [e for *_, e in seen].index(True) == 9


def test_the_goal_ends_the_episode(trace):
    seen = trace(level(goal=(14, 15)), [5] * 4)  # 0.05, 0.145, 0.2805: less than 0.75 left
    assert [(reward, ended) for _, reward, ended in seen[:3]] == [
        (0, False),
        (0, False),
        (10, True),
    ]
    seen = trace(level(goal=(14, 15), danger=(14, 15)), [5] * 3)
    assert seen[-1][1:] == (0, True)


def test_only_memory_mode_keeps_other_caves():
    for mode, count, pruned in (("easy", 200, True), ("memory", 30, False)):
        game = metarl.make("ProcCaveFlyer-v0", mode=mode)
        free = ~game.default_params(num_levels=count).levels.walls
        assert bool((jax.vmap(largest)(free) == free).all()) == pruned

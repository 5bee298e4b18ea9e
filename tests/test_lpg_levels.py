"""The LPG modes as published, what levels are drawn from them, and edits of levels."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import label
from scipy.stats import chisquare, kstest

import metarl
from metarl.envs import splits
from metarl.envs.lpg.grid import LPGGrid
from metarl.envs.lpg.mazes import MAPS, MAZES, walls
from metarl.envs.lpg.modes import MIXTURES, MODES

MANY = 4096
GOOD, BAD = [1, 0, 0.05], [-1, 0.5, 0.1]
PUBLISHED = {  # grid, max steps, [reward, p_terminate, p_respawn] of every object, number of walls
    "dense": (11, 500, [GOOD, GOOD, BAD, [-1, 0, 0.5]], 0),
    "sparse": (13, 50, [[1, 1, 0], [-1, 1, 0]], 0),
    "long": (11, 1000, [[1, 0, 0.01]] * 2 + [[-1, 0.5, 1]] * 2, 0),
    "longer": (9, 2000, [[1, 0.1, 0.01]] * 2 + [[-1, 0.8, 1]] * 5, 7),
    "longer_groove": (9, 2000, [[1, 0.1, 0.01]] * 2 + [[-1, 0.8, 1]] * 3, 7),
    "long_dense": (11, 2000, [[1, 0, 0.005]] * 4, 17),
    "rand_dense": (11, 500, [GOOD, GOOD, BAD, [-1, 0, 0.5]], 0),
    "rand_long": (11, 1000, [[1, 0, 0.01]] * 2 + [[-1, 0.5, 1]] * 2, 0),
    "rand_small": (7, 500, [GOOD, GOOD, BAD, BAD], 2),
    "rand_sparse": (7, 50, [[1, 1, 1], [-1, 1, 1], [-1, 1, 1]], 0),
    "rand_very_dense": (11, 2000, [[1, 0, 1]], 0),
}
DRAWN = {  # max steps, sizes, objects, walls, least reward of the others
    "all": ((20, 750), (4, 10), (1, 5), 15, -1),
    "small": ((20, 100), (4, 6), (1, 3), 7, -1),
    "medium": ((100, 250), (6, 8), (2, 4), 10, -1),
    "large": ((250, 750), (8, 10), (2, 5), 15, -1),
    "mazes": ((25, 50), (13, 13), (3, 3), None, 0),
}


@cache
def drawn(name):
    """An environment and many levels of it, [MANY, ...]."""
    env = LPGGrid(name)
    levels = jax.vmap(env.sample_params)(jax.random.split(jax.random.key(1), MANY))
    return env, jax.tree.map(np.asarray, levels)


@pytest.mark.parametrize("name", PUBLISHED)
def test_hand_made_modes_are_the_published_ones(name):
    size, steps, objects, number = PUBLISHED[name]
    mode = MODES[name]
    assert (mode.size, mode.max_steps, mode.tabular) == (size, steps, "rand_" not in name)
    assert [list(k[:3]) for k in mode.kinds for _ in range(k.copies)] == objects
    assert walls(mode.maps, size).sum() == number


def test_their_walls_are_where_they_were_published():
    (board,) = walls(["longer"], 9).reshape(1, 9, 9)
    assert np.flatnonzero(board.any(axis=0)).tolist() == [4]
    assert np.flatnonzero(~board[:, 4]).tolist() == [1, 7]
    (board,) = walls(["long_dense"], 11).reshape(1, 11, 11)
    assert np.flatnonzero(~board[:, 5]).tolist() == [0, 7]
    assert np.flatnonzero(~board[4]).tolist() == [2, 8]
    assert np.flatnonzero(walls(["rand_small"], 7)).tolist() == [9, 25]
    with pytest.raises(ValueError, match="needs size 13 or more, got 9"):
        walls(["labyrinth"], 9)


def test_the_mazes_are_nine_and_connected():
    boards = walls(MAZES, 13).reshape(-1, 13, 13)
    assert len(MAZES) == 9 == len({board.tobytes() for board in boards})
    assert all(label(~board)[1] == 1 for board in boards)
    assert (boards[3] == boards[2][:, ::-1]).all() and MAZES[2:4] == (
        "labyrinth",
        "labyrinth_flipped",
    )
    assert all(len({*rows.split()[0]} - {*"#."}) == 0 for rows in MAPS.values())


def uniform(numbers, low, high):
    return kstest(numbers, "uniform", (low, high - low)).pvalue > 1e-4


def uniform_integers(numbers, low, high):
    counts = np.bincount(numbers - low, minlength=high - low + 1)
    return len(counts) == 1 or chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("name", DRAWN)
def test_random_levels_are_drawn_as_published(name):
    steps, sizes, objects, number, least = DRAWN[name]
    env, levels = drawn(name)
    assert (env.size, env.objects) == (sizes[1], objects[1])
    assert uniform_integers(levels.size, *sizes)
    count = levels.present.sum(axis=1)
    assert uniform_integers(count, *objects)
    assert (levels.present == (np.arange(env.objects) < count[:, None])).all()
    assert (levels.kinds == np.arange(env.objects)).all()
    used = levels.present
    assert uniform(levels.rewards[:, 0], 0, 1)
    others = used.copy()
    others[:, 0] = False
    assert uniform(levels.rewards[others], least, 1)
    assert uniform(np.log10(levels.p_terminate[used]), -2, 0)
    assert uniform(np.log10(levels.p_respawn[used]), -3, -1)
    assert not levels.p_respawn[~used].any()
    assert levels.max_steps.min() >= steps[0]
    assert levels.max_steps.max() <= steps[1]
    ends = np.arange(steps[0], steps[1]) + 0.5  # what is below is rounded down to the integer
    below = (levels.max_steps[:, None] < ends).mean(axis=0)
    expected = np.log(ends / steps[0]) / np.log(steps[1] / steps[0])
    assert abs(below - expected).max() < 2 / np.sqrt(MANY)
    if number is not None:
        expected = number * levels.size**2 / sizes[1] ** 2
        assert (levels.walls.sum(axis=1) == number)[levels.size == sizes[1]].all()
        smallest = levels.size == sizes[0]
        mean, error = levels.walls[smallest].sum(axis=1), 4 * 1.6 / np.sqrt(smallest.sum())
        assert abs(mean.mean() - expected[smallest].mean()) < error


def test_every_maze_is_drawn_as_often():
    _, levels = drawn("mazes")
    boards = walls(MAZES, 13)
    which = (levels.walls[:, None] == boards).all(axis=2)
    assert (which.sum(axis=1) == 1).all()
    assert chisquare(which.sum(axis=0)).pvalue > 1e-4


@pytest.mark.parametrize("name", ["all", "rand_all", "tabular"])
def test_start_and_objects_lie_on_distinct_free_cells(name):
    env, levels = drawn(name)
    rows, columns = np.divmod(np.arange(env.size**2), env.size)
    outside = np.maximum(rows, columns) >= levels.size[:, None]
    assert not (levels.walls & outside).any()
    places = np.concatenate([levels.start[:, None], levels.cells], axis=1)
    used = np.concatenate([np.ones((MANY, 1), bool), levels.present], axis=1)
    blocked = np.take_along_axis(levels.walls | outside, places, axis=1)
    assert not (blocked & used).any()
    assert all(len({*row[u]}) == u.sum() for row, u in zip(places, used, strict=True))


def test_the_mixture_draws_each_of_its_modes():
    env, levels = drawn("tabular")
    assert (env.size, env.objects) == (13, 7)
    steps = [MODES[name].max_steps for name in MIXTURES["tabular"]]
    assert sorted({*levels.max_steps.tolist()}) == sorted({*steps})
    longer = (levels.max_steps == 2000) & (levels.size == 9)
    assert 700 < longer.sum() < 940
    assert levels.present[longer].all()


def test_splits_share_no_level():
    env = LPGGrid("rand_very_dense")
    keys = jax.random.split(jax.random.key(2), 64)
    side = jax.jit(jax.vmap(splits.side))
    for number, split in enumerate(splits.SPLITS):
        levels = jax.vmap(lambda k, split=split: env.sample_params(k, split))(keys)
        assert (np.asarray(side(levels)) == number).all()
    with pytest.raises(ValueError, match="split must be one of"):
        env.sample_params(keys[0], "test")


@pytest.mark.parametrize("name", ["small", "rand_small"])
def test_mutations_are_small_and_stay_valid(name):
    env = LPGGrid(name)

    @jax.jit
    def walk(level):
        def one(level, key):
            new = env.mutate(key, level)
            return new, new

        return jax.lax.scan(one, level, jax.random.split(jax.random.key(3), 400))[1]

    first = env.default_params()
    levels = jax.tree.map(lambda a, b: np.r_[np.asarray(a)[None], b], first, walk(first))
    changed = {
        leaf: (getattr(levels, leaf)[1:] != getattr(levels, leaf)[:-1]).reshape(400, -1).sum(axis=1)
        for leaf in ("walls", "start", "cells", "rewards", "size", "present", "max_steps")
    }
    counts = np.stack([*changed.values()])
    assert set(counts.sum(axis=0)) == {1}  # one cell, the start or an object: nothing else
    assert not counts[3:].any()
    edits = {leaf: int(n.sum()) for leaf, n in changed.items()}
    assert min(edits["walls"], edits["start"]) > 90
    assert (edits["cells"] > 90) == env.tabular
    side = int(first.size)
    for walls_, start, cells in zip(levels.walls, levels.start, levels.cells, strict=True):
        board = walls_.reshape(env.size, env.size)
        assert not board[side:].any() and not board[:, side:].any()
        places = [start, *cells[np.asarray(first.present)]] if env.tabular else [start]
        assert len({*map(int, places)}) == len(places)
        assert not walls_[places].any()
        assert max(*np.divmod(places, env.size)[0], *np.divmod(places, env.size)[1]) < side
        assert (~board[:side, :side]).sum() >= env.objects + 1


@pytest.mark.parametrize("name", [n for n in metarl.registered() if n.startswith("LPG")])
def test_every_id_shows_what_its_space_says(name):
    env = metarl.make(name)
    _, ts = jax.eval_shape(lambda key: env.reset(key, env.sample_params(key)), jax.random.key(0))
    shapes = {key: (space.shape, space.dtype) for key, space in env.observation_space.items()}
    for key, seen in ts.obs.items():
        shape, dtype = shapes.pop(key)
        assert (seen.shape, seen.dtype) == (shape, jax.dtypes.canonicalize_dtype(dtype))
    assert not shapes
    if env.tabular:
        states = {"LPGAll-v0": 3200, "LPGMazes-v0": 1352, "LPGTabular-v0": 169 * 128}
        assert (
            env.num_states
            == states.get(name, env.num_states)
            == jnp.prod(
                jnp.array([int(space.n) for space in list(env.observation_space.values())[:2]])
            )
        )

"""Edits of LPG grid levels: one thing at a time, and always a level that the mode could draw."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from metarl.envs.lpg.edits import EDITS, edit, possible
from metarl.envs.lpg.grid import LPGGrid
from metarl.envs.lpg.modes import bounds, parts
from metarl.envs.splits import side

STEPS = 600
ALLOWED = {
    "small": {0, 1, 2, 3, 4, 5, 6, 7},
    "rand_all": {0, 1, 2, 3, 5, 6, 7},
    "mazes": {3, 4, 5, 6, 7},  # the walls are one of nine mazes
    "dense": {3, 4},  # no walls, and all numbers are fixed
}


@partial(jax.jit, static_argnums=(0, 1))
def walk(env, split, key):
    """Levels [1 + STEPS, ...], and which edits were possible, [STEPS, 8]."""
    first, steps = jax.random.split(key)
    start = env.sample_params(first, split)

    def one(level, key):
        new = edit(env, key, level, split)
        return new, (new, possible(env, level))

    _, (levels, may) = jax.lax.scan(one, start, jax.random.split(steps, STEPS))
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, levels), may


def valid(env, level):
    """Whether the mode could draw the level."""
    (mode, *_), board = parts(env.mode), level.walls.reshape(env.size, env.size)
    number = int(level.size)
    assert not board[number:].any() and not board[:, number:].any()
    if mode.scattered:
        lost = mode.max_size**2 - number**2  # numbers beyond the level's own grid
        assert max(mode.scattered - lost, 0) <= board.sum() <= mode.scattered
    used = level.present
    places = [int(level.start), *level.cells[used].tolist()] if env.tabular else [int(level.start)]
    assert len({*places}) == len(places) and not level.walls[places].any()
    assert max(max(divmod(place, env.size)) for place in places) < number
    assert number**2 - board.sum() > used.sum()
    for i in np.flatnonzero(used):
        kind = mode.kinds[level.kinds[i]]
        for leaf, limits in zip(("rewards", "p_terminate", "p_respawn"), kind[:3], strict=True):
            low, high = bounds(limits)
            assert np.float32(low) <= getattr(level, leaf)[i] <= np.float32(high)
    for leaf in (level.rewards, level.p_terminate, level.p_respawn):
        assert not leaf[~used].any()


@pytest.mark.parametrize("mode", ALLOWED)
def test_edits_are_small_and_what_the_mode_could_draw(mode):
    env = LPGGrid(mode)
    levels, may = jax.device_get(walk(env, None, jax.random.key(10)))
    counts = np.zeros(len(EDITS))
    for t in range(STEPS):
        old, new = (jax.tree.map(lambda x, t=t: x[t], levels) for t in (t, t + 1))
        valid(env, new)
        change = {name: (vars(new)[name] != x).sum() for name, x in vars(old).items()}
        walls, more = change.pop("walls"), new.walls.sum() - old.walls.sum(dtype=int)
        if walls:
            kind = {1: 0, -1: 1, 0: 2}[int(more)]
            assert walls == (2 if kind == 2 else 1)
        else:
            names = ("start", "cells", "rewards", "p_terminate", "p_respawn")
            kind = 3 + int(np.argmax([change[name] for name in names]))
        assert sum(change.values()) == (walls == 0)  # nothing else; no type has copies here
        assert may[t, kind]
        counts[kind] += 1
    often = may.sum(axis=0)  # of those possible each is as likely
    expected = (may / may.sum(axis=1, keepdims=True)).sum(axis=0)
    assert (counts[often == 0] == 0).all()
    assert chisquare(counts[often > 0], expected[often > 0]).pvalue > 1e-3
    assert {*np.flatnonzero(often)} == ALLOWED[mode]


def test_numbers_are_drawn_anew_as_the_mode_draws_them():
    levels, _ = jax.device_get(walk(LPGGrid("small"), None, jax.random.key(10)))
    for leaf, spread in (("p_terminate", (-2, 2)), ("p_respawn", (-3, 2))):
        numbers = getattr(levels, leaf)
        new = numbers[1:][numbers[1:] != numbers[:-1]]
        assert len(new) > 40 and kstest(np.log10(new), "uniform", spread).pvalue > 1e-3
    new = levels.rewards[1:][levels.rewards[1:] != levels.rewards[:-1]]
    assert len(new) > 40 and new.min() < -0.5 < 0.5 < new.max()


def test_edits_of_training_levels_stay_training_levels():
    levels, _ = walk(LPGGrid("small"), "train", jax.random.key(0))
    sides = np.asarray(jax.jit(jax.vmap(side))(levels))
    assert not sides.any()
    others, _ = walk(LPGGrid("small"), None, jax.random.key(10))
    assert 0.4 < np.asarray(jax.jit(jax.vmap(side))(others)).mean() < 0.6

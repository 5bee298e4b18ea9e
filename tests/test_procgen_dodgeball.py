"""Dodgeball: its levels by search with foresight, its rules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.procgen.dodgeball import strollers
from metarl.envs.procgen.mazes import distances
from metarl.testing.levels import foresee, play_levels

MODES = ("easy", "hard", "memory")
FIRE = 9


def plans(horizon):
    """[P, H]: hold a move for a while, then stay; throw before, or after a turn."""
    stay = np.full(horizon, 4)
    found = [stay]
    for move in (0, 1, 2, 3, 5, 6, 7, 8):
        for steps in (1, 2, 4, horizon):
            found.append(np.where(np.arange(horizon) < steps, move, 4))
        found.append(np.concatenate([[FIRE], found[-1][1:]]))
        if move % 2:
            found.append(np.concatenate([[move, FIRE], stay[2:]]))
    return jnp.asarray(np.array([*found, np.concatenate([[FIRE], stay[1:]])]))


def between(cells):
    """[2 S - 1, 2 S - 1] whether the cells that a square covers, on half cells too, are all true."""
    cells = jnp.repeat(jnp.repeat(cells, 2, 0), 2, 1)
    cells = cells[:-1] & cells[1:]
    return cells[:, :-1] & cells[:, 1:]


def searcher(game, horizon=8):
    """Takes what can be had soon; else stays alive and goes where the next enemy is, or the door."""
    options = plans(horizon)

    def player(free, state):
        world, side = state.world, len(free)
        ret, alive, _ = foresee(game, world, options)
        half = lambda x: jnp.clip(2 * x - 1, 0, side - 1).astype(jnp.int32)  # noqa: E731
        enemies = world.alive.any()
        row, column = (
            half(jnp.where(enemies, x, y + 0.5))
            for x, y in zip(strollers(world.level, world.time), world.level.door, strict=True)
        )
        there = world.alive | ~enemies
        target = jnp.isin(jnp.arange(free.size), jnp.where(there, row * side + column, -1))
        here = half(world.row) * side + half(world.column)
        target = target.reshape(free.shape)
        far = distances(free, target, most=9)
        # Enemies are to be seen along an axis from 2 to 4 cells away, with nothing in between.
        place = jnp.arange(side)
        down = jnp.abs(place[:, None] - row)[:, None]  # [side, 1, M]
        right = jnp.abs(place[:, None] - column)[None]
        clear = there & (jnp.minimum(down, right) == 0) & (far[..., None] == down + right)
        stand = clear.any(axis=-1) & (far >= 4) & (far <= 8)
        way = distances(free & ((far > 2) | ~enemies), jnp.where(enemies, stand, target), source=here)
        following = jax.vmap(lambda action: game.advance(world, action)[0])(options[:, 0])
        score = 1000 * ret - way[half(following.row), half(following.column)]
        lives = alive + (ret >= 10) * horizon >= horizon
        return free, options[jnp.argmax(jnp.where(lives, score, alive - 1e6)), 0]

    return lambda state: between(~state.world.level.lava), player


def play(mode, count):
    game = metarl.make("ProcDodgeball-v0", mode=mode)
    params = game.default_params(num_levels=count)
    return play_levels(game, params, *searcher(game), steps=1000), params

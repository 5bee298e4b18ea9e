"""StarPilot: its levels by a pilot who looks ahead, shots and hits by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.procgen.game import FIRE, STAY, Params
from metarl.envs.procgen.starpilot import (
    BULLET,
    COOL_DOWN,
    FLYER,
    METEOR,
    SETTINGS,
    StarPilot,
    Things,
)
from metarl.testing.levels import foresee, play_levels

AHEAD = 12
UP, RIGHT, DOWN, LEFT = StarPilot.arrows


@pytest.fixture(scope="module", params=SETTINGS)
def game(request):
    return metarl.make("ProcStarPilot-v0", mode=request.param)


def pilot(game):
    """Holds a course for some steps, then fires: the plan that lives longest and hits most."""
    held = [(action, steps) for action in range(10) for steps in (2, 6, AHEAD)]
    plans = jnp.array([[a] * steps + [FIRE] * (AHEAD - steps) for a, steps in held])
    middle = SETTINGS[game.mode].side / 2

    def player(memory, state):
        ret, alive, last = foresee(game, state.world, plans)
        away = jnp.abs(last.ship[:, 0] - middle) + jnp.abs(last.ship[:, 1] - 3)
        return memory, plans[jnp.argmax(100 * alive + 20 * ret - 0.1 * away), 0]

    return lambda state: (), player


def share_won(game, levels):
    params = game.default_params(num_levels=levels)
    played = play_levels(game, params, *pilot(game), steps=500)
    won = played.terminated & (played.length == SETTINGS[game.mode].steps)
    assert (played.ret >= 10 * won).all() and (played.ret[won] > 10).mean() > 0.9
    return float(won.mean())


def test_the_end_can_be_reached(game):
    assert share_won(game, 30) >= 0.99


@pytest.mark.slow
def test_the_end_can_be_reached_on_most_levels(game):
    assert share_won(game, 200) >= 0.99


def test_an_edit_changes_what_comes_late():
    game = metarl.make("ProcStarPilot-v0", mode="hard")
    params = game.default_params(num_levels=8)
    changed = jax.jit(game.mutate)(jax.random.key(0), params)
    before, after = params.levels.words, changed.levels.words
    assert (before[:, 0] == after[:, 0]).all() and (before[:, 1] != after[:, 1]).any(axis=1).all()


@pytest.fixture(scope="module")
def sky():
    """`(world changes, actions) -> worlds and time steps`; nothing comes of itself."""
    game = StarPilot()
    start = game.begin(jax.tree.map(lambda x: x[0], game.default_params(num_levels=1).levels))
    advance = jax.jit(game.advance)

    def play(actions, **changes):
        world = start.replace(time=jnp.int32(189), **changes)  # the last 60 steps are quiet
        seen = []
        for action in actions:
            world, reward, ended = advance(world, jnp.int32(action))
            seen.append((float(reward), bool(ended)))
        return world, seen

    return play


def enemies(kind, row, column, slots=SETTINGS["easy"].slots):
    one = jnp.arange(slots) == 0
    return Things(
        jnp.where(one, row, 0.0),
        jnp.where(one, column, 0.0),
        jnp.where(one, kind, 0).astype("uint8"),
    )


def test_the_ship_moves_half_a_cell_and_stays_inside(sky):
    for action, place in ((UP, (7.5, 2.5)), (RIGHT, (8, 3)), (6, (8.5, 3.0)), (STAY, (8, 2.5))):
        assert tuple(map(float, sky([action])[0].ship)) == place
    assert tuple(map(float, sky([LEFT] * 9)[0].ship)) == (8, 0.5)


def test_a_shot_flies_one_cell_a_step_and_takes_one_enemy(sky):
    world, seen = sky([FIRE, STAY], enemies=enemies(FLYER, 8.0, 12.0))
    (shot,) = np.flatnonzero(world.shots.kind)
    assert float(world.shots.column[shot]) == 4.0 and world.enemies.kind.any()
    world, seen = sky([FIRE] + [STAY] * 8, enemies=enemies(FLYER, 8.0, 12.0))
    assert sum(reward for reward, _ in seen) == 1
    assert not world.enemies.kind.any() and not world.shots.kind.any()


def test_the_gun_has_to_cool_down(sky):
    assert (sky([FIRE] * COOL_DOWN)[0].shots.kind > 0).sum() == 1
    assert (sky([FIRE] * (COOL_DOWN + 1))[0].shots.kind > 0).sum() == 2


def test_meteors_stop_shots_and_are_not_shot(sky):
    world, seen = sky([FIRE] + [STAY] * 8, enemies=enemies(METEOR, 8.0, 12.0))
    assert world.enemies.kind[0] == METEOR and not world.shots.kind.any()
    assert all(reward == 0 for reward, _ in seen)


@pytest.mark.parametrize(("row", "ends"), [(8.0, True), (8.6, True), (8.8, False)])
def test_what_touches_the_ship_ends_the_episode(sky, row, ends):
    _, seen = sky([STAY] * 3, enemies=enemies(FLYER, row, 3.5))
    assert seen[-1] == (0.0, ends)
    bullets = enemies(BULLET, row - 0.2, 4.0, slots=8)
    assert sky([STAY] * 3, bullets=bullets)[1][-1][1] == (row < 8.7)


def test_the_end_pays_ten():
    game = StarPilot()
    level = game.default_params(num_levels=1).levels
    params = Params(level, jnp.int32(1000))
    state, _ = game.reset(jax.random.key(0), params)
    state = state.replace(world=state.world.replace(time=jnp.int32(SETTINGS["easy"].steps - 1)))
    _, ts = jax.jit(game.step)(jax.random.key(0), state, jnp.int32(STAY), params)
    assert ts.terminated and ts.reward == 10

"""Leaper: its levels by a player that looks ahead, its rules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.procgen.game import Params
from metarl.envs.procgen.leaper import FINISH, NONE, ROAD, WATER, Lanes, Level
from metarl.envs.splits import side
from metarl.testing.levels import look_ahead, play_levels

UP, RIGHT, DOWN, LEFT, STAY = 5, 7, 3, 1, 4
MODES = ("easy", "hard", "memory")


@pytest.fixture(scope="module", params=MODES)
def game(request):
    return metarl.make("ProcLeaper-v0", mode=request.param)


@pytest.fixture(scope="module")
def params(game):
    return game.default_params(num_levels=200)


@pytest.fixture(scope="module")
def easy():
    return metarl.make("ProcLeaper-v0")


def frog(game):
    """Hops as the best of 60 random plans of 12 hops says: up, and never to its death."""
    likely = jnp.array([UP] * 5 + [STAY] * 3 + [RIGHT, LEFT, DOWN] + [UP, STAY, RIGHT, LEFT, UP])

    def draw(turn):
        return likely[jax.random.bits(jax.random.key(turn), (60, 12)) % 16]

    def worth(world, earned, lasted, ended):
        safe = jnp.where(ended, lasted - 1000.0, -world.row)
        return jnp.where(earned > 0, 1000.0 - lasted, safe)

    return look_ahead(game, draw, worth, hold=5, steps=500)


@pytest.mark.parametrize("count", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_every_level_can_be_won_and_so_when_edited(game, params, count):
    params = params.replace(levels=jax.tree.map(lambda x: x[:count], params.levels))
    edited, edit = params, jax.jit(game.mutate)
    for key in jax.random.split(jax.random.key(0), 4):
        edited = edit(key, edited)
    both = jax.tree.map(lambda *x: jnp.concatenate(x), params.levels, edited.levels)
    played = play_levels(game, params.replace(levels=both), *frog(game), steps=500)
    won = played.ret == 10
    assert won[:count].mean() >= 0.99 and won[count:].mean() >= 0.99
    assert played.terminated[won].all()
    assert (edited.levels.start != params.levels.start).any()
    for old, new in (
        (params.levels.road, edited.levels.road),
        (params.levels.water, edited.levels.water),
    ):
        assert (old.place != new.place).any()
        assert ((old.place == NONE) == (new.place == NONE)).all()
        assert (old.speed == new.speed).all() and (old.row == new.row).all()


def test_levels_are_as_the_mode_says(game, params):
    size = game.size
    for lanes, things, speeds in (
        (params.levels.road, size.cars, size.car_speed),
        (params.levels.water, size.logs, size.log_speed),
    ):
        used = np.arange(lanes.speed.shape[1]) < np.asarray(lanes.count)[:, None]
        number = (np.asarray(lanes.place) != NONE).sum(-1)
        assert set(number[used]) == set(range(things[0], things[1] + 1)) and not number[~used].any()
        fast = np.abs(lanes.speed)
        assert speeds[0] <= fast.min() and fast.max() <= speeds[1]
        place = np.sort(np.where(lanes.place == NONE, 10**4, np.asarray(lanes.place, int)), axis=-1)
        gaps = np.diff(place, append=place[..., :1] + 8 * (size.side + 2))
        assert (gaps[(place < 10**4) & (gaps < 10**3)] >= 8).all()  # none lies on another
    assert set(map(int, params.levels.road.count)) == set(range(size.difficulty + size.spread + 1))
    assert (np.diff(np.sign(params.levels.water.speed), axis=1) != 0).all()
    finish = params.levels.water.row.astype(int) - params.levels.water.count
    assert finish.min() >= 0
    held = game.default_params(num_levels=200, split="heldout").levels
    assert (jax.vmap(side)(held) == 1).all()
    assert (jax.vmap(side)(params.levels) == 0).all()


def world_of(game, cars=(), car_speed=0.0, logs=(), log_speed=0.0, start=4.5):
    """One road lane in row 7 and one of water in row 5, of 9; places in cells of the world."""

    def lanes(row, speed, columns, most):
        place = [8 * (column + 1) for column in columns] + [NONE] * (most - len(columns))
        places = np.full((3, most), NONE, np.uint8)
        places[0] = place
        speeds = jnp.array([speed, 0, 0], jnp.float32)
        return Lanes(jnp.uint8(row), jnp.uint8(1), speeds, jnp.asarray(places))

    level = Level(lanes(7, car_speed, cars, 2), lanes(5, log_speed, logs, 5), jnp.float32(start))
    return game.begin(level)


@pytest.fixture(scope="module")
def play(easy):
    advance = jax.jit(easy.advance)

    def run(world, *actions):
        for action in actions:
            world, reward, ended = advance(world, jnp.int32(action))
            if ended:
                break
        return world, float(reward), bool(ended)

    return run


def test_a_hop_takes_five_steps(easy, play):
    world = world_of(easy)
    rows = []
    for action in (UP, DOWN, LEFT, STAY, RIGHT):  # only the first counts
        world, _, ended = play(world, action)
        rows.append(round(float(world.row), 3))
        assert not ended
    assert rows == [8.1, 7.8, 7.6, 7.5, 7.5] and world.hop == 0 and world.column == 4.5
    assert play(world, 9)[0].hop == 0  # firing is no move
    side_wins, _, _ = play(world, 8, *[STAY] * 4)
    assert side_wins.row == 7.5 and side_wins.column == 5.5 and side_wins.facing == 1
    for action in (LEFT, RIGHT, DOWN):  # a hop stays in the world
        end, _, ended = play(world_of(easy), *[action] * 30)
        assert not ended and 0.4 <= end.column <= 8.6 and end.row == 8.5


def test_cars_kill_who_touches_them(easy, play):
    beside = world_of(easy, cars=[3.5], start=4.5)  # 1 apart, and they touch at 0.9
    assert not play(beside, *[UP] * 5)[2]
    assert play(world_of(easy, cars=[3.625], start=4.5), *[UP] * 5)[2]
    world, reward, ended = play(
        world_of(easy, cars=[1], car_speed=0.1, start=4.45), *[UP] * 5, *[STAY] * 60
    )
    assert ended and reward == 0 and world.time == 26  # from 1 to beyond 4.45 - 0.9
    ring = world_of(easy, cars=[8], car_speed=0.1).level.road.columns(jnp.int32(30), 9)
    assert ring[0, 0] == pytest.approx(0.0, abs=1e-4)  # 11 cells around


def test_water_drowns_and_logs_carry(easy, play):
    to_bank = [UP] * 10
    world, reward, ended = play(world_of(easy), *to_bank, *[UP] * 4)
    assert not ended  # still in the air
    assert play(world, UP)[1:] == (0.0, True)
    world, _, ended = play(world_of(easy, logs=[4.5]), *to_bank, *[UP] * 5)
    assert not ended and world.row == 5.5
    world, reward, ended = play(world, *[UP] * 5)
    assert ended and reward == 10 and world.row == 4.5
    missed = world_of(easy, logs=[5])
    assert play(missed, *to_bank, *[UP] * 5)[2]  # 0.5 from the centre; 0.45 is a log's half
    riding = world_of(easy, logs=[4], log_speed=0.05)
    world, _, ended = play(riding, *to_bank, *[UP] * 5)
    before = float(world.column)
    world, _, ended = play(world, *[STAY] * 10)
    assert not ended and float(world.column) == pytest.approx(before + 0.5, abs=1e-4)
    world, reward, ended = play(world, *[STAY] * 100)
    assert ended and reward == 0 and world.column > 9.4  # carried out of the world


def test_a_picture_shows_what_the_planes_show(easy):
    pixels = metarl.make("ProcLeaper-v0", view="pixels")
    level = world_of(easy, cars=[1.5], car_speed=-0.1, logs=[6.5], log_speed=0.1).level
    params = Params(jax.tree.map(lambda x: x[None], level), jnp.int32(500))
    state, ts = jax.jit(easy.reset)(jax.random.key(0), params)
    kinds = {name: i for i, name in enumerate(easy.kinds)}
    text = easy.render_text(state, params).splitlines()
    assert text[5][6] == easy.signs[kinds["log right"]]
    assert text[7][1] == easy.signs[kinds["car left"]]
    assert text[8][4] == easy.signs[kinds["frog up"]] and text[9] == "hop 0.00"
    assert [ts.obs[kind - 1].sum() for kind in (ROAD, WATER, FINISH)] == [9, 9, 9]
    assert ts.obs[FINISH - 1, 4].all()
    shown, _ = jax.jit(pixels.observe)(state, params)
    car, log = shown[:, 53, 10], shown[:, 39, 46]
    assert (car == np.array([206, 60, 54])).all() and (log == np.array([170, 124, 76])).all()
    state, ts = jax.jit(easy.step)(jax.random.key(0), state, jnp.int32(LEFT), params)
    assert ts.obs[kinds["frog left"] - 1, 8, 4] == 1 and ts.obs[-1, 0, 0] == round(255 * 4 / 5)

"""BigFish: its levels by a player that looks ahead, its rules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.procgen.bigfish import QUOTA, Level, Shoal
from metarl.envs.splits import side
from metarl.testing.levels import look_ahead, play_levels

UP, RIGHT, DOWN, LEFT, STAY = 5, 7, 3, 1, 4
MODES = ("easy", "hard", "memory")


@pytest.fixture(scope="module", params=MODES)
def game(request):
    return metarl.make("ProcBigFish-v0", mode=request.param)


@pytest.fixture(scope="module")
def params(game):
    return game.default_params(num_levels=200)


@pytest.fixture(scope="module")
def easy():
    return metarl.make("ProcBigFish-v0")


def eater(game, seed=0):
    """Follows the best of the nine straight ways and 63 random ones: fish eaten, or one near."""
    straight = jnp.repeat(jnp.arange(9)[:, None], 10, axis=1)

    def draw(turn):
        words = jax.random.bits(jax.random.key(turn + 1_000_000 * seed), (63, 5))
        return jnp.concatenate([straight, jnp.repeat((words % 9).astype(jnp.int32), 2, axis=1)])

    def worth(world, earned, lasted, ended):
        fish, own = world.fish, game.girth(world)
        far = jnp.maximum(jnp.abs(fish.row - world.row), jnp.abs(fish.column - world.column))
        prey = (fish.size > 0) & (fish.size <= own)
        nearest = jnp.min(jnp.where(prey, far - fish.size, 30.0))
        gap = jnp.min(jnp.where(fish.size > own, far - fish.size - own, 4.0))
        middle = game.size.side / 2
        off = jnp.maximum(jnp.abs(world.column - middle), jnp.abs(world.row - middle))
        edge = jnp.maximum(off - middle + 6, 0)  # where large fish come suddenly and corner one
        died = ended & (world.eaten < QUOTA)
        hopes = 0.1 * jnp.minimum(gap, 4) - 0.02 * nearest - 0.3 * edge
        return jnp.where(died, lasted - 1000.0, earned + hopes)

    return look_ahead(game, draw, worth, hold=4, steps=3000)


@pytest.mark.parametrize("count", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_every_level_can_be_won_and_so_when_edited(game, params, count):
    params = params.replace(levels=jax.tree.map(lambda x: x[:count], params.levels))
    edited, edit = params, jax.jit(game.mutate)
    for key in jax.random.split(jax.random.key(0), 4):
        edited = edit(key, edited)
    both = jax.tree.map(lambda *x: jnp.concatenate(x), params.levels, edited.levels)
    played = play_levels(game, params.replace(levels=both), *eater(game), steps=3000)
    won = played.ret >= QUOTA + 10
    for seed in range(1, 4 if count == 200 else 1):  # what one search does not win another may
        lost = jnp.flatnonzero(~won)
        if not len(lost):
            break
        levels = jax.tree.map(lambda x, lost=lost: x[lost], both)
        again = play_levels(game, params.replace(levels=levels), *eater(game, seed), steps=3000)
        won = won.at[lost].set(again.ret >= QUOTA + 10)
    assert won[:count].mean() >= 0.99 and won[count:].mean() >= 0.99
    assert played.terminated.all() and (played.length < 6000).all()
    assert (edited.levels.start != params.levels.start).any()
    changed = (edited.levels.seeds != params.levels.seeds).sum(axis=1)
    assert changed.max() >= 2 and changed.max() <= 4


def sea(game, fish=(), **changes):
    """A world with fish of row, column, speed and half size."""
    seeds = jnp.zeros(game.size.slots, jnp.uint32)
    world = game.begin(Level(seeds, jnp.float32(10)))
    table = np.zeros((4, game.size.slots), np.float32)
    for slot, one in enumerate(fish):
        table[:, slot + 4] = one  # one may come in the first
    middle = {"row": jnp.float32(10), "column": jnp.float32(10), "fish": Shoal(*jnp.array(table))}
    return world.replace(**{**middle, **changes})


def test_who_touches_whom(easy):
    advance = jax.jit(easy.advance)

    def met(*fish, **changes):
        world, reward, ended = advance(sea(easy, fish, **changes), jnp.int32(STAY))
        return int(world.eaten), float(reward), bool(ended), int((world.fish.size > 0)[4:].sum())

    eaten, nothing = (1, 1.0, False, 0), (0, 0.0, False, 1)
    assert met((10, 11.6, 0.15, 0.5)) == nothing  # 1.75 apart, and they touch at 1.5
    assert met((10, 11.6, -0.15, 0.5)) == eaten  # after all have moved
    assert met((10, 11.8, -0.15, 1.0)) == eaten  # of the same size
    assert met((10, 11.8, -0.15, 1.01)) == (0, 0.0, True, 1)
    assert met((11.7, 10, 0.15, 1.0)) == eaten and met((11.8, 10, 0.15, 1.0)) == nothing
    assert met((10, 10, 0.15, 0.5), (10, 10, -0.15, 0.5), (9, 9, 0.2, 0.3)) == (3, 3.0, False, 0)
    assert met((10, 10, 0.15, 0.5), (10, 10, 0.15, 1.5)) == (1, 1.0, True, 1)
    last = {"eaten": jnp.int32(QUOTA - 1)}
    assert met((10, 10, 0.15, 0.5), **last) == (QUOTA, 11.0, True, 0)
    assert met((2, 20.4, 0.15, 0.5)) == (0, 0.0, False, 0)  # gone, out of sight


def test_the_player_grows_and_glides(game):
    size, advance = game.size, jax.jit(game.advance)
    world = sea(game)
    assert float(game.girth(world)) == size.start
    grown = world.replace(eaten=jnp.int32(QUOTA))
    assert float(game.girth(grown)) == pytest.approx(2.0)
    columns = [10.0]
    for action in (RIGHT, RIGHT, 9):
        world, _, _ = advance(world, jnp.int32(action))
        columns.append(float(world.column))
    assert np.diff(columns) == pytest.approx([0.225, 0.45 * 0.225 + 0.225, 0.146813], abs=1e-4)
    for _ in range(60):
        world, _, _ = advance(world.replace(fish=sea(game).fish), jnp.int32(6))  # down and right
    assert [float(world.row), float(world.column)] == [size.side - size.start] * 2


def test_fish_come_as_the_mode_says(game, params):
    size, first = game.size, jax.tree.map(lambda x: x[:40], params.levels)

    def watch(level):
        def step(world, _):
            new, _, _ = game.advance(world.replace(row=jnp.float32(-9)), jnp.int32(STAY))
            came = (world.fish.size == 0) & (new.fish.size > 0)
            replaced = jnp.any(
                (world.fish.size > 0) & (new.fish.size != world.fish.size) & (new.fish.size > 0)
            )
            return new, (came, new.fish, replaced)

        return jax.lax.scan(step, game.begin(level), None, length=60 * size.every)[1]

    came, fish, replaced = jax.jit(jax.vmap(watch))(first)  # [40, T, M]
    assert not replaced.any()  # every fish has left before its slot is needed
    turns = np.asarray(came).sum(-1).reshape(40, 60, size.every).sum(-1)
    assert (turns == 1).all()
    when = np.nonzero(np.asarray(came).any(-1))[1] % size.every
    assert set(when) == set(range(size.every))
    half, speed = np.asarray(fish.size)[came], np.asarray(fish.speed)[came]
    assert half.min() >= 0.25 and half.max() < 2
    below_one = np.mean(half <= 1)  # (0.75 / 1.75) ** (1 / 1.4)
    assert below_one == pytest.approx(0.546, abs=0.04)
    assert size.speed[0] <= np.abs(speed).min() and np.abs(speed).max() < size.speed[1]
    assert np.mean(speed > 0) == pytest.approx(0.5, abs=0.04)
    row = np.asarray(fish.row)[came]
    assert (row >= half).all() and (row <= size.side - half).all()
    held = game.default_params(num_levels=200, split="heldout").levels
    assert (jax.vmap(side)(held) == 1).all() and (jax.vmap(side)(params.levels) == 0).all()


def test_a_picture_shows_what_the_planes_show(easy):
    pixels = metarl.make("ProcBigFish-v0", view="pixels")
    params = easy.default_params(num_levels=1)
    state, _ = jax.jit(easy.reset)(jax.random.key(0), params)
    fish = [(4.5, 5.0, 0.2, 0.9), (14.0, 15.0, -0.2, 1.6)]
    state = state.replace(world=sea(easy, fish))
    obs, _ = jax.jit(easy.observe)(state, params)
    kinds = {name: i for i, name in enumerate(easy.kinds)}
    assert easy.observation_space.contains(np.asarray(obs))
    assert obs[kinds["self"] - 1, 9:11, 9:11].all() and obs[kinds["self"] - 1].sum() == 4
    assert obs[kinds["smaller right"] - 1, 4, 4] == 1 and obs[kinds["larger left"] - 1, 14, 15]
    assert obs[-1, 0, 0] == round(255 * 0.5)
    shown, _ = jax.jit(pixels.observe)(state, params)
    at = [
        shown[:, int(row * 3.2), int(column * 3.2)].tolist()
        for row, column in ((10, 10), (4.5, 5), (14, 15), (1, 18))
    ]
    assert at == [[250, 200, 60], [110, 210, 120], [226, 96, 76], [30, 70, 120]]

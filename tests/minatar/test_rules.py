"""MinAtar's rules by hand: what sticks, what is drawn, what the params and the fields change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

import metarl
from metarl.envs.minatar import boards, lanes
from metarl.envs.minatar.asterix import Asterix
from metarl.envs.minatar.breakout import Breakout
from metarl.envs.minatar.common import EVERY_ACTION
from metarl.envs.minatar.freeway import Freeway
from metarl.envs.minatar.space_invaders import SpaceInvaders

GAMES = (Breakout(), Asterix(), Freeway(), SpaceInvaders())
DRAWS = 2**14
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def reset():
    """Of `DRAWS` games, [DRAWS]."""
    many = jax.vmap(lambda env, key: env.reset(key, env.default_params())[0], in_axes=(None, 0))
    compiled = jax.jit(many, static_argnums=0)
    return lambda env: jax.device_get(compiled(env, jax.random.split(KEY, DRAWS)))


@pytest.fixture(scope="module")
def steps():
    """`(env, state, **changes)`: `DRAWS` steps that do nothing, each with a key of its own.

    Changes are of the params, [] or [DRAWS].
    """
    many = jax.vmap(lambda env, *args: env.step(*args), in_axes=(None, 0, None, None, 0))
    compiled = jax.jit(many, static_argnums=0)

    def take(env, state, **changes):
        params = env.default_params().replace(**changes)
        params = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, DRAWS), params)
        keys = jax.random.split(KEY, DRAWS)
        return jax.device_get(compiled(env, keys, state, jnp.int32(0), params))

    return take


def one(env):
    """A state, on the host."""
    return jax.device_get(jax.jit(env.reset)(KEY, env.default_params())[0])


def unpacked(word):
    """[..., 8] numbers of lanes."""
    return (np.asarray(word)[..., None] >> (4 * np.arange(8))) & 15


@pytest.mark.parametrize("env", GAMES, ids=lambda env: type(env).__name__)
def test_the_minimal_actions_are_some_of_all(env):
    whole = type(env)(minimal=False)
    assert whole.letters == EVERY_ACTION
    assert whole.action_space.n == 6
    assert env.letters[0] == "n"
    assert env.letters == "".join(letter for letter in EVERY_ACTION if letter in env.letters)
    params = env.default_params()
    for number, letter in enumerate(env.letters):
        last, word = jnp.uint8(0), jnp.uint32(2**32 - 1)
        played = env.played(word, last, jnp.int32(number), params)
        assert env.pressed(played, letter)
        assert whole.pressed(jnp.int32(EVERY_ACTION.index(letter)), letter)
    assert env.played(word, last, jnp.int32(99), params) == env.num_actions - 1
    assert env.played(word, last, jnp.int32(-5), params) == 0


def test_an_action_sticks_as_often_as_the_params_say(steps):
    """From the middle, after a step to the right, nothing is played: 9 of 10 stay."""
    env = Breakout()
    right = env.letters.index("r")
    state = one(env).replace(last=np.uint8(right))
    for sticky in (0.1, 0.7):
        after, _ = steps(env, state, sticky=jnp.float32(sticky))
        stuck = after.paddle == 5
        np.testing.assert_array_equal(stuck, after.last == right)
        assert (stuck | (after.paddle == 4)).all()
        assert binomtest(int(stuck.sum()), DRAWS, sticky).pvalue > 1e-4
    never, _ = steps(env, state, sticky=jnp.float32(0))
    always, _ = steps(env, state, sticky=jnp.float32(1))
    assert not (never.last == right).any()
    assert (always.last == right).all()


def test_the_ball_starts_on_either_side(reset):
    state = reset(Breakout())
    assert binomtest(int((state.x == 9).sum()), DRAWS, 0.5).pvalue > 1e-4
    np.testing.assert_array_equal(state.dx, np.where(state.x == 9, -1, 1))
    assert set(state.x) == {0, 9}


def test_what_enters_asterix_is_drawn_as_the_rules_say(steps):
    """Lanes 1 and 6 are taken; any other may be entered."""
    env = Asterix()
    taken = np.uint32(0x01000010)
    state = one(env).replace(present=taken, columns=taken * 3, spawn_timer=np.int8(0))
    after, ts = steps(env, state)
    new = unpacked(after.present & ~taken)
    assert (new.sum(axis=1) == 1).all()
    lane = new.argmax(axis=1)
    counts = np.bincount(lane, minlength=8)
    assert counts[1] == counts[6] == 0
    assert chisquare(counts[counts > 0]).pvalue > 1e-4
    right, gold = (
        np.take_along_axis(unpacked(w), lane[:, None], 1) for w in (after.right, after.gold)
    )
    column = np.take_along_axis(unpacked(after.columns), lane[:, None], 1)
    np.testing.assert_array_equal(column, np.where(right == 1, 0, 9))
    kinds = np.bincount((2 * gold + right).ravel(), minlength=4)
    assert chisquare(kinds, DRAWS * np.array([2, 2, 1, 1]) / 6).pvalue > 1e-4
    assert set(after.spawn_timer) == {9}
    assert not ts.terminated.any()


def test_nothing_enters_a_full_board_of_asterix(steps):
    env = Asterix()
    full = np.uint32(lanes.ALL)
    state = one(env).replace(present=full, columns=full, spawn_timer=np.int8(0))
    after, _ = steps(env, state)
    assert (after.present == full).all()
    assert (after.columns == full).all()
    assert set(after.spawn_timer) == {9}


def test_ramping_is_a_leaf_of_the_params(steps):
    env = Asterix()
    state = one(env).replace(ramp_timer=np.int8(-1), spawn_speed=np.int8(9))
    after, _ = steps(env, state, ramping=jnp.arange(DRAWS) % 2 == 1)
    np.testing.assert_array_equal(after.spawn_speed, 9 - np.arange(DRAWS) % 2)
    np.testing.assert_array_equal(after.move_speed, 5 - np.arange(DRAWS) % 2)


def test_speeds_of_cars_are_uniform_and_independent(reset):
    state = reset(Freeway())
    speeds = unpacked(state.speeds)
    assert speeds.min() == 1
    assert speeds.max() == 5
    drawn = speeds - 1 + 5 * unpacked(state.right)
    for lane in range(8):
        assert chisquare(np.bincount(drawn[:, lane], minlength=10)).pvalue > 1e-4
        pair = 10 * drawn[:, lane] + drawn[:, lane - 1]
        assert chisquare(np.bincount(pair, minlength=100)).pvalue > 1e-4


def test_a_crossing_pays_and_draws_new_speeds(steps):
    env = Freeway()
    state = one(env).replace(row=np.int8(1), rest=np.int8(0), last=np.uint8(1))
    after, ts = steps(env, state, sticky=jnp.float32(1))
    assert (ts.reward == 1).all()
    assert (after.row == 9).all()
    drawn = unpacked(after.speeds) - 1 + 5 * unpacked(after.right)
    assert chisquare(np.bincount(drawn.ravel(), minlength=10)).pvalue > 1e-4
    assert not ts.last.any()


@pytest.mark.parametrize("env", GAMES[:1] + GAMES[2:3], ids=lambda env: type(env).__name__)
def test_the_clock_truncates(steps, env):
    limits = jnp.arange(DRAWS) % 3
    _, ts = steps(env, one(env).replace(time=np.int32(0)), max_steps=limits)
    np.testing.assert_array_equal(ts.truncated, np.asarray(limits) <= 1)
    assert not ts.terminated.any()


def cells(board):
    """[10, 10] bool."""
    bits = np.concatenate([np.asarray(word) >> np.arange(30) & 1 for word in board])
    return bits[:100].reshape(10, 10) > 0


def test_boards_are_arrays_of_bits():
    random = np.random.default_rng(0)
    for _ in range(20):
        a, b = random.random((2, 10, 10)) < 0.3
        rows = [[jnp.uint32(row @ (1 << np.arange(10))) for row in x] for x in (a, b)]
        one, two = map(boards.from_rows, rows)
        zero = np.zeros(10, bool)
        np.testing.assert_array_equal(cells(one), a)
        np.testing.assert_array_equal(cells(boards.either(one, two)), a | b)
        np.testing.assert_array_equal(cells(boards.both(one, two)), a & b)
        np.testing.assert_array_equal(cells(boards.without(one, two)), a & ~b)
        np.testing.assert_array_equal(cells(boards.up(one)), np.vstack([a[1:], zero]))
        np.testing.assert_array_equal(cells(boards.down(one)), np.vstack([zero, a[:-1]]))
        np.testing.assert_array_equal(cells(boards.left(one)), np.c_[a[:, 1:], zero])
        np.testing.assert_array_equal(cells(boards.right(one)), np.c_[zero, a[:, :-1]])
        np.testing.assert_array_equal(boards.plane(one), a.ravel())
        assert [int(boards.row(one, i)) for i in range(10)] == [int(row) for row in rows[0]]
        assert int(boards.columns(one)) == a.any(axis=0) @ (1 << np.arange(10))
        assert (int(boards.count(one)), bool(boards.some(one))) == (a.sum(), a.any())
    assert not boards.some(boards.empty())


def test_lanes_are_eight_numbers():
    random = np.random.default_rng(1)
    pack = lambda numbers: jnp.uint32(np.sum(np.asarray(numbers) << (4 * np.arange(8))))  # noqa: E731
    for _ in range(20):
        x, flags, right = random.integers(0, 10, 8), *random.integers(0, 2, (2, 8))
        a, b, c = map(pack, (x, flags, right))
        np.testing.assert_array_equal(unpacked(lanes.are(a, 3)), x == 3)
        np.testing.assert_array_equal(unpacked(lanes.pick(b, a, c)), np.where(flags, x, right))
        there = np.flatnonzero(flags)
        for number in range(8):
            expected = np.isin(np.arange(8), there[number : number + 1])
            np.testing.assert_array_equal(unpacked(lanes.nth(b, jnp.int32(number))), expected)
        to = x + np.where(right, 1, -1)
        moved, kept = lanes.step(a, b, c)
        inside = (flags == 1) & (to >= 0) & (to <= 9)
        np.testing.assert_array_equal(unpacked(kept), inside)
        np.testing.assert_array_equal(unpacked(moved), np.where(inside, to, x))
        around = np.where(flags, to % 10, x)
        np.testing.assert_array_equal(unpacked(lanes.turn(a, b, c)), around)
        picture = np.zeros((10, 10), bool)
        picture[there + 1, x[there]] = True
        np.testing.assert_array_equal(cells(lanes.board(a, b)), picture)


def test_pictures():
    env = metarl.make("SpaceInvaders-v0")
    state, params = one(env), env.default_params()
    text = env.render_text(state, params).split()
    assert text == ["..<<<<<<.."] * 4 + [".........."] * 5 + [".....A...."]
    picture = np.asarray(jax.jit(env.render)(state, params))
    assert picture.shape == (160, 160, 3)
    colour = env.planes["cannon"][1]
    assert tuple(picture[9 * 16 + 4, 5 * 16 + 4]) == colour

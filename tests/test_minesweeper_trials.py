"""Minesweeper in trials: the free opening, rewards by hand, one board an attempt, split boards."""

from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.wrappers import trial

MANY = 400
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def env():
    return metarl.make("TrialMinesweeper-v0")


@pytest.fixture(scope="module")
def starts(env):
    """States and time steps [MANY] of the default params."""
    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
    return jax.device_get(reset(jax.random.split(KEY, MANY), env.default_params()))


def around(mines):
    """How many neighbours have mines, [H, W], by a sum over slices."""
    padded, (height, width) = np.pad(mines.astype(int), 1), mines.shape
    slices = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return sum(slices) - mines


def flooded(mines, start):
    """Cells that open with `start`, by a search over a set."""
    numbers, seen, border = around(mines), {start}, [start]
    while border:
        row, column = border.pop()
        if numbers[row, column]:
            continue
        for cell in ((row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
            if 0 <= min(cell) and max(cell) < 6 and cell not in seen:
                seen.add(cell)
                border.append(cell)
    return frozenset(seen)


def board_of(*mines):
    """Params of one board, and an opening that is drawn."""
    params = metarl.make("TrialMinesweeper-v0").default_params()
    return params.replace(mines=jnp.isin(jnp.arange(36), jnp.array(mines)))


def test_an_episode_starts_after_a_safe_action(starts):
    state, ts = starts
    assert (ts.reward == 0).all() and not (ts.terminated | ts.truncated).any()
    for board, left, planes, mask in zip(
        state.board, state.left, ts.obs, ts.action_mask, strict=True
    ):
        mines, open_ = (board >= 128).reshape(6, 6), planes[0] > 0
        assert mines.sum() == 3 and not (mines & open_).any()
        opened = frozenset(zip(*np.nonzero(open_), strict=True))
        assert any(flooded(mines, cell) == opened for cell in opened)
        np.testing.assert_array_equal(planes[1], np.where(open_, around(mines), 0))
        np.testing.assert_array_equal(mask, ~open_.ravel())
        assert left == 33 - open_.sum() > 0


def test_the_opening_is_uniform_over_those_that_leave_something_to_do(env):
    """With mines in a corner 28 of the 33 would open all other cells; walling it in leaves one."""
    params = board_of(0, 1, 6)  # numbers: 2, 7, 8, 12, 13
    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
    opened = np.asarray(reset(jax.random.split(KEY, 2000), params)[1].obs[:, 0]).reshape(-1, 36)
    assert (opened.sum(axis=1) == 1).all()
    counts = Counter(opened.argmax(axis=1).tolist())
    assert set(counts) == {2, 7, 8, 12, 13} and min(counts.values()) > 330
    params = board_of(1, 6, 7)
    opened = np.asarray(reset(jax.random.split(KEY, 6000), params)[1].obs[:, 0]).reshape(-1, 36)
    alone = Counter(opened[opened.sum(axis=1) == 1].argmax(axis=1).tolist())
    assert set(alone) == {0, 2, 8, 12, 13, 14}  # the cells with a number
    assert max(abs(n - 6000 / 33) for n in alone.values()) < 60
    assert not opened[opened.sum(axis=1) > 1][:, 0].any()
    plain = metarl.make("Minesweeper-v0", height=2, width=2, mines=2, free_opening=True)
    opened = jax.vmap(plain.reset, in_axes=(0, None))(
        jax.random.split(KEY, 50), plain.default_params()
    )
    assert (opened[0].left == 1).all()


def test_rewards_by_hand(env):
    """Mines wall in cell 0; the cells without a number are one region."""
    params = board_of(1, 6, 7)
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    for seed in range(100):  # an opening that is a number
        state, ts = reset(jax.random.key(seed), params)
        if int(state.left) == 32:
            break
    shown = int(np.flatnonzero(ts.obs[0].ravel())[0])
    other = 8 if shown == 2 else 2
    rewards, ends = [], []
    for action in (other, other, shown, 35, 6):
        state, ts = step(KEY, state, jnp.int32(action), params)
        rewards.append(float(ts.reward))
        ends.append(bool(ts.terminated))
    np.testing.assert_allclose(rewards, [0.5, -1, -1, 2, -0.1], rtol=1e-6)
    assert ends == [False] * 4 + [True] and not ts.truncated
    for corner, won in ((params, 10.5), (board_of(0, 1, 6), 12)):
        state, ts = reset(KEY, corner)
        for action in (35, 0) if won == 10.5 else (35,):
            state, ts = step(KEY, state, jnp.int32(action), corner)
        assert ts.reward == won and ts.terminated and ts.info["solved"]


def test_seven_turns(env):
    params = board_of(1, 6, 7)
    state, ts = env.reset(KEY, params)
    shown = int(np.flatnonzero(ts.obs[0].ravel())[0])
    step = jax.jit(env.step)
    for turn in range(1, 8):
        state, ts = step(KEY, state, jnp.int32(shown), params)
        assert ts.truncated == (turn == 7) and not ts.terminated


def test_a_trial_repeats_board_and_opening_and_knows_success(env):
    """Every attempt plays what opens all at once, or a mine, or nothing new."""
    tried = trial(env, 3, stop_on_success=False)
    params = board_of(0, 1, 6)
    step = jax.jit(tried.step)
    state, first = jax.jit(tried.reset)(KEY, params)
    shown = int(np.flatnonzero(first.obs["obs"][0].ravel())[0])
    actions = [0, *[shown] * 7, 35]
    for action in actions:
        assert not first.last
        state, ts = step(KEY, state, jnp.int32(action), params)
        if action in (0, shown) and (ts.info["episode_terminated"] | ts.info["episode_truncated"]):
            assert (ts.obs["obs"] == first.obs["obs"]).all()
    assert ts.terminated and ts.info["attempt_success"].tolist() == [False, False, True]
    np.testing.assert_allclose(ts.info["attempt_return"], [-0.1, -7, 12], rtol=1e-6)


def test_a_win_that_pays_nothing_is_a_success(env):
    tried = trial(env, 2)
    params = board_of(0, 1, 6).replace(click_reward=jnp.float32(-9), solved_reward=jnp.float32(0))
    state, _ = tried.reset(KEY, params)
    _, ts = tried.step(KEY, state, jnp.int32(35), params)
    assert ts.reward < 0 and ts.terminated and ts.info["attempt_success"].tolist() == [True, False]


def test_boards_of_trials_are_split(env):
    @partial(jax.jit, static_argnums=1)
    def boards(keys, split):
        tried = trial(env, 3, sample_task=True, split=split)
        state = jax.vmap(tried.reset, in_axes=(0, None))(keys, tried.default_params())[0]
        return state.task.mines, state.env.board >= 128, state.task.max_steps

    many = jax.random.split(KEY, MANY)
    drawn = []
    for split in ("train", "heldout"):
        mines, laid, turns = jax.device_get(boards(many, split))
        np.testing.assert_array_equal(mines, laid)
        assert (turns == 7).all()
        drawn.append(set(map(bytes, mines)))
    assert not drawn[0] & drawn[1] and min(map(len, drawn)) > 350


@pytest.mark.parametrize("fields", [{"first_click_safe": True}, {"mines": 35}])
def test_an_opening_that_cannot_be_is_refused(fields):
    with pytest.raises(ValueError, match="free_opening"):
        metarl.make("TrialMinesweeper-v0", **fields)

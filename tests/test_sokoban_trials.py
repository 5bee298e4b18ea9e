"""Sokoban in trials: a level a trial, one start for all attempts, splits, what is hidden."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.build import make_env
from metarl.config import Part
from metarl.envs.levels.shipped import default_levels
from metarl.envs.levels.solve import fewest_steps
from metarl.testing import check_env
from metarl.wrappers import trial

MANY = 200
SIZES = {"height": 6, "width": 6, "boxes": 2}
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def env():
    return metarl.make("Sokoban-v0", **SIZES)


@pytest.mark.parametrize("drawn", [True, False])
def test_a_trial_draws_one_level_of_its_split(env, drawn):
    """By `sample_task`, or, which is cheaper, from the levels of the params."""

    @partial(jax.jit, static_argnums=1)
    def starts(keys, split):
        tried = trial(env, 3, sample_task=drawn, split=split if drawn else None)
        params = env.default_params() if drawn else env.default_params(split)
        state, ts = jax.vmap(tried.reset, in_axes=(0, None))(keys, params)
        return state.env.board, state.env.player, ts.obs["obs"]

    for split in ("train", "heldout"):
        boards, players, planes = jax.device_get(starts(jax.random.split(KEY, MANY), split))
        table = default_levels(**SIZES, split=split).levels()
        known = {
            (bytes(b), int(p))
            for b, p in zip(*map(np.asarray, (table.board, table.player)), strict=True)
        }
        found = [(bytes(b), int(p)) for b, p in zip(boards, players, strict=True)]
        assert set(found) <= known and len(set(found)) > MANY * 0.7
        assert (planes[:, 3].reshape(MANY, -1).argmax(axis=1) == players).all()


def test_every_attempt_starts_the_same_and_lasts_as_many_turns_as_wanted():
    """Two attempts of 21 legal moves that change the board, then the fewest steps that solve it."""
    part = Part("Sokoban-v0", {**SIZES, "max_steps": 21, "trial": 3})
    tried, params, _ = make_env(part)
    assert params.max_steps == 21
    state, first = jax.jit(tried.reset)(KEY, params)
    start, step, rng = state.env, jax.jit(tried.step), np.random.default_rng(0)
    board = np.asarray(start.board).copy()
    board[start.player] |= 8
    solution = fewest_steps(board.reshape(6, 6))
    assert solution is not None
    ts = first
    for attempt in range(2):
        for turn in range(1, 22):
            moved = not (np.asarray(ts.obs["obs"]) == first.obs["obs"]).all()
            assert (turn > 1) or not moved
            action = jnp.int32(rng.choice(np.flatnonzero(ts.action_mask)))
            state, ts = step(KEY, state, action, params)
            assert ts.info["episode_truncated"] == (turn == 21)
            assert not ts.info["episode_terminated"]  # these moves solve nothing
        assert state.attempt == attempt + 1 and not ts.last
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), state.env, start))
        assert (ts.obs["obs"] == first.obs["obs"]).all()
    for action in solution:
        assert not ts.last
        state, ts = step(KEY, state, jnp.int32(action), params)
    assert ts.terminated and ts.info["attempt_success"].tolist() == [False, False, True]
    best = 10 + 2 - 0.1 * len(solution)
    np.testing.assert_allclose(ts.info["attempt_return"][2], best, rtol=1e-5)


@pytest.mark.parametrize(
    "option, shown, shape",
    [
        ({"hidden_targets": True}, np.index_exp[[0, 2, 3]], (3, 6, 6)),
        ({"border": False}, np.index_exp[:, 1:5, 1:5], (4, 4, 4)),
    ],
)
def test_what_is_not_observed_is_left_out_and_nothing_else_changes(env, option, shown, shape):
    """A plain loop of both: the same states, rewards, ends and masks; fewer planes or cells."""
    less = metarl.make("Sokoban-v0", **SIZES, **option)
    check_env(less, less.default_params().replace(max_steps=jnp.int32(20)), steps=40)
    params = env.default_params("heldout")
    plain, ours = (jax.jit(e.reset)(KEY, params) for e in (env, less))
    steps, rng = [jax.jit(e.step) for e in (env, less)], np.random.default_rng(1)
    pushes = 0
    for _ in range(60):
        same = jax.tree.map(lambda a, b: bool((a == b).all()), plain[0], ours[0])
        assert jax.tree.all(same)
        np.testing.assert_array_equal(ours[1].obs, np.asarray(plain[1].obs)[shown])
        np.testing.assert_array_equal(ours[1].action_mask, plain[1].action_mask)
        assert ours[1].reward == plain[1].reward and ours[1].terminated == plain[1].terminated
        before = ours[0].board
        action = jnp.int32(rng.choice(np.flatnonzero(plain[1].action_mask)))
        plain = steps[0](KEY, plain[0], action, params)
        ours = steps[1](KEY, ours[0], action, params)
        pushes += int((before != ours[0].board).any())
    assert pushes > 3
    assert less.observation_space.shape == shape


def test_levels_that_differ_in_their_targets_look_alike():
    hidden = metarl.make("Sokoban-v0", **SIZES, hidden_targets=True)
    params = hidden.default_params("heldout")
    board, player = params.levels.board[0], params.levels.player[0]
    free = np.flatnonzero((np.asarray(board) & 7) == 0)
    moved = np.asarray(board) & np.uint8(5)
    moved[free[:2]] |= 2
    state, _ = hidden.reset(KEY, params)
    state = state.replace(player=player)
    seen = [hidden.observe(state.replace(board=jnp.asarray(b)), params) for b in (board, moved)]
    for a, b in zip(*seen, strict=True):
        np.testing.assert_array_equal(a, b)

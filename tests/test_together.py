"""Games side by side equal each game alone; one observation space for all; one agent learns."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.agents.gru import gru
from metarl.inner import act, birth
from metarl.ops import keys
from metarl.rollout import pool, vectorize
from metarl.rules.a2c import a2c, heads
from metarl.testing import check_env
from metarl.together import GAME_SETS, game_set, together
from metarl.wrappers import permute_actions, time_limit
from metarl.wrappers.alike import alike

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def grids():
    """Two environments with equal spaces and different rules; one tells no mask."""
    plain = time_limit(metarl.make("GridWorld-v0", size=3), 5)
    return plain, permute_actions(plain, masked=False)


@pytest.mark.parametrize("reset", ["fresh", "pool"])
def test_joined_streams_are_those_of_each_game_alone(grids, reset):
    counts = (3, 2)
    extra = () if reset == "fresh" else (pool(4, 1),)
    params: Any = [env.default_params() for env in grids]
    params[1] = params[1].replace(permutation=jnp.array([1, 2, 3, 0]))
    joined = together(grids, counts, *extra)
    alone = [vectorize(env, n, *extra) for env, n in zip(grids, counts, strict=True)]
    state = joined.init(KEY, tuple(params))
    own = [v.init(k, p) for v, k, p in zip(alone, jax.random.split(KEY, 2), params, strict=True)]
    steps = [jax.jit(v.step) for v in (joined, *alone)]
    rng, ended = np.random.default_rng(0), 0
    for key in jax.random.split(KEY, 16):
        actions = jnp.asarray(rng.integers(0, 4, 5), jnp.int32)
        state, ts = steps[0](key, state, actions, tuple(params))
        first = 0
        for i, part in enumerate(keys.split(key, 2)):
            rows = slice(first, first + counts[i])
            first += counts[i]
            own[i], expected = steps[1 + i](part, own[i], actions[rows], params[i])
            for got, wanted in ((state.inputs, own[i].inputs), (ts, expected)):
                got = jax.tree.map(lambda x, rows=rows: x[rows], got)
                if i == 1:  # every action is legal
                    assert wanted.action_mask is None and got.action_mask.all()
                    got = got.replace(action_mask=None)
                assert same(got, wanted)
            assert same(state.env[i], own[i].env) and same(state.starts[i], own[i].starts)
        ended += int(ts.last.sum())
    assert ended > 5


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


@pytest.mark.parametrize("name", GAME_SETS)
def test_a_set_has_one_observation_space_and_keeps_every_plane(name):
    games = game_set(name)
    assert len({str(game.observation_space) for game in games}) == 1
    space = games[0].observation_space
    assert all(game.observation_space == space for game in games)
    assert all(game.action_space == games[0].action_space for game in games)
    rng = np.random.default_rng(0)
    for number, game in enumerate(games):
        inner = game.env.observation_space
        obs = rng.integers(0, inner.high.astype(int) + 1).astype(np.uint8)
        shown = np.asarray(game._shown(jnp.asarray(obs)))
        assert shown.shape == space.shape and (shown <= space.high).all()
        kinds, size = len(game.env.kinds) - 1, inner.shape[1]
        start = (space.shape[1] - size) // 2
        middle = slice(start, start + size)
        np.testing.assert_array_equal(shown[:kinds, middle, middle], obs[:kinds])
        gauges = slice(game.marks, game.marks + len(game.env.gauges))
        np.testing.assert_array_equal(shown[gauges, middle, middle], obs[kinds:])
        tells = [(plane == (i == number)).all() for i, plane in enumerate(shown[-len(games) :])]
        assert all(tells)
        assert shown[: -len(games)].sum() == obs.sum()  # and zeros elsewhere


def test_the_contract_holds():
    game = alike([metarl.make("ProcMaze-v0"), metarl.make("ProcLeaper-v0")])[0]
    check_env(game, game.default_params(num_levels=2), steps=8)


def test_one_agent_lives_in_two_games_at_once():
    games = alike([metarl.make("ProcMaze-v0"), metarl.make("ProcHeist-v0")])
    venv, needed = together(games, (2, 3)), heads(games[0])
    agent = gru(games[0], needed, hidden=4)
    params = tuple(game.default_params(num_levels=2) for game in games)
    learner = birth(agent, a2c(agent, needed), venv, params, KEY)
    rollout, learner = jax.jit(partial(act, agent, venv, length=5))(learner, KEY)
    assert rollout.reward.shape == (5, 5) and rollout.inputs.obs.shape[:2] == (5, 5)
    told = np.asarray(rollout.inputs.obs[:, :, -2:, 0, 0])
    assert (told[:2] == [1, 0]).all() and (told[2:] == [0, 1]).all()


def test_what_does_not_fit_is_refused():
    maze, heist = metarl.make("ProcMaze-v0"), metarl.make("ProcHeist-v0")
    with pytest.raises(ValueError, match="alike"):
        together([maze, heist], 2)
    with pytest.raises(ValueError, match="a number for each"):
        together([maze, maze], (1, 2, 3))
    with pytest.raises(ValueError, match="planes"):
        alike([metarl.make("CartPole-v0")])
    with pytest.raises(ValueError, match="memory"):
        game_set("memroy")

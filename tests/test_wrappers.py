"""Wrappers by hand-worked cases, their fixed order, and what they must keep of an environment."""

import copy
import itertools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnasium.spaces import Box, Discrete

import metarl
from metarl import wrappers
from metarl.build import make_env
from metarl.config import Part
from metarl.ops import keys
from metarl.rollout import vectorize
from metarl.testing import check_env
from metarl.testing.compare import unequal
from metarl.types import TimeStep
from metarl.wrappers import wrap

KEY = jax.random.key(0)
EVERYTHING: dict[str, Any] = {
    "sticky_actions": 0.25,
    "permute_actions": True,
    "time_limit": 7,
    "episode_statistics": True,
    "scale_reward": 0.5,
    "normalise_obs": 5.0,
    "frame_stack": 2,
    "trial": {"episodes": 2, "stop_on_success": False},
}


class Params(struct.PyTreeNode):
    length: jax.Array


@dataclass(frozen=True)
class Counter:
    """Shows [time, last action], pays the action, terminates after `params.length` steps."""

    num_actions: int = 10

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.num_actions)

    @property
    def observation_space(self) -> Box:
        return Box(0, np.inf, (2,), np.float32)

    def default_params(self):
        return Params(jnp.int32(4))

    def reset(self, key, params):
        state = jnp.zeros(2, jnp.int32)
        return state, self._timestep(state, params)

    def step(self, key, state, action, params):
        state = jnp.stack([state[0] + 1, action])
        return state, self._timestep(state, params)

    def _timestep(self, state, params):
        reward = state[1].astype(jnp.float32)
        ended = state[0] >= params.length
        return TimeStep(state.astype(jnp.float32), reward, ended, jnp.bool_(False))


def played(env, actions, params=None):
    """The time steps of one episode, the first from `reset`."""
    params = env.default_params() if params is None else params
    state, ts = env.reset(KEY, params)
    steps = [ts]
    for t, action in enumerate(actions):
        state, ts = env.step(jax.random.fold_in(KEY, t), state, jnp.int32(action), params)
        steps.append(ts)
    return steps


def test_time_limit_truncates_but_never_after_the_end():
    steps = played(wrappers.time_limit(Counter(), 2), [1, 1])
    assert [bool(ts.truncated) for ts in steps] == [False, False, True]
    assert not any(ts.terminated for ts in steps)
    end = played(wrappers.time_limit(Counter(), 4), [1] * 4)[-1]
    assert end.terminated and not end.truncated


def test_time_limit_is_a_leaf_and_a_shorter_one_of_the_environment_stays():
    env = wrappers.time_limit(metarl.make("Bandit-v0"), 9)
    params = env.default_params()
    inner = params.env.replace(max_steps=jnp.int32(3))
    steps = played(env, [0] * 3, params.replace(env=inner))
    assert [bool(ts.truncated) for ts in steps] == [False, False, False, True]
    assert played(env, [0], params.replace(max_steps=jnp.int32(1)))[-1].truncated


@pytest.mark.parametrize(("probability", "seen"), [(0.0, [0, 1, 2, 3]), (1.0, [0, 1, 1, 1])])
def test_sticky_actions_repeat_what_was_played(probability, seen):
    steps = played(wrappers.sticky_actions(Counter(), probability), [1, 2, 3])
    assert [int(ts.obs[1]) for ts in steps] == seen


def test_sticky_actions_repeat_as_often_as_told():
    env = wrappers.sticky_actions(Counter(), 0.3)
    params = env.default_params()
    state, _ = env.step(KEY, env.reset(KEY, params)[0], jnp.int32(1), params)
    step = jax.jit(jax.vmap(lambda key: env.step(key, state, jnp.int32(2), params)[1].obs[1]))
    again = jnp.mean(step(jax.random.split(KEY, 4000)) == 1)
    assert abs(again - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5


def test_episode_statistics_are_sums_so_far_and_start_anew():
    env = wrappers.episode_statistics(Counter())
    steps = played(env, [3, 0, 5])
    assert [float(ts.info["episode_return"]) for ts in steps] == [0, 3, 3, 8]
    assert [int(ts.info["episode_length"]) for ts in steps] == [0, 1, 2, 3]


def test_rewards_are_scaled_and_nothing_else():
    env = wrappers.scale_reward(Counter(), -0.5)
    assert [float(ts.reward) for ts in played(env, [3, 4])] == [0, -1.5, -2]
    params = env.default_params().replace(factor=jnp.float32(2))
    assert float(played(env, [3], params)[-1].reward) == 6


def test_frames_are_stacked_the_newest_last():
    env = wrappers.frame_stack(Counter(), 3)
    shown = [ts.obs.tolist() for ts in played(env, [7, 8])]
    assert shown == [[0, 0] * 3, [0, 0, 0, 0, 1, 7], [0, 0, 1, 7, 2, 8]]
    planes = wrappers.frame_stack(metarl.make("GridWorld-v0"), 2)
    assert planes.observation_space.shape == (6, 5, 5)


def test_observations_are_normalised_and_clipped():
    env = wrappers.normalise_obs(Counter(), 3)
    params = env.default_params().replace(mean=jnp.array([1.0, 0]), std=jnp.array([0.5, 2]))
    assert [ts.obs.tolist() for ts in played(env, [4, 9], params)] == [[-2, 0], [0, 2], [2, 3]]


def test_statistics_are_those_of_random_play():
    """Times 0 to 3 in turn: mean 1.5, variance 1.25. The last action is 0 at the start, else 0..9,
    so its mean is 3/4 of 4.5 and its variance 3/4 of 28.5 less the square of that."""
    env = wrappers.normalise_obs(Counter())
    params = env.measured(env.default_params(), KEY, 4000)
    np.testing.assert_allclose(params.mean, [1.5, 3.375], rtol=0.02)
    np.testing.assert_allclose(params.std, [1.25**0.5, (0.75 * 28.5 - 3.375**2) ** 0.5], rtol=0.02)
    constant = wrappers.obs_statistics(
        metarl.make("Bandit-v0"), metarl.make("Bandit-v0").default_params(), KEY, 9
    )
    assert [x.tolist() for x in constant] == [[1], [1]]


def test_the_order_is_fixed_whatever_the_order_of_arguments():
    env = wrap(Counter(), **EVERYTHING)
    for some in itertools.islice(itertools.permutations(EVERYTHING.items()), 0, None, 7919):
        assert wrap(Counter(), **dict(some)) == env
        assert hash(wrap(Counter(), **dict(some))) == hash(env)
    names = []
    while isinstance(env, wrappers.Wrapper):
        names.append(type(env).__name__)
        env = env.env
    assert names[::-1] == [
        *("StickyActions", "PermuteActions", "TimeLimit", "EpisodeStatistics", "ScaleReward"),
        *("NormaliseObs", "FrameStack", "Trial"),
    ]
    assert list(wrappers.ORDER) == list(EVERYTHING)


def test_the_order_matters_and_is_the_one_documented():
    env = wrap(Counter(), scale_reward=2.0, episode_statistics=True, time_limit=2)
    end = played(env, [3, 4])[-1]
    assert end.reward == 8 and end.info["episode_return"] == 7  # statistics of unscaled rewards
    assert end.truncated and end.info["episode_length"] == 2


def test_what_is_left_out_changes_nothing():
    assert wrap(Counter(), trial=None, frame_stack=False) == Counter()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"frame_stak": 4}, "did you mean frame_stack"),
        ({"sticky_actions": 1.5}, "0..1"),
        ({"time_limit": 0}, "at least 1"),
        ({"frame_stack": 0}, "count"),
        ({"normalise_obs": -1}, "positive"),
        ({"trial": 0}, "at least 1"),
        ({"trial": {"sample_task": True}}, "sample_params"),
    ],
)
def test_nonsense_is_refused_in_words(settings, said):
    with pytest.raises(ValueError, match=said):
        wrap(Counter(), **settings)


def test_only_boxes_are_stacked():
    env = wrap(Counter(), trial=2)
    with pytest.raises(ValueError, match="Box"):
        wrappers.frame_stack(env, 2)


@pytest.mark.parametrize("name", ["GridWorld-v0", "Bandit-v0"])  # with `observe`, and without
def test_the_contract_holds_with_everything_on(name):
    check_env(wrap(metarl.make(name), **EVERYTHING), steps=24)


def test_views_tasks_and_actions_of_the_environment_stay():
    plain = metarl.make("GridWorld-v0", size=3)
    env = wrap(plain, **EVERYTHING)
    params = env.default_params()
    state, ts = env.reset(KEY, params)
    inner, grid = state, params
    while isinstance(inner, struct.PyTreeNode) and hasattr(inner, "env"):
        inner = inner.env
    while hasattr(grid, "env"):
        grid = grid.env
    assert env.num_actions == 4 and env.action_space == plain.action_space
    assert (env.render(state, params) == plain.render(inner, grid)).all()
    assert env.render_text(state, params) == plain.render_text(inner, grid)
    assert (ts.action_mask == plain.observe(inner, grid)[1]).all()
    task = env.sample_params(KEY, "train")
    while hasattr(task, "env"):
        task = task.env
    assert (task.walls == plain.sample_params(KEY, "train").walls).all()
    bare = wrap(Counter(), trial=2)
    assert not hasattr(bare, "sample_params") and not hasattr(bare, "render")


def row(tree, n):
    return jax.tree.map(lambda x: x[n], tree)


def test_a_vectorised_step_equals_single_steps():
    env = wrap(metarl.make("GridWorld-v0", size=3), **EVERYTHING)
    params, venv = env.default_params(), vectorize(env, 3)
    state = jax.jit(venv.init)(KEY, params)
    step, together = jax.jit(env.step), jax.jit(venv.step)
    for key in jax.random.split(jax.random.key(1), 12):
        actions = jax.random.randint(key, (3,), 0, 4)
        alone = keys.spread(keys.split(key)[0], 3)
        expected = [step(k, row(state.env, n), actions[n], params)[1] for n, k in enumerate(alone)]
        state, ts = together(key, state, actions, params)
        for n in range(3):
            assert not [*unequal(row(ts, n), expected[n])]


def test_equal_stacks_share_a_programme():
    env = wrap(Counter(), time_limit=5, frame_stack=2)
    step: Any = jax.jit(lambda env, *args: env.step(*args), static_argnums=0)
    params = env.default_params()
    for twin in (env, copy.deepcopy(env), wrap(Counter(), frame_stack=2, time_limit=5)):
        step(twin, KEY, env.reset(KEY, params)[0], jnp.int32(1), params)
    assert step._cache_size() == 1


def test_settings_of_an_environment_may_name_wrappers():
    settings: dict = {"frame_stack": 2, "max_steps": 9, "normalise_obs": True, "size": 3}
    env, params, part = make_env(Part("GridWorld-v0", settings))
    assert env == wrap(metarl.make("GridWorld-v0", size=3), normalise_obs=True, frame_stack=2)
    assert params.env.max_steps == 9 and not (params.mean == 0).all()
    assert make_env(part)[0] == env


@pytest.mark.parametrize(
    ("settings", "said"), [({"frame_stak": 2}, "frame_stack"), ({"frame_stack": "two"}, "two")]
)
def test_settings_that_no_wrapper_takes_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        make_env(Part("GridWorld-v0", settings))

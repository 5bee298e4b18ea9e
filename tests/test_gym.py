"""Our environments as Gymnasium's: registration, one environment, and what clients rely on."""

import subprocess
import sys
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match

import metarl
import metarl.gym.env
from metarl.gym import gym_id

pytestmark = pytest.mark.usefixtures("countdown")
ID = "metarl/Countdown-v0"


def python(code):
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return out.stdout.split()


def test_every_id_is_registered_without_being_made():
    code = (
        "import sys, metarl.gym, gymnasium, metarl\n"
        "print(*(i for i in gymnasium.registry if i.startswith('metarl/')))\n"
        "print('LOADED', *(m for m in sys.modules if m == 'jax' or m.startswith('metarl.envs.')))"
    )
    *ids, _ = python(code)
    ours = [gym_id(name) for name in metarl.registered() if name != "Countdown-v0"]
    assert sorted(ids) == sorted(ours)


def test_make_needs_no_import_of_ours():
    code = (
        "import gymnasium\nenv = gymnasium.make('metarl.gym:metarl/Bandit-v0', num_actions=3)\n"
        "print(env.action_space.n)"
    )
    assert python(code) == ["3"]


def test_a_slash_becomes_a_hyphen():
    assert gym_id("brax/ant") == "metarl/brax-ant" and gym_id("Snake-v0") == "metarl/Snake-v0"


def test_gymnasium_finds_nothing_to_complain_of(recwarn):
    env = gymnasium.make(ID, render_mode="rgb_array")
    check_env(env.unwrapped)
    twin = gymnasium.make(ID, render_mode="rgb_array").unwrapped
    check_environments_match(env.unwrapped, twin, 8)
    assert not list(recwarn)


def test_settings_reach_fields_and_params():
    env: Any = gymnasium.make(ID, most=7, max_steps=2, bonus=2).unwrapped
    assert env.observation_space["left"].n == 8
    env.reset(seed=0)
    assert env.step(1)[1] == 2.0
    assert env.step(0)[2:4] != (True, True) and env.params.max_steps == 2


def test_params_come_whole_and_change_with_reset(countdown):
    params = countdown().default_params()
    env = gymnasium.make(ID, params=params.replace(max_steps=jax.numpy.int32(1)))
    env.reset(seed=0)
    assert env.step(0)[3] is True
    env.reset(options={"params": params})
    assert [env.step(0)[3] for _ in range(3)] == [False, False, True]


def test_what_it_returns_is_plain_numpy():
    env = gymnasium.make(ID)
    obs, info = env.reset(seed=3)
    assert type(obs["left"]) is np.int64 and obs["noise"].flags.writeable
    assert type(info["time"]) is np.int32 and type(info["odd"]) is bool
    assert info["twice"].dtype == np.float32 and info["action_mask"].dtype == bool
    out = env.step(np.int64(1))
    assert [type(x) for x in out[1:4]] == [float, bool, bool]
    assert out[0] in env.observation_space


def test_the_mask_serves_gymnasiums_sample():
    env = gymnasium.make(ID)
    _, info = env.reset(seed=1)
    while info["action_mask"][0]:
        *_, info = env.step(1)
    mask = info["action_mask"].astype(np.int8)
    assert {int(env.action_space.sample(mask)) for _ in range(8)} == {1}


def test_equal_environments_share_their_programmes():
    advance: Any = metarl.gym.env.advance
    start: Any = metarl.gym.env.start
    for _ in range(2):
        env = gymnasium.make(ID, most=9)
        env.reset(seed=0)
        env.step(0)
        sizes = advance._cache_size(), start._cache_size()
    again = gymnasium.make(ID, most=9, max_steps=7)
    again.reset()
    again.step(1)
    assert (advance._cache_size(), start._cache_size()) == sizes


@pytest.mark.parametrize(
    "make, call, words",
    [
        ({"mst": 3}, None, "no 'mst'; did you mean most?"),
        ({"most": "x"}, None, "a whole number"),
        ({"params": 3}, None, "have the structure"),
        ({"render_mode": "depth"}, None, "it has ['rgb_array', 'ansi']"),
        ({}, lambda e: e.step(0), "call reset before the first step"),
        ({}, lambda e: e.reset(options={"x": 1}), "no option 'x'; it has ['params']"),
        ({}, lambda e: (e.reset(), e.step([0, 1])), "of shape (), got (2,)"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*render_mode")
def test_mistakes_are_named(make, call, words):
    with pytest.raises((ValueError, gymnasium.error.Error)) as error:
        env = gymnasium.make(ID, **make).unwrapped
        call(env)
    assert words in str(error.value)


def test_a_picture_only_where_there_is_one():
    env = gymnasium.make("metarl/ProbeValue-v0").unwrapped
    assert env.metadata["render_modes"] == [] and env.render() is None

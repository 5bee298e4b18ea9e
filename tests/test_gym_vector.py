"""The vector environment against Gymnasium's own loop over single ones, in every autoreset mode."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl.rollout import pool

N = 3
ID = "metarl/Countdown-v0"
pytestmark = pytest.mark.usefixtures("countdown")


def vector(**kwargs):
    return gymnasium.make_vec(ID, num_envs=N, **kwargs)


def synchronous(mode):
    return SyncVectorEnv([lambda: gymnasium.make(ID)] * N, autoreset_mode=mode)


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert data_equivalence(a, b, exact=True), (a, b)


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("seed", [7, [5, 2, 11]])
def test_it_is_gymnasiums_loop_over_single_environments(mode, seed):
    ours, theirs = vector(autoreset_mode=mode), synchronous(mode)
    for name in ("observation_space", "action_space", "single_observation_space"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.metadata["autoreset_mode"] == mode
    same(ours.reset(seed=seed), theirs.reset(seed=seed))
    theirs.action_space.seed(0)
    ends = 0
    for _ in range(12):
        actions = theirs.action_space.sample()
        out, expected = ours.step(actions), theirs.step(actions)
        same(out, expected)
        last = out[2] | out[3]
        ends += last.sum()
        if mode == AutoresetMode.DISABLED and last.any():
            same(*(e.reset(options={"reset_mask": last.copy()}) for e in (ours, theirs)))
    assert ends > 4
    mask, seeds = np.array([True, False, True]), [None, None, 4]
    if mode == AutoresetMode.NEXT_STEP:  # rows that were about to start anew are left as they are
        ours.reset(seed=1), theirs.reset(seed=1)
    same(*(e.reset(seed=seeds, options={"reset_mask": mask}) for e in (ours, theirs)))
    actions = theirs.action_space.sample()
    same(ours.step(actions), theirs.step(actions))


def test_jax_arrays_stay_on_the_device_and_tell_the_same():
    mode = AutoresetMode.SAME_STEP
    ours, theirs = vector(autoreset_mode=mode, output="jax"), vector(autoreset_mode="SameStep")
    assert ours.metadata["jax"]
    for a, b in zip(ours.reset(seed=3), theirs.reset(seed=3), strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)
    for _ in range(4):
        with jax.transfer_guard_device_to_host("disallow"):
            *out, infos = ours.step(jax.numpy.ones(N, int))
        assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(out))
        *expected, told = theirs.step(np.ones(N, int))
        jax.tree.map(np.testing.assert_array_equal, out, expected)
        if "final_obs" in told:
            for i in np.flatnonzero(told["_final_obs"]):
                assert infos["_final_obs"][i]
                row = jax.tree.map(lambda x, i=i: np.asarray(x[i]), infos["final_obs"])
                jax.tree.map(np.testing.assert_array_equal, row, told["final_obs"][i])


def test_a_pool_gives_new_starts_and_keeps_the_rest():
    envs = gymnasium.make_vec(
        ID, num_envs=64, reset=pool(4), autoreset_mode="SameStep", max_steps=1
    )
    obs, _ = envs.reset(seed=0)
    noises = set()
    for _ in range(3):
        obs, reward, _, truncated, infos = envs.step(np.zeros(64, int))
        assert truncated.all() and (reward == 0).all() and infos["_final_obs"].all()
        noises |= set(map(tuple, obs["noise"].tolist()))
    assert 2 <= len(noises) <= 4


def test_each_row_may_have_a_task_of_its_own():
    envs = vector(autoreset_mode="SameStep")
    params = envs.params
    tasks = jax.tree.map(lambda *x: np.stack(x), *[params.replace(max_steps=k) for k in (1, 2, 3)])
    envs.reset(seed=0, options={"params": tasks})
    lengths = [envs.step(np.zeros(N, int))[3].tolist() for _ in range(6)]
    times = np.arange(1, 7)[:, None]
    np.testing.assert_array_equal(lengths, times % np.array([1, 2, 3]) == 0)
    again = vector(params=tasks, autoreset_mode="SameStep")
    again.reset(seed=0)
    assert again.step(np.zeros(N, int))[3].tolist() == lengths[0]


def test_it_draws_every_row():
    envs = vector(render_mode="rgb_array")
    obs, _ = envs.reset(seed=1)
    frames = envs.render()
    assert len(frames) == N and frames[0].shape == (4, 6, 3) and frames[0].dtype == np.uint8
    assert [f[0, 0, 0] // 10 for f in frames] == obs["left"].tolist()
    texts = vector(render_mode="ansi")
    texts.reset(seed=1)
    assert texts.render() == tuple(f"{left} left" for left in obs["left"])
    assert vector().render() is None


def test_what_is_returned_is_the_callers():
    envs = vector()
    obs, _ = envs.reset(seed=0)
    first = obs["noise"].copy()
    envs.step(np.zeros(N, int))[0]["noise"][:] = 0
    np.testing.assert_array_equal(obs["noise"], first)


def test_seeds_make_everything_repeatable_and_none_goes_on():
    a, b = vector(), vector()
    same(a.reset(seed=5), b.reset(seed=5))
    assert not np.array_equal(a.reset()[0]["noise"], b.reset(seed=5)[0]["noise"])
    assert not np.array_equal(vector().reset()[0]["noise"], vector().reset()[0]["noise"])


@pytest.mark.parametrize(
    "make, call, words",
    [
        ({"max_step": 3}, None, "no 'max_step'; did you mean max_steps?"),
        ({"reset": "pol"}, None, "reset is fresh, pool or"),
        ({"output": "torch"}, None, "output is numpy or jax"),
        ({"render_mode": "human"}, None, "it has ['rgb_array', 'ansi']"),
        ({"autoreset_mode": "never"}, None, "never"),
        ({}, lambda e: e.step(np.zeros(N, int)), "call reset before the first step"),
        ({}, lambda e: e.reset(seed=[1]), "3 environments, but 1 seeds"),
        ({}, lambda e: e.reset(options={"mask": 1}), "no option 'mask'"),
        ({}, lambda e: e.reset(options={"reset_mask": np.zeros(N, bool)}), "not all False"),
        ({}, lambda e: (e.reset(), e.step(np.zeros(2, int))), "of shape (3,), got (2,)"),
        ({}, lambda e: e.reset(options={"params": 3}), "have the structure"),
        (
            {"autoreset_mode": "Disabled", "max_steps": 1},
            lambda e: (e.reset(), e.step(np.zeros(N, int)), e.step(np.zeros(N, int))),
            "rows [0 1 2] have ended",
        ),
    ],
)
def test_mistakes_are_named(make, call, words):
    with pytest.raises((ValueError, gymnasium.error.Error)) as error:
        call(vector(**make)) if call else vector(**make)
    assert words in str(error.value)


def test_wrappers_of_gymnasium_go_on_top(recwarn):
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(vector())
    envs.reset(seed=0)
    for _ in range(9):
        infos = envs.step(np.ones(N, int))[-1]
    assert "episode" in infos or envs.episode_count > 0
    envs.close()
    assert not [w for w in recwarn if "gym" in str(w.filename)]

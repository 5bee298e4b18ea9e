"""Learning on real tasks: minutes each, run by `make reproduce`."""

import pathlib
import runpy

import pytest

import metarl

BENCHMARK = pathlib.Path(__file__).parents[1] / "benchmarks" / "learning.py"


@pytest.mark.slow
def test_ppo_eats_ten_fruits_on_a_small_board():
    learn = runpy.run_path(str(BENCHMARK))["learn"]
    env = metarl.make("Snake-v0", size=6)
    returns, _ = learn(env, "ppo", steps=1_000_000, num_envs=64, length=64, seeds=3)
    assert (returns >= 10).all()

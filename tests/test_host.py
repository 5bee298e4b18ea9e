"""Our rules on Gymnasium's environments: the collector's rollout, the translation, learning."""

import json
import runpy
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from gymnasium.vector import AutoresetMode

import metarl
import metarl.gym
from metarl import host
from metarl.agents.conv import conv
from metarl.agents.gru import gru
from metarl.agents.mlp import mlp
from metarl.cli import main
from metarl.inner import act, birth
from metarl.rollout import vectorize
from metarl.rules import a2c
from metarl.testing.compare import differences
from metarl.types import UpdateRule

N, T = 3, 9
HEADS = {"logits": 2, "value": 1}
EXAMPLES = Path(__file__).parents[1] / "examples"
same = np.testing.assert_array_equal


@pytest.mark.parametrize("mode", AutoresetMode)
def test_the_rollout_tells_what_single_environments_would(mode, countdown):
    envs = gymnasium.make_vec("metarl/Countdown-v0", num_envs=N, autoreset_mode=mode)
    agent = mlp(host.HostEnv.of(envs), HEADS, hidden=())
    collector = host.Collector(envs, agent, seed=4)
    params = agent.init(jax.random.key(0))
    rollouts = [collector.collect(params, jax.random.key(i), length=T)[0] for i in range(2)]
    if mode == AutoresetMode.NEXT_STEP:  # rows that came first were stepped on in between
        rollouts = rollouts[:1]
    ends = [0, 0]
    for i in range(N):
        env = gymnasium.make("metarl/Countdown-v0")
        obs, info = env.reset(seed=4 + i)
        last, action = True, 0
        reward: Any = 0.0
        for rollout in rollouts:
            row = jax.tree.map(lambda x, i=i: x[i], rollout)
            for t in range(T):
                now, after = jax.tree.map(lambda x, t=t: x[t], (row.inputs, row.next_inputs))
                shown(now, obs, info, action, reward, last)
                action = row.action[t]
                obs, reward, terminated, truncated, info = env.step(action)
                assert (row.reward[t], row.terminated[t]) == (reward, terminated)
                assert row.truncated[t] == truncated
                shown(after, obs, info, action, reward, False)
                ends[0] += terminated
                ends[1] += truncated
                if last := terminated or truncated:
                    obs, info = env.reset()
    assert min(ends) > 1


def shown(inputs, obs, info, action, reward, first):
    jax.tree.map(same, inputs.obs, obs)
    same(inputs.action_mask, info["action_mask"])
    assert (inputs.prev_action, inputs.prev_reward, inputs.first) == (action, reward, first)


def test_it_acts_as_the_compiled_inner_loop_does_memory_included():
    """On a task without chance, with the same keys, all of both rollouts is equal."""
    settings: dict[str, Any] = {"arms": (0.0, 1.0), "max_steps": 3}
    env = metarl.make("Bandit-v0")
    params = env.default_params().replace(arms=jnp.array([0.0, 1.0]), max_steps=jnp.int32(3))
    agent = gru(env, HEADS, hidden=4)
    idle = UpdateRule(HEADS, lambda key: (), lambda params: (), lambda *_: _)
    venv = vectorize(env, N)
    learner = jax.jit(partial(birth, agent, idle, venv))(params, jax.random.key(0))
    compiled = jax.jit(partial(act, agent, venv, length=T))
    envs = gymnasium.make_vec("metarl/Bandit-v0", num_envs=N, autoreset_mode="SameStep", **settings)
    collector = host.Collector(envs, agent)
    for i in range(2):
        key = jax.random.key(i)
        expected, after = compiled(learner, key)
        rollout, metrics = collector.collect(learner.params, key, length=T)
        assert not [*differences(rollout, expected)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), rollout, expected)
        assert metrics["episodes"] == N * T // 3 and metrics["episode_length"] == 3
        np.testing.assert_allclose(metrics["episode_return"] * 3 * N, rollout.reward.sum())
        learner = after


def test_pictures_become_planes():
    env = host.HostEnv(Box(0, 255, (16, 12, 3), np.uint8), Discrete(2))
    assert env.observation_space == Box(0, 255, (3, 16, 12), np.uint8)
    batch = np.random.default_rng(0).integers(0, 256, (5, 16, 12, 3), np.uint8)
    same(env.read(batch), batch.transpose(0, 3, 1, 2))
    stack = host.HostEnv(Box(0, 255, (4, 16, 12, 3), np.uint8), Discrete(2))
    assert stack.observation_space.shape == (12, 16, 12)
    frames = np.stack([batch] * 4, axis=1)
    same(stack.read(frames)[:, 3:6], batch.transpose(0, 3, 1, 2))
    grey = host.HostEnv(Box(0, 255, (4, 84, 84), np.uint8), Discrete(2))
    assert grey.observation_space == grey.observations


def test_nested_and_wide_observations_are_narrowed():
    wide = Box(-np.inf, np.inf, (2,), np.float64)
    env = host.HostEnv(Dict(a=wide, b=Tuple([Discrete(3), wide])), Discrete(2))
    obs = env.read({"a": np.ones((4, 2)), "b": (np.arange(4), np.zeros((4, 2)))})
    assert obs["a"].dtype == np.float32 and obs["b"][0].dtype == np.int32
    space: Any = env.observation_space
    assert space["a"].dtype == np.float32
    agent = mlp(env, HEADS, hidden=())
    assert agent.init(jax.random.key(0))["heads"]["logits"]["w"].shape == (7, 2)


def test_actions_are_shifted_shaped_and_clipped():
    env = host.HostEnv(Discrete(2), Discrete(3, start=5))
    same(env.act(np.array([0, 2], np.int32)), [5, 7])
    assert env.action_space == Discrete(3) and env.num_actions == 3
    env = host.HostEnv(Discrete(2), Box(-1, np.array([[1, 2], [1, 1]]), (2, 2), np.float64))
    assert env.action_space.shape == (4,)
    out = env.act(np.array([[-3, 3, 0.5, 2]], np.float32))
    same(out, [[[-1, 2], [0.5, 1]]])
    assert out.dtype == np.float64


@pytest.mark.parametrize("id", ["Pendulum-v1", "Blackjack-v1"])
def test_every_kind_of_space_trains(id):
    env = host.HostEnv.make(id)
    envs = env.vector(2)
    agent = mlp(env, a2c.heads(env), hidden=(4,))
    rule = a2c.a2c(agent, a2c.heads(env))
    learner, metrics = host.train(envs, agent, rule, updates=2, length=8)
    assert learner.age == 2 and metrics["loss"].shape == (2,)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(learner.params))
    scores = host.evaluate(envs, agent, learner.params, jax.random.key(0), episodes=3, max_steps=96)
    assert scores.ret.shape == (3,) and (scores.length > 0).all()


def test_an_id_may_name_the_module_that_registers_it(tmp_path, monkeypatch):
    entry = "gymnasium.envs.toy_text.frozen_lake:FrozenLakeEnv"
    text = f"import gymnasium\ngymnasium.register('Lake/Mine-v0', entry_point={entry!r})\n"
    (tmp_path / "lakes_of_a_user.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    env = host.HostEnv.make("lakes_of_a_user:Lake/Mine-v0", is_slippery=False)
    assert env.observation_space == Discrete(16) and env.num_actions == 4
    with pytest.raises(ValueError, match="cannot make 'no_such_module:Lake/Mine-v0': No module"):
        host.HostEnv.make("no_such_module:Lake/Mine-v0")


def test_what_gymnasium_cannot_make_is_said():
    with pytest.raises(ValueError, match="gymnasium cannot make 'Cartpole-v1'.*CartPole"):
        host.HostEnv.make("Cartpole-v1")
    with pytest.raises(ValueError, match="gymnasium cannot make 'Blackjack-v1'.*wrong"):
        host.HostEnv.make("Blackjack-v1", wrong=1)


def test_an_atari_game_trains(capsys):
    """1024 steps of the emulator's own vector environment."""
    pytest.importorskip("ale_py")
    atari = runpy.run_path(str(EXAMPLES / "atari.py"))["main"]
    atari(updates=1, side=12, longest=32)
    assert "mean return of 8 episodes" in capsys.readouterr().out


def test_a_game_preprocessed_by_gymnasium_trains():
    ale_py = pytest.importorskip("ale_py")
    pytest.importorskip("cv2")

    def wrapped():
        env = gymnasium.make("ALE/Pong-v5", frameskip=1)
        env = gymnasium.wrappers.AtariPreprocessing(env, screen_size=12)
        return gymnasium.wrappers.FrameStackObservation(env, 4)

    gymnasium.register_envs(ale_py)
    envs = gymnasium.vector.SyncVectorEnv([wrapped] * 2)
    env = host.HostEnv.of(envs)
    assert env.observation_space.shape == (4, 12, 12)
    agent = conv(env, a2c.heads(env), channels=(2,), hidden=4)
    learner, metrics = host.train(envs, agent, a2c.a2c(agent, a2c.heads(env)), updates=2, length=50)
    assert learner.age == 2 and np.isfinite(metrics["loss"]).all()


def test_the_cartpole_example_runs(capsys):
    runpy.run_path(str(EXAMPLES / "gymnasium_cartpole.py"))["main"](updates=2)
    assert "mean return of 20 episodes" in capsys.readouterr().out


def test_the_command_line_trains_evaluates_and_resumes(tmp_path, capsys):
    out = tmp_path / "run"
    words = (
        "train gym/FrozenLake-v1 is_slippery=false --rule a2c --agent mlp hidden=4 --num-envs 3 "
        "--length 4 --steps 36 --seeds 0 1 --out"
    )
    assert main([*words.split(), str(out)]) == 0
    assert "random policy" in capsys.readouterr().out
    config = json.loads((out / "config.json").read_text())
    assert config["env"]["fields"] == {"is_slippery": False}
    (out / "config.json").write_text(json.dumps({**config, "steps": 60}))
    assert main(["resume", str(out)]) == 0
    rows = (out / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 5 * 2 and rows[0].startswith("seed,update,steps,episodes,")


@pytest.mark.parametrize(
    "words, told",
    [
        ("train gym/CartPol-v1", "Did you mean: `CartPole`"),
        ("train gym/CartPole-v1 gravity=1", "gymnasium cannot make 'CartPole-v1'"),
        ("train gym/CartPole-v1 --reset pool", "--reset pool is not for it"),
    ],
)
def test_the_command_line_names_mistakes(words, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_ppo_learns_cartpole():
    assert runpy.run_path(str(EXAMPLES / "gymnasium_cartpole.py"))["main"]() > 400


@pytest.mark.slow
def test_stable_baselines3_trains_on_snake():
    pytest.importorskip("stable_baselines3")
    before, after = runpy.run_path(str(EXAMPLES / "sb3_snake.py"))["main"](steps=100_000)
    assert before < 1 < after

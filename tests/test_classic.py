"""CartPole, Pendulum, mountain car and Acrobot against gymnasium's, step by step."""

from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

import metarl
from metarl.envs import acrobot, cartpole, mountain_car, pendulum

KEY, MANY = jax.random.key(0), 400
# Our state, theirs, and the box from which states are drawn: starts, play and both ends.
GAMES = {
    "CartPole-v0": (cartpole.State, "CartPole-v1", [2.4, 3.0, 0.21, 3.0]),
    "Pendulum-v0": (pendulum.State, "Pendulum-v1", [np.pi, 8.0]),
    "MountainCar-v0": (mountain_car.State, "MountainCar-v0", [0.9, 0.07]),
    "Acrobot-v0": (acrobot.State, "Acrobot-v1", [np.pi, np.pi, 4 * np.pi, 9 * np.pi]),
}
CENTRE = {"MountainCar-v0": np.array([-0.3, 0])}


def gymnasium_s(name) -> Any:
    return gymnasium.make(name).unwrapped


@pytest.fixture(scope="module", params=GAMES)
def game(request):
    """Our environment, gymnasium's, our states [MANY] and theirs [MANY, 2 or 4], actions."""
    state_of, theirs, width = GAMES[request.param]
    env, rival = metarl.make(request.param), gymnasium_s(theirs)
    assert env.observation_space == rival.observation_space
    assert env.action_space == rival.action_space
    draw = np.random.default_rng(0)
    states = CENTRE.get(request.param, 0) + draw.uniform(-1, 1, (MANY, len(width))) * width
    rival.action_space.seed(0)
    actions = np.array([rival.action_space.sample() for _ in range(MANY)])
    ours = state_of(*jnp.asarray(states, jnp.float32).T, time=jnp.zeros(MANY, jnp.int32))
    return env, rival, ours, np.asarray(states, np.float32), actions


@pytest.fixture(scope="module")
def step(game):
    env = game[0]
    return jax.jit(jax.vmap(env.step, in_axes=(None, 0, 0, None)))


def reply(rival, state, action):
    """What gymnasium's environment answers after being put into a state."""
    rival.reset(seed=0)
    rival.state = np.array(state, np.float64)
    obs, reward, terminated, _, _ = rival.step(action)
    return obs, reward, terminated


def test_every_step_is_that_of_gymnasium(game, step):
    env, rival, states, theirs, actions = game
    after, ts = jax.device_get(step(KEY, states, jnp.asarray(actions), env.default_params()))
    # A step of Acrobot at full spin magnifies differences some hundred times.
    precision = 2e-3 if rival.spec.id == "Acrobot-v1" else 2e-5
    ends = []
    for n in range(MANY):
        obs, reward, terminated = reply(rival, theirs[n], actions[n])
        np.testing.assert_allclose(ts.obs[n], obs, rtol=precision, atol=precision)
        np.testing.assert_allclose(ts.reward[n], reward, rtol=2e-6, atol=1e-6)
        assert ts.terminated[n] == terminated
        ends.append(terminated)
    assert set(ends) == ({False} if rival.spec.id == "Pendulum-v1" else {False, True})
    assert not ts.truncated.any() and (after.time == 1).all()


def test_whole_episodes_are_those_of_gymnasium(game):
    env, rival, _, _, actions = game
    params, step = env.default_params(), jax.jit(env.step)
    state, ts = env.reset(jax.random.key(5), params)
    rival.reset(seed=0)
    rival.state = np.array([x for x in jax.tree.leaves(state)[:-1]], np.float64)
    for action in actions[:60]:
        state, ts = step(KEY, state, jnp.asarray(action), params)
        obs, reward, terminated, _, _ = rival.step(action)
        np.testing.assert_allclose(ts.obs, obs, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(ts.reward, reward, rtol=1e-3, atol=1e-3)
        assert bool(ts.terminated) == terminated
        if terminated:
            break


def test_the_clock_truncates_where_gymnasiums_does(game, step):
    env, rival, states, _, actions = game
    params = env.default_params()
    assert params.max_steps == gymnasium.spec(rival.spec.id).max_episode_steps
    last = states.replace(time=jnp.full(MANY, params.max_steps - 1))
    ts = step(KEY, last, jnp.asarray(actions), params)[1]
    np.testing.assert_array_equal(ts.truncated, ~ts.terminated)


def test_actions_are_clipped(game, step):
    env, _, states, _, actions = game
    if hasattr(env, "num_actions"):
        pairs: Any = [(-5, 0), (99, env.num_actions - 1)]
    else:
        pairs = [(-9.0, -2.0), (9.0, 2.0)]
    for wild, tame in pairs:
        ours = [
            step(KEY, states, jnp.full_like(actions, action), env.default_params())
            for action in (wild, tame)
        ]
        jax.tree.map(np.testing.assert_array_equal, *ours)


def test_starts_are_uniform_where_gymnasiums_are(game):
    env, rival, *_ = game
    keys = jax.random.split(KEY, 2000)
    state, ts = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(keys, env.default_params())
    ends: Any = {
        "CartPole-v1": [(-0.05, 0.05)] * 4,
        "Pendulum-v1": [(-np.pi, np.pi), (-1, 1)],
        "MountainCar-v0": [(-0.6, -0.4)],
        "Acrobot-v1": [(-0.1, 0.1)] * 4,
    }[rival.spec.id]
    drawn = np.array(jax.tree.leaves(state)[: len(ends)])
    for numbers, (low, high) in zip(drawn, ends, strict=True):
        assert kstest((numbers - low) / (high - low), "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(drawn) - np.eye(len(ends))).max() < 0.1


@pytest.mark.parametrize(
    "name, leaves, same",
    [
        ("CartPole-v0", ("cart_mass", "pole_mass", "half_length"), "gravity"),
        ("Pendulum-v0", ("mass", "length"), "gravity"),
    ],
)
def test_bodies_vary_by_half(name, leaves, same):
    env, tasks = metarl.make(name), {}
    default, keys = env.default_params(), jax.random.split(KEY, 1000)
    for split in ("train", "heldout"):
        params = jax.jit(jax.vmap(partial(env.sample_params, split=split)))(keys)
        factors = np.array([getattr(params, leaf) / getattr(default, leaf) for leaf in leaves])
        for factor in factors:
            assert kstest(factor - 0.5, "uniform").pvalue > 1e-3
        assert (getattr(params, same) == getattr(default, same)).all()
        tasks[split] = set(map(tuple, factors.T.tolist()))
    assert len(tasks["train"]) > 990 and not tasks["train"] & tasks["heldout"]


@pytest.mark.parametrize(
    "name, theirs, changes",
    [
        ("CartPole-v0", "CartPole-v1", {"half_length": 0.7, "pole_mass": 0.3, "cart_mass": 1.4}),
        ("Pendulum-v0", "Pendulum-v1", {"mass": 0.6, "length": 1.3, "gravity": 9.0}),
        ("MountainCar-v0", "MountainCar-v0", {"force": 0.002, "gravity": 0.003}),
        (
            "Acrobot-v0",
            "Acrobot-v1",
            {"mass_1": 1.5, "mass_2": 0.7, "length_1": 1.2, "centre_1": 0.4, "inertia": 0.8},
        ),
    ],
)
def test_other_bodies_move_as_gymnasiums_would(name, theirs, changes):
    """The same constants set in both: no leaf is without effect, none is confused with another."""
    spellings = {
        "half_length": "length",
        "pole_mass": "masspole",
        "cart_mass": "masscart",
        "mass": "m",
        "gravity": "g" if name == "Pendulum-v0" else "gravity",
        "mass_1": "LINK_MASS_1",
        "mass_2": "LINK_MASS_2",
        "length_1": "LINK_LENGTH_1",
        "centre_1": "LINK_COM_POS_1",
        "inertia": "LINK_MOI",
    }
    env, rival = metarl.make(name), gymnasium_s(theirs)
    params = env.default_params().replace(**{k: jnp.float32(v) for k, v in changes.items()})
    for leaf, value in changes.items():
        spelling = "l" if (name, leaf) == ("Pendulum-v0", "length") else spellings.get(leaf, leaf)
        assert hasattr(rival, spelling)
        setattr(rival, spelling, value)
    if name == "CartPole-v0":
        rival.total_mass = rival.masspole + rival.masscart
        rival.polemass_length = rival.masspole * rival.length
    state_of, _, width = GAMES[name]
    start = np.array(width, np.float32) / 3
    state = state_of(*start, time=jnp.int32(0))
    action = rival.action_space.sample()
    ts = env.step(KEY, state, jnp.asarray(action), params)[1]
    obs, reward, _ = reply(rival, start, action)
    np.testing.assert_allclose(ts.obs, obs, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(ts.reward, reward, rtol=2e-6)


def test_they_can_be_looked_at(game):
    env, *_ = game
    params = env.default_params()
    state, _ = env.reset(KEY, params)
    picture = np.asarray(jax.jit(env.render)(state, params))
    assert picture.dtype == np.uint8 and len(np.unique(picture.reshape(-1, 3), axis=0)) >= 3
    assert env.render_text(state, params).startswith("step 0  ")

"""Brax's environments against Brax itself, and the tasks with goals by their formulas.

One programme of the cheapest physics is compiled; whatever else can be is asked without compiling.
"""

import importlib.util
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.agents.mlp import mlp
from metarl.envs.brax import SIZES, Brax, State, load
from metarl.envs.brax_goals import BraxGoal
from metarl.envs.splits import side
from metarl.evaluate import evaluate
from metarl.rollout import vectorize
from metarl.rules import ppo
from metarl.testing import check_env
from metarl.train import train

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("brax") is None, reason="Brax is not installed"
)
N, T, LIMIT = 3, 60, 25


@pytest.fixture(scope="module")
def experience():
    """Random play of N pendulums: what was acted on, and what came of it, [T, N, ...]."""
    env, brax = Brax("inverted_pendulum", "spring"), load("inverted_pendulum", "spring")
    params = env.default_params().replace(max_steps=jnp.int32(LIMIT))
    venv = vectorize(env, N)

    def step(state, key):
        act_key, step_key = jax.random.split(key)
        action = jax.random.uniform(act_key, (N, 1), minval=-1.5, maxval=1.5)
        after, ts = venv.step(step_key, state, action, params)
        theirs = jax.vmap(lambda physics, a: _brax_step(brax, physics, a))(
            state.env.physics, jnp.clip(action, -1, 1)
        )
        return after, (state, action, ts, theirs)

    @jax.jit
    def play(key):
        state = venv.init(key, params)
        return jax.lax.scan(step, state, jax.random.split(key, T))[1]

    return jax.device_get(play(jax.random.key(0)))


def _brax_step(brax, physics, action):
    from brax.envs import State as BraxState

    zero = jnp.float32(0)
    after = brax.step(BraxState(physics, jnp.zeros(4), zero, zero, {}, {}), action)
    return after.obs, after.done, jnp.float32(after.reward)


def test_a_step_is_brax_own(experience):
    _, _, ts, (obs, done, reward) = experience
    np.testing.assert_allclose(ts.obs, obs, atol=1e-6)
    assert (ts.terminated == (done > 0)).all() and ts.terminated.any()
    assert (ts.reward == reward).all()


def test_the_time_limit_truncates_and_the_last_observation_is_kept(experience):
    before, _, ts, _ = experience
    late = before.env.time == LIMIT - 1
    assert (ts.truncated == (late & ~ts.terminated)).all() and ts.truncated.any()
    assert (np.abs(ts.obs[..., 1]) > 0.2)[ts.terminated].all()
    assert (np.abs(ts.obs[..., 1]) <= 0.2)[~ts.terminated].all()


def test_every_episode_starts_anew(experience):
    before = experience[0]
    starts = before.inputs.obs[before.inputs.first]
    assert len(starts) > 2 * N and (np.abs(starts) <= 0.011).all()
    assert len({tuple(start) for start in starts}) == len(starts)


def test_actions_outside_are_clipped():
    env, params = Brax("fast"), Brax("fast").default_params()
    state, _ = env.reset(jax.random.key(0), params)
    ends = [env.step(jax.random.key(0), state, jnp.array([a]), params)[1].obs for a in (1.0, 9.0)]
    assert (ends[0] == ends[1]).all()


def test_an_action_is_held_and_its_rewards_added():
    once, twice = Brax("fast"), Brax("fast", action_repeat=2)
    params, key, action = once.default_params(), jax.random.key(0), jnp.ones(1)
    state, _ = once.reset(key, params)
    middle, first = once.step(key, state, action, params)
    _, second = once.step(key, middle, action, params)
    end, ts = twice.step(key, state, action, params)
    assert (ts.obs == second.obs).all() and end.time == 1
    np.testing.assert_allclose(ts.reward, first.reward + second.reward)
    assert twice.default_params().max_steps == 500


def test_numbers_that_overflow_end_the_episode():
    env, params = Brax("fast"), Brax("fast").default_params()
    state, _ = env.reset(jax.random.key(0), params)
    physics = state.physics.replace(xd=state.physics.xd.replace(vel=jnp.full(3, jnp.inf)))
    broken = State(physics, state.obs, state.time)
    after, ts = env.step(jax.random.key(0), broken, jnp.ones(1), params)
    assert ts.terminated and ts.reward == 0 and (ts.obs == state.obs).all()
    assert (after.physics.x.pos == state.physics.x.pos).all()


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_brax_own(name):
    brax = load(name, "generalized" if name in ("swimmer", "fast") else "spring")
    start = jax.eval_shape(brax.reset, jax.random.key(0))
    assert (*start.obs.shape, brax.action_size) == SIZES[name]


def test_pictures_show_the_bodies():
    """The reacher's target, from under the arm to a place below it in the picture."""

    @jax.jit
    def picture(x):
        position = jnp.zeros((3, 3)).at[2, 1].set(x)
        link = SimpleNamespace(pos=position, rot=jnp.array([[1.0, 0, 0, 0]] * 3))
        return Brax("reacher").render(State(SimpleNamespace(x=link), position, position), None)

    before, after = picture(0.0), picture(-0.1)
    assert before.shape == (128, 128, 3) and before.dtype == jnp.uint8
    rows, columns = np.nonzero((before != after).any(axis=-1))
    assert 5 < len(rows) < 50
    centre = 64 + 0.1 / 0.6 * 128
    assert (abs(rows - centre) < 4).all() and (abs(columns - 63.5) < 4).all()


@pytest.mark.parametrize(
    ("name", "task", "goal", "expected"),
    [  # at 1.5 m/s, with an action of squared length 2
        ("halfcheetah", "velocity", 1.0, -0.5 - 0.05 * 2),
        ("halfcheetah", "direction", -1.0, -1.5 - 0.05 * 2),
        ("ant", "velocity", 3.0, 1 - 1.5 + 0.05 - 0.005 * 2),
        ("ant", "direction", 1.0, 1.5 + 0.05 - 0.005 * 2),
    ],
)
def test_rewards_of_goals_follow_the_published_formulas(name, task, goal, expected):
    env = metarl.make(f"brax/{name}-{task}", backend="spring")
    params = env.default_params().replace(goal=jnp.float32(goal))
    before, after = (SimpleNamespace(x=SimpleNamespace(pos=np.full((1, 3), x))) for x in (2, 2.075))
    action = jnp.zeros(env.action_space.shape).at[:2].set(1.0)
    reward = env.reward(before, SimpleNamespace(pipeline_state=after), action, params)
    np.testing.assert_allclose(reward, expected, rtol=1e-5)
    assert params.max_steps == 200


def test_goals_are_drawn_from_the_published_ranges_and_never_shared_by_splits():
    draw = jax.vmap(BraxGoal("ant", task="velocity").sample_params, in_axes=(0, None))
    seeds = jax.random.split(jax.random.key(0), 300)
    for number, split in enumerate(("train", "heldout")):
        goals = draw(seeds, split).goal
        assert goals.min() >= 0 and 2.9 < goals.max() < 3 and abs(goals.mean() - 1.5) < 0.2
        assert (jax.vmap(side)(goals) == number).all()
    way = BraxGoal("ant", task="direction")
    both = jax.vmap(way.sample_params)(seeds).goal
    assert set(both.tolist()) == {-1.0, 1.0} and abs(both.mean()) < 0.25
    ends = [way.sample_params(seeds[0], split).goal for split in ("train", "heldout")]
    assert ends == [1, -1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "horse"}, "halfcheetah"),
        ({"backend": "mjx"}, "backend"),
        ({"action_repeat": 0}, "action_repeat"),
        ({"name": "swimmer", "backend": "spring"}, "swimmer"),
    ],
)
def test_bad_fields_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        Brax(**fields)
    with pytest.raises(ValueError, match="goals are for"):
        BraxGoal("hopper")


def test_without_brax_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "brax", None)
    with pytest.raises(ImportError, match="pip install brax"):
        metarl.make("brax/ant")


def test_making_and_listing_loads_no_brax_and_the_names_do_not_clash():
    code = (
        "import sys, metarl, envs.brax, metarl.envs.brax as real\n"
        "for name in metarl.registered():\n"
        "    name.startswith('brax/') and metarl.make(name).observation_space\n"
        "assert 'brax' not in sys.modules and envs.brax is real\n"
        "assert real.load('fast').__module__ == 'brax.envs.fast'"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@pytest.mark.slow
def test_a_goal_in_a_whole_step_and_the_contract():
    env = metarl.make("brax/halfcheetah-velocity", backend="spring")
    params = env.default_params().replace(max_steps=jnp.int32(5))
    check_env(env, params, steps=8)
    state, _ = jax.jit(env.reset)(jax.random.key(0), params)
    action = jnp.linspace(-1, 1, 6)
    after, ts = jax.jit(env.step)(jax.random.key(0), state, action, params)
    speed = (after.physics.x.pos[0, 0] - state.physics.x.pos[0, 0]) / 0.05
    expected = -abs(speed - 1) - 0.05 * jnp.sum(action**2)
    np.testing.assert_allclose(ts.reward, expected, rtol=1e-4)


@pytest.mark.slow
def test_ppo_balances_the_pendulum():
    """300 thousand steps; the best return is the time limit, 1000, and random play makes 5."""
    env = metarl.make("brax/inverted_pendulum")
    params, needed = env.default_params(), ppo.heads(env)
    agent = mlp(env, needed, free_log_std=True)
    eta = ppo.hypers(learning_rate=1e-3, entropy_cost=0.0)
    rule = ppo.ppo(agent, needed, eta=eta, epochs=4, minibatches=8)
    life = partial(train, agent, rule, vectorize(env, 32), env_params=params)
    learner, _ = jax.jit(partial(life, updates=150, length=64))(jax.random.key(0))
    play = partial(evaluate, agent, env, learner.params, params, episodes=32, greedy=True)
    assert play(jax.random.key(5), max_steps=1001).ret.mean() > 900


def test_swimmer_can_be_traced_with_this_jax():
    """Of all of Brax it alone moves through a fluid, whose forces call JAX in an old way."""
    env = metarl.make("brax/swimmer")
    key, params = jax.random.key(0), env.default_params()
    state, _ = jax.eval_shape(env.reset, key, params)
    _, ts = jax.eval_shape(env.step, key, state, jnp.zeros(2), params)
    assert ts.obs.shape == (8,)

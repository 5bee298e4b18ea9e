"""The memory agent: streams are its steps, planes pass through convolutions, mistakes are named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.agents.memory import memory
from metarl.inner import act, birth
from metarl.nets.core import core_of
from metarl.rollout import next_values, replay, unroll, vectorize
from metarl.types import UpdateRule
from metarl.wrappers import trial

HEADS = {"logits": 4, "value": 1}
IDLE = UpdateRule(HEADS, lambda key: (), lambda params: (), lambda *_: _)
N, T = 2, 9


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), a, b)


@pytest.fixture(scope="module", params=["gru", "srwm/heads=2", "none"])
def case(request):
    env = metarl.make("GridWorld-v0", size=3)
    agent = memory(env, HEADS, core=request.param, hidden=8, layers=2, feed_forward=6)
    venv = vectorize(env, N)

    @jax.jit
    def experience(params):
        learner = birth(agent, IDLE, venv, params, jax.random.key(0))
        return act(agent, venv, learner, jax.random.key(1), length=T)[0]

    rollout = experience(env.default_params().replace(max_steps=jnp.int32(3)))
    rollout = rollout.replace(carry=jax.tree.map(lambda x: x + 0.3, rollout.carry))
    return agent, agent.init(jax.random.key(5)), rollout


def test_a_stream_is_its_steps(case):
    agent, params, rollout = case
    assert rollout.inputs.first[:, 1:].any() and rollout.truncated.any()
    slow = agent._replace(unroll=None)
    streams = jax.jit(
        lambda r: [jax.vmap(lambda r, a=a: unroll(a, params, r))(r) for a in (agent, slow)]
    )
    fast, steps = streams(rollout)
    close(fast, steps)


def test_values_of_successors_are_those_of_replay_also_where_an_episode_was_cut_off(case):
    agent, params, rollout = case

    @jax.jit
    def both(rollout):
        now, after = jax.vmap(lambda r: replay(agent, params, r))(rollout)
        found = next_values(agent, params, rollout, now["value"][..., 0])
        return found, after["value"][..., 0]

    found, expected = both(rollout)
    alive = ~np.asarray(rollout.terminated)  # behind a termination nothing is worth anything
    close(found[alive], expected[alive])


def test_a_trial_of_planes_is_read_by_convolutions():
    env = trial(metarl.make("Minesweeper-v0", height=3, width=3, mines=2), 2)
    agent = memory(env, {"logits": 9, "value": 1}, core="mingru", hidden=8, channels=(4, 5))
    params = agent.init(jax.random.key(0))
    assert [layer["w"].shape for layer in params["in"]["conv"][0]] == [(18, 4), (36, 5)]
    assert params["in"]["dense"]["w"].shape[0] == 9 * 5 + 3 + 9 + 2  # cells, trial, action, scalars


def test_the_largest_number_in_memory_is_watched(case):
    agent, _, rollout = case
    leaves = jax.tree.leaves(rollout.carry)
    watched = agent.watch(rollout.carry)
    expected = {"memory_max": max(float(abs(x).max()) for x in leaves)} if leaves else {}
    assert watched == pytest.approx(expected)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ("srwn", "no memory core 'srwn'; did you mean srwm"),
        ("srwm/head=2", "no setting 'head'; did you mean heads"),
        ("srwm/heads=two", "heads should be a whole number, got 'two'"),
        ("srwm/detach=1", "detach should be true or false, got '1'"),
        ("gru/heads=2", "no setting 'heads'"),
    ],
)
def test_mistakes_in_a_core_are_named(told, error):
    with pytest.raises(ValueError, match=error):
        core_of(told, 8, 8)


def test_settings_of_a_core_reach_it():
    made = core_of("srwm/heads=1/decay=0.5/detach=true", 4, 4)
    assert made.carry().shape == (1, 4, 16)
    with pytest.raises(ValueError, match="do not divide"):
        core_of("srwm/heads=3", 4, 4)


def test_meta_gradients_pass_through_its_derivative():
    """Reverse mode twice, as an outer loop over a rule with this agent asks for."""
    made = core_of("srwm/heads=1", 3, 3)
    params, x = made.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (5, 3))

    def inner(scale, run):
        loss = lambda p: jnp.sum(jnp.sin(run(p, made.carry(), scale * x)[1]))  # noqa: E731
        return jnp.sum(jax.grad(loss)(params)["w"] ** 2)

    slow = lambda p, m, x: jax.lax.scan(lambda m, x: made.step(p, m, x), m, x)  # noqa: E731
    fast = lambda p, m, x: made.unroll(p, m, x, None)  # noqa: E731
    ours, automatic = (jax.jit(jax.grad(lambda s, r=r: inner(s, r)))(1.0) for r in (fast, slow))
    np.testing.assert_allclose(ours, automatic, rtol=1e-4)

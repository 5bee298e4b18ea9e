"""Continuous actions through the same agents and rules, against numbers computed by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import metarl
from metarl import registry
from metarl.agents.mlp import mlp
from metarl.agents.uniform import uniform
from metarl.evaluate import evaluate
from metarl.inner import act, birth, live
from metarl.ops.distributions import policy
from metarl.ops.returns import gae
from metarl.rollout import vectorize
from metarl.rules import a2c, ppo, proximal
from metarl.testing.compare import differences
from metarl.types import AgentInput

N, T = 4, 6
ENV = metarl.make("Navigation-v0")  # moves in a box of +-0.1
PARAMS = ENV.default_params().replace(max_steps=jnp.int32(4))
HEADS = a2c.heads(ENV)
KEY = jax.random.key(0)


def rolled(agent, rule):
    venv = vectorize(ENV, N)
    learner = birth(agent, rule, venv, PARAMS, KEY)
    return learner, jax.jit(partial(act, agent, venv, length=T))(learner, KEY)[0]


@pytest.fixture(scope="module")
def linear():
    """A linear agent with one value and one spread, and its experience."""
    agent = mlp(ENV, HEADS, hidden=(), free_log_std=True)
    learner, rollout = rolled(agent, a2c.a2c(agent, HEADS))
    bias = {"mean": jnp.array([0.1, -0.2]), "log_std": jnp.array([0.3, -0.1]), "value": jnp.ones(1)}
    heads = {k: {**v, "b": bias[k]} for k, v in learner.params["heads"].items()}
    return agent, {**learner.params, "heads": heads}, rollout


def test_a_rollout_holds_what_was_sampled_and_the_environment_what_it_clipped():
    agent = mlp(ENV, HEADS)
    _, rollout = rolled(agent, a2c.a2c(agent, HEADS))
    assert rollout.action.shape == (N, T, 2) and rollout.action.dtype == jnp.float32
    assert (jnp.abs(rollout.action) > 0.1).any()
    moved = rollout.next_inputs.obs - rollout.inputs.obs
    np.testing.assert_allclose(moved, jnp.clip(rollout.action, -0.1, 0.1), atol=1e-6)
    assert (rollout.inputs.prev_action[:, 0] == 0).all()
    assert (rollout.inputs.prev_action[:, 1:] == rollout.action[:, :-1]).all()


def test_a_new_policy_fills_the_box():
    heads = rolled(mlp(ENV, HEADS), a2c.a2c(mlp(ENV, HEADS), HEADS))[1].heads
    np.testing.assert_allclose(heads["mean"], 0, atol=0.01)
    np.testing.assert_allclose(heads["log_std"], np.log(0.1), atol=0.05)
    start = AgentInput(jnp.zeros(2), jnp.zeros(2), jnp.float32(0), jnp.bool_(True))
    nobody = uniform(ENV, HEADS).apply({}, (), start)[0]
    assert (nobody["mean"] == 0).all() and np.allclose(nobody["log_std"], np.log(0.1))


def test_a_free_spread_is_the_same_in_every_state_and_learns(linear):
    agent, params, rollout = linear
    heads = jax.vmap(jax.vmap(lambda x: agent.apply(params, (), x)[0]))(rollout.inputs)
    assert (heads["log_std"] == heads["log_std"][0, 0]).all()
    np.testing.assert_allclose(heads["log_std"][0, 0], np.log(0.1) + np.array([0.3, -0.1]), 1e-5)
    assert "w" not in params["heads"]["log_std"]


def test_an_a2c_step_is_the_gradient_worked_out_by_hand(linear):
    """Of a linear Gaussian policy in units of 0.1; plain gradient descent of rate 1."""
    agent, params, rollout = linear
    rule = a2c.a2c(agent, HEADS, optimizer=optax.sgd(1.0))
    eta = rule.init_eta(KEY)
    new, _, _ = jax.jit(rule.update)(eta, params, rule.init(params), rollout, KEY)
    heads = jax.tree.map(lambda x: np.asarray(x, np.float64), params["heads"])
    x, after = (np.asarray(o.obs, np.float64) for o in (rollout.inputs, rollout.next_inputs))
    said = lambda name, x: x @ heads[name]["w"] + heads[name]["b"]  # noqa: E731
    value = said("value", x)[..., 0]
    adv = jax.vmap(partial(gae, discount=eta.discount, lambda_=eta.lambda_))(
        *(
            rollout.reward,
            rollout.terminated,
            rollout.truncated,
            value,
            said("value", after)[..., 0],
        )
    )
    std = 0.1 * np.exp(heads["log_std"]["b"])
    z = (np.asarray(rollout.action) - 0.1 * said("mean", x)) / std  # [N, T, 2]
    by_mean = -(adv[..., None] * z / std * 0.1) / (N * T)
    by_log_std = -(adv[..., None] * (z**2 - 1) + eta.entropy_cost) / (N * T)
    by_value = (-eta.value_cost * adv / (N * T))[..., None]  # value - target is -adv
    expected = {
        "mean": {"w": np.einsum("ntx,nta->xa", x, by_mean), "b": by_mean.sum((0, 1))},
        "log_std": {"b": by_log_std.sum((0, 1))},
        "value": {"w": np.einsum("ntx,nta->xa", x, by_value), "b": by_value.sum((0, 1))},
    }
    step = jax.tree.map(lambda a, b: a - b, params["heads"], new["heads"])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-3, atol=1e-5), step, expected)


def test_the_gradient_of_ppo_is_that_of_finite_differences(linear):
    agent, params, rollout = linear
    eta = ppo.hypers()
    batch = proximal.prepare(agent, eta, params, rollout)
    params = jax.tree.map(lambda x: x + 0.05, params)  # where no ratio is on the edge of the clip
    flat, whole = ravel_pytree(params)
    loss = jax.jit(lambda flat: ppo.ppo_loss(agent, eta, whole(flat), batch)[0])
    grad = jax.grad(loss)(flat)
    for key in jax.random.split(KEY, 3):
        way = jax.random.normal(key, flat.shape)
        slope = (loss(flat + 2e-3 * way) - loss(flat - 2e-3 * way)) / 4e-3
        np.testing.assert_allclose(grad @ way, slope, rtol=0.02, atol=2e-3)


@pytest.mark.parametrize(("agent_name", "rule_name"), [("mlp", "ppo"), ("gru", "a2c")])
def test_agents_and_rules_learn_from_continuous_actions(agent_name, rule_name):
    module = registry.rule_module(rule_name)
    needed = module.heads(ENV)
    agent = registry.agent_builder(agent_name)(
        ENV, needed, hidden=8 if agent_name == "gru" else (8,)
    )
    rule = getattr(module, rule_name)(agent, needed)
    venv = vectorize(ENV, N)

    @jax.jit
    def life():
        learner = birth(agent, rule, venv, PARAMS, KEY)
        eta = rule.init_eta(KEY)
        return learner, live(agent, rule, venv, eta, learner, KEY, updates=2, length=T)

    young, (old, metrics) = life()
    assert not [*differences(old, young)]
    moved = jax.tree.map(lambda a, b: (a != b).any(), old.params, young.params)
    assert all(jax.tree.leaves(moved)), moved
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((old.params, metrics["loss"])))


def test_the_greedy_action_is_the_mean(linear):
    agent, params, _ = linear
    heads = agent.apply(
        params, (), AgentInput(jnp.zeros(2), jnp.zeros(2), jnp.float32(0), jnp.bool_(True))
    )[0]
    assert (policy(heads).mode() == heads["mean"]).all()
    scores = evaluate(agent, ENV, params, PARAMS, KEY, episodes=3, greedy=True)
    assert (scores.ret == scores.ret[0]).all() and scores.finished.all()

"""MAML and the policy gradient that it adapts by, against numpy and enumeration."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.inner import act, birth
from metarl.meta.bijections import exponential
from metarl.meta.exact import Problem, moments
from metarl.meta.maml import first_returns, maml, returns_by_update
from metarl.meta.tune import tune
from metarl.ops.enumeration import trajectories
from metarl.ops.least_squares import fitted
from metarl.ops.surrogates import SURROGATES
from metarl.rollout import vectorize
from metarl.rules import reinforce
from metarl.types import Agent

HORIZON, ENVS, STEP = 2, 2, 0.5
LOGITS = np.array([[0.4, -0.2], [-0.7, 0.1]], np.float32)


@pytest.fixture(scope="module")
def mdp():
    """Two states, two actions, two steps, and an agent with a table of logits."""
    env = metarl.make("TabularMDP-v0", states=2, num_actions=2)
    task = env.default_params().replace(
        transitions=jnp.array([[[0.7, 0.3], [0.2, 0.8]], [[0.5, 0.5], [0.9, 0.1]]]),
        rewards=jnp.array([[1.0, -0.5], [0.3, 2.0]]),
        noise=jnp.float32(0),
        horizon=jnp.int32(HORIZON),
    )
    table = lambda params, carry, inputs: ({"logits": params[inputs.obs]}, carry)  # noqa: E731
    return env, task, Agent(lambda key: jnp.asarray(LOGITS), tuple, table)


def rule_of(env, agent, learning_rate=STEP * HORIZON, **options):
    """The mean over steps is the sum over them divided by the horizon."""
    eta = reinforce.hypers(1.0, 0.0, learning_rate)
    options = {"baseline": "none", "normalise": False, **options}
    heads = reinforce.heads(env)
    return reinforce.reinforce(agent, heads, optimizer=optax.sgd(1.0), eta=eta, **options)


def objective_of(env, agent):
    eta = reinforce.hypers(1.0, 0.0, 0.0)
    needed = reinforce.heads(env)

    def objective(params, rollout):
        args = (agent, needed, eta, params, rollout)
        return reinforce.reinforce_loss(*args, baseline="none", normalise=False)[0]

    return objective


def build(mdp, surrogate="plain", updates=1, **how):
    env, task, agent = mdp
    rule, venv = rule_of(env, agent, surrogate=surrogate), vectorize(env, ENVS)
    meta = maml(
        agent, rule, venv, objective_of(env, agent), optax.sgd(1.0), tasks=lambda key: task,
        updates=updates, length=HORIZON, **how,
    )  # fmt: skip
    born = partial(birth, agent, rule, venv, task)
    return meta, lambda count: jax.vmap(born)(jax.random.split(jax.random.key(0), count))


def descended(mdp, count, **how):
    """The mean meta-gradient of `count` learners."""
    meta, population = build(mdp, **how)

    @jax.jit
    def run():
        learners = population(count)
        state = meta.init(jax.random.key(1), learners)
        after, _, metrics = meta.update(state, learners, jax.random.key(2))
        return state.eta["params"] - after.eta["params"], metrics

    return run()


@pytest.mark.parametrize("surrogate, score", [("plain", 0), ("plain", 1), ("lvc", 0), ("dice", 0)])
def test_meta_gradients_have_the_enumerated_mean(mdp, surrogate, score):
    """Within five standard errors; the errors are small enough to tell the estimators apart."""
    count = 40_000
    found, _ = descended(mdp, count, surrogate=surrogate, score=float(score))
    task = mdp[1]
    paths = trajectories(task.transitions, task.rewards, horizon=HORIZON)
    problem = Problem(paths, jnp.zeros((8, HORIZON)), STEP)

    @jax.jit
    def exact(logits):
        return {n: moments(problem, SURROGATES[n], logits, ENVS) for n in ("plain", surrogate)}, (
            moments(problem, SURROGATES[surrogate], logits, ENVS, score=score)
        )

    plain, expected = exact(jnp.asarray(LOGITS))
    error = float(jnp.sqrt(expected.variance / count))
    gap = float(jnp.linalg.norm(-HORIZON * found - expected.mean))
    assert gap < 5 * error, (gap, error)
    if (surrogate, score) != ("plain", 0):
        assert jnp.linalg.norm(expected.mean - plain["plain"].mean) > 8 * error


def test_ways_to_pass_derivatives(mdp):
    """Checkpoints change nothing; first order is the derivative at the adapted params, as it is."""
    plain, told = descended(mdp, 3, updates=2, gradient="unrolled")
    ours, _ = descended(mdp, 3, updates=2, gradient="checkpointed")
    np.testing.assert_allclose(ours, plain, rtol=1e-5)
    first_order, also = descended(mdp, 3, updates=2, gradient="none")
    assert told["return_after"] == also["return_after"]
    assert np.abs(first_order - plain).max() > 1e-4 and np.abs(first_order).min() > 0


def test_the_rule_can_be_learned_too(mdp):
    """A step size, and not the init alone, moves."""
    env, task, agent = mdp
    rule = tune(rule_of(env, agent), learning_rate=exponential())
    venv, objective = vectorize(env, ENVS), objective_of(env, agent)
    meta = maml(
        agent, rule, venv, objective, optax.sgd(1.0), tasks=lambda key: task, length=HORIZON,
        learn_rule=True,
    )  # fmt: skip

    @jax.jit
    def run(step):
        born = jax.vmap(partial(birth, agent, rule, venv, task))(
            jax.random.split(jax.random.key(0), 2)
        )
        state = meta.init(jax.random.key(1), born)
        return meta.update(state, born, jax.random.key(2))

    state, _, metrics = run(0)
    assert state.eta["rule"]["learning_rate"] != 0  # the logarithm of its start, one
    np.testing.assert_allclose(
        metrics["eta/rule.learning_rate"], state.eta["rule"]["learning_rate"]
    )


def test_returns_by_update_end_where_factors_say(mdp):
    """With steps of nothing the policy stays; first episodes alone count."""
    env, task, agent = mdp
    run = partial(returns_by_update, agent, rule_of(env, agent, 50.0), vectorize(env, 500))
    eta = reinforce.hypers(1.0, 0.0, 50.0)

    @jax.jit
    def both(factors):
        args = (eta, jnp.asarray(LOGITS), task, jax.random.key(3))
        still = run(*args, factors=(0.0, 0.0), length=HORIZON)
        return still, run(*args, factors=(1.0,), length=3)

    still, moved = both(0)
    paths = trajectories(task.transitions, task.rewards, horizon=HORIZON)
    expected = paths.value(jnp.asarray(LOGITS))
    np.testing.assert_allclose(still, expected, atol=0.25)
    np.testing.assert_allclose(moved[0], expected, atol=0.25)
    assert moved.shape == (2,) and moved[1] > expected + 0.3


def test_least_squares_equal_lapack():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 6)) * [1, 10, 0.1, 1, 3, 1]
    features = np.concatenate([features, features[:, :1], np.ones((50, 1))], axis=1)  # one twice
    targets = rng.normal(size=50) + features[:, 1]
    expected = features @ np.linalg.lstsq(features, targets)[0]
    ours = jax.jit(fitted)(jnp.float32(features), jnp.float32(targets))
    np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_an_update_equals_numpy_whatever_the_surrogate():
    env = metarl.make("Navigation-v0")
    task = env.default_params().replace(max_steps=jnp.int32(5), goal=jnp.array([0.2, -0.1]))
    params = {"mean": jnp.array([[0.1, 0.3], [-0.2, 0.5]]), "log_std": jnp.array([-2.0, -1.5])}

    def apply(params, carry, inputs):
        return {"mean": inputs.obs @ params["mean"], "log_std": params["log_std"]}, carry

    agent, venv = Agent(lambda key: params, tuple, apply), vectorize(env, 4)
    rules = [
        rule_of(env, agent, 0.3, surrogate=name, baseline="linear", normalise=True)
        for name in SURROGATES
    ]
    eta = reinforce.hypers(0.9, 0.0, 0.3)

    @jax.jit
    def run():
        learner = birth(agent, rules[0], venv, task, jax.random.key(0))
        rollout, _ = act(agent, venv, learner, jax.random.key(1), length=8)
        args = (eta, params, learner.rule_state, rollout, jax.random.key(2))
        return rollout, [rule.update(*args)[0] for rule in rules]

    rollout, updated = run()
    r, last, obs = (np.asarray(x) for x in (rollout.reward, rollout.last, rollout.inputs.obs))
    returns, time = np.zeros((4, 9)), np.zeros((4, 8))
    for t in reversed(range(8)):
        returns[:, t] = r[:, t] + 0.9 * np.where(last[:, t], 0, returns[:, t + 1])
    for t in range(1, 8):
        time[:, t] = np.where(last[:, t - 1], 0, time[:, t - 1] + 0.01)
    assert last[:, :7].any() and returns.shape[1] == 9
    flat, clock, target = obs.reshape(-1, 2), time.reshape(-1, 1), returns[:, :8].ravel()
    basis = np.concatenate([flat, flat**2, clock**0, clock, clock**2, clock**3], axis=1)
    adv = target - np.asarray(fitted(jnp.float32(basis), jnp.float32(target)))
    adv = (adv - adv.mean()) / adv.std()
    z = (np.asarray(rollout.action).reshape(-1, 2) - flat @ params["mean"]) / np.exp([-2.0, -1.5])
    slope = flat.T @ (adv[:, None] * z / np.exp([-2.0, -1.5])) / 32
    spread = (adv[:, None] * (z**2 - 1)).mean(axis=0)
    for new in updated:
        np.testing.assert_allclose(new["mean"], params["mean"] + 0.3 * slope, rtol=2e-3)
        np.testing.assert_allclose(new["log_std"], params["log_std"] + 0.3 * spread, rtol=2e-3)
    np.testing.assert_allclose(first_returns(rollout)[0], r[0, : last[0].argmax() + 1].sum(), 1e-5)


def test_what_is_unknown_is_said():
    env = metarl.make("Navigation-v0")
    with pytest.raises(ValueError, match="loaded_dice"):
        rule_of(env, None, surrogate="magic")
    with pytest.raises(ValueError, match="'none'"):
        rule_of(env, None, baseline="value")

"""The recipe on the discounting chain: its critic, its losses and its bias, computed otherwise."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.inner import act, birth
from metarl.meta.matching import kl
from metarl.meta.objectives import policy_gradient
from metarl.recipes.chain import (
    Problem,
    chain_agent,
    chain_loss,
    chain_objective,
    chain_rule,
    true_value,
)
from metarl.recipes.outer_value import first_step
from metarl.rollout import vectorize
from metarl.rules import a2c

STEPS, REWARDS = (1, 3, 10, 30, 100), (1, 1, 1, 1.1, 1)


@pytest.fixture(scope="module")
def chain():
    return metarl.make("DiscountingChain-v0").default_params()


@pytest.fixture(scope="module")
def played(chain):
    """An agent with a policy that prefers something, and eight whole episodes of it."""
    problem = Problem(chain, late=1)
    agent = chain_agent(problem, 0.93)
    rule = chain_rule(problem, a2c.hypers(0.93), optax.sgd(0.5))
    venv = vectorize(metarl.make("DiscountingChain-v0"), 8)
    learner = jax.jit(partial(birth, agent, rule, venv, chain))(jax.random.key(0))
    weights = jax.random.normal(jax.random.key(1), (2, 5)) / 3
    params = {**learner.params, "policy": {"w": weights, "b": jnp.linspace(-0.5, 0.5, 5)}}
    learner = learner.replace(params=params)
    roll = jax.jit(partial(act, agent, venv, length=100))
    return params, roll(learner, jax.random.key(2))[0]


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_values_are_what_every_way_to_go_on_is_worth(chain, discount):
    """By stepping the environment from each state, and by the mean over choices at the first."""
    env = metarl.make("DiscountingChain-v0")
    probs = jnp.array([0.1, 0.2, 0.3, 0.25, 0.15])

    @jax.jit
    def follow(choice):
        def step(state, _):
            state, ts = env.step(jax.random.key(0), state, choice, chain)
            return state, (ts.obs, ts.reward)

        return jax.lax.scan(step, env.reset(jax.random.key(0), chain)[0], None, length=100)[1]

    worth, value = [], jax.jit(partial(true_value, Problem(chain)))
    for choice in range(5):
        obs, reward = (np.asarray(x) for x in follow(choice))
        ahead = np.zeros(101)
        for t in reversed(range(100)):
            ahead[t] = reward[t] + discount * ahead[t + 1]
        found = jax.jit(jax.vmap(lambda o: true_value(Problem(chain), o, probs, discount)))(obs)
        np.testing.assert_allclose(found, ahead[1:], rtol=2e-5, atol=1e-6)
        worth.append(ahead[0])
    start = jnp.array([-1.0, 0.0])
    np.testing.assert_allclose(value(start, probs, discount), probs @ np.array(worth), rtol=1e-5)
    late = true_value(Problem(chain, late=1), start, probs, discount)
    np.testing.assert_allclose(late, discount * (probs @ np.array(worth)), rtol=1e-5)


@pytest.mark.parametrize(("baseline", "normalise"), [("value", False), ("outer_value", True)])
def test_sums_over_kinds_of_episodes_are_means_over_episodes(chain, played, baseline, normalise):
    """The outer loss and its gradient, against the generic objective on the same rollout."""
    params, rollout = played
    problem = Problem(chain, 1, normalise, baseline)
    agent = chain_agent(problem, 0.93)
    how = {"lambda_": 0.0, "entropy_cost": 0.02, "normalise": normalise, "baseline": baseline}
    generic, quick = policy_gradient(agent, **how), chain_objective(problem, 0.02)
    expected, found = (jax.jit(jax.value_and_grad(f))(params, rollout) for f in (generic, quick))
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=2e-6)
    assert np.abs(expected[1]["policy"]["w"]).max() > 1e-3


def test_eta_moves_the_policy_through_targets_alone(chain, played):
    """The derivative of the update in the discount, by differences with the values frozen."""
    params, rollout = played
    problem = Problem(chain, 1, normalise=False)

    def moved(discount, believed):
        def loss(w):
            given = {"policy": {**params["policy"], "w": w}, "discount": believed}
            how: Any = {"entropy_cost": 0.02, "baseline": "value"}
            return chain_loss(problem, given, rollout, discount=discount, **how)[0]

        return params["policy"]["w"] - 0.5 * jax.grad(loss)(params["policy"]["w"])

    rule = chain_rule(problem, a2c.hypers(0.95, 0.0, 0.02, 0.0, 1.0), optax.sgd(0.5))
    eta = rule.init_eta(jax.random.key(0))

    def updated(discount):
        state, key = rule.init(params), jax.random.key(0)
        return rule.update(eta.replace(discount=discount), params, state, rollout, key)[0]

    at = jnp.float32(0.95)
    slope = jax.jit(jax.jacfwd(updated))(at)
    jump = jax.jit(moved)
    expected = (jump(at + 0.02, at) - jump(at - 0.02, at)) / 0.04  # linear in the discount
    np.testing.assert_allclose(slope["policy"]["w"], expected, rtol=2e-3, atol=1e-5)
    assert slope["discount"] == 0
    new = jax.jit(updated)(at)
    np.testing.assert_allclose(new["policy"]["w"], jump(at, at), rtol=1e-5, atol=1e-6)
    assert new["discount"] == at


@pytest.mark.parametrize(("late", "baseline", "expected"), [
    (1, "value", 1 - 0.9), (0, "value", 0.0), (1, "outer_value", 0.0), (0, "outer_value", 0.0),
])  # fmt: skip
def test_the_outer_advantage_of_a_sure_first_action(chain, played, late, baseline, expected):
    """By hand: the first chain pays 1 at once, and the late critic expects 0.9 of it."""
    _, rollout = played
    sure = {"w": jnp.zeros((2, 5)), "b": jnp.array([50.0, 0, 0, 0, 0])}
    rollout = rollout.replace(action=jnp.zeros_like(rollout.action))
    problem = Problem(chain, late, True, baseline)
    params = {"policy": sure, "discount": jnp.float32(0.9)}
    how: Any = {"discount": 1.0, "entropy_cost": 0.0, "baseline": baseline}
    _, metrics = jax.jit(partial(chain_loss, problem, **how))(params, rollout)
    np.testing.assert_allclose(metrics["first_adv"], expected, atol=1e-6)


@pytest.mark.parametrize("late", [0, 1])
def test_the_outer_advantage_of_a_uniform_first_action(chain, played, late):
    """By hand, where each chain is chosen as often."""
    _, rollout = played
    action = jnp.broadcast_to(jnp.arange(5)[:, None], (5, 100))
    rollout = rollout.replace(action=action)
    params = {"policy": {"w": jnp.zeros((2, 5)), "b": jnp.zeros(5)}, "discount": jnp.float32(0.95)}
    how: Any = {"discount": 1.0, "entropy_cost": 0.0, "baseline": "value"}
    _, metrics = jax.jit(partial(chain_loss, Problem(chain, late), **how))(params, rollout)
    value = np.mean([r * 0.95 ** (t - 1 + late) for t, r in zip(STEPS, REWARDS, strict=True)])
    after = np.mean([r * 0.95 ** max(t - 2, 0) for t, r in zip(STEPS, REWARDS, strict=True)])
    np.testing.assert_allclose(metrics["first_adv"], after - value, rtol=1e-4)


def test_matching_looks_at_the_first_state_alone(chain, played):
    params, rollout = played
    agent = chain_agent(Problem(chain), 0.93)
    other = {**params, "policy": {**params["policy"], "b": jnp.zeros(5)}}
    one = jax.tree.map(lambda x: x[0], rollout.replace(carry=()))
    found = jax.jit(first_step(kl(agent)))(other, params, one)
    logits = [jax.nn.log_softmax(p["policy"]["b"] - p["policy"]["w"][0]) for p in (other, params)]
    np.testing.assert_allclose(found, jnp.exp(logits[0]) @ (logits[0] - logits[1]), rtol=1e-4)

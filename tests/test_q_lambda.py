"""Q(lambda) and its epsilon-greedy policy against numbers worked out by hand."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.agents.mlp import mlp
from metarl.inner import act, birth, learn, live, turn_keys
from metarl.meta.bijections import sigmoid
from metarl.meta.bmg import bmg
from metarl.meta.common import life_keys
from metarl.meta.context import contextual
from metarl.meta.matching import greedy
from metarl.meta.tune import tune
from metarl.ops.distributions import MASKED, EpsilonGreedy
from metarl.rollout import none, replay, vectorize
from metarl.rules import q_lambda
from metarl.types import Rollout

ENVS, LENGTH = 2, 5
KEY = jax.random.key(0)


def made_up(action, reward, terminated, truncated):
    blank: Any = None  # targets do not look at it
    flags = (jnp.array(terminated), jnp.array(truncated))
    return Rollout(blank, jnp.array(action), jnp.array(reward), *flags, blank, {}, ())


def test_targets_by_hand():
    """Watkins: the trace stops before an action that is not the best, at ends, and at the edge."""
    q = jnp.array([[1.0, 2.0], [3.0, 0.0], [0.0, 5.0], [4.0, 1.0], [2.0, 2.5]])
    action = [1, 0, 0, 0, 1]  # the third explores
    reward = [1.0, 0.5, 0.0, 2.0, -1.0]
    next_q = jnp.array([[3.0, 0.0], [0.0, 5.0], [4.0, 1.0], [9.0, 9.0], [6.0, 7.0]])
    rollout = made_up(action, reward, [False] * 3 + [True, False], [False] * 5)
    found = q_lambda.targets(q, next_q, rollout, discount=0.9, lambda_=0.5)
    last = -1.0 + 0.9 * 7
    ended = 2.0
    third = 0.9 * (0.5 * 4 + 0.5 * ended)  # the next action is the best one, so the trace goes on
    second = 0.5 + 0.9 * 5  # the next action explores: one step
    first = 1.0 + 0.9 * (0.5 * 3 + 0.5 * second)
    np.testing.assert_allclose(found, [first, second, third, ended, last], rtol=1e-6)


def test_a_truncation_bootstraps_and_cuts_the_trace():
    q, next_q = jnp.array([[1.0, 0.0], [2.0, 0.0]]), jnp.array([[8.0, 0.0], [3.0, 0.0]])
    rollout = made_up([0, 0], [1.0, 1.0], [False] * 2, [True, False])
    found = q_lambda.targets(q, next_q, rollout, discount=0.5, lambda_=0.9)
    np.testing.assert_allclose(found, [1 + 0.5 * 8, 1 + 0.5 * 3], rtol=1e-6)


def test_probabilities_and_divergences():
    pi = EpsilonGreedy(jnp.array([1.0, 3.0, MASKED, 2.0]), jnp.array([0.3]))
    np.testing.assert_allclose(pi.probs, [0.1, 0.8, 0, 0.1], rtol=1e-6)
    other = EpsilonGreedy(jnp.array([5.0, 3.0, MASKED, 2.0]), jnp.array([0.6]))
    p, r = np.array([0.1, 0.8, 0.1]), np.array([0.6, 0.2, 0.2])
    np.testing.assert_allclose(pi.kl(other), np.sum(p * np.log(p / r)), rtol=1e-5)
    np.testing.assert_allclose(pi.entropy(), -np.sum(p * np.log(p)), rtol=1e-5)
    np.testing.assert_allclose(pi.log_prob(jnp.array(3)), np.log(0.1), rtol=1e-5)
    assert pi.mode() == 1 and pi.kl(pi) == 0
    drawn = jax.vmap(pi.sample)(jax.random.split(jax.random.key(0), 20_000))
    counts = np.bincount(drawn, minlength=4) / 20_000
    np.testing.assert_allclose(counts, [0.1, 0.8, 0, 0.1], atol=0.01)


@pytest.mark.parametrize("kind", ["entropy", "kl"])
def test_illegal_actions_leave_derivatives_finite(kind):
    q = jnp.array([1.0, 3.0, MASKED, 2.0])
    goal = EpsilonGreedy(jnp.array([5.0, 3.0, MASKED, 2.0]), jnp.array([0.0]))

    def total(epsilon):
        pi = EpsilonGreedy(q, epsilon)
        return pi.entropy() if kind == "entropy" else goal.kl(pi)

    slope = jax.grad(total)(jnp.array([0.3]))
    best = 2 / 3 * (np.log(0.8) - np.log(0.1))  # its probability shrinks by 2/3, both others grow
    expected = {"entropy": best, "kl": -1 / 0.3}[kind]
    np.testing.assert_allclose(slope, [expected], rtol=1e-5)


class Parts(NamedTuple):
    agent: Any
    rule: Any
    venv: Any
    env: Any


@pytest.fixture(scope="module")
def parts():
    env = metarl.make("TwoColours-v0", size=2)
    heads = q_lambda.heads(env)
    agent = mlp(env, heads, hidden=(8,), activation="relu")
    eta = q_lambda.hypers(0.9, 0.8, epsilon=0.3, learning_rate=1.0)
    rule = q_lambda.q_lambda(agent, heads, optimizer=optax.sgd(0.5), eta=eta)
    return Parts(agent, rule, vectorize(env, ENVS, none), env)


def one(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


def replay_batch(parts, params, rollout):
    """[N, T] the best action in every state."""
    best = lambda p, r: replay(parts.agent, p, r)[0]["q"].argmax(-1)  # noqa: E731
    return jax.jit(jax.vmap(best, in_axes=(None, 0)))(params, rollout)


@pytest.fixture(scope="module")
def lived(parts):
    """A learner after one update, its next rollout, and what the update began with."""

    @jax.jit
    def run():
        born = birth(parts.agent, parts.rule, parts.venv, parts.env.default_params(), KEY)
        rollout, acted = act(parts.agent, parts.venv, born, jax.random.key(1), length=LENGTH)
        eta = parts.rule.init_eta(KEY)
        learner, metrics = learn(parts.rule, eta, acted, rollout, KEY)
        ahead, _ = act(parts.agent, parts.venv, learner, jax.random.key(2), length=LENGTH)
        return born, rollout, learner, metrics, ahead

    return run()


def test_an_update_moves_the_values_of_the_actions_taken_and_writes_epsilon(parts, lived):
    """The bias of an action's value moves by its mean error; targets by a loop of their own."""
    born, rollout, learner, metrics, _ = lived
    assert born.params["heads"]["epsilon"]["b"] == 1  # it acts at random until it has learned
    np.testing.assert_allclose(learner.params["heads"]["epsilon"]["b"], 0.3)
    q, action = np.asarray(rollout.heads["q"]), np.asarray(rollout.action)
    push, loss = np.zeros(4), 0.0
    for n in range(ENVS):
        after = parts.agent.apply(born.params, (), one(rollout.next_inputs, (n, -1)))[0]["q"]
        following = np.asarray([*q[n, 1:].max(-1), after.max()])  # an endless episode
        ahead = following[-1]
        for t in reversed(range(LENGTH)):
            if t + 1 < LENGTH and action[n, t + 1] != q[n, t + 1].argmax():
                ahead = following[t]
            target = rollout.reward[n, t] + 0.9 * (0.2 * following[t] + 0.8 * ahead)
            error = q[n, t, action[n, t]] - target
            push[action[n, t]] -= error / (ENVS * LENGTH)
            loss += error**2 / 2 / (ENVS * LENGTH)
            ahead = target
    moved = learner.params["heads"]["q"]["b"] - born.params["heads"]["q"]["b"]
    np.testing.assert_allclose(moved, 0.5 * push, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)


def closed_form(epsilon, agree, actions=4):
    """Derivative in epsilon of minus the log-probability of the target's best action."""
    best, other = (1 - 1 / actions) / (1 - epsilon + epsilon / actions), -1 / epsilon
    return np.where(agree, best, other).mean()


def test_matching_a_greedy_target_moves_epsilon_alone(parts, lived):
    born, _, learner, _, ahead = lived
    target = jax.tree.map(lambda x: -x, born.params)  # one that disagrees now and then
    best = [replay_batch(parts, params, ahead) for params in (target, learner.params)]
    agree = best[0] == best[1]
    assert agree.any() and not agree.all()
    matching = jax.vmap(greedy(parts.agent), in_axes=(None, None, 0))
    loss = jax.jit(jax.value_and_grad(lambda p: matching(target, p, ahead).mean()))
    value, grads = loss(learner.params)
    logs: Any = np.where(agree, np.log(1 - 0.3 + 0.3 / 4), np.log(0.3 / 4))
    np.testing.assert_allclose(value, -logs.mean(), rtol=1e-5)
    slope = grads["heads"].pop("epsilon")["b"]
    np.testing.assert_allclose(slope, [closed_form(0.3, agree)], rtol=1e-5)
    assert all((x == 0).all() for x in jax.tree.leaves(grads))


def test_the_bootstrapped_gradient_of_epsilon_is_the_closed_form(parts):
    """Through K = 2 updates, L - 1 = 3 more and the next rollout, lived once again by hand."""
    rule = tune(parts.rule, epsilon=sigmoid())
    stay = lambda params, state, rollout: params  # noqa: E731
    meta = bmg(
        parts.agent, rule, parts.venv, greedy(parts.agent), stay, optax.sgd(0.1),
        updates=2, bootstrap=4, length=LENGTH,
    )  # fmt: skip

    @jax.jit
    def run():
        learner = birth(parts.agent, rule, parts.venv, parts.env.default_params(), KEY)
        learners = jax.tree.map(lambda x: x[None], learner)
        state = meta.init(KEY, learners)
        state, learners, metrics = meta.update(state, learners, KEY)
        key = life_keys(KEY, jax.tree.map(lambda x: x[None], learner))[0]
        go = partial(live, parts.agent, rule, parts.venv, rule.init_eta(KEY), length=LENGTH)
        after, _ = go(learner, key, updates=2)
        ahead, _ = go(after, key, updates=3)
        rollout, _ = act(parts.agent, parts.venv, ahead, turn_keys(key, ahead)[0], length=LENGTH)
        best = [replay_batch(parts, p, rollout) for p in (ahead.params, after.params)]
        return state.eta, metrics, learners, ahead, best

    eta, metrics, learners, ahead, best = run()
    slope = closed_form(0.3, best[0] == best[1]) * 0.3 * 0.7  # of the sigmoid
    np.testing.assert_allclose(metrics["meta_grad/epsilon"], slope, rtol=1e-4)
    np.testing.assert_allclose(eta["epsilon"], np.log(0.3 / 0.7) - 0.1 * slope, rtol=1e-4)
    for a, b in zip(*map(jax.tree.leaves, (learners.params, ahead.params)), strict=True):
        np.testing.assert_allclose(a[0], b, rtol=1e-5, atol=1e-7)


def test_a_network_of_single_rewards_sees_the_newest(parts, lived):
    rollout = lived[1]
    rule = contextual(parts.rule, window=LENGTH + 2, per_step=True, epsilon=sigmoid())
    state = rule.init(lived[0].params)
    state = state.replace(rewards=jnp.arange(LENGTH + 2.0))
    eta = rule.init_eta(KEY)
    _, state, metrics = jax.jit(rule.update)(eta, lived[0].params, state, rollout, KEY)
    expected = [LENGTH, LENGTH + 1, *rollout.reward.mean(axis=0)]
    np.testing.assert_allclose(state.rewards, expected, rtol=1e-6)
    assert 0 < metrics["tuned/epsilon"] < 1


def test_it_refuses_actions_that_are_not_discrete():
    with pytest.raises(TypeError, match="Discrete"):
        q_lambda.heads(metarl.make("Pendulum-v0"))

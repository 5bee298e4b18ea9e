"""Leaky V-trace against its definition, and STAC against A2C and finite differences."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.agents.mlp import mlp
from metarl.inner import act, birth
from metarl.meta.objectives import stac_outer
from metarl.ops.returns import gae, vtrace
from metarl.rollout import replay, vectorize
from metarl.rules import a2c, stac
from metarl.rules import vtrace as vtrace_rule

N, T = 3, 5
NO = jnp.zeros(2, bool)


def test_vtrace_equals_hand_computed_numbers():
    """Ratios 2 and 1/2, discount 1/2, all values 1, rewards 1 and 2."""
    one, reward = jnp.ones(2), jnp.array([1.0, 2.0])
    run = partial(vtrace, reward, NO, NO, one, one, jnp.log(jnp.array([2.0, 0.5])), discount=0.5)
    # Temporal differences 1/2 and 3/2. Clipped: rho = c = (1, 1/2).
    target, adv = run(alpha_rho=1.0, alpha_c=1.0)
    np.testing.assert_allclose(target, [1 + 0.5 + 0.5 * 1 * 0.75, 1 + 0.75], rtol=1e-6)
    np.testing.assert_allclose(adv, [1 + 0.5 * 1.75 - 1, 0.5 * 1.5], rtol=1e-6)
    # Plain importance sampling: rho = c = (2, 1/2).
    target, adv = run(alpha_rho=0.0, alpha_c=0.0)
    np.testing.assert_allclose(target, [1 + 1 + 0.5 * 2 * 0.75, 1.75], rtol=1e-6)
    np.testing.assert_allclose(adv, [2 * (1 + 0.5 * 1.75 - 1), 0.75], rtol=1e-6)
    # Half of each, of the differences alone: rho = (3/2, 1/2).
    target, _ = run(alpha_rho=0.5, alpha_c=1.0)
    np.testing.assert_allclose(target, [1 + 0.75 + 0.5 * 1 * 0.75, 1.75], rtol=1e-6)


def experience(seed=0, length=12):
    rng = np.random.default_rng(seed)
    reward, value, after, log_ratio = rng.normal(size=(4, length))
    terminated = rng.random(length) < 0.2
    truncated = ~terminated & (rng.random(length) < 0.2)
    return reward, terminated, truncated, value, after, 0.7 * log_ratio


@pytest.mark.parametrize("alphas", [(1.0, 1.0), (0.0, 0.0), (0.3, 0.8)])
def test_vtrace_equals_its_definition_as_a_sum(alphas):
    reward, terminated, truncated, value, after, log_ratio = data = experience()
    discount, decay = 0.9, 0.7
    ratio = np.exp(log_ratio)
    rho, c = (a * np.minimum(1, ratio) + (1 - a) * ratio for a in alphas)
    delta = rho * (reward + discount * np.where(terminated, 0, after) - value)
    error = np.zeros(len(reward))
    for t in range(len(reward)):
        weight = 1.0
        for k in range(t, len(reward)):
            error[t] += weight * delta[k]
            if terminated[k] or truncated[k]:
                break
            weight *= discount * decay * c[k]
    ahead = np.append(error[1:], 0) * ~(terminated | truncated)
    following = np.where(terminated, 0, after + decay * ahead)
    found = jax.jit(
        partial(vtrace, discount=discount, lambda_=decay, alpha_rho=alphas[0], alpha_c=alphas[1])
    )(*data)
    np.testing.assert_allclose(found[0], value + error, rtol=1e-5)
    np.testing.assert_allclose(
        found[1], rho * (reward + discount * following - value), rtol=1e-4, atol=1e-6
    )


def test_on_its_own_experience_vtrace_is_gae():
    *data, log_ratio = experience()
    own: Any = (*data, 0 * log_ratio)
    target, adv = vtrace(*own, discount=0.9, lambda_=0.8, alpha_rho=0.4)
    expected = gae(*data, discount=0.9, lambda_=0.8)
    np.testing.assert_allclose(adv, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(target, data[3] + expected, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def parts():
    """Agent, learner, two rollouts of its own; steps are large, so that ratios leave 1."""
    env = metarl.make("GridWorld-v0", size=3)
    agent = mlp(env, stac.heads(env), hidden=(4,))
    rule = stac.stac(agent, stac.heads(env), optimizer=optax.sgd(3.0), epochs=1)
    venv = vectorize(env, N)

    @jax.jit
    def run():
        learner = birth(agent, rule, venv, env.default_params(), jax.random.key(0))
        rollout, later = act(agent, venv, learner, jax.random.key(1), length=T)
        return learner, rollout, act(agent, venv, later, jax.random.key(2), length=T)[0]

    learner, *rollouts = run()
    reward = jax.random.normal(jax.random.key(3), (N, T))  # the maze's own are nearly all zero
    return env, agent, learner, [rollout.replace(reward=reward) for rollout in rollouts]


def built(parts, epochs):
    env, agent, *_ = parts
    return stac.stac(agent, stac.heads(env), optimizer=optax.sgd(3.0), epochs=epochs)


ETA = {"discount": 0.9, "lambda_": 0.8, "entropy_cost": 0.02, "value_cost": 0.3}


def test_one_epoch_is_a2c(parts):
    env, agent, learner, (rollout, _) = parts
    other = a2c.a2c(agent, a2c.heads(env), optimizer=optax.sgd(3.0))
    args = (learner.params, learner.rule_state, rollout, jax.random.key(0))
    expected, *_ = jax.jit(other.update)(a2c.hypers(**ETA, learning_rate=0.7), *args)
    found, *_ = jax.jit(built(parts, 1).update)(stac.hypers(**ETA, learning_rate=0.7), *args)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


def test_epochs_are_updates_on_the_same_experience(parts):
    _, _, learner, (rollout, _) = parts
    eta, once = stac.hypers(**ETA, learning_rate=1.0), jax.jit(built(parts, 1).update)
    params, state = learner.params, learner.rule_state
    for _ in range(2):
        params, state, metrics = once(eta, params, state, rollout, jax.random.key(0))
    assert abs(metrics["ratio"] - 1) > 1e-3
    args = (learner.params, learner.rule_state, rollout, jax.random.key(0))
    twice, *_ = jax.jit(built(parts, 2).update)(eta, *args)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), twice, params)


def wide(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def outer_reference(agent, params, rollout, constants):
    """STAC's outer loss with its constants as data."""
    now, _ = jax.vmap(partial(replay, agent, params))(rollout)
    log_p, log_b = (jax.nn.log_softmax(heads["logits"]) for heads in (now, rollout.heads))
    chosen = jnp.take_along_axis(log_p, rollout.action[..., None], -1)[..., 0]
    target, adv = constants
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
    kl = jnp.sum(jnp.exp(log_p) * (log_p - log_b), axis=-1)
    error = jnp.square(now["value"][..., 0] - target)
    return jnp.mean(0.25 * error / 2 - chosen * adv - 0.01 * entropy + kl)


def outer_constants(agent, params, rollout):
    def one(rollout):
        belief = vtrace_rule.believed(agent, params, rollout)
        flags = (rollout.terminated, rollout.truncated)
        values = (belief.value, belief.next_value, belief.log_ratio)
        data: Any = (rollout.reward, *flags, *values)
        return vtrace(*data, discount=0.995, lambda_=1.0)

    return jax.vmap(one)(rollout)


def test_meta_gradients_equal_finite_differences(parts):
    """Of all of eta, through three epochs and the outer loss, in float64, experience frozen."""
    env, agent, learner, rollouts = parts
    rule = built(parts, 3)
    with jax.enable_x64(True):
        inner, outer = wide(rollouts)
        params, state = wide(learner.params), wide(learner.rule_state)
        eta = wide(stac.hypers(**ETA, alpha_rho=0.6, alpha_c=0.7, learning_rate=0.5))
        objective = stac_outer(agent)

        def updated(eta):
            return rule.update(eta, params, state, inner, jax.random.key(0))[0]

        value, grads = jax.jit(jax.value_and_grad(lambda eta: objective(updated(eta), outer)))(eta)
        constants = jax.jit(lambda eta: outer_constants(agent, updated(eta), outer))(eta)
        loss = jax.jit(lambda eta: outer_reference(agent, updated(eta), outer, constants))
        np.testing.assert_allclose(value, loss(eta), rtol=1e-9)
        for name in vars(eta):
            at, step = getattr(eta, name), 1e-5
            up, down = (loss(eta.replace(**{name: at + s})) for s in (step, -step))
            expected = (up - down) / (2 * step)
            assert abs(expected) > 1e-6, name
            np.testing.assert_allclose(getattr(grads, name), expected, rtol=1e-5, err_msg=name)


def test_with_one_epoch_the_leak_has_no_derivative(parts):
    _, agent, learner, (inner, outer) = parts
    rule, objective = built(parts, 1), stac_outer(agent)

    def loss(eta):
        args = (learner.params, learner.rule_state, inner, jax.random.key(0))
        return objective(rule.update(eta, *args)[0], outer)

    grads = jax.jit(jax.grad(loss))(stac.hypers(learning_rate=1.0))
    np.testing.assert_allclose([grads.alpha_rho, grads.alpha_c], 0, atol=1e-6)
    assert abs(grads.discount) > 1e-6


def test_no_epochs_are_refused(parts):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        built(parts, 0)

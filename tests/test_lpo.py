"""Drifts at and around a ratio of 1, in closed form, and against PPO's and plain gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.agents.tabular import tabular
from metarl.ops.distributions import policy
from metarl.rules import dpo, lpo, ppo, ta_lpo
from metarl.rules.life import Clock
from metarl.rules.proximal import Batch
from metarl.types import AgentInput, Rollout

S, A, R = 5, 3, 40
ENV = metarl.make("TabularMDP-v0", states=S, num_actions=A)
AGENT = tabular(ENV, ppo.heads(ENV))
NUMBERS = lpo.numbers(0.9, 0.8, 0.02, 0.3, 1.0)
CLOCK = Clock(jnp.int32(3), jnp.int32(4))


def network(n_in=8, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: lpo.drift_init(key, n_in, 6), jax.random.key(0))
    draw = lambda x: jnp.asarray(scale * rng.normal(size=x.shape), jnp.float32)  # noqa: E731
    return jax.tree.map(draw, shapes)


@pytest.fixture(scope="module")
def rows():
    """Params, and steps that another policy took."""
    rng: Any = np.random.default_rng(1)
    params = {"logits": rng.normal(size=(S, A)), "value": rng.normal(size=(S, 1))}
    obs, action = rng.integers(S, size=R), rng.integers(A, size=R)
    no, reward = rng.random(R) < 0, rng.normal(size=R)
    inputs = AgentInput(obs, action, reward, no)
    rollout = Rollout(inputs, action, reward, no, no, inputs, {}, ())
    old = params["logits"] + 0.4 * rng.normal(size=(S, A))
    old = old - np.log(np.exp(old).sum(-1, keepdims=True))
    batch = Batch(rollout, old[obs, action], rng.normal(size=R), rng.normal(size=R))
    return jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32 if x.dtype == np.float64 else None), (params, batch)
    )


def drifts(eta, *, timed=False, ppo_init=False):
    def drift(log_ratio, adv):
        x = lpo.drift_inputs(log_ratio, adv)
        x = ta_lpo.with_time(x, CLOCK) if timed else x
        base = lpo.ppo_drift(log_ratio, adv) if ppo_init else 0
        return lpo.learned_drift(eta, x, base)

    return drift


KINDS = {
    "lpo": drifts(network()),
    "lpo from ppo": drifts(network(), ppo_init=True),
    "ta_lpo": drifts(network(16), timed=True),
    "large": drifts(network(scale=5.0)),
    "dpo": lambda log_ratio, adv: dpo.drift(log_ratio, adv, 2.0, 0.6),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_drift_is_zero_and_flat_at_a_ratio_of_one_and_never_negative(name):
    drift = KINDS[name]
    advs = jnp.linspace(-3, 3, 13)
    value, slope = jax.vmap(jax.value_and_grad(drift), in_axes=(None, 0))(0.0, advs)
    assert not jnp.any(value) and not jnp.any(slope)
    near = jnp.array([-1e-8, 1e-8])[:, None]
    assert not jnp.any(drift(*jnp.broadcast_arrays(near, advs)))
    far = drift(*jnp.broadcast_arrays(jnp.linspace(-2, 2, 21)[:, None], advs))
    assert jnp.all(far >= 0) and jnp.any(far > 0.01)


def test_inputs_are_the_published_eight():
    ratio, adv = 1.5, -2.0
    d, e = np.log(ratio), 1 - ratio
    expected = [d, d**2, e, e**2, adv * d, adv * d**2, adv * e, adv * e**2]
    found = lpo.drift_inputs(jnp.log(jnp.float32(ratio)), jnp.float32(adv))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_ta_lpo_reads_them_again_times_the_share_of_the_life():
    x = jnp.arange(8.0)
    np.testing.assert_allclose(ta_lpo.with_time(x, CLOCK), np.append(x, 0.75 * x))
    birth, late = (CLOCK.replace(age=jnp.int32(age)) for age in (0, 9))
    assert not jnp.any(ta_lpo.with_time(x, birth)[8:])
    np.testing.assert_allclose(ta_lpo.with_time(x, late), np.append(x, x))
    eta = network()
    blind = {**eta, "hidden": jnp.concatenate([eta["hidden"], jnp.zeros((8, 6))])}
    both = [drifts(eta), drifts(blind, timed=True)]
    points = jnp.linspace(-1, 1, 9), jnp.linspace(2, -2, 9)
    a, b = (drift(*points) for drift in both)
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_dpo_equals_hand_computed_numbers():
    """At alpha 2 and beta 0.6; tanh 1/4, 1/2 and 5/6, the last as 4.2944900 / 6.2944900."""
    drift = lambda ratio, adv: float(dpo.drift(jnp.log(ratio), jnp.float32(adv), 2.0, 0.6))  # noqa: E731
    np.testing.assert_allclose(drift(1.5, 1.0), 0.5 - 2 * 0.244918662, rtol=1e-5)
    np.testing.assert_allclose(drift(1.5, 2.0), 1.0 - 2 * 0.462117157, rtol=1e-5)
    half = float(np.exp(-0.5))
    np.testing.assert_allclose(drift(half, -1.0), 0.5 - 0.6 * 0.6822617, rtol=1e-5)
    assert drift(0.5, 1.0) == 0 and drift(2.0, -1.0) == 0  # the old policy's good is not lost


def gradient(loss, params):
    return jax.jit(jax.grad(lambda params: loss(params)[0]))(params)


def test_with_zero_weights_lpo_is_the_importance_weighted_policy_gradient(rows):
    params, batch = rows
    drift = drifts(network(scale=0.0))
    found = gradient(lambda p: lpo.lpo_loss(AGENT, NUMBERS, drift, p, batch), params)
    adv = (batch.adv - batch.adv.mean()) / batch.adv.std()

    def plain(params):
        said = jax.vmap(lambda x: AGENT.apply(params, (), x)[0])(batch.rollout.inputs)
        pi = policy(said)
        ratio = jnp.exp(pi.log_prob(batch.rollout.action) - batch.log_prob)
        error = jnp.square(said["value"][:, 0] - batch.target) / 2
        return jnp.mean(-ratio * adv + 0.3 * error - 0.02 * pi.entropy()), ()

    expected = gradient(plain, params)
    for name in params:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)


def test_with_zero_weights_lpo_from_ppo_is_ppo(rows):
    """Where clipping costs something, but less than 1e-4, LPO does not clip; no row here is so."""
    params, batch = rows
    said = jax.vmap(lambda x: AGENT.apply(params, (), x)[0])(batch.rollout.inputs)
    log_ratio = policy(said).log_prob(batch.rollout.action) - batch.log_prob
    adv = (batch.adv - batch.adv.mean()) / batch.adv.std()
    cost = np.asarray(lpo.ppo_drift(log_ratio, adv))
    assert (cost > 1e-3).sum() > 3 and not ((cost > 0) & (cost < 1e-3)).any()

    drift = drifts(network(scale=0.0), ppo_init=True)
    found = gradient(lambda p: lpo.lpo_loss(AGENT, NUMBERS, drift, p, batch), params)
    eta = ppo.hypers(0.9, 0.8, clip=lpo.CLIP, entropy_cost=0.02, value_cost=0.3)
    expected = gradient(lambda p: ppo.ppo_loss(AGENT, eta, p, batch), params)
    other = gradient(
        lambda p: lpo.lpo_loss(AGENT, NUMBERS, drifts(network(scale=0.0)), p, batch), params
    )
    assert not np.allclose(other["logits"], expected["logits"], atol=1e-3)
    for name in params:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)


def test_the_clock_of_ta_lpo_counts_rollouts(rows):
    _, batch = rows
    rule = ta_lpo.ta_lpo(AGENT, ppo.heads(ENV), hidden=6, lifetime=3, epochs=1, minibatches=2)
    rng = np.random.default_rng(0)
    params = {"logits": jnp.zeros((S, A)), "value": jnp.zeros((S, 1))}
    heads = {"logits": jnp.zeros((R, A)), "value": jnp.zeros((R, 1))}
    rollout = jax.tree.map(
        lambda x: x.reshape(4, 10, *x.shape[1:]), batch.rollout.replace(heads=heads)
    )
    eta = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), network(16))
    update = jax.jit(rule.update)
    _, state, metrics = update(eta, params, rule.init(params), rollout, jax.random.key(0))
    assert state.clock.age == 1 and state.clock.lifetime == 3
    assert jnp.isfinite(metrics["drift"])

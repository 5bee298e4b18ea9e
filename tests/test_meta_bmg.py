"""Bootstrapped meta-gradients: what they equal, what is constant, and how they go on."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl.inner import live
from metarl.meta import matching
from metarl.meta.bmg import bmg, objective_step
from metarl.meta.common import life_keys
from metarl.meta.metagrad import last, metagrad
from metarl.types import Agent

IDLE, RATE = optax.sgd(0.0), 0.3


@pytest.fixture(scope="module")
def parts(meta_parts):
    return meta_parts()


def loop(parts, match, step, **how):
    return parts.call(bmg, match, step, IDLE, **how)


def one_update(parts, meta):
    key = jax.random.key(3)

    @jax.jit
    def run(learners):
        return meta.update(meta.init(key, learners), learners, key)

    return run(parts.learners)


def slopes(metrics):
    found = {k: float(v) for k, v in metrics.items() if k.startswith("meta_grad/")}
    assert len(found) == 7
    return found


@pytest.mark.parametrize("updates", [1, 2])
def test_one_step_of_descent_and_distance_is_the_plain_meta_gradient(parts, updates):
    """Times the rate: half the squared distance to a step along minus the gradient."""
    step = objective_step(parts.objective, optax.sgd(1.0), learning_rate=RATE)
    boot = loop(parts, matching.distance(), step, updates=updates)
    plain = parts.call(metagrad, parts.objective, IDLE, weights=last(updates))
    (_, learners, told), (_, others, expected) = (one_update(parts, m) for m in (boot, plain))
    found, expected = slopes(told), slopes(expected)
    for name in found:
        beyond = name == "meta_grad/attempt_discount"  # there is no second attempt here
        assert (abs(expected[name]) > 1e-6) != beyond
        np.testing.assert_allclose(found[name], RATE * expected[name], rtol=2e-4, err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, learners, others)


def test_the_target_is_a_constant_and_the_learner_goes_on_before_its_last_step(parts):
    """Whatever is said of the target alone has derivative zero; age K + L - 1, target discarded."""
    of_target = lambda target, params, rollout: optax.tree.norm(target)  # noqa: E731
    step = objective_step(parts.objective, optax.sgd(RATE))
    meta = loop(parts, of_target, step, updates=2, bootstrap=3)
    _, learners, told = one_update(parts, meta)
    assert set(slopes(told).values()) == {0.0} and told["meta_loss"] > 0

    @jax.jit
    def lived(learners):
        eta, key = parts.rule.init_eta(jax.random.key(0)), jax.random.key(3)
        run = lambda learner, key: parts.call(live, eta, learner, key, updates=4)  # noqa: E731
        return jax.vmap(run)(learners, life_keys(key, learners))[0]

    expected = lived(parts.learners)
    assert (learners.age == 4).all()
    for a, b in zip(jax.tree.leaves(learners), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(learners.env_state.inputs.obs, expected.env_state.inputs.obs)


def test_the_targets_last_step_can_borrow_the_learners_momentum():
    """By hand: gradient 2, momentum 3, decay 0.5, rate 0.1: minus 0.1 * (2 + 1.5)."""
    optimizer = optax.sgd(1.0, momentum=0.5)
    state = jax.tree.map(lambda x: x + 3.0, optimizer.init(jnp.float32(0)))
    nothing: Any = None
    step = objective_step(
        lambda params, rollout: 2 * params, optimizer, learning_rate=0.1, borrow=lambda s: s["own"]
    )
    np.testing.assert_allclose(step(jnp.float32(1), {"own": state}, nothing), 1 - 0.35, rtol=1e-6)
    anew = objective_step(lambda params, rollout: 2 * params, optimizer, learning_rate=0.1)
    np.testing.assert_allclose(anew(jnp.float32(1), {"own": state}, nothing), 1 - 0.2, rtol=1e-6)


@pytest.mark.parametrize("sizes", [{"updates": 0}, {"bootstrap": 0}])
def test_sizes_are_at_least_one(parts, sizes):
    step = objective_step(parts.objective, IDLE)
    with pytest.raises(ValueError, match="must be at least 1"):
        loop(parts, matching.distance(), step, **sizes)


class Case:
    """An agent whose heads are its params, at two steps."""

    agent = Agent(
        lambda key: None,
        tuple,
        lambda params, carry, inputs: (
            {"logits": jnp.log(params["p"]), "value": params["v"][None]},
            carry,
        ),
    )
    goal = {"p": jnp.array([0.5, 0.5]), "v": jnp.float32(1.0)}
    here = {"p": jnp.array([0.25, 0.75]), "v": jnp.float32(3.0)}


@pytest.fixture(scope="module")
def stream(parts):
    """One stream, of which only the length matters."""
    from metarl.inner import act

    learner = jax.tree.map(lambda x: x[0], parts.learners)
    rollout, _ = act(parts.agent, parts.venv, learner, jax.random.key(0), length=2)
    return jax.tree.map(lambda x: x[0], rollout)


FORWARD = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
REVERSE = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (matching.kl(Case.agent), FORWARD),
        (matching.kl(Case.agent, reverse=True), REVERSE),
        (matching.values(Case.agent), 4.0),
        (matching.distance(), (0.25**2 + 0.25**2 + 2.0**2) / 2),
        (
            matching.weighted((2.0, matching.kl(Case.agent)), (0.5, matching.values(Case.agent))),
            2 * FORWARD + 2.0,
        ),
    ],
    ids=["kl", "reverse kl", "values", "distance", "weighted"],
)
def test_matchings_by_hand(stream, match, expected):
    np.testing.assert_allclose(match(Case.goal, Case.here, stream), expected, rtol=1e-5)

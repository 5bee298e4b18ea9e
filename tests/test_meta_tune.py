"""Bijections, and which of a rule's hyperparameters an outer loop learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.inner import act
from metarl.meta.bijections import BIJECTIONS, exponential, identity, scaled, sigmoid, softplus
from metarl.meta.context import contextual, network
from metarl.meta.tune import tune

MAPS = {
    "identity": identity(),
    "sigmoid": sigmoid(),
    "sigmoid within": sigmoid(0.9, 1.0),
    "softplus": softplus(),
    "softplus scaled": softplus(0.01),
    "exponential": exponential(),
    "scaled": scaled(10.0),
    "scaled sigmoid": scaled(2.0, sigmoid()),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_and_their_inverses(name):
    """There and back, both ways; rising; within the bounds."""
    map_ = MAPS[name]
    x = jnp.linspace(-4.0, 4.0, 17)
    y = map_.forward(x)
    np.testing.assert_allclose(map_.inverse(y), x, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(map_.forward(map_.inverse(y)), y, rtol=1e-5)
    assert (jnp.diff(y) > 0).all() and (y > map_.low).all() and (y < map_.high).all()


def test_maps_by_hand():
    np.testing.assert_allclose(sigmoid(0.9, 1.0).forward(jnp.float32(0)), 0.95, rtol=1e-6)
    np.testing.assert_allclose(softplus(2.0).forward(jnp.float32(0)), 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(scaled(10.0).inverse(5.0), 0.5)
    assert (scaled(2.0, sigmoid()).low, scaled(2.0, sigmoid()).high) == (0.0, 2.0)
    assert BIJECTIONS["sigmoid"] is sigmoid and {*BIJECTIONS} >= {"softplus", "scaled"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sigmoid(1.0, 1.0), "low < high"),
        (lambda: softplus(0.0), "scale above 0"),
        (lambda: scaled(-1.0), "above 0"),
    ],
)
def test_maps_refuse_bad_bounds(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.fixture(scope="module")
def parts(meta_parts):
    return meta_parts()


@pytest.fixture(scope="module")
def experience(parts):
    learner = jax.tree.map(lambda x: x[0], parts.learners)
    rollout, _ = jax.jit(lambda l: act(parts.agent, parts.venv, l, jax.random.key(0), length=4))(
        learner
    )
    return learner, rollout


def updated(rule, experience, eta):
    learner, rollout = experience
    state = rule.init(learner.params)
    return jax.jit(rule.update)(eta, learner.params, state, rollout, jax.random.key(1))


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6), a, b)


def test_a_tuned_rule_has_what_is_tuned_for_eta_and_starts_as_it_was(parts, experience):
    rule = tune(parts.rule, discount=sigmoid(), entropy_cost=softplus(0.1), weight=identity())
    eta = rule.init_eta(jax.random.key(0))
    assert {name: x.shape for name, x in eta.items()} == {
        "discount": (),
        "entropy_cost": (),
        "weight": (),
    }
    params, _, told = updated(rule, experience, eta)
    plain, _, _ = updated(parts.rule, experience, parts.rule.init_eta(jax.random.key(0)))
    close(params, plain)
    found = {name: float(x) for name, x in told.items() if name.startswith("tuned/")}
    expected = {"tuned/discount": 0.9, "tuned/entropy_cost": 0.05, "tuned/weight": 1.0}
    close(found, expected)


def test_a_tuned_rule_uses_its_eta(parts, experience):
    rule = tune(parts.rule, discount=sigmoid())
    params, _, told = updated(rule, experience, {"discount": jnp.float32(-1.0)})
    full = parts.rule.init_eta(jax.random.key(0)).replace(discount=jax.nn.sigmoid(-1.0))
    close(params, updated(parts.rule, experience, full)[0])
    close(told["tuned/discount"], jax.nn.sigmoid(-1.0))


def test_weights_of_every_transition_are_tuned(parts, experience):
    """The metric is their mean."""
    eta = parts.rule.init_eta(jax.random.key(0)).replace(weight=jnp.arange(12.0).reshape(3, 4) + 1)
    rule = tune(parts.rule._replace(init_eta=lambda key: eta), weight=softplus())
    tuned = rule.init_eta(jax.random.key(0))
    assert tuned["weight"].shape == (3, 4)
    params, _, told = updated(rule, experience, tuned)
    close(params, updated(parts.rule, experience, eta)[0])
    close(told["tuned/weight"], 6.5)


def test_tuning_refuses_what_it_cannot_tune(parts):
    with pytest.raises(ValueError, match="name what is to be tuned; this rule has"):
        tune(parts.rule)
    with pytest.raises(ValueError, match="no 'gamma'; .*it has .*discount"):
        tune(parts.rule, gamma=sigmoid())
    with pytest.raises(ValueError, match="discount starts at 0.8999.*between 0.95 and 1.0"):
        tune(parts.rule, discount=sigmoid(0.95, 1.0))
    with pytest.raises(ValueError, match="no 'gamma'"):
        contextual(parts.rule, gamma=sigmoid())


def test_a_network_of_recent_rewards_chooses(parts, experience):
    """It starts near the rule's own values, sees the newest reward last, and is what is used."""
    rule = contextual(
        parts.rule, hidden=(5,), window=3, discount=sigmoid(), entropy_cost=softplus()
    )
    eta = rule.init_eta(jax.random.key(0))
    params, state, told = updated(rule, experience, eta)
    _, rollout = experience
    np.testing.assert_allclose(state.rewards, [0, 0, rollout.reward.mean()], rtol=1e-6)
    outputs = network(eta, state.rewards)
    used = {"discount": jax.nn.sigmoid(outputs[0]), "entropy_cost": jax.nn.softplus(outputs[1])}
    close({name: told[f"tuned/{name}"] for name in used}, used)
    np.testing.assert_allclose(told["tuned/discount"], 0.9, atol=0.02)
    full = parts.rule.init_eta(jax.random.key(0)).replace(**used)
    close(params, updated(parts.rule, experience, full)[0])


def test_no_derivative_passes_through_the_context(parts, experience):
    """What the network saw is data: rewards of the past are kept, not differentiated."""
    rule = contextual(parts.rule, hidden=(5,), window=3, discount=sigmoid())
    learner, rollout = experience
    eta = rule.init_eta(jax.random.key(0))

    def kept(reward):
        given = rollout.replace(reward=reward)
        args = (learner.params, rule.init(learner.params), given, jax.random.key(1))
        return rule.update(eta, *args)[1].rewards.sum()

    assert not jax.jit(jax.grad(kept))(rollout.reward).any()

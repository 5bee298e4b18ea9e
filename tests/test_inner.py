"""Lives: in pieces or whole, with and without gradients, over seeds and hyperparameters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.agents.mlp import mlp
from metarl.inner import act, birth, live
from metarl.rollout import vectorize
from metarl.rules import a2c
from metarl.train import train

UPDATES, LENGTH, ENVS = 4, 5, 3


@pytest.fixture(scope="module")
def parts():
    env = metarl.make("ProbeAction-v0", length=2)
    agent = mlp(env, a2c.heads(env), hidden=(4,))
    rule = a2c.a2c(agent, a2c.heads(env), optimizer=optax.sgd(0.1))
    venv = vectorize(env, ENVS)
    learner = jax.jit(partial(birth, agent, rule, venv))(env.default_params(), jax.random.key(0))
    return env, agent, rule, venv, learner


@pytest.fixture(scope="module")
def whole(parts):
    _, agent, rule, venv, _ = parts
    return jax.jit(partial(live, agent, rule, venv, updates=UPDATES, length=LENGTH))


def equal(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_a_life_in_pieces_is_the_same_life(parts, whole):
    _, agent, rule, venv, learner = parts
    half = jax.jit(partial(live, agent, rule, venv, updates=UPDATES // 2, length=LENGTH))
    eta, key = rule.init_eta(jax.random.key(0)), jax.random.key(1)
    once, metrics = whole(eta, learner, key)
    first, a = half(eta, learner, key)
    second, b = half(eta, first, key)
    assert second.age == UPDATES
    jax.tree.map(np.testing.assert_array_equal, once, second)
    joined = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a, b)
    jax.tree.map(np.testing.assert_array_equal, metrics, joined)


def test_a_rollout_is_one_stream_per_environment(parts):
    _, agent, _, venv, learner = parts
    collect = jax.jit(partial(act, agent, venv, length=LENGTH))
    rollout, later = collect(learner, jax.random.key(2))
    assert rollout.reward.shape == (ENVS, LENGTH)
    # Where no episode ended, the successor is the next input; where one did, it is not `first`.
    going = ~rollout.last[:, :-1]
    np.testing.assert_array_equal(
        rollout.next_inputs.obs[:, :-1][going], rollout.inputs.obs[:, 1:][going]
    )
    assert rollout.last.any() and not rollout.next_inputs.first.any()
    np.testing.assert_array_equal(rollout.inputs.first[:, 1:], rollout.last[:, :-1])
    np.testing.assert_array_equal(rollout.inputs.prev_action[:, 1:], rollout.action[:, :-1])
    np.testing.assert_array_equal(later.env_state.inputs.prev_reward, rollout.reward[:, -1])


@pytest.mark.parametrize("gradient", ["unrolled", "checkpointed"])
def test_meta_gradients_do_not_depend_on_how_they_pass(parts, gradient):
    _, agent, rule, venv, learner = parts

    def outcome(eta, gradient):
        run = partial(live, agent, rule, venv, updates=UPDATES, length=LENGTH, gradient=gradient)
        return jnp.sum(run(eta, learner, jax.random.key(1))[0].params["heads"]["logits"]["w"] ** 2)

    eta = a2c.hypers(learning_rate=1.0)
    grads = jax.jit(partial(jax.grad(outcome), gradient=gradient))(eta)
    for name, leaf in vars(grads).items():  # there is no second attempt outside of trials
        assert np.isfinite(leaf) and (leaf != 0) == (name != "attempt_discount")
    # Two runs agree to rounding with a third that recomputes nothing and jits nothing.
    if gradient == "checkpointed":
        equal(grads, jax.jit(partial(jax.grad(outcome), gradient="unrolled"))(eta), rtol=1e-5)


def test_none_lets_no_gradient_pass(parts, whole):
    _, _, _, _, learner = parts
    outcome = lambda eta: whole(eta, learner, jax.random.key(1))[0].params["heads"]["value"]["b"][0]  # noqa: E731
    grads = jax.jit(jax.grad(outcome))(a2c.hypers())
    assert all(leaf == 0 for leaf in jax.tree.leaves(grads))


def test_training_is_one_programme_over_seeds_and_hyperparameters(parts):
    env, agent, rule, venv, _ = parts
    traces = []

    def run(key, eta):
        traces.append(1)
        return train(
            agent,
            rule,
            venv,
            key,
            env_params=env.default_params(),
            updates=60,
            length=LENGTH,
            eta=eta,
        )[1]

    etas = jax.vmap(lambda cost: a2c.hypers(entropy_cost=cost, learning_rate=3.0))(
        jnp.array([0.0, 1.0])
    )
    grid = jax.jit(jax.vmap(jax.vmap(run, in_axes=(None, 0)), in_axes=(0, None)))
    metrics = grid(jax.random.split(jax.random.key(0), 3), etas)
    grid(jax.random.split(jax.random.key(1), 3), etas)
    assert len(traces) == 1
    entropy = metrics["entropy"]  # [seeds, etas, updates]
    assert entropy.shape == (3, 2, 60)
    assert (entropy[:, 0, -10:].mean(-1) < entropy[:, 1, -10:].mean(-1)).all()
    assert len(np.unique(np.asarray(metrics["loss"][:, 0, 0]))) == 3


def test_no_key_is_used_twice(parts):
    """On one environment: JAX's checker does not follow keys through `vmap` of a scan."""
    env, agent, _, _, _ = parts

    def one(key):
        params_key, reset_key, step_key = jax.random.split(key, 3)
        params = agent.init(params_key)
        state, _ = env.reset(reset_key, env.default_params())
        return params, env.step(step_key, state, jnp.int32(0), env.default_params())

    with jax.debug_key_reuse(True):
        jax.jit(one)(jax.random.key(1))

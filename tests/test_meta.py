"""Outer loops: their meta-gradients against finite differences and against each other."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.agents.mlp import mlp
from metarl.inner import act, birth, learn, turn_keys
from metarl.meta.common import averaged
from metarl.meta.metagrad import mixed, outer_losses
from metarl.rollout import replay, vectorize
from metarl.rules import a2c

ENVS, LENGTH, LEARNERS = 3, 4, 2
TUNABLES = ("discount", "lambda_", "entropy_cost", "value_cost", "learning_rate", "weight")
WEIGHT = 1 + 0.3 * np.cos(np.arange(ENVS * LENGTH)).reshape(ENVS, LENGTH)  # of each transition


class Parts(NamedTuple):
    agent: Any
    rule: Any  # all of eta
    venv: Any
    objective: Any
    learners: Any  # [A, ...]

    @property
    def inner(self):
        return self.agent, self.rule, self.venv, self.objective


def build(**options):
    env = metarl.make("GridWorld-v0", size=3)
    heads = a2c.heads(env)
    agent = mlp(env, heads, hidden=(4,))
    eta = a2c.hypers(0.9, 0.8, 0.05, 0.4, 0.7, WEIGHT)
    rule = a2c.a2c(agent, heads, optimizer=optax.sgd(1.0, momentum=0.5), eta=eta, **options)
    venv = vectorize(env, ENVS)
    outer = a2c.hypers(discount=1.0, lambda_=1.0, entropy_cost=0.0, value_cost=0.0)
    objective = averaged(partial(a2c.a2c_loss, agent, heads, outer))
    born = partial(birth, agent, rule, venv, env.default_params())
    learners = jax.jit(jax.vmap(born))(jax.random.split(jax.random.key(0), LEARNERS))
    return Parts(agent, rule, venv, objective, learners)


@pytest.fixture(scope="module")
def parts():
    return build()


def wide(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def one(tree, index=0):
    return jax.tree.map(lambda x: x[index], tree)


def frozen_experience(parts, eta, learner, key, updates):
    """Rollouts 0..updates, the last seen in advance, each with what the learner then believed."""
    frozen = []
    for i in range(updates + 1):
        act_key, update_key = turn_keys(key, learner)
        rollout, ahead = act(parts.agent, parts.venv, learner, act_key, length=LENGTH)
        now, after = jax.vmap(partial(replay, parts.agent, learner.params))(rollout)
        frozen.append((rollout, now["value"][..., 0], after["value"][..., 0]))
        if i < updates:
            learner, _ = learn(parts.rule, eta, ahead, rollout, update_key)
    return frozen


def reference_loss(agent, params, frozen, discount, lambda_, value_cost, entropy_cost, weight):
    """A2C's loss with its constants as data, so that finite differences leave them alone."""
    rollout, value, after = frozen
    now, _ = jax.vmap(partial(replay, agent, params))(rollout)
    steps, ahead = [], jnp.zeros(ENVS)
    for t in reversed(range(LENGTH)):
        on = 1 - rollout.terminated[:, t]
        delta = rollout.reward[:, t] + discount * on * after[:, t] - value[:, t]
        ahead = delta + discount * lambda_ * (1 - rollout.last[:, t]) * ahead
        steps.append(ahead)
    adv = jnp.stack(steps[::-1], axis=1)
    log_p = jax.nn.log_softmax(now["logits"])
    chosen = jnp.take_along_axis(log_p, rollout.action[..., None], -1)[..., 0]
    error = jnp.square(now["value"][..., 0] - adv - value) / 2
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
    return jnp.mean(weight * (-chosen * adv + value_cost * error - entropy_cost * entropy))


def reference(parts, eta, params, frozen):
    """Outer losses after each update by gradient descent with momentum 0.5."""
    names = ("discount", "lambda_", "value_cost", "entropy_cost", "weight")
    loss = partial(reference_loss, parts.agent)
    momentum, losses = jax.tree.map(jnp.zeros_like, params), []
    for inner, outer in zip(frozen[:-1], frozen[1:], strict=True):
        grads = jax.grad(loss)(params, inner, *(getattr(eta, name) for name in names))
        momentum = jax.tree.map(lambda m, g: m / 2 + g, momentum, grads)
        params = jax.tree.map(lambda p, m: p - eta.learning_rate * m, params, momentum)
        losses.append(loss(params, outer, 1.0, 1.0, 0.0, 0.0, 1.0))
    return jnp.stack(losses)


@pytest.mark.parametrize("updates", [1, 3, 5])
def test_meta_gradients_equal_finite_differences(parts, updates):
    """Of every tunable, in float64, the experience and all constants of the losses frozen."""
    weights = np.array(mixed(updates, 0.7))
    with jax.enable_x64(True):
        key = jax.random.key(5)
        eta, learner = wide(parts.rule.init_eta(key)), wide(one(parts.learners))

        @jax.jit
        def engine(eta):
            run: Any = partial(outer_losses, *parts.inner, weights=(*weights,), length=LENGTH)
            loss = lambda eta: jnp.dot(weights, run(eta, learner, key)[0])  # noqa: E731
            return jax.value_and_grad(loss)(eta)

        frozen = jax.jit(lambda eta: frozen_experience(parts, eta, learner, key, updates))(eta)
        outer = jax.jit(lambda eta: weights @ reference(parts, eta, learner.params, frozen))
        value, grads = engine(eta)
        np.testing.assert_allclose(value, outer(eta), rtol=1e-6)
        for name in TUNABLES:
            at, found = getattr(eta, name), getattr(grads, name)
            for index in np.ndindex(at.shape):
                up, down = (
                    outer(eta.replace(**{name: at.at[index].add(s)})) for s in (1e-5, -1e-5)
                )
                expected = (up - down) / 2e-5
                assert abs(expected) > 1e-6, name
                np.testing.assert_allclose(found[index], expected, rtol=1e-5, err_msg=name)

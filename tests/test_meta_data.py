"""Experience is data for an outer loop, and what it sees in advance is what comes next."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.agents.gru import gru
from metarl.inner import act, learn, turn_keys
from metarl.meta.bmg import bmg
from metarl.meta.common import life_keys
from metarl.meta.metagrad import metagrad, mixed, outer_losses

UPDATES, IDLE = 2, optax.sgd(0.0)


@pytest.fixture(scope="module")
def parts(meta_parts):
    """Gaussian actions, whose samples are reparametrised, and a memory that has derivatives."""
    env = metarl.make("Navigation-v0")
    return meta_parts(env, partial(gru, hidden=4, reset_memory=False), optimizer=optax.sgd(0.1))


def one(tree):
    return jax.tree.map(lambda x: x[0], tree)


def floats(tree):
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]


def test_no_derivative_passes_through_acting(parts):
    """Neither from the params, nor from the memory, to the rollout or to what comes after it."""
    learner, key = one(parts.learners), jax.random.key(1)
    learner = learner.replace(carry=learner.carry + 0.3)  # a newborn remembers nothing

    def total(moving):
        params, carry = moving
        living = learner.replace(params=params, carry=carry)
        rollout, later = act(parts.agent, parts.venv, living, key, length=parts.length)
        seen = (rollout, later.carry, later.env_state)
        return sum(jnp.sum(jnp.sin(x)) for x in floats(seen)), floats(seen)

    slope, seen = jax.jit(jax.grad(total, has_aux=True))((learner.params, learner.carry))
    assert all((x == 0).all() for x in jax.tree.leaves(slope))
    assert all(x.any() for x in seen)  # or the zeros above would say nothing


def test_meta_gradients_are_those_of_frozen_experience(parts):
    """Each update learns from rollouts that are given as numbers."""
    learner, key = one(parts.learners), jax.random.key(1)
    eta = parts.rule.init_eta(key)
    weights = jnp.array(mixed(UPDATES))

    def engine(eta):
        args = (parts.objective, eta, learner, key)
        return weights @ parts.call(outer_losses, *args, weights=mixed(UPDATES))[0]

    def frozen(eta, learner):
        rollouts = []
        for _ in range(UPDATES + 1):
            act_key, update_key = turn_keys(key, learner)
            rollout, ahead = act(parts.agent, parts.venv, learner, act_key, length=parts.length)
            rollouts.append(rollout)
            learner, _ = learn(parts.rule, eta, ahead, rollout, update_key)
        return rollouts

    def outcome(eta, rollouts):
        params, state, total = learner.params, learner.rule_state, 0.0
        for i, (now, after) in enumerate(zip(rollouts[:-1], rollouts[1:], strict=True)):
            params, state, _ = parts.rule.update(eta, params, state, now, key)
            total += weights[i] * parts.objective(params, after)
        return total

    value, found = jax.jit(jax.value_and_grad(engine))(eta)
    rollouts = jax.jit(frozen)(eta, learner)
    assert all(x.any() for x in floats(rollouts[-1].carry))
    same, expected = jax.jit(jax.value_and_grad(outcome))(eta, rollouts)
    np.testing.assert_allclose(value, same, rtol=1e-5)
    for name, b in vars(expected).items():  # there is no second attempt outside of trials
        a = getattr(found, name)
        assert (b != 0) == (name != "attempt_discount")
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def prints(rollout):
    """A number of everything in a rollout that is not computed with the learner's new params."""
    told = (rollout.inputs.obs, rollout.reward, rollout.inputs.prev_action, rollout.action)
    return sum(jnp.sum(x * (1.0 + jnp.arange(x.size).reshape(x.shape))) for x in told)


@pytest.mark.parametrize("loop", ["metagrad", "bmg"])
def test_what_is_seen_in_advance_is_what_comes_next(meta_parts, loop):
    """Bit for bit: the judged rollout, told as the loss, is what the returned learner collects."""
    parts = meta_parts()  # whole numbers alone are seen, so that sums of them are exact
    key = jax.random.key(5)
    seen = lambda params, rollout: prints(rollout)  # noqa: E731
    if loop == "metagrad":
        meta = parts.call(metagrad, seen, IDLE, weights=(0.0, 1.0))
    else:
        match = lambda target, params, rollout: prints(rollout)  # noqa: E731
        step = lambda params, state, rollout: params  # noqa: E731
        meta = parts.call(bmg, match, step, IDLE, bootstrap=2)

    @jax.jit
    def run(learners):
        _, learners, metrics = meta.update(meta.init(key, learners), learners, key)
        return learners, metrics["meta_loss"]

    @jax.jit
    def collect(learners):
        def one(learner, key):
            act_key, _ = turn_keys(key, learner)
            rollout, _ = act(parts.agent, parts.venv, learner, act_key, length=parts.length)
            return jax.vmap(prints)(rollout).mean() if loop == "bmg" else prints(rollout)

        return jax.vmap(one)(learners, life_keys(key, learners))

    learners, told = run(parts.learners)
    assert told == collect(learners).mean()
    assert (collect(learners) != collect(parts.learners)).any()

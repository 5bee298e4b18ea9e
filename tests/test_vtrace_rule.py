"""V-trace's rule: A2C on its own experience, its definition on that of another policy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl.agents.gru import gru
from metarl.agents.mlp import mlp
from metarl.inner import act, birth
from metarl.ops.distributions import policy
from metarl.rollout import replay, vectorize
from metarl.rules import a2c, vtrace
from metarl.wrappers import attempt_ended, trial

N, T = 3, 10
ETA = {"discount": 0.9, "lambda_": 1.0, "entropy_cost": 0.02, "value_cost": 0.3}


@pytest.fixture(scope="module", params=[mlp, gru])
def parts(request, reveal):
    """Two agents of one kind and what the first of them did, in trials."""
    env = trial(reveal(), 2, sample_task=True)
    hidden = 4 if request.param is gru else (4,)
    agent = request.param(env, vtrace.heads(env), hidden=hidden)
    rule = vtrace.vtrace(agent, vtrace.heads(env), optimizer=optax.sgd(1.0), epochs=1)

    @jax.jit
    def run():
        learner = birth(agent, rule, vectorize(env, N), env.default_params(), jax.random.key(0))
        noise = lambda x: x + jax.random.normal(jax.random.key(x.size), x.shape)  # noqa: E731
        other = jax.tree.map(noise, learner.params)
        return learner, other, act(agent, vectorize(env, N), learner, jax.random.key(1), length=T)

    learner, other, (rollout, _) = run()
    return env, agent, rule, learner, other, rollout


def test_on_its_own_experience_it_is_a2c_without_a_lambda(parts):
    env, agent, rule, learner, _, rollout = parts
    plain = a2c.a2c(agent, a2c.heads(env), optimizer=optax.sgd(1.0))
    numbers = {**ETA, "learning_rate": 1.0, "attempt_discount": 0.6}

    @jax.jit
    def run(params, state):
        args = (params, state, rollout, jax.random.key(0))
        return (
            rule.update(vtrace.hypers(**numbers), *args)[0],
            plain.update(a2c.hypers(**numbers), *args)[0],
        )

    ours, theirs = run(learner.params, learner.rule_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), ours, theirs)


def test_on_the_experience_of_another_it_is_its_definition(parts):
    """Targets as the paper's sums over what followed, with ratios clipped at 1."""
    _, agent, rule, learner, other, rollout = parts
    eta = vtrace.hypers(**ETA, learning_rate=1.0, attempt_discount=0.6)

    def constants(heads, after):
        value, following = (np.asarray(h["value"][..., 0]) for h in (heads, after))
        chosen = [policy(h).log_prob(rollout.action) for h in (heads, rollout.heads)]
        ratio = np.exp(np.asarray(chosen[0] - chosen[1]))
        assert ratio.min() < 0.8 and ratio.max() > 1.2
        rho = c = np.minimum(1, ratio)
        ended = np.asarray(attempt_ended(rollout))
        on = np.where(ended, 0.6, 0.9) * ~np.asarray(rollout.last)
        reward = np.asarray(rollout.reward)
        target, adv = np.zeros((N, T)), np.zeros((N, T))
        for n in range(N):
            for t in range(T):
                total, weight = value[n, t], 1.0
                for s in range(t, T):
                    delta = reward[n, s] + on[n, s] * following[n, s] - value[n, s]
                    total += weight * rho[n, s] * delta
                    weight *= on[n, s] * c[n, s]
                target[n, t] = total
        for t in range(T):
            last = t == T - 1
            beyond = following[:, t] if last else np.where(on[:, t] > 0, target[:, t + 1], 0)
            adv[:, t] = rho[:, t] * (reward[:, t] + on[:, t] * beyond - value[:, t])
        return target, adv

    both = jax.jit(jax.vmap(partial(replay, agent, other)))(rollout)
    target, adv = constants(*both)

    def loss(params):
        now, _ = jax.vmap(partial(replay, agent, params))(rollout)
        pi, value = policy(now), now["value"][..., 0]
        gain = pi.log_prob(rollout.action) * adv + ETA["entropy_cost"] * pi.entropy()
        return jnp.mean(ETA["value_cost"] * jnp.square(value - target) / 2 - gain)

    @jax.jit
    def run(params):
        args = (params, rule.init(params), rollout, jax.random.key(0))
        value, grads = jax.value_and_grad(loss)(params)
        return rule.update(eta, *args), value, jax.tree.map(lambda p, g: p - g, params, grads)

    (new, _, metrics), value, expected = run(other)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), new, expected)


def test_no_epochs_are_refused(parts):
    env, agent, *_ = parts
    with pytest.raises(ValueError, match="at least 1, got 0"):
        vtrace.vtrace(agent, vtrace.heads(env), epochs=0)

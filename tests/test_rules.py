"""A2C and PPO against numpy, finite differences, and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.agents.gru import gru
from metarl.agents.mlp import mlp
from metarl.inner import act, birth
from metarl.rollout import next_values, replay, vectorize
from metarl.rules import a2c, ppo, proximal

N, T = 4, 6


def experience(agent, rule, venv, env):
    """A new-born learner and its first rollout."""

    @jax.jit
    def run():
        learner = birth(agent, rule, venv, env.default_params(), jax.random.key(0))
        return learner, act(agent, venv, learner, jax.random.key(1), length=T)[0]

    return run()


@pytest.fixture(scope="module")
def parts():
    """An agent on the delay probe with experience in which every third step was cut off."""
    env = metarl.make("ProbeDelay-v0", length=4)
    agent = mlp(env, a2c.heads(env), hidden=(8,))
    rule = a2c.a2c(agent, a2c.heads(env), optimizer=optax.sgd(0.1))
    venv = vectorize(env, N)
    learner, rollout = experience(agent, rule, venv, env)
    cut = (jnp.arange(T) % 3 == 1) & ~rollout.terminated
    return env, agent, rule, learner, rollout.replace(truncated=cut)


def test_next_values_are_those_of_the_true_successors(parts):
    _, agent, _, learner, rollout = parts
    now, after = jax.jit(jax.vmap(lambda r: replay(agent, learner.params, r)))(rollout)
    value = now["value"][..., 0]
    successors = jax.jit(lambda r: next_values(agent, learner.params, r, value))
    ours = successors(rollout)
    true = np.where(rollout.terminated, 0, after["value"][..., 0])
    np.testing.assert_allclose(np.where(rollout.terminated, 0, ours), true, rtol=1e-5)
    uncut = rollout.replace(truncated=jnp.zeros((N, T), bool))
    ours = successors(uncut)
    np.testing.assert_allclose(np.where(rollout.terminated, 0, ours), true, rtol=1e-5)


def test_a2c_step_equals_numpy(parts):
    _, agent, rule, learner, rollout = parts
    eta = a2c.hypers(0.9, 0.8, entropy_cost=0.02, value_cost=0.3, learning_rate=0.7)

    def reference(params):
        now, after = jax.jit(jax.vmap(lambda r: replay(agent, params, r)))(rollout)
        value, following = (np.asarray(heads["value"][..., 0]) for heads in (now, after))
        adv = np.zeros((N, T + 1))
        for t in reversed(range(T)):
            bootstrap = np.where(rollout.terminated[:, t], 0, following[:, t])
            delta = rollout.reward[:, t] + 0.9 * bootstrap - value[:, t]
            adv[:, t] = delta + 0.9 * 0.8 * np.where(rollout.last[:, t], 0, adv[:, t + 1])
        adv = adv[:, :T]
        return np.asarray(now["logits"]), value, adv, adv + value

    logits, value, adv, target = reference(learner.params)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    chosen = np.take_along_axis(np.asarray(p), np.asarray(rollout.action)[..., None], -1)[..., 0]
    policy_loss = -(np.log(chosen) * adv).mean()
    value_loss = ((value - target) ** 2).mean() / 2
    entropy = -(p * np.log(p)).sum(-1).mean()
    update = jax.jit(rule.update)
    params, _, metrics = update(eta, learner.params, learner.rule_state, rollout, jax.random.key(0))
    np.testing.assert_allclose(metrics["policy_loss"], policy_loss, rtol=1e-4)
    np.testing.assert_allclose(metrics["value_loss"], value_loss, rtol=1e-4)
    np.testing.assert_allclose(metrics["entropy"], entropy, rtol=1e-5)
    total = policy_loss + 0.3 * value_loss - 0.02 * entropy
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-4)
    # The logits' bias moves by rate * mean((1[a] - p) adv) plus the entropy's part.
    one_hot = np.eye(2)[np.asarray(rollout.action)]
    slope = -p * (np.log(p) - (p * np.log(p)).sum(-1, keepdims=True))
    push = ((one_hot - p) * adv[..., None] + 0.02 * slope).mean((0, 1))
    moved = params["heads"]["logits"]["b"] - learner.params["heads"]["logits"]["b"]
    np.testing.assert_allclose(moved, 0.7 * 0.1 * push, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["discount", "lambda_", "entropy_cost", "value_cost"])
def test_update_is_differentiable_in_eta(parts, name):
    """Float64, experience frozen: the derivative of the new params equals finite differences."""
    _, _, rule, learner, rollout = parts
    wide = lambda tree: jax.tree.map(  # noqa: E731
        lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree
    )
    with jax.enable_x64(True):
        eta, params, rollout = (
            wide(a2c.hypers(learning_rate=1.0)),
            wide(learner.params),
            wide(rollout),
        )
        state = wide(learner.rule_state)
        direction = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size)).reshape(x.shape), params)

        def outcome(value):
            new, _, _ = rule.update(
                eta.replace(**{name: value}), params, state, rollout, jax.random.key(0)
            )
            return sum(
                jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (new, direction)), strict=True)
            )

        at, run = getattr(eta, name), jax.jit(jax.value_and_grad(outcome))
        numeric = (run(at + 1e-5)[0] - run(at - 1e-5)[0]) / 2e-5
        analytic = run(at)[1]
        assert abs(analytic) > 1e-6
        np.testing.assert_allclose(analytic, numeric, rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (T,), (N, T)])
def test_weights_multiply_the_losses_of_each_step(parts, shape):
    """The loss is linear in them: two at the first step, none at the second."""
    _, agent, _, learner, rollout = parts
    heads = a2c.heads(metarl.make("ProbeDelay-v0", length=4))
    weight = np.full(shape, 3, np.float32)
    if shape:
        weight[..., :2] = 2, 0

    def step_losses(params, eta):
        """[N, T] each from a loss that sees one step alone count."""
        picked = jnp.eye(N * T).reshape(-1, N, T)
        rule = a2c.a2c(agent, heads, optimizer=optax.sgd(1.0))
        one = lambda w: rule.update(  # noqa: E731
            eta.replace(weight=w), params, rule.init(params), rollout, jax.random.key(0)
        )
        new, _, metrics = jax.vmap(one)(picked)
        return jax.tree.map(lambda a, b: a - b, new, params), metrics["loss"]

    @jax.jit
    def compare(params):
        eta = a2c.hypers(0.9, 0.8, learning_rate=1.0)
        rule = a2c.a2c(agent, heads, optimizer=optax.sgd(1.0))
        args = (params, rule.init(params), rollout, jax.random.key(0))
        new, _, metrics = rule.update(eta.replace(weight=jnp.asarray(weight)), *args)
        plain = rule.update(eta, *args)[2]
        moved = jax.tree.map(lambda a, b: a - b, new, params)
        return (moved, metrics, plain), step_losses(params, eta)

    (moved, metrics, plain), (steps, losses) = compare(learner.params)
    full = np.broadcast_to(weight, (N, T)).ravel()
    np.testing.assert_allclose(metrics["loss"], full @ losses, rtol=1e-4)
    for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(steps), strict=True):
        np.testing.assert_allclose(a, np.tensordot(full, b, 1), atol=1e-5)
    for name in ("policy_loss", "value_loss", "entropy"):
        np.testing.assert_allclose(metrics[name], plain[name], rtol=1e-5)


def prepared(agent, learner, rollout):
    return jax.jit(lambda r: proximal.prepare(agent, ppo.hypers(), learner.params, r))(rollout)


def test_first_ppo_step_is_a_policy_gradient_step(parts):
    """One epoch of one minibatch: all ratios are 1, so it is A2C on standardised advantages."""
    env, agent, _, learner, rollout = parts
    heads = ppo.heads(env)
    rule = ppo.ppo(agent, heads, optimizer=optax.sgd(1.0), epochs=1, minibatches=1)
    eta = ppo.hypers(value_cost=0.0, entropy_cost=0.0, learning_rate=1.0)
    state = rule.init(learner.params)
    new, _, metrics = jax.jit(rule.update)(eta, learner.params, state, rollout, jax.random.key(0))
    batch = prepared(agent, learner, rollout)
    adv = (batch.adv - batch.adv.mean()) / (batch.adv.std() + 1e-8)

    def surrogate(params):
        inputs = batch.rollout.inputs
        logits = jax.vmap(lambda x: agent.apply(params, (), x)[0])(inputs)["logits"]
        chosen = jnp.take_along_axis(
            jax.nn.log_softmax(logits), batch.rollout.action[..., None], -1
        )[..., 0]
        return jnp.mean(chosen * adv)

    grads = jax.jit(jax.grad(surrogate))(learner.params)
    moved = jax.tree.map(lambda a, b: a - b, new, learner.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved, grads)
    np.testing.assert_allclose(metrics["kl"], 0, atol=1e-6)
    assert metrics["clipped"] == 0


def test_ppo_clips_and_standardises(parts):
    """Hand-computed: ratios 2 and 0.5, advantages 1 and 3 (standardised -1 and 1), clip 0.2."""
    env, agent, _, learner, rollout = parts
    eta = ppo.hypers(value_cost=0.0, entropy_cost=0.0, clip=0.2)
    batch = prepared(agent, learner, rollout)
    two = jax.tree.map(lambda x: x[:2], batch)
    ratio = jnp.array([2.0, 0.5])
    two = two.replace(log_prob=two.log_prob - jnp.log(ratio), adv=jnp.array([1.0, 3.0]))
    loss, metrics = jax.jit(lambda two: ppo.ppo_loss(agent, eta, learner.params, two))(two)
    # min(2 * -1, 1.2 * -1) = -2 and min(0.5 * 1, 0.8 * 1) = 0.5, so the loss is 0.75.
    np.testing.assert_allclose(loss, 0.75, rtol=1e-4)
    np.testing.assert_allclose(metrics["kl"], np.mean(ratio - 1 - np.log(ratio)), rtol=1e-4)
    assert metrics["clipped"] == 1


def test_every_row_is_used_once_per_epoch(parts):
    """Plain SGD on a loss linear in the rows: the sum over minibatches ignores their order."""
    env, agent, _, learner, rollout = parts
    rule = ppo.ppo(agent, ppo.heads(env), optimizer=optax.sgd(1e-6), epochs=1, minibatches=3)
    eta = ppo.hypers(entropy_cost=0.0, learning_rate=1.0)
    state = rule.init(learner.params)
    update = jax.jit(rule.update)
    _, _, a = update(eta, learner.params, state, rollout, jax.random.key(0))
    _, _, b = update(eta, learner.params, state, rollout, jax.random.key(1))
    np.testing.assert_allclose(a["value_loss"], b["value_loss"], rtol=1e-3)


def test_ppo_refuses_minibatches_that_do_not_divide(parts):
    env, agent, _, learner, rollout = parts
    rule = ppo.ppo(agent, ppo.heads(env), minibatches=5)
    with pytest.raises(ValueError, match="5 minibatches do not divide 24 rows"):
        rule.update(
            ppo.hypers(), learner.params, rule.init(learner.params), rollout, jax.random.key(0)
        )


def test_rules_refuse_agents_without_their_heads(parts):
    env, _, _, _, _ = parts
    agent = mlp(env, {"logits": 2}, hidden=(4,))
    rule = a2c.a2c(agent, a2c.heads(env))
    venv = vectorize(env, N)
    learner, rollout = experience(agent, rule, venv, env)
    with pytest.raises(ValueError, match="a2c needs the head 'value'"):
        rule.update(a2c.hypers(), learner.params, learner.rule_state, rollout, jax.random.key(0))


def test_memory_agents_learn_from_whole_streams(parts):
    """Rows are streams of the batch, their memory is replayed, and its weights move."""
    env, *_ = parts
    agent = gru(env, ppo.heads(env), hidden=8)
    rule = ppo.ppo(agent, ppo.heads(env), minibatches=2, epochs=1)
    venv = vectorize(env, N)
    learner, rollout = experience(agent, rule, venv, env)
    heads, _ = jax.jit(jax.vmap(lambda r: replay(agent, learner.params, r)))(rollout)
    for name in heads:
        np.testing.assert_allclose(heads[name], rollout.heads[name], rtol=1e-4, atol=1e-6)
    assert prepared(agent, learner, rollout).adv.shape == (N, T)
    new, _, _ = jax.jit(rule.update)(
        ppo.hypers(), learner.params, learner.rule_state, rollout, jax.random.key(2)
    )
    assert not np.allclose(new["core"]["rec"]["w"], learner.params["core"]["rec"]["w"])


def test_an_optimizer_of_ones_own_keeps_its_rate(parts):
    env, agent, *_ = parts
    heads = a2c.heads(env)
    assert (
        a2c.a2c(agent, heads, optimizer=optax.sgd(0.1)).init_eta(jax.random.key(0)).learning_rate
        == 1
    )
    assert (
        a2c.a2c(agent, heads).init_eta(jax.random.key(0)).learning_rate
        == a2c.hypers().learning_rate
    )
    assert (
        ppo.ppo(agent, heads, optimizer=optax.sgd(0.1)).init_eta(jax.random.key(0)).learning_rate
        == 1
    )

"""The outer loop of Disco's rule: whose reward an action gets, penalties, the derivative."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.agents.disco import disco as disco_agent
from metarl.agents.gru import gru
from metarl.agents.mlp import mlp
from metarl.agents.tabular import tabular
from metarl.inner import birth
from metarl.inspection.probe import Rows
from metarl.meta.critics import Critic, CriticState, newborn
from metarl.meta.validated import (
    Costs,
    collected,
    estimates,
    fitted,
    judged,
    outer_loss,
    punished,
    validated,
)
from metarl.nets.disco import Targets
from metarl.rollout import vectorize
from metarl.rules import disco
from metarl.types import AgentInput, Rollout

pytestmark = pytest.mark.usefixtures("compile_once")
COSTS = Costs(entropy=0.3, prediction=0.2, centre=0.5, slow=0.4)  # large enough to be seen
SIZES: Any = {"length": 4, "valid": 3}


def world(**options):
    env = metarl.make("Catch-v0", rows=3, columns=2)
    heads = disco.heads(env, 3, 5)
    agent = disco_agent(env, heads, hidden=(4,), model=3)
    rule = disco.disco(agent, heads, hidden=4, memory=3, learning_rate=0.3, **options)
    venv = vectorize(env, 2)
    critic = Critic(mlp(env, {"value": 1}, hidden=(4,)), optax.sgd(0.1), lambda_=0.96)
    born = partial(birth, agent, rule, venv, env.default_params())
    learners = jax.jit(jax.vmap(born))(jax.random.split(jax.random.key(0), 2))
    return SimpleNamespace(
        agent=agent,
        rule=rule,
        venv=venv,
        critic=critic,
        learners=learners,
        critics=newborn(critic, jax.random.key(1), learners),
        eta=rule.init_eta(jax.random.key(2)),
    )


@pytest.fixture(scope="module")
def parts():
    return world()


def hand_made(reward, then=0.5):
    """Four steps in as many states; the action was taken with probability `then`."""
    zeros, never = jnp.zeros((1, 4), jnp.int32), jnp.zeros((1, 4), bool)
    rows = jnp.arange(4)[None]
    now = AgentInput(rows, zeros, jnp.zeros((1, 4)), never)
    after = now.replace(obs=jnp.minimum(rows + 1, 3))
    logits = jnp.full((1, 4), jnp.log(then / (1 - then)))
    heads = {"logits": jnp.stack([logits, 0 * logits], axis=-1)}
    reward = jnp.asarray(reward, jnp.float32)[None]
    return Rollout(now, zeros, reward, never, never, after, heads, ())


def test_an_action_gets_the_reward_that_it_caused():
    """The example of which the authors' notebook makes 1.25, 2.5, 5, 0: a step too late."""
    env: Any = Rows(4)
    agent, value = (tabular(env, x, start="zeros") for x in ({"logits": 2}, {"value": 1}))
    params, values = agent.init(jax.random.key(0)), value.init(jax.random.key(0))
    critic = Critic(value, optax.sgd(1.0), discount=0.5, lambda_=1.0)
    judge = partial(estimates, agent, critic, values, params)
    adv, target = judge(hand_made([0, 5, 0, 0]))
    np.testing.assert_allclose(adv[0], [2.5, 5, 0, 0])
    np.testing.assert_allclose(target[0], [2.5, 5, 0, 0])
    np.testing.assert_allclose(judge(hand_made([0, 0, 5, 0]))[0][0], [1.25, 2.5, 5, 0])
    state = CriticState(values, critic.optimizer.init(values), jnp.int32(0))
    new, error = fitted(agent, critic, state, params, hand_made([0, 5, 0, 0]))
    np.testing.assert_allclose(error, (2.5**2 + 5**2) / 8)
    np.testing.assert_allclose(new.params["value"][:, 0], np.array([2.5, 5, 0, 0]) / 4)


def test_what_was_taken_more_often_than_now_counts_less():
    """V-trace by hand: the policy now is even, the one that acted took the action at 0.8."""
    env: Any = Rows(4)
    agent, value = (tabular(env, x, start="zeros") for x in ({"logits": 2}, {"value": 1}))
    params, values = agent.init(jax.random.key(0)), {"value": jnp.arange(4.0)[:, None]}
    critic = Critic(value, optax.sgd(1.0), discount=0.5, lambda_=0.9)
    reward = np.array([1.0, 0, 2, -1])
    adv, target = estimates(agent, critic, values, params, hand_made(reward, 0.8))
    rho, v = 0.5 / 0.8, np.array([0, 1, 2, 3, 3.0])  # what follows the last state looks like it
    error = np.zeros(5)
    for t in (3, 2, 1, 0):
        error[t] = rho * (reward[t] + 0.5 * v[t + 1] - v[t]) + 0.5 * 0.9 * rho * error[t + 1]
    wanted = [rho * (reward[t] + 0.5 * (v[t + 1] + 0.9 * error[t + 1]) - v[t]) for t in range(4)]
    np.testing.assert_allclose(adv[0], wanted, rtol=1e-5)
    np.testing.assert_allclose(target[0], v[:4] + error[:4], rtol=1e-5)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def entropy(x):
    p = softmax(x)
    return -(p * np.log(p)).sum(axis=-1)


def test_the_outer_loss_is_its_formula():
    env: Any = Rows(4)
    agent = tabular(env, {"logits": 2, "y": 3, "z": 6}, start="zeros")
    draw = np.random.default_rng(0).normal
    params = {name: draw(size=(4, n)) for name, n in (("logits", 2), ("y", 3), ("z", 6))}
    adv = draw(size=(1, 4))
    given = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    found = outer_loss(agent, COSTS, given, hand_made([0, 0, 0, 0]), jnp.asarray(adv))
    unit = (adv[0] - adv.mean()) / adv.std()
    wanted = -(np.log(softmax(params["logits"])[:, 0]) * unit).mean()
    wanted -= 0.3 * entropy(params["logits"]).mean()
    of_taken = params["z"].reshape(4, 2, 3)[:, 0]
    wanted -= 0.2 * (entropy(params["y"]).mean() + entropy(of_taken).mean())
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_what_the_rule_says_is_punished_by_its_formula():
    draw = np.random.default_rng(0).normal
    pi, y, z, slow = (draw(size=(2, 3, n)) for n in (2, 4, 4, 2))
    slow = np.concatenate([slow, draw(size=(2, 1, 2))], axis=1)  # of what follows, too
    targets = Targets(*(jnp.asarray(x, jnp.float32) for x in (pi, y, z)))
    of_slow: Any = SimpleNamespace(logits=jnp.asarray(slow, jnp.float32))
    told = disco.of_targets(targets, of_slow)
    centre = sum((x.mean(axis=-1) ** 2).mean() for x in (pi, y, z))
    p, q = softmax(slow[:, :3]), softmax(pi)
    kl = (p * (np.log(p) - np.log(q))).sum(axis=-1).mean()
    np.testing.assert_allclose([told["centre"], told["slow_kl"]], [centre, kl], rtol=1e-5)
    np.testing.assert_allclose(punished(COSTS, told), 0.5 * centre + 0.4 * kl, rtol=1e-5)


def wide(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def one(parts, updates):
    """The first learner, its critic, and its experience, which is frozen."""
    learner, critic = jax.tree.map(lambda x: x[0], (parts.learners, parts.critics))
    go = partial(collected, parts.agent, parts.venv, updates=updates, **SIZES)
    given, learner, _, key = jax.jit(go)(learner, jax.random.key(3))
    memory = (jnp.ones(3), jnp.linspace(-1, 1, 3))  # at birth targets are alike
    return learner.replace(rule_state=learner.rule_state.replace(memory=memory)), critic, given, key


def test_the_meta_gradient_equals_finite_differences():
    """One update by plain descent: nothing that is held constant hangs on eta then."""
    parts = world(optimizer=optax.sgd(1.0))
    learner, values, given, key = one(parts, 1)
    with jax.enable_x64(True):
        learner = learner.replace(params=wide(learner.params), rule_state=wide(learner.rule_state))
        values, given, eta = wide(values), wide(given), wide(parts.eta)
        rollout = jax.tree.map(lambda x: x[0], given.train)

        def judge(eta):
            own = (parts.agent, parts.rule, parts.critic, COSTS, eta)
            return judged(*own, learner, values, given, key)

        (loss, (after, fit, _)), grads = jax.jit(jax.value_and_grad(judge, has_aux=True))(eta)
        adv, _ = estimates(parts.agent, parts.critic, fit.params, after.params, given.valid)

        @jax.jit
        def frozen(eta):
            """The same with the advantages as they are."""
            params, _, metrics = parts.rule.update(
                eta, learner.params, learner.rule_state, rollout, key
            )
            return outer_loss(parts.agent, COSTS, params, given.valid, adv) + punished(
                COSTS, metrics
            )

        np.testing.assert_allclose(frozen(eta), loss, rtol=1e-9)
        for seed in range(3):
            along = optax.tree.random_like(jax.random.key(seed), eta)
            move = lambda s, v=along: jax.tree.map(lambda x, y: x + s * 1e-5 * y, eta, v)  # noqa: E731
            slope = (frozen(move(1)) - frozen(move(-1))) / 2e-5
            np.testing.assert_allclose(optax.tree.vdot(grads, along), slope, rtol=1e-5)


def test_lives_side_by_side_are_those_alone_and_all_of_eta_is_reached(parts):
    inner = (parts.agent, parts.rule, parts.venv, parts.critic)
    meta = validated(*inner, optax.sgd(1.0), costs=COSTS, **SIZES)
    memory = (jnp.ones((2, 3)), jnp.tile(jnp.linspace(-1, 1, 3), (2, 1)))  # of lives in progress
    born = parts.learners.replace(rule_state=parts.learners.rule_state.replace(memory=memory))
    state, key = meta.init(jax.random.key(5), born), jax.random.key(6)
    update = jax.jit(meta.update)
    after, learners, metrics = update(state, born, key)
    again = update(state, born, key)
    jax.tree.map(np.testing.assert_array_equal, again, (after, learners, metrics))
    grads = jax.tree.map(lambda old, new: old - new, state.meta.eta, after.meta.eta)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(grad).all() and jnp.any(grad != 0), jax.tree_util.keystr(path)
    assert np.all(learners.age == 2) and np.isfinite(metrics["meta_loss"])
    assert metrics["centre"] > 0 and metrics["critic_loss"] > 0
    parted = validated(*inner, optax.sgd(1.0), costs=COSTS, chunk=1, **SIZES)
    found = jax.jit(parted.update)(state, born, key)
    for a, b in zip(*map(jax.tree.leaves, (found, (after, learners, metrics))), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4)


def test_agents_with_memory_are_refused(parts):
    env = metarl.make("Catch-v0", rows=3, columns=2)
    agent = gru(env, disco.heads(env, 3, 5))
    with pytest.raises(ValueError, match="without memory"):
        validated(agent, parts.rule, parts.venv, parts.critic, optax.sgd(1.0))

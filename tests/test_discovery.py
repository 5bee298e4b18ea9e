"""The outer loop that learns a rule over many lives: its derivative, its critics, its levels."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.agents.tabular import tabular
from metarl.curriculum.lives import on_levels
from metarl.curriculum.replay import uniform
from metarl.inner import act, birth, live
from metarl.meta.common import life_keys, meta_adam
from metarl.meta.critics import Critic, newborn, renewed
from metarl.meta.discovery import Costs, discovery, estimates, fitted, judged
from metarl.rollout import vectorize
from metarl.rules import lpg

pytestmark = pytest.mark.usefixtures("compile_once")
LIVES, LENGTH = 4, 3
COSTS = Costs(entropy=0.3, y_entropy=0.2, pi_hat=0.5, y_hat=0.4)  # large enough to be seen


@pytest.fixture(scope="module")
def parts():
    env = metarl.make("LPGSmall-v0")
    heads = lpg.heads(env, 3)
    agent = tabular(env, heads)
    rule = lpg.lpg(agent, heads, hidden=8, embedding=4, policy_rate=4.0, y_rate=2.0)
    venv = vectorize(env, 2)
    critic = Critic(tabular(env, {"value": 1}), optax.sgd(2.0))
    born = partial(birth, agent, rule, venv)
    levels = jax.vmap(env.sample_params)(jax.random.split(jax.random.key(1), LIVES))
    learners = jax.jit(jax.vmap(born))(levels, jax.random.split(jax.random.key(2), LIVES))
    return SimpleNamespace(
        env=env,
        agent=agent,
        rule=rule,
        venv=venv,
        critic=critic,
        born=born,
        learners=learners,
        eta=rule.init_eta(jax.random.key(3)),
        critics=newborn(critic, jax.random.key(4), learners),
    )


def wide(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def loop(parts, **options):
    how = {"updates": 2, "length": LENGTH, "costs": COSTS, **options}
    inner = (parts.agent, parts.rule, parts.venv, parts.critic)
    return discovery(*inner, optax.sgd(1.0), **how)


def test_the_meta_gradient_equals_finite_differences(parts):
    """One update: what the rule reads does not hang on eta then, so nothing is held constant."""
    with jax.enable_x64(True):
        inner = (parts.agent, parts.rule, parts.venv, parts.critic, COSTS)
        lives, values = jax.tree.map(lambda x: x[:2], (parts.learners, parts.critics))
        lives = lives.replace(params=wide(lives.params), rule_state=wide(lives.rule_state))
        values, keys = wide(values), jax.random.split(jax.random.key(5), 2)
        how: Any = {"updates": 1, "length": LENGTH, "gradient": "unrolled"}

        @jax.jit
        def loss(eta):
            return judged(*inner, eta, lives, values, keys, **how)[0].mean()

        eta = wide(parts.eta)
        grads = jax.jit(jax.grad(loss))(eta)
        assert all(jnp.any(g != 0) for g in jax.tree.leaves(grads)), "every part of eta is used"
        for seed in range(4):
            along = optax.tree.random_like(jax.random.key(seed), eta)
            up, down = (
                loss(jax.tree.map(lambda x, v, s=sign: x + s * 1e-5 * v, eta, along))
                for sign in (1, -1)
            )
            slope = optax.tree.vdot(grads, along)
            np.testing.assert_allclose(slope, (up - down) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{"chunk": 2}, pytest.param({"gradient": 1}, marks=pytest.mark.slow)]
)
def test_lives_taken_in_chunks_or_with_checkpoints_are_the_same_lives(parts, options):
    found = []
    for chosen in ({}, options):
        meta = loop(parts, **chosen)
        state = meta.init(jax.random.key(0), parts.learners)
        found.append(jax.jit(meta.update)(state, parts.learners, jax.random.key(6)))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)


def test_a_chunk_that_does_not_divide_the_lives_is_refused(parts):
    meta = loop(parts, chunk=3)
    state = meta.init(jax.random.key(0), parts.learners)
    with pytest.raises(ValueError, match="divisor of the 4 learners, got 3"):
        meta.update(state, parts.learners, jax.random.key(6))


def test_learners_live_as_without_an_outer_loop(parts):
    meta, key = loop(parts), jax.random.key(6)
    state = meta.init(jax.random.key(0), parts.learners)
    _, learners, metrics = jax.jit(meta.update)(state, parts.learners, key)
    keys = life_keys(jax.random.split(key)[0], parts.learners)
    go = partial(live, parts.agent, parts.rule, parts.venv, state.meta.eta)
    plain, told = jax.jit(jax.vmap(partial(go, updates=2, length=LENGTH)))(parts.learners, keys)
    for a, b in zip(jax.tree.leaves(learners), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["policy_loss"], told["policy_loss"].mean(), rtol=1e-5)


def test_critics_learn_and_begin_anew_with_a_life(parts):
    learner, values = jax.tree.map(lambda x: x[0], (parts.learners, parts.critics))
    rollout, _ = act(parts.agent, parts.venv, learner, jax.random.key(7), length=20)
    rollout = rollout.replace(reward=rollout.reward + 1)
    errors, fit = [], jax.jit(partial(fitted, parts.critic))
    for _ in range(20):
        values, (error, _) = fit(values, rollout)
        errors.append(float(error))
    assert errors[-1] < errors[0] / 2, errors
    learned = jax.tree.map(lambda x, y: x.at[0].set(y), parts.critics, values)
    begun = parts.learners.replace(life=jnp.array([0, 0, 3, 0]))
    after = renewed(parts.critic, learned, begun, jax.random.key(8))
    same = jax.vmap(jnp.array_equal)(after.params["value"], learned.params["value"])
    assert same.tolist() == [True, True, False, True] and after.life.tolist() == [0, 0, 3, 0]


def test_frozen_critics_judge_and_never_learn(parts):
    """As released: the same judgement at first, an error that is told, and no step."""
    key = jax.random.key(6)
    found = []
    for frozen in (False, True):
        critic = parts.critic._replace(frozen=frozen)
        meta = discovery(parts.agent, parts.rule, parts.venv, critic, optax.sgd(1.0), updates=1,
                         length=LENGTH, costs=COSTS)  # fmt: skip
        state = meta.init(jax.random.key(0), parts.learners)
        found.append((state, *jax.jit(meta.update)(state, parts.learners, key)))
    (_, learnt, *_), (before, after, _, metrics) = found
    jax.tree.map(np.testing.assert_array_equal, before.critics, after.critics)
    assert not np.allclose(learnt.critics.params["value"], before.critics.params["value"])
    assert metrics["critic_loss"] > 0 and metrics["meta_grad_norm"] > 0


def test_time_outs_end_for_critics_where_that_is_asked_for(parts):
    learner, values = jax.tree.map(lambda x: x[0], (parts.learners, parts.critics))
    rollout, _ = act(parts.agent, parts.venv, learner, jax.random.key(7), length=4)
    out = jnp.zeros((2, 4), bool).at[0, 1].set(True)
    rollout = rollout.replace(terminated=out & False, truncated=out)
    blind = parts.critic._replace(time_outs_end=True)
    adv, value = (np.asarray(x)[0] for x in estimates(blind, values.params, rollout))
    reward = rollout.reward[0]
    # Worked out by hand: nothing comes after the second step.
    last = reward[1] - value[1]
    first = reward[0] + 0.99 * value[1] - value[0] + 0.99 * 0.95 * last
    np.testing.assert_allclose(adv[:2], [first, last], rtol=1e-5, atol=1e-6)
    plain = estimates(parts.critic, values.params, rollout)[0][0]
    assert abs(plain[1] - last) > 1e-4 and np.allclose(plain[2:], adv[2:])


def test_lives_end_one_after_the_other_on_new_levels(parts):
    lifetime = 4
    loops = on_levels(
        loop(parts), parts.born, uniform(parts.env.sample_params, LIVES),
        lifetime=lambda level: jnp.int32(lifetime),
    )  # fmt: skip
    state, learners = jax.jit(loops.begin)(jax.random.key(9))
    assert learners.age.tolist() == [0, 1, 2, 3]
    step, births, seen = jax.jit(loops.update), [], [state.levels.start]
    for _ in range(4):
        state, learners, metrics = step(state, learners, jax.random.key(10))
        births.append(int(metrics["births"]))
        seen.append(state.levels.start)
        jax.tree.map(np.testing.assert_array_equal, state.levels, learners.env_params)
    assert births == [2, 2, 2, 2] and learners.life.tolist() == [2, 2, 2, 2]
    assert (learners.age < lifetime).all()
    assert len({tuple(x.tolist()) for x in seen}) == 5
    assert optax.tree.norm(state.meta.meta.eta) > 0 and np.isfinite(metrics["meta_grad_norm"])


def test_a_rule_without_words_or_predictions_is_judged_by_its_policy(parts):
    """A2C's hyperparameters are learned by the same loop: it has neither `y` nor squares."""
    from metarl.meta.bijections import sigmoid
    from metarl.meta.tune import tune
    from metarl.rules import a2c

    heads = a2c.heads(parts.env)
    agent = tabular(parts.env, heads)
    rule = tune(a2c.a2c(agent, heads, optimizer=optax.sgd(1.0)), discount=sigmoid())
    born = partial(birth, agent, rule, parts.venv)
    keys = jax.random.split(jax.random.key(2), LIVES)
    learners = jax.jit(jax.vmap(born))(parts.learners.env_params, keys)
    meta = discovery(agent, rule, parts.venv, parts.critic, meta_adam(0.1), updates=1, length=3)
    state = meta.init(jax.random.key(0), learners)
    state, _, metrics = jax.jit(meta.update)(state, learners, jax.random.key(1))
    assert np.isfinite(metrics["meta_loss"]) and metrics["meta_grad_norm"] > 0

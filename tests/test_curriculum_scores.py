"""What levels are worth: value losses and MaxMC by hand, regrets against exact returns."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.agents.mlp import mlp
from metarl.agents.tabular import tabular
from metarl.agents.uniform import uniform
from metarl.curriculum import antagonist as antagonists
from metarl.curriculum import scores
from metarl.curriculum.scores import Seen, max_mc, optimum, regret, value_loss, watched
from metarl.envs.lpg.grid import LPGGrid
from metarl.envs.lpg.level import Params
from metarl.envs.lpg.optimal import optimal_policy, optimal_return
from metarl.envs.probe import Probe
from metarl.evaluate import evaluate
from metarl.inner import act, birth
from metarl.rollout import vectorize
from metarl.rules import a2c
from metarl.types import AgentInput, Rollout

ENV = LPGGrid("small")
STEPS = 12


def level(p_respawn=0.0, max_steps=STEPS):
    """Three cells a side: the good object ends the episode, six more cells away lies a bad one."""
    slots = lambda *x: jnp.array(x, jnp.float32)  # noqa: E731
    return Params(
        size=jnp.int32(3),
        walls=jnp.arange(36) == 7,  # the middle
        start=jnp.int32(0),
        cells=jnp.array([14, 2, 0], jnp.int32),  # opposite, and one of the corners between
        present=jnp.array([True, True, False]),
        kinds=jnp.arange(3),
        rewards=slots(0.75, -0.5, 0),
        p_terminate=slots(1, 0, 0),
        p_respawn=slots(0, p_respawn, 0),
        max_steps=jnp.int32(max_steps),
    )


ADV: Any = np.array([[1, -2, 3, -4], [2, 2, -2, 6]], np.float32)
LAST: Any = np.array([[0, 1, 0, 0], [0, 0, 0, 0]], bool)
ENDS = np.array([[0, 1, 0, 1], [0, 1, 1, 0]], bool)


@jax.jit
def by_hand(adv, last):
    return (
        scores.l1_value_loss(adv, last),
        scores.positive_value_loss(adv, last),
        scores.maximum_monte_carlo(adv, last, jnp.float32(5)),
        scores.highest_return(adv, last),
        scores.highest_return(adv, last, jnp.array([4.0, 0.0])),
    )


def test_scores_by_hand():
    """Episodes [1, -2], [3, -4] and [2, 2, -2, 6]; then [1, -2], [3, -4], [2, 2], [-2], [6]."""
    l1, positive, mc, *_ = by_hand(ADV, LAST)
    assert l1 == pytest.approx((1.5 + 3.5 + 3) / 3)
    assert positive == pytest.approx((0.5 + 1.5 + 2.5) / 3)
    assert mc == pytest.approx(5 - (-0.5 - 0.5 + 2) / 3)
    l1, positive, mc, best, later = by_hand(ADV, ENDS)
    assert l1 == pytest.approx((1.5 + 3.5 + 2 + 2 + 6) / 5)
    assert positive == pytest.approx((0.5 + 1.5 + 2 + 0 + 6) / 5)
    assert mc == pytest.approx(5 - (-0.5 - 0.5 + 2 - 2 + 6) / 5)
    assert (best, later) == (4, 4)
    *_, best, later = by_hand(ADV, LAST)
    assert (best, later) == (-1, 3)  # [1, -2] is the only one that ended, once 4 were before it
    *_, best, _ = by_hand(ADV, LAST & False)
    assert best == -np.inf


def test_value_scorings_look_at_the_life_and_remember_the_best_return():
    life = Seen(ADV, ADV / 2, LAST, jnp.float32(2))
    seen = lambda life, key: life  # noqa: E731
    key, nothing = jax.random.key(0), jnp.float32(-jnp.inf)
    first, second = value_loss(seen), value_loss(seen, positive=True)
    never = life.replace(best=nothing)

    @jax.jit
    def told(life, never):
        of = lambda x, life, best: x.outcome(life, None, best, key)  # noqa: E731
        mc = max_mc(seen)
        return [
            of(first, life, nothing),
            of(second, life, jnp.float32(3)),
            of(mc, life, nothing),
            of(mc, life, jnp.float32(4)),
            of(mc, never, nothing),
        ]

    values, best = zip(*told(life, never), strict=True)
    np.testing.assert_allclose(values[:4], [8 / 3, 1.5, 2 - 1 / 6, 4 - 1 / 6], rtol=1e-6)
    assert values[4] == -np.inf  # no episode was seen to end: no score
    assert best == (2, 3, 2, 4, -np.inf)


def test_watching_a_life_goes_on_where_it_stands():
    """The random agent's values are 0, so without traces advantages are the rewards."""
    venv = vectorize(ENV, 4)
    agent = uniform(ENV, a2c.heads(ENV))
    rule = a2c.a2c(agent, a2c.heads(ENV))
    look = watched(agent, venv, length=9, lambda_=0.0)

    @jax.jit
    def both(key):
        learner = birth(agent, rule, venv, level(0.5), key)
        learner = learner.replace(episode=learner.episode.replace(ret=jnp.full(4, 10.0)))
        return look(learner, key), act(agent, venv, learner, key, length=9)[0]

    seen, rollout = both(jax.random.key(3))
    np.testing.assert_array_equal(seen.adv, rollout.reward)
    np.testing.assert_array_equal(seen.last, rollout.last)
    assert (seen.value == 0).all() and (rollout.reward != 0).any()
    assert seen.best >= 9 if rollout.last.any() else seen.best == -np.inf


def played(table, level, key):
    """The return of one episode of a policy [steps left, state]."""

    def one(carry, key):
        state, ts, total, alive = carry
        left = jnp.maximum(level.max_steps - state.time, 0)
        state, ts = ENV.step(key, state, table[left, ENV.index(ts.obs)], level)
        return (state, ts, total + alive * ts.reward, alive & ~ts.last), None

    first = (*ENV.reset(key, level), jnp.float32(0), jnp.bool_(True))
    return jax.lax.scan(one, first, jax.random.split(key, STEPS))[0][2]


def test_the_optimal_policy_has_no_optimal_regret_and_others_have():
    scoring = regret(played, optimum(ENV), params=lambda life: life)

    @jax.jit
    def score(table, level):
        key = jax.random.key(0)
        assert scoring.reference is not None
        return scoring.reference(level, key) + scoring.outcome(table, level, jnp.float32(0), key)[0]

    best = jax.jit(lambda level: optimal_policy(ENV, level, STEPS)[1])(level())
    assert score(best, level()) == 0
    still = jnp.full_like(best, 4)
    assert score(still, level()) == 0.75
    right = jnp.full_like(best, 3)  # into the bad object
    assert score(right, level()) == 1.25
    # With one step there is nothing to be had, and nobody is to blame.
    assert score(still, level(max_steps=1)) == 0


CUES = Probe(choices=4)


@pytest.fixture(scope="module")
def rival():
    """A linear agent and the antagonist's rule, for a bandit of four cues."""
    needed = antagonists.heads(CUES)
    agent = mlp(CUES, needed, hidden=())
    return agent, antagonists.antagonist_rule(agent, needed), vectorize(CUES, 16)


def test_the_antagonist_lives_as_long_as_the_level_says(rival):
    """Without a life it is right as often as chance, after 40 updates always."""
    agent, rule, venv = rival
    obs = jnp.concatenate([jnp.eye(4), jnp.ones((4, 1))], axis=1)

    def ret(params, level, key):
        inputs = AgentInput(obs, jnp.zeros(4), jnp.zeros(4), jnp.ones(4, bool))
        heads = jax.vmap(lambda x: agent.apply(params, (), x)[0])(inputs)
        return jnp.mean(jnp.diag(jax.nn.softmax(heads["logits"])))

    slow = antagonists.apart(2.0, 1.0)  # the default is for rare states, here are four
    rule = antagonists.antagonist_rule(agent, rule.heads, optimizer=slow)
    how = {"lifetime": lambda level: level, "env_params": lambda level: ()}
    reference = antagonists.antagonist(agent, rule, venv, ret, length=5, **how)
    key = jax.random.key(5)
    returns = jax.jit(jax.vmap(reference, in_axes=(0, None)))(jnp.array([0, 2, 40]), key)
    assert abs(returns[0] - 0.25) < 0.02 and returns[0] < returns[1]
    assert returns[2] > 0.99


def test_its_loss_and_its_step_equal_numpy(rival):
    agent, rule, _ = rival
    rng: Any = np.random.default_rng(0)
    shape = 3, 7

    def seen():
        obs = rng.random((*shape, 5), np.float32)
        rest: Any = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
        return AgentInput(obs, *rest)

    ends = rng.random((2, *shape)) < 0.2
    flags: Any = ends[0], ends[1] & ~ends[0]
    reward: Any = rng.normal(size=shape).astype(np.float32)
    inputs, after = seen(), seen()
    action = rng.integers(0, 4, shape)
    parts: Any = {"action": action, "reward": reward, "terminated": flags[0], "truncated": flags[1]}
    rollout = Rollout(inputs, **parts, next_inputs=after, heads={}, carry=())
    params = agent.init(jax.random.key(1))

    @jax.jit
    def everything(params, rollout):
        eta = rule.init_eta(jax.random.key(0))
        loss = partial(antagonists.antagonist_loss, agent, rule.heads)
        grads, told = jax.grad(loss, has_aux=True)(params, eta, rollout)
        blind = antagonists.antagonist_rule(agent, rule.heads, time_outs_end=True)
        ended = rollout.replace(terminated=rollout.last, truncated=rollout.last & False)
        steps, key = [], jax.random.key(0)
        for one, x in ((rule, rollout), (rule, ended), (blind, rollout)):
            new = one.update(eta, params, one.init(params), x, key)[0]
            steps.append(jax.tree.map(jnp.subtract, new, params))
        return told, grads, steps

    told, grads, (moved, *as_ends) = jax.device_get(everything(params, rollout))
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, *as_ends)  # time-outs as terminations
    assert not np.allclose(moved["heads"]["value"]["b"], as_ends[0]["heads"]["value"]["b"])
    layers = jax.device_get(params["heads"])
    value, ahead = (
        (x.obs @ layers["value"]["w"] + layers["value"]["b"])[..., 0] for x in (inputs, after)
    )
    adv, running = np.zeros(shape), np.zeros(3)
    for t in reversed(range(7)):
        target = reward[:, t] + 0.99 * (1 - flags[0][:, t]) * ahead[:, t]
        running = target - value[:, t] + 0.99 * 0.95 * ~(flags[0] | flags[1])[:, t] * running
        adv[:, t] = running
    logits = inputs.obs @ layers["logits"]["w"] + layers["logits"]["b"]
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    taken = np.take_along_axis(log_p, action[..., None], axis=-1)[..., 0]
    policy = -np.mean(taken * (adv - adv.mean()) / adv.std())
    entropy = -np.mean(np.sum(np.exp(log_p) * log_p, axis=-1))
    np.testing.assert_allclose(told["policy_loss"], policy, rtol=1e-4, atol=1e-6)
    whole = policy + np.mean(adv**2) - 0.01 * entropy
    np.testing.assert_allclose(told["loss"], whole, rtol=1e-4, atol=1e-6)
    assert entropy > 1 and flags[0].any() and flags[1].any()
    for name, rate in (("value", 4.0), ("logits", 40.0)):  # behind a clip of each one's own
        grad = grads["heads"][name]
        norm = np.sqrt(sum(np.sum(g**2) for g in grad.values()))
        for leaf, g in grad.items():
            step = -rate * min(1, 0.5 / norm) * g
            np.testing.assert_allclose(moved["heads"][name][leaf], step, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(  # d (v - target)^2 / db, the target being a constant
        grads["heads"]["value"]["b"], [-2 * adv.mean()], rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_the_antagonist_is_nearly_optimal_on_levels_of_lpg():
    """After 250 updates, with the published rates, on 16 levels; random agents earn a quarter."""
    needed = antagonists.heads(ENV)
    agent, venv = tabular(ENV, needed), vectorize(ENV, 64)

    def ret(params, level, key):
        return evaluate(agent, ENV, params, level, key, episodes=64, max_steps=100).ret.mean()

    @partial(jax.jit, static_argnums=0)
    def earned(lifetime, levels, keys):
        parts = (agent, antagonists.antagonist_rule(agent, needed), venv, ret)
        return jax.vmap(antagonists.antagonist(*parts, lifetime=lifetime))(levels, keys)

    level_keys, keys = jax.random.split(jax.random.key(0), (2, 16))
    levels = jax.vmap(ENV.sample_params)(level_keys)
    best = jax.jit(jax.vmap(lambda level: optimal_return(ENV, level)))(levels)
    share = [np.median(earned(updates, levels, keys) / best) for updates in (0, 250)]
    assert share[0] < 0.5 and share[1] > 0.9

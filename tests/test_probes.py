"""Probes: each tests one ability, and both rules must show it to the number."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.agents.gru import gru
from metarl.agents.mlp import mlp
from metarl.evaluate import evaluate
from metarl.registry import rule_module
from metarl.rollout import vectorize
from metarl.train import train

DISCOUNT = 0.9
RULES = ["a2c", "ppo"]


def learn(name, rule_name, build=mlp, *, updates, **options):
    """Trains two seeds as one programme; the environment, the agent and its params [2, ...]."""
    env, module = metarl.make(name), rule_module(rule_name)
    heads = module.heads(env)
    agent = build(env, heads, **options)
    sizes = {"epochs": 2, "minibatches": 2} if rule_name == "ppo" else {}
    rule = getattr(module, rule_name)(agent, heads, **sizes)
    eta = module.hypers(discount=DISCOUNT, learning_rate=5e-3)
    run = partial(
        train,
        agent,
        rule,
        vectorize(env, 16),
        env_params=env.default_params(),
        updates=updates,
        length=8,
        eta=eta,
    )
    learners, metrics = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 2))
    return env, agent, learners.params, metrics


def value_at(env, agent, params, time):
    """V at each seed when the clock shows `time`, in environments with one choice."""
    obs = jnp.zeros(env.observation_space.shape).at[0].set(time == 0 or not env.hide)
    obs = obs.at[env.choices + time].set(1)

    def value(params):
        from metarl.types import AgentInput

        zero = jnp.int32(0)
        inputs = AgentInput(obs, zero, jnp.float32(0), jnp.bool_(time == 0))
        return agent.apply(params, agent.carry(), inputs)[0]["value"][0]

    return jax.vmap(value)(params)


@pytest.mark.parametrize("rule", RULES)
def test_value_of_a_sure_reward(rule):
    env, agent, params, _ = learn("ProbeValue-v0", rule, updates=150, hidden=(8,))
    np.testing.assert_allclose(value_at(env, agent, params, 0), 1.0, atol=0.02)


@pytest.mark.parametrize("rule", RULES)
def test_value_is_discounted_per_step(rule):
    env, agent, params, _ = learn("ProbeDiscount-v0", rule, updates=250, hidden=(16,))
    for time in range(3):
        expected = DISCOUNT ** (2 - time)
        np.testing.assert_allclose(value_at(env, agent, params, time), expected, atol=0.04)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["ProbeAction-v0", "ProbeDelay-v0"])
def test_actions_depend_on_what_is_seen_and_credit_travels(name, rule):
    _, _, _, metrics = learn(name, rule, updates=250, hidden=(16,))
    assert (np.nanmean(metrics["episode_return"][:, -20:], axis=1) > 0.9).all()


@pytest.mark.parametrize("rule", RULES)
def test_memory_solves_what_no_reflex_can(rule):
    env, agent, params, _ = learn("ProbeMemory-v0", rule, gru, updates=300, hidden=16)
    one = jax.tree.map(lambda x: x[0], params)
    play = partial(evaluate, agent, env, env_params=env.default_params(), episodes=200)
    assert play(one, key=jax.random.key(1)).ret.mean() > 0.9
    # Without its memory the same agent is at chance: nothing else tells the cue.
    blind = agent._replace(apply=lambda p, h, x: (agent.apply(p, h * 0, x)[0], h))
    scores = evaluate(blind, env, one, env.default_params(), jax.random.key(2), episodes=200)
    assert 0.35 < scores.ret.mean() < 0.65

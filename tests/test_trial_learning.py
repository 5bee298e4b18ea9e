"""Agents that remember learn to use the first attempt; those that forget it cannot."""

from functools import partial

import jax
import numpy as np
import pytest

from metarl.agents.gru import gru
from metarl.evaluate import evaluate
from metarl.grouped import grouped
from metarl.registry import rule_module
from metarl.rollout import vectorize
from metarl.train import train
from metarl.wrappers import forgetful, pass_at, trial

N, T, UPDATES = 64, 12, 120


def passes(env, rule_name, forget=False):
    """pass@1 and pass@2 of two seeds, [2, 2], after training."""
    module = rule_module(rule_name)
    heads = module.heads(env)
    agent = gru(env, heads, hidden=16)
    agent = forgetful(agent) if forget else agent
    rule = getattr(module, rule_name)(agent, heads)
    eta = module.hypers(learning_rate=1e-2)
    venv = grouped(env, N, 8) if rule_name == "grpo" else vectorize(env, N)
    play = partial(evaluate, agent, env, env_params=env.default_params(), episodes=1000)

    @jax.jit
    @jax.vmap
    def run(key):
        live = partial(train, agent, rule, venv, updates=UPDATES, length=T)
        learner, _ = live(key, env_params=env.default_params(), eta=eta)
        return pass_at(play(learner.params, key=jax.random.key(1)).attempt_success).mean(0)

    return np.asarray(run(jax.random.split(jax.random.key(0), 2)))


@pytest.mark.parametrize("rule", ["ppo", "a2c", "grpo"])
def test_memory_agents_use_the_first_attempt(rule, reveal):
    """No first attempt is better than chance, 1/4; the second can be certain, for it was shown.

    Untrained, the second attempt adds 3/16; without memory no agent passes more than 1/2 at it.
    """
    found = passes(trial(reveal(), 2, sample_task=True), rule)
    assert (abs(found[:, 0] - 0.25) < 0.07).all()
    assert (found[:, 1] - found[:, 0] > 3 / 16 + 0.25).all(), found
    assert (found[:, 1] > 0.75).all(), found


def test_without_memory_between_attempts_the_second_is_another_guess(reveal):
    """At best it is another one, which the number of the attempt tells to take: 1/2 passes."""
    found = passes(trial(reveal(), 2, sample_task=True), "a2c", forget=True)
    assert (found[:, 1] < 0.6).all(), found

"""What every registered agent inherits; the rule it serves asks for three heads."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl import registry
from metarl.agents.nature import LEAST
from metarl.ops.distributions import policy
from metarl.rollout import replay
from metarl.testing.compare import differences
from metarl.types import Agent, Learner, Rollout, UpdateRule

HEADS = {"logits": 4, "value": 1, "extra": 3}
IDLE = UpdateRule(HEADS, lambda key: (), lambda params: (), lambda *_: _)
N, T = 2, 7


class Case(NamedTuple):
    agent: Agent
    learner: Learner
    rollout: Rollout  # leaves [N, T, ...]; `first` is true every third step
    apply: Any  # compiled


@pytest.fixture(params=registry.AGENTS, scope="module")
def case(request, env, experience):
    env = metarl.make("GridWorld-v0", size=LEAST) if request.param == "nature" else env
    agent = registry.agent_builder(request.param)(env, HEADS)
    learner, rollout = experience(agent, IDLE, N, T, env=env)
    return Case(agent, learner, rollout, jax.jit(agent.apply))


def row(tree, *index):
    return jax.tree.map(lambda x: x[index], tree)


def test_heads_are_those_asked_for(case):
    assert {name: head.shape for name, head in case.rollout.heads.items()} == {
        name: (N, T, width) for name, width in HEADS.items()
    }
    for head in jax.tree.leaves(case.rollout.heads):
        assert head.dtype == jnp.float32 and jnp.isfinite(head).all()


def test_illegal_actions_have_no_probability(case):
    mask = case.rollout.inputs.action_mask
    probability = jax.nn.softmax(case.rollout.heads["logits"])
    assert not mask.all() and jnp.where(mask, 0, probability).max() == 0


def test_memory_keeps_its_structure(case):
    now = row(case.rollout.inputs, 0, 0)
    out = jax.eval_shape(case.agent.apply, case.learner.params, case.agent.carry(), now)
    assert not [*differences(out[1], case.agent.carry())]


def test_a_batch_equals_single_steps_and_nothing_compiles_twice(case, compilations):
    for n in range(N):
        carry = case.agent.carry()
        for t in range(T):
            now = row(case.rollout.inputs, n, t)
            with compilations() as found:
                heads, carry = case.apply(case.learner.params, carry, now)
            assert n == t == 0 or not found
            for name, head in heads.items():
                np.testing.assert_allclose(head, case.rollout.heads[name][n, t], atol=2e-5)


def test_replay_says_what_was_said_and_all_parameters_learn(case):
    def loss(params):
        heads = jax.vmap(lambda rollout: replay(case.agent, params, rollout)[0])(case.rollout)
        log_prob = policy(heads).log_prob(case.rollout.action)
        return log_prob.sum() + heads["value"].sum() + jnp.cos(heads["extra"]).sum(), heads

    grads, heads = jax.jit(jax.grad(loss, has_aux=True))(case.learner.params)
    for name, head in heads.items():
        np.testing.assert_allclose(head, case.rollout.heads[name], atol=2e-5)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(grad).all() and jnp.any(grad != 0), jax.tree_util.keystr(path)


def test_the_first_step_of_an_episode_forgets(case):
    other = jax.tree.map(lambda x: x + 1, case.agent.carry())
    start = row(case.rollout.inputs, 0, 0)
    assert start.first
    for now, same in ((start, True), (start.replace(first=jnp.bool_(False)), False)):
        a, b = (case.apply(case.learner.params, c, now)[1] for c in (case.agent.carry(), other))
        equal = all(map(np.allclose, jax.tree.leaves(a), jax.tree.leaves(b)))
        assert equal == same or not jax.tree.leaves(other)

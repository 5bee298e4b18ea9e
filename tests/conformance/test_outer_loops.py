"""What every registered outer loop inherits: A2C in a grid, with an entry of eta that nobody uses.

The agent has a head that the rule does not read, so some gradients are exactly zero, where the
derivative of Adam needs an `eps_root` to be finite.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl import registry
from metarl.agents.mlp import mlp
from metarl.inner import birth
from metarl.meta.bijections import sigmoid
from metarl.meta.common import meta_adam
from metarl.meta.objectives import policy_gradient
from metarl.meta.tune import tune
from metarl.outer import Inner
from metarl.rollout import vectorize
from metarl.rules import a2c
from metarl.testing.compare import differences
from metarl.types import Learner, Metrics, PyTree, UpdateRule

ENVS, LENGTH, LEARNERS = 3, 4, 2
TRYING = ("evolution", "persistent")  # estimates by trial are noisy in what does not matter too


class Case(NamedTuple):
    """Two meta-updates: states and populations before, between and after, the last metrics."""

    name: str
    states: list[PyTree]
    learners: list[Learner]
    metrics: Metrics
    compiled: int  # programmes, during the second


def with_an_unused_entry(rule: UpdateRule) -> UpdateRule:
    """The same rule, with an eta of its own and one that does nothing."""
    return rule._replace(
        init_eta=lambda key: {"used": rule.init_eta(key), "unused": jnp.float32(0.3)},
        update=lambda eta, *rest: rule.update(eta["used"], *rest),
        update_lives=None,
    )


SETTINGS: dict[str, dict[str, Any]] = {  # rewards of few steps say nothing
    "evolution": {"fitness": "objective", "pairs": 2},
    "persistent": {"fitness": "objective"},
    "truncated": {"updates": 2, "window": 1},
}


def inner_of(env):
    """The parts; the agent has a head that no rule reads."""
    heads = a2c.heads(env)
    agent = mlp(env, {**heads, "idle": 1}, hidden=(4,))
    rule = with_an_unused_entry(tune(a2c.a2c(agent, heads), discount=sigmoid()))
    objective = policy_gradient(agent, entropy_cost=0.1)
    return Inner(agent, rule, vectorize(env, ENVS), objective, meta_adam(0.01), LENGTH, 1e-3)


@pytest.fixture(params=registry.OUTER_LOOPS, scope="module")
def case(request, env, compilations):
    inner = inner_of(env)
    meta = registry.outer_builder(request.param)(inner, **SETTINGS.get(request.param, {}))
    born = partial(birth, inner.agent, inner.rule, inner.venv, env.default_params())

    @jax.jit
    def begin(key):
        learners = jax.vmap(born)(jax.random.split(key, LEARNERS))
        return meta.init(key, learners), learners

    update, key = jax.jit(meta.update), jax.random.key(1)
    state, learners = begin(jax.random.key(0))
    states, populations, metrics, again = [state], [learners], {}, 0
    for _ in range(2):
        with compilations() as found:
            state, learners, metrics = update(state, learners, key)
        again = len(found)
        states.append(state)
        populations.append(learners)
    return Case(request.param, states, populations, metrics, again)


def test_nothing_changes_its_form_so_nothing_compiles_twice(case):
    for before, after in ((case.states[0], case.states[-1]), (case.learners[0], case.learners[-1])):
        assert not [*differences(before, after)]
    assert not case.compiled


def test_gradients_flow_where_they_should_and_nowhere_else(case):
    assert np.isfinite(case.metrics["meta_grad/used.discount"])
    assert case.metrics["meta_grad/used.discount"] != 0
    assert case.metrics["meta_grad/unused"] == 0 or case.name in TRYING


def test_eta_moves_where_it_is_used(case):
    """By at most Adam's two steps of 0.01 from the inverse of 0.99."""
    start = np.log(0.99 / 0.01)
    assert 0.001 < abs(case.metrics["eta/used.discount"] - start) < 0.021
    assert case.metrics["eta/unused"] == np.float32(0.3) or case.name in TRYING


def test_learners_learn_and_grow_older(case):
    for before, after in zip(case.learners[:-1], case.learners[1:], strict=True):
        assert (after.age > before.age).all()
        for a, b in zip(
            *(jax.tree.leaves(x.params["torso"]) for x in (before, after)), strict=True
        ):
            assert (a != b).any()


def test_everything_stays_finite(case):
    """Adam's derivative too, at the gradients of a head that is never read."""
    for name, value in case.metrics.items():
        assert value.shape == () and (jnp.isfinite(value) or name.startswith("episode")), name
    for tree in (case.states[-1], case.learners[-1].params):
        for leaf in jax.tree.leaves(tree):
            assert jnp.isfinite(leaf).all()


def test_unknown_names_are_answered_with_a_near_one():
    with pytest.raises(ValueError, match="no outer loop 'metagrd'; did you mean metagrad"):
        registry.outer_builder("metagrd")

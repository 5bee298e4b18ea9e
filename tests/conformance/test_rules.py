"""What every registered rule inherits, with a feed-forward agent and with one that remembers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl import registry
from metarl.testing.compare import differences
from metarl.types import Eta, Learner, Rollout, UpdateRule

N, T = 4, 5
WIDTHS = {"disco": {"predictions": 8, "bins": 7}}  # of heads, where the defaults are large
SETTINGS = {  # where the first step of the default optimizer is a sign, which eta seldom changes
    "disco": {"optimizer": optax.sgd(0.1), "hidden": 8, "memory": 8, "learning_rate": 1.0},
}
WITHOUT_ETA = {  # heads that a rule teaches whatever its drawn eta is; at birth, for y and z
    "disco": ("q_bins", "aux_pi", "y", "z"),
}


class Case(NamedTuple):
    rule: UpdateRule
    eta: Eta
    learner: Learner
    apart: tuple[str, ...]  # heads that eta does not move
    rollout: Rollout  # leaves [N, T, ...]
    update: Any  # compiled


@pytest.fixture(
    params=[(rule, agent) for rule in registry.RULES for agent in ("mlp", "gru")],
    ids="-".join,
    scope="module",
)
def case(request, env, experience):
    rule_name, agent_name = request.param
    module = registry.rule_module(rule_name)
    heads = module.heads(env, **WIDTHS.get(rule_name, {}))
    agent = registry.agent_builder(agent_name)(env, heads)
    rule = getattr(module, rule_name)(agent, heads, **SETTINGS.get(rule_name, {}))
    learner, rollout = experience(agent, rule, N, T)
    eta, apart = rule.init_eta(jax.random.key(2)), WITHOUT_ETA.get(rule_name, ())
    return Case(rule, eta, learner, apart, rollout, jax.jit(rule.update))


@pytest.fixture(scope="module")
def outcome(case):
    args = (case.learner.params, case.learner.rule_state, case.rollout, jax.random.key(3))
    return case.update(case.eta, *args)


def test_it_declares_the_heads_it_reads(case):
    assert all(isinstance(width, int) and width > 0 for width in case.rule.heads.values())
    assert {name: head.shape[-1] for name, head in case.rollout.heads.items()} == case.rule.heads


def test_params_and_state_keep_their_form_so_nothing_compiles_twice(case, outcome, compilations):
    params, state, _ = outcome
    assert not [*differences(params, case.learner.params)]
    assert not [*differences(state, case.learner.rule_state)]
    key = jax.random.key(4)
    with compilations() as found:
        case.update(case.eta, params, state, case.rollout, key)
    assert not found


def test_every_parameter_moves_and_stays_finite(case, outcome):
    moved = jax.tree.map(lambda a, b: (a != b).any(), outcome[0], case.learner.params)
    assert all(jax.tree.leaves(moved)), moved
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(outcome[:2]))


def test_metrics_are_finite_numbers(outcome):
    metrics = outcome[2]
    assert {"loss", "entropy"} <= metrics.keys()
    for name, value in metrics.items():
        assert value.shape == () and jnp.isfinite(value), name


@pytest.mark.parametrize(
    "case", [(rule, "mlp") for rule in registry.RULES], ids="-".join, indirect=True
)
def test_it_is_mapped_and_differentiated_over_eta(case, outcome):
    def total(eta):
        args = (case.learner.params, case.learner.rule_state, case.rollout, jax.random.key(3))
        params = case.rule.update(eta, *args)[0]
        steps = jax.tree.map(lambda a, b: a - b, params, case.learner.params)
        return jnp.square(optax.tree.norm(steps)), params

    etas = jax.tree.map(lambda x: jnp.stack([x, 0.9 * x]), case.eta)
    grads, params = jax.jit(jax.vmap(jax.grad(total, has_aux=True)))(etas)
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(outcome[0]), strict=True
    )
    for (path, mapped), alone in pairs:
        np.testing.assert_allclose(mapped[0], alone, rtol=1e-4, atol=1e-6)
        moved = not np.allclose(mapped[0], mapped[1], rtol=0, atol=1e-9)
        assert moved != any(getattr(entry, "key", None) in case.apart for entry in path)
    assert all(jnp.isfinite(grad).all() for grad in jax.tree.leaves(grads))
    assert any((grad != 0).all() for grad in jax.tree.leaves(grads))

"""The table against a linear layer on one-hot observations, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.agents.tabular import numbered, tabular
from metarl.types import AgentInput

HEADS = {"logits": 5, "y": 8}
KEY = jax.random.key(0)


def seen(obs):
    return AgentInput(obs, jnp.int32(0), jnp.float32(0), jnp.bool_(False))


def test_it_is_a_layer_on_one_hot_observations():
    """Of the grid-worlds of LPG: values, and the derivative of a table."""
    env, hot = (metarl.make("LPGSmall-v0", one_hot=one_hot) for one_hot in (False, True))
    agent = tabular(env, HEADS)
    params = agent.init(KEY)
    assert {k: x.shape for k, x in params.items()} == {
        k: (env.num_states, width) for k, width in HEADS.items()
    }
    level = env.default_params()
    state, _ = env.reset(KEY, level)
    state = state.replace(cell=jnp.int32(9), objects=jnp.int32(5))
    obs, _ = env.observe(state, level)
    vector, _ = hot.observe(state, level)
    said = lambda params: agent.apply(params, (), seen(obs))[0]  # noqa: E731
    total = lambda params: sum(jnp.sum(jnp.sin(x)) for x in said(params).values())  # noqa: E731
    linear = lambda params: {k: vector[:-1] @ x for k, x in params.items()}  # noqa: E731
    for name, head in said(params).items():
        np.testing.assert_allclose(head, linear(params)[name], rtol=1e-6)
    other = lambda params: sum(jnp.sum(jnp.sin(x)) for x in linear(params).values())  # noqa: E731
    for a, b in zip(*(jax.tree.leaves(jax.grad(f)(params)) for f in (total, other)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    also = tabular(hot, HEADS).apply(params, (), seen(vector))[0]
    np.testing.assert_allclose(also["y"], said(params)["y"])


def test_tables_start_as_such_a_layer_would_or_with_zeros():
    env = metarl.make("DelayedChain-v0", max_length=2000)
    table = tabular(env, HEADS).init(KEY)["y"]
    np.testing.assert_allclose(table.std(), env.num_states**-0.5, rtol=0.02)
    assert not jnp.any(tabular(env, HEADS, start="zeros").init(KEY)["y"])


def test_states_are_numbered_by_the_observation_or_by_the_environment():
    for name, count in (("TabularMDP-v0", 10), ("DelayedChain-v0", 61), ("GridWorld-v0", 25)):
        assert numbered(metarl.make(name))[0] == count
    env = metarl.make("GridWorld-v0")
    state, _ = env.reset(KEY, env.default_params())
    obs, _ = env.observe(state.replace(agent=jnp.int32(13)), env.default_params())
    assert env.index(obs) == 13


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Snake-v0", "tabular agent needs states with numbers"),
        ("LPGRandSparse-v0", "not tabular"),
        ("DelayedChainDistractor-v0", "does not tell the state"),
    ],
)
def test_states_without_numbers_are_refused(name, words):
    with pytest.raises(ValueError, match=words):
        tabular(metarl.make(name), HEADS)


def test_a_start_of_another_name_is_refused():
    with pytest.raises(ValueError, match="no start 'zero'; did you mean zeros"):
        tabular(metarl.make("TabularMDP-v0"), HEADS, start="zero")

"""Networks against numpy and lax; what agents do with masks, bounds and memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

import metarl
from metarl import host
from metarl.agents.conv import conv as conv_agent
from metarl.agents.gru import gru as gru_agent
from metarl.agents.mlp import mlp
from metarl.agents.nature import nature
from metarl.agents.uniform import uniform
from metarl.build import _for_spaces
from metarl.nets.conv import conv, conv_init, windows
from metarl.nets.gru import gru, gru_init
from metarl.nets.inputs import flat_size, flatten, scale
from metarl.nets.linear import orthogonal
from metarl.rollout import apply_all
from metarl.types import AgentInput


def test_gru_equals_numpy():
    params = gru_init(jax.random.key(0), 3, 2)
    params = jax.tree.map(lambda x: x + 0.1, params)
    h, x = np.array([0.3, -0.2]), np.array([1.0, 2.0, -1.0])
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    p = jax.tree.map(np.asarray, params)
    a, b = x @ p["in"]["w"] + p["in"]["b"], h @ p["rec"]["w"] + p["rec"]["b"]
    z, r = sigmoid(a[:2] + b[:2]), sigmoid(a[2:4] + b[2:4])
    n = np.tanh(a[4:] + r * b[4:])
    ours = gru(params, jnp.asarray(h), jnp.asarray(x))
    np.testing.assert_allclose(ours, (1 - z) * n + z * h, rtol=1e-5)


def test_conv_equals_lax():
    params = conv_init(jax.random.key(0), (3, 5))
    x = jax.random.normal(jax.random.key(1), (6, 4, 3))
    kernel = params[0]["w"].reshape(3, 3, 3, 5)
    expected = jax.lax.conv_general_dilated(
        x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]
    expected = jax.nn.relu(expected + params[0]["b"])
    np.testing.assert_allclose(conv(params, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("side", "stride"), [(8, 4), (4, 2), (3, 1)])
def test_strided_windows_equal_lax(side, stride):
    blocks, odd = side // stride, 1 if stride > 1 else 0  # cells at the border that are not used
    x = jax.random.normal(jax.random.key(0), (3 * stride + side + odd, 2 * stride + side + odd, 2))
    weights = jax.random.normal(jax.random.key(1), (side * side * 2, 5))
    kernel = weights.reshape(blocks, blocks, stride, stride, 2, 5).transpose(0, 2, 1, 3, 4, 5)
    expected = jax.lax.conv_general_dilated(
        x[None],
        kernel.reshape(side, side, 2, 5),
        (stride, stride),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )[0]
    assert expected.shape == (4, 3, 5)
    np.testing.assert_allclose(windows(x, side, stride) @ weights, expected, rtol=1e-4, atol=1e-4)


def test_pictures_are_seen_by_the_natures_network():
    env = host.HostEnv(Box(0, 255, (4, 84, 84), np.uint8), Discrete(6))
    agent = nature(env, {"logits": 6, "value": 1})
    params = agent.init(jax.random.key(0))
    shapes = [layer["w"].shape for layer in params["conv"]]
    assert shapes == [(256, 32), (512, 64), (576, 64)]
    assert params["dense"]["w"].shape == (7 * 7 * 64, 512)
    assert _for_spaces(env) == "nature"
    small = host.HostEnv(Box(0, 255, (4, 38, 36), np.uint8), Discrete(6))
    agent = nature(small, {"logits": 6, "value": 1}, channels=(2, 3, 4), hidden=5)
    params = agent.init(jax.random.key(0))
    obs = jax.random.randint(jax.random.key(1), (4, 38, 36), 0, 256).astype(jnp.uint8)
    seen = jnp.moveaxis(obs, 0, -1) / 255
    for layer, side, stride in zip(params["conv"], (8, 4, 3), (4, 2, 1), strict=True):
        seen = jax.nn.relu(windows(seen, side, stride) @ layer["w"] + layer["b"])
    assert seen.shape == (1, 1, 4)
    hidden = jax.nn.relu(seen.ravel() @ params["dense"]["w"] + params["dense"]["b"])
    told = AgentInput(obs, jnp.int32(0), jnp.float32(0), jnp.bool_(False))
    heads = agent.apply(params, (), told)[0]
    for name, layer in params["heads"].items():
        np.testing.assert_allclose(heads[name], hidden @ layer["w"] + layer["b"], atol=1e-5)
    with pytest.raises(ValueError, match="at least 36 by 36"):
        nature(metarl.make("Breakout-v0"), {"logits": 3})
    with pytest.raises(ValueError, match="3 layers"):
        nature(env, {"logits": 6}, channels=(8, 8))


@pytest.mark.parametrize("rows", [7, 16, 22])  # side by side: all, eight, and two
def test_many_planes_are_seen_as_each_of_them(rows):
    env = metarl.make("Breakout-v0")
    agent = conv_agent(env, {"logits": 3, "value": 1}, channels=(4, 4), hidden=8)
    params = agent.init(jax.random.key(0))
    obs = jax.random.bernoulli(jax.random.key(1), 0.3, (rows, *env.observation_space.shape))
    no = jnp.zeros(rows, bool)
    inputs = AgentInput(obs, jnp.zeros(rows, int), jnp.zeros(rows), no)

    def said(params, way):
        return jax.tree.leaves(way(agent, params, (), inputs)[0])

    def each(agent, params, carry, inputs):
        return jax.vmap(agent.apply, in_axes=(None, 0, 0))(params, carry, inputs)

    for got, expected in zip(said(params, apply_all), said(params, each), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)
    grads = [
        jax.grad(lambda p, way=way: sum(jnp.square(x).sum() for x in said(p, way)))(params)
        for way in (apply_all, each)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *grads)


def test_inputs_are_flat_and_of_unit_scale():
    high = np.array([[1] * 3, [144] * 3], np.uint8)
    planes = Box(np.zeros_like(high), high, dtype=np.uint8)
    obs = jnp.array([[0, 1, 0], [0, 72, 144]], jnp.uint8)
    np.testing.assert_allclose(scale(planes, obs), np.array([[0, 1, 0], [0, 0.5, 1]]))
    space = Dict({"cell": Discrete(3), "flags": MultiBinary(2), "multi": MultiDiscrete([2, 2])})
    shown = {"cell": jnp.int32(2), "flags": jnp.array([1, 0]), "multi": jnp.array([0, 1])}
    assert flat_size(space) == 9
    np.testing.assert_allclose(flatten(space, shown), [0, 0, 1, 1, 0, 1, 0, 0, 1])
    unbounded = Box(-np.inf, np.inf, (2,))
    np.testing.assert_allclose(scale(unbounded, jnp.array([5.0, -3.0])), [5.0, -3.0])


def inputs(env, *, first=True, obs=None):
    state, ts = env.reset(jax.random.key(0), env.default_params())
    obs = ts.obs if obs is None else obs
    return AgentInput(obs, jnp.int32(1), jnp.float32(0.5), jnp.bool_(first), ts.action_mask)


def test_memory_is_forgotten_at_first_only_if_asked():
    env = metarl.make("ProbeMemory-v0")
    heads = {"logits": 2, "value": 1}
    for reset_memory in (True, False):
        agent = gru_agent(env, heads, hidden=4, reset_memory=reset_memory)
        params = agent.init(jax.random.key(0))
        old, new = agent.carry() + 0.7, agent.carry()
        out = [agent.apply(params, h, inputs(env))[1] for h in (old, new)]
        assert np.allclose(*out) == reset_memory
        out = [agent.apply(params, h, inputs(env, first=False))[1] for h in (old, new)]
        assert not np.allclose(*out)


def test_memory_agents_see_their_last_action_and_reward():
    env = metarl.make("ProbeMemory-v0")
    agent = gru_agent(env, {"logits": 2, "value": 1}, hidden=4)
    params, now = agent.init(jax.random.key(0)), inputs(env)
    value = lambda x: agent.apply(params, agent.carry(), x)[0]["value"]  # noqa: E731
    assert not np.allclose(value(now), value(now.replace(prev_action=jnp.int32(0))))
    assert not np.allclose(value(now), value(now.replace(prev_reward=jnp.float32(-1))))


def test_conv_agent_refuses_what_is_not_planes():
    with pytest.raises(ValueError, match="conv agent needs planes"):
        conv_agent(metarl.make("ProbeMemory-v0"), {"logits": 2})


def test_uniform_plays_legal_actions_alike():
    env = metarl.make("ProbeMemory-v0", choices=4)
    agent = uniform(env, {"logits": 4, "value": 1})
    now = inputs(env).replace(action_mask=jnp.array([True, False, True, False]))
    heads, _ = agent.apply(agent.init(jax.random.key(0)), agent.carry(), now)
    np.testing.assert_allclose(jax.nn.softmax(heads["logits"]), np.array([0.5, 0, 0.5, 0]))


@pytest.mark.parametrize(("n_in", "n_out"), [(7, 3), (3, 7), (5, 5), (64, 16), (4, 1)])
def test_weights_start_as_jax_would_draw_them(n_in, n_out):
    key = jax.random.key(n_in)
    theirs = jax.nn.initializers.orthogonal()(key, (n_in, n_out))
    np.testing.assert_allclose(orthogonal(key, n_in, n_out), theirs, atol=2e-6)


def test_agents_of_several_seeds_are_made_without_lapack():
    """Batches of its calls, several at a time, were seen to wait for each other for ever."""
    env = metarl.make("GridWorld-v0", size=3)
    for builder in (mlp, gru_agent, conv_agent):
        agent = builder(env, {"logits": 4, "value": 1})
        seeds = jax.random.split(jax.random.key(0), 3)
        assert "custom_call" not in jax.jit(jax.vmap(agent.init)).lower(seeds).as_text()

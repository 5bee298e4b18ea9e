"""OPEN's optimizer against its equations in plain numpy, weight by weight."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.ops.upgd import normals
from metarl.rules.open import DECAYS, SIZES, open_optimizer, read_open, times, unflattened

KEY = jax.random.key(7)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain_layers(flat, units=8, width=16):
    """The file's arrays in its own order and names."""
    at, found = 0, {}

    def take(name, *shape):
        nonlocal at
        size = int(np.prod(shape))
        found[name] = flat[at : at + size].reshape(shape).astype(np.float64)
        at += size

    take("hn_b", units)
    take("hn", units, units)
    take("hr", units, units)
    take("hz", units, units)
    for name in ("in", "ir", "iz"):
        take(name + "_b", units)
        take(name, 19, units)
    for i, n_in in ((0, units), (1, width)):
        take(f"dense{i}_b", width)
        take(f"dense{i}", n_in, width)
        take(f"shift{i}", width)
        take(f"scale{i}", width)
    take("out_b", 3)
    take("out", width, 3)
    assert at == len(flat)
    return found


def plain_network(f, h, x):
    r = sigmoid(x @ f["ir"] + f["ir_b"] + h @ f["hr"])
    z = sigmoid(x @ f["iz"] + f["iz_b"] + h @ f["hz"])
    n = np.tanh(x @ f["in"] + f["in_b"] + r * (h @ f["hn"] + f["hn_b"]))
    h = (1 - z) * n + z * h
    y = h
    for i in (0, 1):
        y = y @ f[f"dense{i}"] + f[f"dense{i}_b"]
        y = (y - y.mean()) / np.sqrt(y.var() + 1e-6) * f[f"scale{i}"] + f[f"shift{i}"]
        y = np.maximum(y, 0)
    return h, y @ f["out"] + f["out_b"]


def drawn(seed, count=1211):
    return np.random.default_rng(seed).normal(size=count).astype(np.float32) * 0.5


def test_three_steps_are_those_of_the_equations():
    """Two layers and a head of the actor, a head of the critic; 2 epochs of 1 minibatch."""
    shapes = {"torso": [(2, 3), (3,)], "heads": {"logits": (3, 2), "value": (3, 1)}}
    rng = np.random.default_rng(0)
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    draw = lambda s: jnp.float32(3 * rng.normal(size=s))  # noqa: E731
    params = jax.tree.map(draw, shapes, is_leaf=is_shape)
    dormancy = {"torso": [jnp.array([0.5, 1.0, 1.5])] * 2, "heads": {"logits": 1.0, "value": 1.0}}
    flat = drawn(1)
    optimizer = open_optimizer(unflattened(flat), key=KEY, updates=2, epochs=2, minibatches=1)
    state, f = optimizer.init(params), plain_layers(flat)
    places = [1.0, 1.0, 0.0, 0.5]  # of logits, value and the torso, as the tree has them
    critic = [False, True, False, False]
    momenta = [np.zeros((6, *x.shape)) for x in jax.tree.leaves(params)]
    memory = [np.zeros((*x.shape, 8)) for x in jax.tree.leaves(params)]
    spread = jax.tree.map(lambda d, p: np.broadcast_to(d, p.shape), dormancy, params)
    dormant = jax.tree.leaves(spread)
    traced = []

    @jax.jit
    def run(grads, state, params, dormancy):
        traced.append(1)
        return optimizer.update(grads, state, params, dormancy=dormancy)

    for count in range(3):
        grads = jax.tree.map(draw, shapes, is_leaf=is_shape)
        step, state = run(grads, state, params, dormancy)
        noise = jax.tree.leaves(normals(jax.random.fold_in(KEY, count), params))
        gs = [np.asarray(g, np.float64) for g in jax.tree.leaves(grads)]
        for part in (False, True):
            own = [i for i in range(4) if critic[i] == part]
            norm = np.sqrt(sum((gs[i] ** 2).sum() for i in own))
            assert norm > 0.5
            for i in own:
                gs[i] = gs[i] * 0.5 / norm
        us = []
        for i, p in enumerate(np.asarray(x) for x in jax.tree.leaves(params)):
            for j, d in enumerate(DECAYS):
                momenta[i][j] = d * momenta[i][j] + (1 - d) * gs[i]
            rows = [p, *np.sign(momenta[i]), *np.log(np.abs(momenta[i]) + 1e-13)]
            rows += [np.sign(gs[i]), np.log(np.abs(gs[i]) + 1e-13)]
            rows = [x / np.sqrt(1e-5 + (x**2).mean()) for x in rows]
            u = np.zeros(p.shape)
            for w in np.ndindex(*p.shape):
                told = [(count // 2) / 2, places[i], count % 2, dormant[i][w]]
                x = np.array([*(row[w] for row in rows), *told])
                memory[i][w], o = plain_network(f, memory[i][w], x)
                u[w] = 1e-3 * o[0] * np.exp(1e-3 * o[1])
                u[w] += 0 if critic[i] else 1e-3 * o[2] * float(noise[i][w])
            us.append(u)
        mean = np.concatenate([u.ravel() for u in us]).mean()
        for u, found in zip(us, jax.tree.leaves(step), strict=True):
            np.testing.assert_allclose(found, mean - u, rtol=1e-3, atol=2e-7)
        params = jax.tree.map(jnp.add, params, step)
    assert len(traced) == 1


def test_times_of_two_rollouts():
    told = [times(jnp.int32(n), 2, 3, 2) for n in range(12)]
    np.testing.assert_allclose([t[0] for t in told], [0.0] * 6 + [0.5] * 6)
    np.testing.assert_allclose([t[1] for t in told], [0, 0, 0.5, 0.5, 1, 1] * 2)


def test_ppo_learns_with_it():
    import metarl
    from metarl.agents.mlp import mlp
    from metarl.inner import act, birth
    from metarl.rollout import vectorize
    from metarl.rules import ppo

    env = metarl.make("Bandit-v0")
    agent = mlp(env, ppo.heads(env), hidden=(4,), separate=True)
    optimizer = open_optimizer(unflattened(drawn(2)), key=KEY, updates=3, epochs=1, minibatches=1)
    rule = ppo.ppo(agent, ppo.heads(env), optimizer=optimizer, epochs=1, minibatches=1)
    venv = vectorize(env, 2)

    @jax.jit
    def run(key):
        born = birth(agent, rule, venv, env.default_params(), key)
        rollout, _ = act(agent, venv, born, key, length=3)
        new, _, _ = rule.update(rule.init_eta(key), born.params, born.rule_state, rollout, key)
        return born.params, new

    old, new = run(jax.random.key(0))
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), old, new)
    assert all(0 < x < 0.1 for x in jax.tree.leaves(moved)), moved
    total = sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a - b).sum(), old, new)))
    assert abs(total) < 1e-5  # steps have no mean


def test_what_does_not_fit_is_refused_in_words(tmp_path):
    for flat in (drawn(0, 1210), drawn(0).astype(np.float64), drawn(0)[None]):
        with pytest.raises(ValueError, match="1211 or 3571"):
            unflattened(flat)
    with pytest.raises(ValueError, match="not finite"):
        unflattened(drawn(0) * np.float32(np.nan))
    with pytest.raises(ValueError, match="no file"):
        read_open(tmp_path / "none.npy")
    (tmp_path / "half.npy").write_bytes(b"\x93NUMPY half")
    with pytest.raises(ValueError, match="cut short"):
        read_open(tmp_path / "half.npy")
    with pytest.raises(ValueError, match="at least 1"):
        open_optimizer(unflattened(drawn(0)), key=KEY, updates=0)
    optimizer = open_optimizer(unflattened(drawn(0)), key=KEY, updates=1)
    with pytest.raises(ValueError, match="needs the params"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


def test_the_seven_published_ones_can_be_read():
    folder = Path(os.environ.get("METARL_DATA", "data")) / "open"
    if not folder.is_dir():
        pytest.skip("no weights; name the folder that holds open/ in METARL_DATA")
    games = ("ant", "asterix", "breakout", "freeway", "gridworld", "multi", "spaceinvaders")
    for game in games:
        net = read_open(folder / f"{game}_OPEN.npy")
        count = sum(x.size for x in jax.tree.leaves(net))
        assert count == (3571 if game == "multi" else 1211) and count in SIZES
        assert jnp.std(net["in"]["w"]) > 0.01

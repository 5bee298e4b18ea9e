"""Populations of staggered lives, whole runs in pieces, and what is said of a meta-gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl.meta.bijections import sigmoid, softplus
from metarl.meta.common import MEMORY, MetaState, Moments, meta_adam, moved
from metarl.meta.context import contextual
from metarl.meta.lives import lives, staggered
from metarl.meta.metagrad import metagrad
from metarl.testing.compare import differences
from metarl.train import meta_train
from metarl.types import MetaLearner

LIFETIME, LEARNERS = 6, 3


@pytest.fixture(scope="module")
def parts(meta_parts):
    return meta_parts()


@pytest.fixture(scope="module")
def aged(parts, compilations):
    """Ten meta-updates of a loop in which learners grow older by one: after each, population."""
    idle = MetaLearner(
        lambda key, learners: (),
        lambda state, learners, key: (state, learners.replace(age=learners.age + 1), {}),
    )
    meta = lives(idle, parts.born, lifetime=LIFETIME)
    size = {"learners": LEARNERS, "lifetime": LIFETIME}
    first = jax.jit(lambda key: staggered(parts.born, key, **size))(jax.random.key(0))
    history, births = [first], []
    update: Any = jax.jit(meta.update)

    def grow():
        _, learners, metrics = update((), history[-1], jax.random.key(1))
        history.append(learners)
        births.append(int(metrics["births"]))

    grow()
    with compilations() as found:
        for _ in range(9):
            grow()
    assert not found
    return history, births


def test_births_come_one_at_a_time_at_the_end_of_each_life(aged):
    history, births = aged
    ages = np.array([learners.age for learners in history])
    assert ages[0].tolist() == [0, 2, 4]
    assert births == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    for before, after in zip(ages[:-1], ages[1:], strict=True):
        assert (after == np.where(before == LIFETIME - 1, 0, before + 1)).all()
    assert history[-1].life.tolist() == [1, 2, 2]


def test_whoever_is_born_is_new_and_whoever_lives_stays(aged):
    history, _ = aged
    seen = {}
    for before, after in zip(history[:-1], history[1:], strict=True):
        for place in range(LEARNERS):
            old, new = (x.params["torso"][0]["w"][place] for x in (before, after))
            same = bool(after.life[place] == before.life[place])
            assert (old == new).all() if same else (old != new).any()
            seen[place, int(after.life[place])] = np.asarray(new).tobytes()
    assert len(set(seen.values())) == len(seen) == 3 + 1 + 2 + 2  # all lives differ in all places
    assert not [*differences(history[0], history[-1])]


@pytest.fixture(scope="module")
def meta(parts):
    """All that remembers something: Adam, a context of rewards, momenta, lives that end."""
    rule = contextual(
        parts.rule, hidden=(3,), window=2, entropy_cost=softplus(), discount=sigmoid()
    )
    inner = (parts.agent, rule, parts.venv, parts.objective)
    loop = metagrad(*inner, meta_adam(0.1, max_norm=1.0), length=parts.length)

    def born(key):
        learner = parts.born(key)
        return learner.replace(rule_state=rule.init(learner.params))

    return lives(loop, born, lifetime=3), born


def test_a_run_in_two_pieces_is_the_same_run(meta, compilations):
    """Bit for bit, with no second compilation; births among it."""
    meta, born = meta
    key = jax.random.key(2)
    learners = jax.jit(lambda k: staggered(born, k, learners=2, lifetime=3))(jax.random.key(0))
    state = jax.jit(meta.init)(jax.random.split(key)[0], learners)

    def run(updates):
        def go(state, learners):
            return meta_train(meta, learners, key, updates=updates, state=state)

        return jax.jit(go)

    half = run(3)
    state_a, learners_a, a = half(state, learners)
    with compilations() as found:
        state_b, learners_b, b = half(state_a, learners_a)
    assert not found
    *whole, metrics = run(6)(state, learners)
    assert metrics["births"].sum() == 4 and metrics["births"].max() == 1
    jax.tree.map(np.testing.assert_array_equal, whole, [state_b, learners_b])
    joined = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a, b)
    jax.tree.map(np.testing.assert_array_equal, metrics, joined)
    changed = jax.tree.map(lambda x, y: (x != y).any(), state.eta, state_b.eta)
    assert all(jax.tree.leaves(changed))


def test_what_is_said_of_meta_gradients_equals_numpy():
    """Norm, deviation and signal-to-noise of twelve of them, and the numbers that stand alone."""
    eta = {"lone": jnp.float32(0.5), "many": jnp.ones(3)}
    optimizer = optax.sgd(0.1)
    zeros = jax.tree.map(jnp.zeros_like, eta)
    state = MetaState(eta, optimizer.init(eta), Moments(zeros, zeros), jnp.int32(0))
    rng = np.random.default_rng(0)
    grads = rng.normal(0.3, 1.0, (12, 2, 4)).astype(np.float32)  # [time, learners, lone and many]
    step = jax.jit(lambda state, g: moved(optimizer, state, {"lone": g[:, 0], "many": g[:, 1:]}))
    for g in grads:
        state, told = step(state, g)
    means = grads.mean(axis=1, dtype=np.float64)  # [time, 4]
    ages = np.arange(11, -1, -1)
    weights = MEMORY**ages / (MEMORY**ages).sum()
    mean, square = weights @ means, weights @ means**2
    std = np.sqrt((square - mean**2).sum())
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4)  # noqa: E731
    close(told["meta_grad_norm"], np.linalg.norm(means[-1]))
    close(told["meta_grad_std"], std)
    close(told["meta_grad_snr"], np.linalg.norm(mean) / std)
    close(told["meta_grad/lone"], means[-1, 0])
    close(told["eta/lone"], 0.5 - 0.1 * means[:, 0].sum())
    close(state.eta["many"], 1 - 0.1 * means[:, 1:].sum(axis=0))
    assert {k for k in told if "/" in k} == {"eta/lone", "meta_grad/lone"}
    assert state.updates == 12

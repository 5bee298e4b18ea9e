"""Evolution strategies: closed forms, a bias computed by hand, and the library evosax."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.inner import act, birth
from metarl.meta.evolution import (
    both_sides,
    centred_ranks,
    differences,
    episode_return,
    evolution,
    minus_reward,
    persistent,
    perturbations,
    slopes,
)
from metarl.meta.lives import lives
from metarl.rollout import vectorize
from metarl.train import meta_train
from metarl.types import Agent, UpdateRule

STD = 0.5
ETA, GOAL = 1.0, 3.0


def estimates(loss, eta, *, pairs, ranked=False):
    """[P, ...] the gradient by each pair."""
    noise = perturbations(jax.random.key(0), eta, pairs)
    losses = jax.vmap(jax.vmap(loss))(both_sides(eta, noise, STD))
    return slopes(differences(losses, ranked=ranked), noise, STD)


def test_the_estimate_is_the_gradient_of_the_smoothed_loss():
    """Of x' H x / 2 + sum x ** 3 that is H x + 3 x ** 2 + 3 std ** 2, the loss's own and more."""
    hessian = jnp.array([[2.0, 0.5], [0.5, 1.0]])
    eta = {"a": jnp.array([0.3, -0.7])}

    def loss(eta):
        x = eta["a"]
        return x @ hessian @ x / 2 + jnp.sum(x**3)

    found = np.asarray(jax.jit(lambda: estimates(loss, eta, pairs=40_000))()["a"])
    smoothed = hessian @ eta["a"] + 3 * eta["a"] ** 2 + 3 * STD**2
    error = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - smoothed) < 4 * error).all()
    assert (error < 0.05).all()  # far less than what smoothing adds


def test_ranks_are_centred_and_equal_values_share_theirs():
    ranks = centred_ranks(jnp.array([[3.0, 1.0], [1.0, 7.0]]))
    np.testing.assert_allclose(ranks, [[2 / 3 - 0.5, 1 / 6 - 0.5], [1 / 6 - 0.5, 0.5]], rtol=1e-6)
    gaps = differences(jnp.array([[3.0, 1.0], [1.0, 7.0]]), ranked=True)
    np.testing.assert_allclose(gaps, [0.5, -5 / 6], rtol=1e-6)


def test_ranks_do_not_care_for_scale_and_a_pair_with_nan_does_not_count():
    losses = jnp.array([[3.0, 1.0], [jnp.nan, 2.0], [0.0, 7.0]])
    ranked = differences(losses, ranked=True)
    np.testing.assert_allclose(ranked, differences(jnp.exp(losses), ranked=True))
    np.testing.assert_allclose(differences(losses, ranked=False), [2.0, 0.0, -7.0])
    assert ranked[1] == 0


def test_what_both_of_a_pair_share_cancels():
    """The same chance for both leaves the estimate as it is; chance of its own would not."""
    common = 100 * jax.random.normal(jax.random.key(1), (8, 1))
    losses = jax.random.normal(jax.random.key(2), (8, 2))
    gaps = differences(losses + common, ranked=False)
    np.testing.assert_allclose(gaps, differences(losses, ranked=False), atol=1e-4)


@pytest.mark.parametrize("ranked", [False, True])
def test_evosax_finds_the_same(ranked):
    """Their step with a rate of one is minus our mean, from the same etas and losses."""
    algorithms = pytest.importorskip("evosax.algorithms")
    shaping = pytest.importorskip("evosax.core.fitness_shaping")
    name = "centered_rank" if ranked else "identity"
    pairs, eta = 6, jnp.array([0.3, -0.7, 2.0])
    noise = perturbations(jax.random.key(0), eta, pairs)
    earlier = perturbations(jax.random.key(1), eta, pairs)
    losses = jax.random.normal(jax.random.key(2), (pairs, 2))
    gaps = differences(losses, ranked=ranked)
    common = {
        "optimizer": optax.sgd(1.0),
        "std_schedule": optax.constant_schedule(STD),
        "fitness_shaping_fn": getattr(shaping, f"{name}_fitness_shaping_fn"),
    }
    etas = both_sides(eta, noise, STD)
    order = lambda x: jnp.concatenate([x[:, 0], x[:, 1]])  # noqa: E731
    for build, summed in (
        (algorithms.Open_ES, noise),
        (algorithms.PersistentES, noise + earlier),
    ):
        other = build(population_size=2 * pairs, solution=eta, **common)
        params = other.default_params
        state = other.init(jax.random.key(3), eta, params)
        if build is algorithms.PersistentES:
            state = state.replace(pert_accum=STD * jnp.concatenate([summed, -summed]))
        state, _ = other.tell(jax.random.key(4), order(etas), order(losses), state, params)
        ours = slopes(gaps, summed, STD).mean(axis=0)
        np.testing.assert_allclose(eta - other.get_mean(state), ours, rtol=1e-5, atol=1e-6)


def toy():
    """A life of two updates x <- x + eta, from x = 0, with losses x ** 2 / 2, (x - 3) ** 2 / 2.

    With eta throughout they add up to eta ** 2 / 2 + (2 eta - 3) ** 2 / 2, whose slope at 1 is
    1 + 2 (2 - 3) = -1. Truncated to windows of one update it is 1 + (2 - 3) = 0: the second window
    takes x as given.
    """
    env = metarl.make("ProbeAction-v0")
    heads = {"logits": int(env.action_space.n)}
    zero = {"x": jnp.float32(0), "age": jnp.float32(0)}
    logits = jnp.zeros(heads["logits"])
    agent = Agent(lambda key: zero, lambda: (), lambda params, carry, x: ({"logits": logits}, ()))

    def update(eta, params, state, rollout, key):
        return {"x": params["x"] + eta, "age": params["age"] + 1}, state, {}

    rule = UpdateRule(heads, lambda key: jnp.float32(ETA), lambda params: (), update)
    venv = vectorize(env, 1)
    born = partial(birth, agent, rule, venv, env.default_params())

    def objective(params, rollout):
        first, second = jnp.square(params["x"]) / 2, jnp.square(params["x"] - GOAL) / 2
        return jnp.where(params["age"] == 1, first, second)

    return (agent, rule, venv, optax.sgd(0.0)), born, objective


def slope_of_a_life(build, updates, learners, runs=32):
    """[runs] the sum of a life's meta-gradients; eta stays where it is."""
    parts, born, objective = toy()
    meta = lives(build(*parts, objective=objective, length=1, std=STD), born, lifetime=2)

    def run(key):
        birth_key, key = jax.random.split(key)
        population = jax.vmap(born)(jax.random.split(birth_key, learners))
        state, _, metrics = meta_train(meta, population, key, updates=2 * updates)
        return metrics["meta_grad/"].sum() / 2, metrics["births"]

    slopes, births = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(5), runs))
    assert (births[:, updates - 1 :: updates] == learners).all()
    return np.asarray(slopes)


@pytest.mark.parametrize(
    "build, updates, learners, expected",
    [
        (persistent, 2, 256, -1.0),
        (partial(evolution, pairs=16, ranked=False), 2, 8, 0.0),
        (partial(evolution, pairs=16, ranked=False, weights=(1.0, 1.0)), 1, 8, -1.0),
    ],
    ids=["persistent", "truncated", "whole lives"],
)
def test_persistence_removes_the_bias_of_windows(build, updates, learners, expected):
    found = slope_of_a_life(build, updates, learners)
    error = found.std() / np.sqrt(len(found))
    assert error < 0.05
    assert abs(found.mean() - expected) < 4 * error


def test_pairs_live_with_the_same_chance():
    """Where eta does nothing, random rewards cancel to rounding, whatever the fitness."""
    (agent, rule, venv, _), born, _ = toy()
    idle = rule._replace(update=lambda eta, params, state, rollout, key: (params, state, {}))
    population = jax.vmap(born)(jax.random.split(jax.random.key(0), 4))
    parts = (agent, idle, venv, optax.adam(0.1))
    for meta in (
        persistent(*parts, length=3, std=STD),
        evolution(*parts, length=3, std=STD, pairs=2, ranked=False, fitness=episode_return),
    ):
        state, _, metrics = jax.jit(partial(meta_train, meta, updates=9))(
            population, jax.random.key(1)
        )
        assert (metrics["meta_grad_norm"] < 1e-6).all()
        assert metrics["meta_loss"].std() > 0.01  # there is chance


def test_mistakes_are_named():
    parts, born, _ = toy()
    with pytest.raises(ValueError, match="std must be above 0"):
        persistent(*parts, length=1, std=0.0)
    with pytest.raises(ValueError, match="pairs must be at least 1"):
        evolution(*parts, length=1, std=1.0, pairs=0)
    odd = jax.vmap(born)(jax.random.split(jax.random.key(0), 3))
    with pytest.raises(ValueError, match="even number of learners, got 3"):
        persistent(*parts, length=1, std=1.0).init(jax.random.key(0), odd)
    with pytest.raises(ValueError, match="must not be zero"):
        evolution(*parts, length=1, std=1.0, pairs=1, weights=())


def test_the_default_objective_is_minus_the_reward():
    parts, born, _ = toy()
    learner = born(jax.random.key(0))
    rollout, _ = act(parts[0], parts[2], learner, jax.random.key(1), length=4)
    np.testing.assert_allclose(minus_reward(learner.params, rollout), -rollout.reward.mean())

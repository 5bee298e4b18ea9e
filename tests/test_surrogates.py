"""Surrogates and the meta-gradients they give, against enumeration and formulas written out."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.meta.exact import Problem, limit, moments, population, sampled
from metarl.ops.enumeration import samples, trajectories
from metarl.ops.surrogates import SURROGATES, box, dice, histories, loaded_dice, plain, score

HORIZON, STEP = 2, 0.5
TRANSITIONS = np.array([[[0.7, 0.3], [0.2, 0.8]], [[0.5, 0.5], [0.9, 0.1]]])
REWARDS = np.array([[1.0, -0.5], [0.3, 2.0]])
LOGITS = np.array([[0.4, -0.2], [-0.7, 0.1]])


def state_values():
    """[T, S], by backward induction."""
    pi = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    value, found = np.zeros(2), []
    for _ in range(HORIZON):
        value = (pi * (REWARDS + TRANSITIONS @ value)).sum(1)
        found.append(value)
    return np.stack(found[::-1])


@pytest.fixture(scope="module")
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def problem(double):
    paths = trajectories(jnp.asarray(TRANSITIONS), jnp.asarray(REWARDS), horizon=HORIZON)
    baseline = jnp.asarray(state_values())[jnp.arange(HORIZON), paths.state]
    return Problem(paths, baseline, STEP)


@pytest.fixture(scope="module")
def truth(problem):
    """Exact derivatives at LOGITS: V, J_N for N = 1, 2 and J, and the Hessian of V."""

    @jax.jit
    def compute(logits):
        sizes = {n: jax.grad(partial(sampled, problem, plain, size=n))(logits) for n in (1, 2)}
        ideal = jax.grad(lambda x: population(problem, x))(logits)
        value = problem.paths.value
        return jax.grad(value)(logits), sizes, ideal, jax.hessian(value)(logits).reshape(4, 4)

    return compute(jnp.asarray(LOGITS))


def relative(found, expected):
    return float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected))


def test_trajectories_and_samples_are_all_there_are(problem):
    paths = problem.paths
    assert paths.state.shape == (8, 2)
    np.testing.assert_allclose(paths.probability(jnp.asarray(LOGITS)).sum(), 1)
    np.testing.assert_allclose(paths.value(jnp.asarray(LOGITS)), state_values()[0, 0])
    counts, orders = samples(3, 4)
    assert len(counts) == 15 and (counts.sum(1) == 4).all()
    np.testing.assert_allclose(np.exp(orders).sum(), 3**4)


def test_histories_start_anew_with_each_episode():
    upto, before = histories(jnp.arange(1.0, 6.0), jnp.array([0, 1, 0, 0, 1], bool))
    np.testing.assert_array_equal(upto, [1, 3, 3, 7, 12])
    np.testing.assert_array_equal(before, [0, 1, 0, 3, 7])


def test_dice_is_the_sum_of_boxed_rewards(double):
    """Its published form, in first and third derivatives; and loaded DiCE without baseline."""
    reward, baseline = jnp.array([0.5, -1.0, 2.0, 0.3]), jnp.array([0.2, 0.7, -0.4, 1.0])
    last = jnp.array([False, False, True, True])
    returns = jnp.array([1.5, 1.0, 2.0, 0.3])
    features = jnp.array([[0.3, -1.0], [0.8, 0.2], [-0.5, 0.9], [1.1, 0.4]])
    log_prob = lambda x: jax.nn.log_sigmoid(features @ x)  # noqa: E731

    def published(x):
        lp = log_prob(x)
        past = jnp.concatenate([jnp.cumsum(lp[:3]), lp[3:]])
        return jnp.sum(box(past) * reward) + jnp.sum((1 - box(lp)) * baseline)

    ours = lambda x: dice(log_prob(x), returns, baseline, last).sum()  # noqa: E731
    bare = lambda f: lambda x: f(log_prob(x), returns, 0 * baseline, last).sum()  # noqa: E731
    x = jnp.array([0.3, -0.6])
    for f, g in ((ours, published), (bare(dice), bare(loaded_dice))):
        for derivative in (jax.grad, lambda f: jax.jacfwd(jax.hessian(f))):
            found, expected = jax.jit(lambda x: (derivative(f)(x), derivative(g)(x)))(x)  # noqa: B023
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_expected_second_derivatives_are_those_of_theory(problem, truth):
    """The Hessian for DiCE; without cross terms for LVC; none at all for plain autodiff here."""
    paths, logits = problem.paths, jnp.asarray(LOGITS)
    chance, adv = paths.probability(logits), paths.returns() - problem.baseline
    last = jnp.zeros(paths.reward.shape, bool).at[:, -1].set(True)

    def derivatives(surrogate):
        def total(x):
            args = (paths.log_probs(x), paths.returns(), problem.baseline, last)
            return jnp.dot(chance, jax.vmap(surrogate)(*args).sum(axis=1))

        return jax.jit(lambda x: (jax.grad(total)(x), jax.hessian(total)(x).reshape(4, 4)))(logits)

    # of single steps: log pi(a | s) = x[s, a] - logsumexp(x[s]), by hand
    pi = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    steps = np.zeros((4, 4))
    for k, t in itertools.product(range(8), range(HORIZON)):
        s, a = int(paths.state[k, t]), int(paths.action[k, t])
        slope, curve = np.zeros((2, 2)), np.zeros((2, 2, 2, 2))
        slope[s] = (np.arange(2) == a) - pi[s]
        curve[s, :, s] = np.outer(pi[s], pi[s]) - np.diag(pi[s])
        curve = curve.reshape(4, 4) + np.outer(slope.ravel(), slope.ravel())
        steps += float(chance[k] * adv[k, t]) * curve
    expected = {"plain": 0 * steps, "lvc": steps, "dice": truth[3], "loaded_dice": truth[3]}
    for name, surrogate in SURROGATES.items():
        slope, hessian = derivatives(surrogate)
        np.testing.assert_allclose(slope, truth[0], rtol=1e-10, err_msg=name)
        np.testing.assert_allclose(hessian, expected[name], atol=1e-12, err_msg=name)
    assert relative(steps, truth[3]) > 0.1  # or the test above could not tell LVC from DiCE


def by_hand(problem, logits, weight):
    """Mean and variance of plain autodiff with E-MAML's term for N = 1, trajectory by trajectory.

    Written out: theta' = theta + a sum_t (onehot - pi) adv, whose derivative in the logits of a
    state is minus the covariance of the policy there, times the advantages.
    """
    paths = problem.paths
    state, action, reward = (np.asarray(x) for x in (paths.state, paths.action, paths.reward))
    returns = reward[:, ::-1].cumsum(1)[:, ::-1]
    adv = returns - np.asarray(problem.baseline)

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(1, keepdims=True)

    def chances(x):
        return np.asarray(paths.nature) * softmax(x)[state, action].prod(1)

    def slope(x, k, weights):
        found = np.zeros((2, 2))
        for t in range(HORIZON):
            found[state[k, t]] += weights[t] * (
                (np.arange(2) == action[k, t]) - softmax(x)[state[k, t]]
            )
        return found

    value, mean, square = chances(logits) @ returns[:, 0], np.zeros(4), 0.0
    for i in range(8):
        jacobian = np.eye(4)
        for t in range(HORIZON):
            s, p = state[i, t], softmax(logits)[state[i, t]]
            block = slice(2 * s, 2 * s + 2)
            jacobian[block, block] -= STEP * adv[i, t] * (np.diag(p) - np.outer(p, p))
        after = logits + STEP * slope(logits, i, adv[i])
        extra = slope(logits, i, np.ones(HORIZON)).ravel()
        for k in range(8):
            one = jacobian @ slope(after, k, returns[k]).ravel()
            one = one + weight * (returns[k, 0] - value) * extra
            chance = chances(logits)[i] * chances(after)[k]
            mean, square = mean + chance * one, square + chance * one @ one
    return mean, square - mean @ mean


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_moments_equal_those_written_out(problem, weight):
    compute = jax.jit(lambda x: moments(problem, plain, x, 1, score=weight))
    found = compute(jnp.asarray(LOGITS))
    mean, variance = by_hand(problem, LOGITS, weight)
    np.testing.assert_allclose(found.mean.ravel(), mean, rtol=1e-9)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-9)


def test_score_is_log_probability_times_a_constant():
    grad = jax.grad(lambda x: score(jnp.array([2.0, 3.0]) * x, 5 * x))(2.0)
    assert grad == 10 * 5


def test_bias_of_each_estimator_is_as_theory_says(problem, truth):
    """For J_N: E-MAML none. For J, many trajectories: DiCE none. All others some, as pinned."""
    _, sizes, ideal, _ = truth

    @jax.jit
    def compute(logits):
        mean = lambda name, n, **how: moments(problem, SURROGATES[name], logits, n, **how).mean  # noqa: E731
        scored = {n: mean("plain", n, score=1.0) for n in sizes}
        far = {name: limit(problem, SURROGATES[name], logits) for name in SURROGATES}
        return scored, {name: mean(name, 1) for name in SURROGATES}, far

    scored, means, far = compute(jnp.asarray(LOGITS))
    for n, exact in sizes.items():
        assert relative(scored[n], exact) < 1e-12
    bias = {name: relative(mean, sizes[1]) for name, mean in means.items()}
    left = {name: relative(mean, ideal) for name, mean in far.items()}
    assert left["dice"] < 1e-12 and left["loaded_dice"] < 1e-12
    pinned = {"plain": 0.06589342, "lvc": 0.06988952, "dice": 0.01870367, "loaded_dice": 0.03528307}
    assert bias == pytest.approx(pinned, rel=1e-6)
    assert (left["plain"], left["lvc"]) == pytest.approx((0.08854371, 0.07467941), rel=1e-6)

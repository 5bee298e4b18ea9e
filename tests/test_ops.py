"""Returns, distributions and statistics against hand-computed numbers, loops and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from metarl.ops.distributions import MASKED, Categorical, Gaussian, masked, policy_heads
from metarl.ops.returns import gae
from metarl.ops.statistics import episodes, mean_interval
from metarl.types import EpisodeStats

NO, YES = jnp.array([False]), jnp.array([True])


def test_gae_bootstraps_at_truncation_and_not_at_termination():
    reward, value, after = jnp.array([1.0]), jnp.array([2.0]), jnp.array([10.0])
    np.testing.assert_allclose(gae(reward, YES, NO, value, after, discount=0.5), [-1.0])
    np.testing.assert_allclose(gae(reward, NO, YES, value, after, discount=0.5), [4.0])
    np.testing.assert_allclose(gae(reward, NO, NO, value, after, discount=0.5), [4.0])


def test_gae_equals_its_definition_as_a_sum():
    rng = np.random.default_rng(0)
    length, discount, decay = 12, 0.9, 0.7
    reward, value, after = rng.normal(size=(3, length))
    terminated = rng.random(length) < 0.2
    truncated = ~terminated & (rng.random(length) < 0.2)
    delta = reward + discount * np.where(terminated, 0, after) - value
    expected = np.zeros(length)
    for t in range(length):
        for k in range(t, length):
            expected[t] += (discount * decay) ** (k - t) * delta[k]
            if terminated[k] or truncated[k]:
                break
    ours = jax.jit(gae)(
        reward, terminated, truncated, value, after, discount=discount, lambda_=decay
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_gae_is_differentiable_in_the_discount():
    reward, value, after = jnp.array([1.0, 2.0]), jnp.zeros(2), jnp.array([3.0, 4.0])
    flags = jnp.zeros(2, bool)
    first = lambda d: gae(reward, flags, flags, value, after, discount=d, lambda_=1.0)[0]  # noqa: E731
    # adv_0 = 1 + 3 d + d (2 + 4 d), so its derivative is 5 + 8 d.
    np.testing.assert_allclose(jax.grad(first)(0.5), 9.0, rtol=1e-6)


def test_categorical_agrees_with_scipy():
    logits, other = jnp.array([0.3, -1.0, 2.0]), jnp.array([1.0, 0.0, -0.5])
    p, q = scipy.special.softmax(logits), scipy.special.softmax(other)
    pi = Categorical(logits)
    np.testing.assert_allclose(pi.entropy(), scipy.stats.entropy(p), rtol=1e-5)
    np.testing.assert_allclose(pi.kl(Categorical(other)), scipy.stats.entropy(p, q), rtol=1e-5)
    np.testing.assert_allclose(pi.log_prob(jnp.int32(1)), np.log(p[1]), rtol=1e-5)
    assert pi.mode() == 2


def test_categorical_draws_with_its_probabilities_and_never_the_impossible():
    logits = jnp.array([MASKED, 0.0, 1.0, MASKED, 0.5, MASKED])
    pi = Categorical(logits)
    keys = jax.random.split(jax.random.key(0), 20_000)
    counts = np.bincount(jax.jit(jax.vmap(pi.sample))(keys), minlength=6)
    assert counts[[0, 3, 5]].sum() == 0
    possible = [1, 2, 4]
    expected = np.array(scipy.special.softmax(logits))[possible] * counts.sum()
    assert scipy.stats.chisquare(counts[possible], expected).pvalue > 1e-3


def test_categorical_draws_batches_with_one_key():
    logits = jnp.broadcast_to(jnp.array([0.0, MASKED, 0.0]), (1000, 3))
    actions = Categorical(logits).sample(jax.random.key(1))
    assert actions.shape == (1000,) and set(np.unique(actions)) == {0, 2}


def test_masked_entropy_and_gradients_are_finite():
    def entropy(logits):
        heads = masked({"logits": logits}, jnp.array([True, False, True]))
        return Categorical(heads["logits"]).entropy()

    value, grad = jax.value_and_grad(entropy)(jnp.array([0.0, 50.0, 0.0]))
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(grad, 0, atol=1e-6)


def test_gaussian_agrees_with_scipy():
    mean, log_std = jnp.array([0.5, -1.0]), jnp.array([0.2, -0.3])
    pi = Gaussian(mean, log_std)
    ref = scipy.stats.norm(mean, np.exp(log_std))
    action = jnp.array([0.0, 0.3])
    np.testing.assert_allclose(pi.log_prob(action), ref.logpdf(action).sum(), rtol=1e-5)
    np.testing.assert_allclose(pi.entropy(), ref.entropy().sum(), rtol=1e-5)
    other = Gaussian(jnp.array([0.0, 0.0]), jnp.array([0.0, 0.0]))
    draws = jax.vmap(pi.sample)(jax.random.split(jax.random.key(0), 40_000))
    estimate = jnp.mean(jax.vmap(lambda a: pi.log_prob(a) - other.log_prob(a))(draws))
    np.testing.assert_allclose(pi.kl(other), estimate, atol=0.02)


def test_policy_heads_refuse_what_they_cannot_do():
    from gymnasium.spaces import Box, Discrete, MultiBinary

    assert policy_heads(Discrete(3)) == {"logits": 3}
    assert policy_heads(Box(-1, 1, (2,))) == {"mean": 2, "log_std": 2}
    with pytest.raises(TypeError, match="Discrete or one-dimensional Box"):
        policy_heads(MultiBinary(3))


def test_episode_accounts_equal_a_loop():
    rng = np.random.default_rng(1)
    envs, length, chunks = 5, 7, 4
    reward = rng.normal(size=(envs, chunks * length)).astype(np.float32)
    last = rng.random(reward.shape) < 0.15
    stats = EpisodeStats(jnp.zeros(envs), jnp.zeros(envs, jnp.int32))
    account = jax.jit(episodes)
    running, steps = np.zeros(envs), np.zeros(envs)
    for chunk in range(chunks):
        part = slice(chunk * length, (chunk + 1) * length)
        stats, metrics = account(stats, reward[:, part], last[:, part])
        returns, lengths = [], []
        for t in range(chunk * length, (chunk + 1) * length):
            running, steps = running + reward[:, t], steps + 1
            returns += list(running[last[:, t]])
            lengths += list(steps[last[:, t]])
            running, steps = running * ~last[:, t], steps * ~last[:, t]
        assert metrics["episodes"] == len(returns)
        mean = np.mean(returns) if returns else np.nan
        np.testing.assert_allclose(metrics["episode_return"], mean, atol=1e-5)
        np.testing.assert_allclose(
            metrics["episode_length"], np.mean(lengths) if lengths else np.nan, rtol=1e-6
        )
        np.testing.assert_allclose(stats.ret, running, atol=1e-5)
        np.testing.assert_array_equal(stats.length, steps)


@pytest.mark.parametrize("count", [2, 3, 8, 20])
def test_mean_interval_covers(count):
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        mean, low, high = mean_interval(rng.normal(3.0, 1.0, size=count), seed=seed)
        assert low <= mean <= high
        hits += low <= 3.0 <= high
    assert 180 <= hits <= 198  # 95 % nominal: 190 with a standard deviation of 3


def test_mean_interval_of_few_is_students_t_and_says_what_it_cannot():
    half = 12.7062047  # of t with one degree of freedom, at 97.5 %, from a printed table
    np.testing.assert_allclose(mean_interval(np.array([1.0, 3.0])), (2, 2 - half, 2 + half))
    assert mean_interval(np.array([0.25, 0.75]), within=(0, 1)) == (0.5, 0, 1)
    assert mean_interval(np.array([2.0, 2.0])) == (2.0, 2.0, 2.0)
    assert np.isnan(mean_interval(np.array([2.0]))[1])
    with pytest.raises(ValueError, match="at least one"):
        mean_interval(np.array([]))

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

import metarl
from metarl.envs.bandit import Bandit, Params


@pytest.fixture(scope="module")
def mean_reward():
    """The mean reward of each arm over 4000 pulls."""

    def pull(key, arm, params):
        env = Bandit(num_actions=3)
        state, _ = env.reset(key, params)
        return env.step(key, state, arm, params)[1].reward

    keys = jax.random.split(jax.random.key(0), 4000)
    pulls = jax.vmap(jax.vmap(pull, in_axes=(0, None, None)), in_axes=(None, 0, None))
    return jax.jit(lambda arms, params: pulls(keys, arms, params).mean(axis=1))


def test_an_arm_pays_with_its_probability(mean_reward):
    arms = jnp.array([0.0, 0.3, 1.0])
    means = mean_reward(jnp.arange(3), Params(arms, jnp.int32(5)))
    np.testing.assert_allclose(means, arms, atol=4 * np.sqrt(0.3 * 0.7 / 4000))


def test_arm_numbers_are_clipped(mean_reward):
    means = mean_reward(jnp.array([-1, 0, 7]), Params(jnp.array([0.0, 0.5, 1.0]), jnp.int32(5)))
    np.testing.assert_array_equal(means, [0, 0, 1])


def test_the_clock_truncates():
    env = metarl.make("Bandit-v0")
    params = env.default_params().replace(max_steps=jnp.int32(3))
    state, _ = env.reset(jax.random.key(0), params)
    ends = []
    for _ in range(4):
        state, ts = env.step(jax.random.key(0), state, jnp.int32(1), params)
        ends.append((bool(ts.terminated), bool(ts.truncated)))
    assert ends == [(False, False), (False, False), (False, True), (False, True)]


def test_pictures_show_the_arms():
    env = Bandit(num_actions=2)
    params = Params(jnp.array([0.0, 0.5]), jnp.int32(5))
    key = jax.random.key(0)
    state, _ = env.step(key, env.reset(key, params)[0], jnp.int32(1), params)
    picture = np.asarray(env.render(state, params))
    assert picture.shape == (32, 32, 3)
    coloured = (picture != 255).any(axis=-1)
    assert not coloured[:, :16].any() and not coloured[:16].any() and coloured[16:, 18:].all()
    assert env.render_text(state, params) == "step 1  0.00  [0.50]"


def test_a_bandit_without_arms_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        metarl.make("Bandit-v0", num_actions=0)


def test_gaussian_arms_pay_around_their_means():
    env = metarl.make("GaussianBandit-v0", num_actions=3)
    params = env.default_params().replace(noise=jnp.float32(2))
    state, _ = env.reset(jax.random.key(0), params)
    many = jax.random.split(jax.random.key(1), 4000)
    pull = jax.jit(jax.vmap(env.step, in_axes=(0, None, None, None)))
    for arm, mean in ((0, -1), (1, 0), (7, 1)):
        rewards = pull(many, state, jnp.int32(arm), params)[1].reward
        assert abs(rewards.mean() - mean) < 4 * 2 / np.sqrt(4000)
        assert abs(rewards.std() / 2 - 1) < 0.05


@pytest.mark.parametrize(
    "name, distribution", [("Bandit-v0", "uniform"), ("GaussianBandit-v0", "norm")]
)
def test_sampled_arms(name, distribution):
    env = metarl.make(name)
    many, tasks = jax.random.split(jax.random.key(0), 1000), {}
    for split in ("train", "heldout", None):
        sample = jax.jit(jax.vmap(lambda key, split=split: env.sample_params(key, split)))
        arms = np.asarray(sample(many).arms)
        assert kstest(arms.ravel(), distribution).pvalue > 1e-3
        tasks[split] = set(map(tuple, arms.tolist()))
    assert not tasks["train"] & tasks["heldout"]
    with pytest.raises(ValueError, match="split must be one of"):
        env.sample_params(many[0], "test")

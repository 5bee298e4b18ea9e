"""Delayed chains, worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom, chisquare

import metarl
from metarl.envs.delayed_chain import DelayedChain, State


@pytest.fixture(scope="module")
def step():
    return jax.jit(lambda env, *args: env.step(*args), static_argnums=0)


def play(step, env, actions, seed=0, **numbers):
    """Observations, rewards and time steps of an episode."""
    params = env.default_params().replace(**{k: jnp.int32(v) for k, v in numbers.items()})
    state, ts = env.reset(jax.random.key(seed), params)
    out = [ts]
    for key, action in zip(
        jax.random.split(jax.random.key(seed), len(actions)), actions, strict=True
    ):
        state, ts = step(env, key, state, jnp.int32(action), params)
        out.append(ts)
    return jax.device_get(out)


@pytest.mark.parametrize(
    ("first", "better", "pays"), [(0, 0, 1), (0, 1, -1), (1, 1, 1), (7, 0, -1)]
)
def test_the_first_action_alone_decides_what_the_last_step_pays(step, first, better, pays):
    out = play(step, DelayedChain(), [first, 1, 0, 1, 0], length=5, better=better)
    assert [ts.reward for ts in out] == [0, 0, 0, 0, 0, pays]
    assert [bool(ts.terminated) for ts in out] == [False] * 5 + [True]
    assert not any(ts.truncated for ts in out)
    assert [int(ts.obs) for ts in out] == [0, *(2 * t - 1 + min(first, 1) for t in range(1, 6))]


def test_a_chain_of_one_step_and_the_clock(step):
    out = play(step, DelayedChain(), [1], length=1)
    assert (out[1].reward, bool(out[1].terminated)) == (1, True)
    out = play(step, DelayedChain(), [1, 1, 1], length=9, max_steps=3)
    assert [bool(ts.truncated) for ts in out] == [False, False, False, True]
    assert not out[-1].terminated


def test_noise_is_paid_between_the_first_step_and_the_last(step):
    env, episodes = DelayedChain(noisy=True), []
    for seed in range(40):
        rewards = [float(ts.reward) for ts in play(step, env, [1] * 6, seed, length=6)]
        assert rewards[:2] == [0, 0]
        assert rewards[-1] == 1
        episodes.append(rewards[2:-1])
    noise = np.array(episodes)
    assert set(noise.ravel()) == {-1.0, 1.0}
    assert 1e-4 < binom.cdf((noise > 0).sum(), noise.size, 0.5) < 1 - 1e-4


def test_distractors_hide_the_state_among_coins(step):
    env, shown = metarl.make("DelayedChainDistractor-v0"), []
    for seed in range(40):
        first = seed % 2
        out = play(step, env, [first, 1, 0], seed, length=5)
        assert [ts.obs[:2].tolist() for ts in out] == [[1, 0], *[[0, first]] * 3]
        shown += [ts.obs[2:] for ts in out]
    coins = np.array(shown)
    assert coins.shape == (160, 20)
    assert 1e-4 < binom.cdf(coins.sum(), coins.size, 0.5) < 1 - 1e-4
    assert (coins.std(axis=0) > 0).all()
    with pytest.raises(ValueError, match="does not tell the state"):
        env.index(shown[0])


@pytest.mark.parametrize("longest", [30, 50])
def test_tasks_are_uniform(longest):
    env = DelayedChain(max_length=longest)
    tasks = jax.jit(jax.vmap(env.sample_params))(jax.random.split(jax.random.key(0), 2**13))
    both = np.asarray((tasks.length - 5) * 2 + tasks.better)
    assert chisquare(np.bincount(both, minlength=2 * (longest - 4))).pvalue > 1e-4
    assert len(np.bincount(both)) == 2 * (longest - 4)


def test_every_state_has_a_number_and_a_picture():
    env = DelayedChain(max_length=5)
    params = env.default_params().replace(length=jnp.int32(4))
    states = [State(jnp.int32(c), jnp.int32(t), jnp.uint32(0)) for t in range(1, 6) for c in (0, 1)]
    seen = [0, *(int(env.observe(state, params)[0]) for state in states)]
    assert seen == list(range(env.num_states))
    assert env.render_text(states[1], params) == "oooo-\n @oo+"
    assert env.render(states[1], params).shape == (32, 96, 3)


def test_ids_and_fields():
    assert metarl.make("DelayedChainLongNoisy-v0") == DelayedChain(50, noisy=True)
    with pytest.raises(ValueError, match="max_length is at least 5"):
        DelayedChain(max_length=4)
    with pytest.raises(ValueError, match="distractors are 0 to 31"):
        DelayedChain(distractors=32)

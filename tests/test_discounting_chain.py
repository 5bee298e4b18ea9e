import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl

STEPS = 102


@pytest.fixture(scope="module")
def env():
    return metarl.make("DiscountingChain-v0")


@pytest.fixture(scope="module")
def played(env):
    """Time steps [A, T] of choosing each action first and then others."""

    def play(first):
        def step(state, action):
            return env.step(jax.random.key(0), state, action, env.default_params())

        state, _ = env.reset(jax.random.key(0), env.default_params())
        actions = jnp.arange(STEPS) % 5
        return jax.lax.scan(step, state, actions.at[0].set(first))[1]

    return jax.device_get(jax.jit(jax.vmap(play))(jnp.array([-3, 0, 1, 2, 3, 4, 9])))


def test_the_first_action_alone_says_when_a_reward_comes(played):
    for row, chain in zip(played.reward, (0, 0, 1, 2, 3, 4, 4), strict=True):
        step = (1, 3, 10, 30, 100)[chain]
        expected = np.zeros(STEPS)
        expected[step - 1] = 1.1 if chain == 3 else 1
        np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_it_shows_the_chain_and_the_time_and_ends_after_a_hundred_steps(env, played):
    start = env.reset(jax.random.key(0), env.default_params())[1]
    assert start.obs.tolist() == [-1, 0]
    assert played.obs[5, :, 0].tolist() == [4] * STEPS
    np.testing.assert_allclose(played.obs[2, :, 1], np.minimum(np.arange(1, STEPS + 1) / 100, 1))
    assert played.terminated[0].tolist() == [t >= 99 for t in range(STEPS)]
    assert not played.truncated.any()


def test_splits_share_no_chain_and_leave_none_out(env):
    keys = jax.random.split(jax.random.key(0), 100)
    best = {
        split: set(
            jax.vmap(lambda key, s=split: env.sample_params(key, s))(keys)
            .rewards.argmax(axis=1)
            .tolist()
        )
        for split in ("train", "heldout", None)
    }
    assert best["train"] and best["heldout"] and not best["train"] & best["heldout"]
    assert best["train"] | best["heldout"] == best[None] == set(range(5))


def test_it_can_be_looked_at(env):
    params = env.default_params()
    state, _ = env.reset(jax.random.key(0), params)
    assert env.render_text(state, params) == "no chain of 5  step 0 of 100"
    state, _ = env.step(jax.random.key(0), state, jnp.int32(3), params)
    assert env.render_text(state, params) == "chain 3 of 5  step 1 of 100  pays 1.1 at 30"
    picture = np.asarray(jax.jit(env.render)(state, params))
    colours = [picture[8 * row + 3, 8 * column + 3].tolist() for row, column in ((3, 0), (3, 7))]
    assert picture.shape == (40, 200, 3) and colours == [[120, 124, 132], [226, 180, 60]]

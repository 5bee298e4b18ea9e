"""Catch, deep sea and umbrella: whole episodes against the rules."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl

KEY = jax.random.key(0)


def returns_of(env, params, plans, key=KEY):
    """Returns and lengths [N] of playing each plan [N, T] to its end."""

    def play(plan, key):
        def step(loop, pair):
            state, running = loop
            state, ts = env.step(pair[1], state, pair[0], params)
            return (state, running & ~ts.last), (ts.reward * running, running)

        start_key, *step_keys = jax.random.split(key, len(plan) + 1)
        start = env.reset(start_key, params)[0], jnp.bool_(True)
        _, (rewards, running) = jax.lax.scan(step, start, (plan, jnp.stack(step_keys)))
        return rewards.sum(), running.sum()

    keys = jax.random.split(key, len(plans))
    return jax.device_get(jax.jit(jax.vmap(play))(jnp.asarray(plans), keys))


def test_catch_pays_when_the_ball_lands_on_the_paddle():
    env = metarl.make("Catch-v0", rows=4)
    params, step = env.default_params(), jax.jit(env.step)
    start, ts = env.reset(KEY, params)
    assert ts.obs.shape == (2, 4, 5) and ts.obs[1, 3].tolist() == [0, 0, 1, 0, 0]
    for column, actions in itertools.product(range(5), ((0, 0, 7), (1, 1, 1), (2, 2, 2))):
        state, paddle = start.replace(column=jnp.int32(column)), 2
        for time, action in enumerate(actions, start=1):
            state, ts = step(KEY, state, jnp.int32(action), params)
            paddle = min(max(paddle + min(action, 2) - 1, 0), 4)
            assert ts.obs[0].argmax() == 5 * time + column and ts.obs.sum() == 2
            assert ts.obs[1, 3].argmax() == paddle
            assert bool(ts.terminated) == (time == 3) and not ts.truncated
            assert float(ts.reward) == (0 if time < 3 else 1 if paddle == column else -1)


def test_catch_lasts_nine_steps_and_drops_the_ball_everywhere():
    env = metarl.make("Catch-v0")
    returns, lengths = returns_of(env, env.default_params(), np.ones((2000, 12), np.int32))
    assert (lengths == 9).all() and abs((returns == 1).mean() - 0.2) < 4.5 * 0.4 / np.sqrt(2000)


@pytest.mark.parametrize("seed", [None, 3])
def test_deep_sea_pays_for_going_right_always(seed):
    """Every plan of a small sea: the return of each, and of the best."""
    env = metarl.make("DeepSea-v0", size=4)
    params = env.default_params() if seed is None else env.sample_params(jax.random.key(seed))
    plans = list(itertools.product(range(2), repeat=4))
    returns, lengths = returns_of(env, params, np.array(plans))
    expected = []
    for plan in plans:
        column, total = 0, 0.0
        for row, action in enumerate(plan):
            right = action == params.right[4 * row + column]
            total += (right and column == 3) - 0.0025 * right
            column = min(max(column + (1 if right else -1), 0), 3)
        expected.append(total)
    np.testing.assert_allclose(returns, expected, atol=1e-6)
    assert (lengths == 4).all() and sum(returns > 0) == 1
    np.testing.assert_allclose(max(returns), 0.99, rtol=1e-6)


def test_deep_seas_of_different_splits_differ():
    env = metarl.make("DeepSea-v0", size=3)
    keys = jax.random.split(KEY, 1000)
    seas = {}
    for split in ("train", "heldout"):
        right = jax.jit(jax.vmap(lambda key, s=split: env.sample_params(key, s)))(keys).right
        assert abs(right.mean(axis=0) - 0.5).max() < 0.1
        seas[split] = set(map(tuple, right.tolist()))
    assert not seas["train"] & seas["heldout"]
    assert len(seas["train"] | seas["heldout"]) > 0.8 * 2**9


def test_umbrella_remembers_the_first_action_alone():
    env = metarl.make("Umbrella-v0", distractors=4)
    params, step = env.default_params().replace(length=jnp.int32(3)), jax.jit(env.step)
    start, _ = env.reset(KEY, params)
    for needed, had, takes in itertools.product((False, True), repeat=3):
        state = start.replace(needed=jnp.bool_(needed), taken=jnp.bool_(had))
        rewards, seen = [], [env.observe(state, params)[0]]
        for action in (9 if takes else -1, 1, 0):
            state, ts = step(KEY, state, jnp.int32(action), params)
            rewards.append(float(ts.reward))
            seen.append(ts.obs)
        assert abs(rewards[0]) == abs(rewards[1]) == 1
        assert rewards[2] == (1 if takes == needed else -1) and ts.terminated
        weather, umbrella, left = np.array(seen).T[:3]
        assert weather.tolist() == [needed] * 4
        assert umbrella.tolist() == [had, takes, takes, takes]
        np.testing.assert_allclose(left, [1, 2 / 3, 1 / 3, 0], atol=1e-6)


def test_umbrella_draws_fair_coins():
    env = metarl.make("Umbrella-v0")
    params, many = env.default_params(), jax.random.split(KEY, 4000)
    state, ts = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(many, params)
    _, after = jax.jit(jax.vmap(env.step, in_axes=(0, None, None, None)))(
        many, jax.tree.map(lambda x: x[0], state), jnp.int32(0), params
    )
    bits = np.concatenate([ts.obs[:, [0, 1]], ts.obs[:, 3:], after.obs[:, 3:]], axis=1)
    assert set(np.unique(bits)) == {0, 1} and bits.shape[1] == 2 + 20 + 20
    assert abs(bits.mean(axis=0) - 0.5).max() < 4.5 * 0.5 / np.sqrt(4000)
    # Pearson's r of independent coins: no bit of one draw follows another of it.
    for draw in (bits[:, :22], np.column_stack([after.reward, bits[:, 22:]])):
        correlation = np.corrcoef(draw.T) - np.eye(draw.shape[1])
        assert abs(correlation).max() < 5 / np.sqrt(4000)
    assert abs(after.reward.mean()) < 4.5 / np.sqrt(4000)


def test_they_can_be_looked_at():
    shown = {}
    for name, fields in (
        ("Catch-v0", {"rows": 3}),
        ("DeepSea-v0", {"size": 3}),
        ("Umbrella-v0", {}),
    ):
        env = metarl.make(name, **fields)
        params = env.default_params()
        state, _ = env.reset(KEY, params)
        if name == "Catch-v0":
            state = state.replace(column=jnp.int32(4))
        if name == "Umbrella-v0":
            state = state.replace(needed=jnp.bool_(True), taken=jnp.bool_(False))
        state, _ = env.step(KEY, state, jnp.int32(1), params)
        shown[name] = env.render_text(state, params), np.asarray(jax.jit(env.render)(state, params))
    assert shown["Catch-v0"][0] == ".....\n....o\n..=.."
    assert shown["DeepSea-v0"][0] == "...\n.A.\n..G"
    assert shown["Umbrella-v0"][0] == "step 1 of 10  rain, umbrella"
    sizes = {name: picture.shape for name, (_, picture) in shown.items()}
    assert sizes == {
        "Catch-v0": (48, 80, 3),
        "DeepSea-v0": (48, 48, 3),
        "Umbrella-v0": (48, 64, 3),
    }
    assert shown["Catch-v0"][1][24, 72].tolist() == [226, 180, 60]


@pytest.mark.parametrize(
    "name, fields",
    [("Catch-v0", {"rows": 1}), ("DeepSea-v0", {"size": 0}), ("Umbrella-v0", {"distractors": 33})],
)
def test_bad_fields_are_refused(name, fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        metarl.make(name, **fields)

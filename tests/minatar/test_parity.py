"""Step for step against the authors' package, and every point where ours differs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.envs.minatar.breakout import Breakout

LEFT, RIGHT = 1, 3  # the package's numbers


def assert_equal(ours, theirs):
    """Of lanes in which there is nothing, only that is known."""
    there = theirs.present * 15 if hasattr(theirs, "present") else None
    for name in ours.__dataclass_fields__:
        a, b = getattr(ours, name), getattr(theirs, name)
        if there is not None and name in ("columns", "right", "gold"):
            a, b = a & there, b & there
        jax.tree.map(lambda x, y, name=name: np.testing.assert_array_equal(x, y, name), a, b)


def test_starts_are_equal(played):
    starts, _ = played
    assert_equal(starts.ours, starts.theirs)
    np.testing.assert_array_equal(starts.ts.obs, starts.obs)


def test_states_are_equal(played):
    assert_equal(played[1].ours, played[1].theirs)


def test_observations_are_equal(played):
    np.testing.assert_array_equal(played[1].ts.obs, played[1].obs)


def test_rewards_and_ends_are_equal(played):
    _, steps = played
    np.testing.assert_array_equal(steps.ts.reward, steps.reward)
    np.testing.assert_array_equal(steps.ts.terminated | steps.ts.truncated, steps.end)


def test_exception_freeway_truncates(played):
    """The package knows one kind of end. Freeway's comes after 2501 steps, in both."""
    _, steps = played
    freeway = steps.name == "freeway"
    assert steps.ts.truncated.any() == freeway
    assert steps.ts.terminated.any() == (not freeway)
    if freeway:
        assert set(steps.ours.time[steps.end]) == {2501}


def test_enough_happened(played):
    """Or equality would not say much."""
    _, (name, before, _, reward, *_, after, ts) = played
    assert reward.sum() > 50
    if name == "breakout":
        assert ((before.bricks == 0) & (after.bricks != 0)).sum() > 3  # walls filled up again
        assert (before.strike & after.strike).any()  # flown through a brick
    if name == "asterix":
        full = before.present == 0x11111111
        assert (full & (before.spawn_timer == 0)).sum() > 3
        assert (len(np.unique(after.spawn_speed)), len(np.unique(after.move_speed))) == (10, 5)
    if name == "freeway":
        assert ((before.row < 8) & (after.row == 9) & (reward == 0)).sum() > 10  # run over
    if name == "space_invaders":
        assert (after.interval < before.interval).sum() > 3  # waves cleared
        assert (after.right != before.right).sum() > 20
        assert (ts.terminated & (after.aliens[3] != 0)).any()  # aliens that landed


def test_exception_a_reset_forgets_the_last_action():
    """The package repeats the last action of one episode in the first step of the next."""
    minatar = pytest.importorskip("minatar", reason="minatar, a test extra, is not installed")
    env = minatar.Environment("breakout", sticky_action_prob=0.0)
    env.act(LEFT)
    env.reset()
    env.sticky_action_prob = 1.0
    env.act(RIGHT)
    assert env.env.pos == 3
    ours = Breakout(minimal=False)
    params = ours.default_params().replace(sticky=jnp.float32(1))
    state, _ = jax.jit(ours.reset)(jax.random.key(0), params)
    assert ours.played(jnp.uint32(0), state.last, jnp.int32(RIGHT), params) == 0

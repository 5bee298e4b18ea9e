import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.key_to_door import KeyToDoor

UP, RIGHT, DOWN, LEFT, STAY = range(5)


@pytest.fixture(scope="module")
def env():
    return KeyToDoor(size=3)


@pytest.fixture(scope="module")
def task(env):
    """Start in the middle, key above it, door below it."""
    cells = {"start": 4, "key": 1, "door": 7}
    return env.default_params().replace(**{k: jnp.int32(v) for k, v in cells.items()})


def play(env, params, actions):
    """Rewards, ends and cells of an episode."""
    state, _ = env.reset(jax.random.key(0), params)
    step, steps = jax.jit(env.step), []
    for action in actions:
        state, ts = step(jax.random.key(0), state, jnp.int32(action), params)
        steps.append((float(ts.reward), bool(ts.terminated), bool(ts.truncated), ts.obs.tolist()))
    return [list(column) for column in zip(*steps, strict=True)]


def test_the_key_pays_once_and_the_door_after_it(env, task):
    rewards, ends, _, cells = play(env, task, [DOWN, UP, UP, UP, -5, DOWN, DOWN])
    assert rewards == [0, 0, 1, 0, 0, 0, 1]
    assert ends == [False] * 6 + [True]
    assert cells == [[2, 1], [1, 1], [0, 1], [0, 1], [0, 1], [1, 1], [2, 1]]


def test_without_a_lock_the_door_pays_at_every_step(task):
    room = KeyToDoor(size=3, locked=False)
    assert metarl.make("DarkRoom-v0", size=3) == room
    params = room.default_params().replace(key=task.key, door=task.door)
    rewards, ends, late, _ = play(room, params, [UP, DOWN, DOWN, STAY, 9, UP, *[STAY] * 14])
    assert rewards == [0, 0, 1, 1, 1, 0, *[0] * 14]
    assert not any(ends) and late == [False] * 19 + [True]


def test_the_clock_truncates_but_not_an_end(env, task):
    short = task.replace(max_steps=jnp.int32(3))
    assert play(env, short, [LEFT, LEFT, LEFT])[1:3] == [[False] * 3, [False, False, True]]
    short = task.replace(max_steps=jnp.int32(3), start=task.key)
    assert play(env, short, [UP, DOWN, DOWN]) == [
        [1, 0, 1],
        [False, False, True],
        [False] * 3,
        [[0, 1], [1, 1], [2, 1]],
    ]


def test_starts_are_uniform(env):
    keys = jax.random.split(jax.random.key(0), 4500)
    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
    counts = np.bincount(reset(keys, env.default_params())[0].agent, minlength=9)
    assert abs(counts - 500).max() < 4.5 * np.sqrt(500)


@pytest.mark.parametrize("name", ["DarkKeyToDoor-v0", "DarkRoom-v0"])
def test_sampled_tasks_cover_all_cells_and_splits_share_none(name):
    env, tasks = metarl.make(name, size=3), {}
    keys = jax.random.split(jax.random.key(1), 1500)
    for split in ("train", "heldout", None):
        sample = jax.jit(jax.vmap(lambda key, split=split: env.sample_params(key, split)))
        params = jax.device_get(sample(keys))
        tasks[split] = set(zip(params.key.tolist(), params.door.tolist(), strict=True))
        if split is None:
            assert abs(np.bincount(params.door, minlength=9) - 1500 / 9).max() < 60
    assert all(key != door for key, door in tasks[None]) or not env.locked
    assert len(tasks[None]) == (72 if env.locked else 9)
    assert tasks["train"] | tasks["heldout"] == tasks[None]
    assert tasks["train"] and tasks["heldout"] and not tasks["train"] & tasks["heldout"]


def test_it_can_be_looked_at(env, task):
    state, _ = env.reset(jax.random.key(0), task)
    assert env.render_text(state, task) == ".k.\n.A.\n.D."
    assert env.render_text(state.replace(has_key=jnp.bool_(True)), task) == "...\n.A.\n.D."
    picture = np.asarray(jax.jit(env.render)(state, task))
    assert picture.shape == (48, 48, 3) and picture[8, 24].tolist() == [226, 180, 60]


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="size must lie in 2..255, got 1"):
        metarl.make("DarkKeyToDoor-v0", size=1)

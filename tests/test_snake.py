"""Snake's rules, worked out by hand on small boards."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

import metarl
from metarl.envs.snake import Snake, State
from metarl.rollout import vectorize

UP, RIGHT, DOWN, LEFT = range(4)
KEY = jax.random.key(0)


@pytest.fixture(scope="session")
def step():
    return jax.jit(lambda env, *args: env.step(*args), static_argnums=0)


def state(rows, fruit, time=0):
    """A state from its body's numbers; the head is the largest."""
    body = np.array(rows)
    kind = np.uint8 if body.size <= 255 else np.uint16
    head, length = body.argmax(), body.max()
    fruit = -1 if fruit is None else fruit[0] * body.shape[1] + fruit[1]
    numbers = (jnp.int32(n) for n in (head, fruit, length, time))
    return State(jnp.array(body.ravel(), kind), *numbers)


def board(env, state):
    return np.asarray(state.body).reshape(env.size, env.size).tolist()


def play(step, env, start, actions, **numbers):
    """States and time steps after each action."""
    params = env.default_params().replace(**{k: jnp.asarray(v) for k, v in numbers.items()})
    out = []
    for action in actions:
        start, ts = step(env, KEY, start, jnp.int32(action), params)
        out.append((start, jax.device_get(ts)))
    return out


def test_it_grows_by_eating_and_its_tail_follows_else(step):
    env = Snake(3)
    start = state([[0, 0, 0], [1, 2, 0], [0, 0, 0]], fruit=(1, 2))
    (ate, ts), (moved, later) = play(step, env, start, [RIGHT, UP])
    assert board(env, ate) == [[0, 0, 0], [1, 2, 3], [0, 0, 0]]
    assert (int(ate.head), int(ate.length), int(ate.time), ts.reward) == (5, 3, 1, 1.0)
    assert int(ate.fruit) in (0, 1, 2, 6, 7, 8)
    assert ts.obs[0].tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert ts.obs[1].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert ts.obs[2].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert ts.obs[3].ravel().tolist() == [int(i == int(ate.fruit)) for i in range(9)]
    assert ts.obs[4].tolist() == [[0, 0, 0], [1, 2, 3], [0, 0, 0]]
    assert ts.action_mask.tolist() == [True, False, True, False]
    if int(ate.fruit) != 2:
        assert board(env, moved) == [[0, 0, 3], [0, 1, 2], [0, 0, 0]]
        assert later.reward == 0


def test_the_tails_cell_is_free_for_the_head(step):
    env = Snake(3)
    start = state([[1, 2, 0], [4, 3, 0], [0, 0, 0]], fruit=(2, 2))
    ((after, ts),) = play(step, env, start, [UP])
    assert board(env, after) == [[4, 1, 0], [3, 2, 0], [0, 0, 0]]
    assert not ts.last


def test_a_snake_of_two_may_turn_back_and_one_of_three_may_not(step):
    env = Snake(3)
    two = state([[1, 2, 0], [0, 0, 0], [0, 0, 0]], fruit=(2, 2))
    ((after, ts),) = play(step, env, two, [LEFT])
    assert board(env, after) == [[2, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert not ts.last
    three = state([[1, 2, 3], [0, 0, 0], [0, 0, 0]], fruit=(2, 2))
    ((after, ts),) = play(step, env, three, [LEFT], death_reward=-0.5)
    assert ts.terminated
    assert not ts.truncated
    assert ts.reward == -0.5
    assert int(after.head) == 1  # it is shown with its head in its body


@pytest.mark.parametrize("action", [UP, LEFT])
def test_the_wall_kills_and_the_snake_is_shown_where_it_stood(step, action):
    env = Snake(3)
    start = state([[2, 1, 0], [0, 0, 0], [0, 0, 0]], fruit=(2, 2))
    ((after, ts),) = play(step, env, start, [action])
    assert ts.terminated
    assert ts.reward == 0
    assert board(env, after) == board(env, start)
    assert int(after.head) == int(start.head)


def test_a_full_board_wins(step):
    env = Snake(2)
    start = state([[1, 2], [0, 3]], fruit=(1, 0))
    ((after, ts),) = play(step, env, start, [LEFT])
    assert board(env, after) == [[1, 2], [4, 3]]
    assert ts.terminated
    assert not ts.truncated
    assert ts.reward == 1
    assert int(after.fruit) == -1
    assert not ts.obs[3].any()
    assert ts.action_mask.tolist() == [True, False, False, False]


def test_the_best_return_is_every_cell_but_one(step):
    """Round and round on two by two, always clockwise, eats whatever comes."""
    env = Snake(2)
    clockwise = {0: RIGHT, 1: DOWN, 3: LEFT, 2: UP}
    total = 0.0
    now, ts = jax.jit(env.reset)(jax.random.key(3), env.default_params())
    while not ts.last:
        ((now, ts),) = play(step, env, now, [clockwise[int(now.head)]])
        total += float(ts.reward)
    assert total == 3
    assert int(now.length) == 4


def test_the_clock_truncates_unless_the_task_ends_first(step):
    env = Snake(3)
    start = state([[0, 0, 0], [0, 1, 0], [0, 0, 0]], fruit=(2, 2), time=8)
    ((_, ts),) = play(step, env, start, [UP], max_steps=10)
    assert not ts.last
    late = start.replace(time=jnp.int32(9))
    ((_, ts),) = play(step, env, late, [UP], max_steps=10)
    assert (bool(ts.terminated), bool(ts.truncated)) == (False, True)
    ((_, ts),) = play(step, env, late.replace(head=jnp.int32(1)), [UP], max_steps=10)
    assert (bool(ts.terminated), bool(ts.truncated)) == (True, False)


def test_a_snake_without_a_way_out_may_play_anything_and_dies_of_it(step):
    env = Snake(3)
    walled = state([[6, 5, 0], [3, 4, 0], [2, 1, 0]], fruit=(0, 2))
    _, mask = env.observe(walled, env.default_params())
    assert mask.tolist() == [True] * 4
    assert all(play(step, env, walled, [action])[0][1].terminated for action in range(4))


def test_actions_out_of_range_are_clipped(step):
    env = Snake(3)
    start = state([[0, 0, 0], [0, 1, 0], [0, 0, 0]], fruit=(2, 2))
    assert int(play(step, env, start, [-7])[0][0].head) == 1
    assert int(play(step, env, start, [99])[0][0].head) == 3


def test_rewards_and_horizon_are_numbers_of_the_params(step):
    env = Snake(3)
    start = state([[0, 0, 0], [0, 1, 0], [0, 0, 0]], fruit=(0, 1))
    rewards, horizons = jnp.array([1.0, 2.5]), jnp.array([1, 2])
    params = env.default_params().replace(max_steps=horizons, fruit_reward=rewards)
    axes = jax.tree.map(lambda leaf: 0 if leaf.ndim else None, params)
    _, ts = jax.vmap(env.step, in_axes=(None, None, None, axes))(KEY, start, jnp.int32(UP), params)
    np.testing.assert_array_equal(ts.reward, rewards)
    np.testing.assert_array_equal(ts.truncated, [True, False])


def test_resets_are_uniform_over_pairs_of_cells():
    env = Snake(2)
    keys = jax.random.split(jax.random.key(1), 2**14)
    now, ts = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(keys, env.default_params())
    pairs = np.bincount(np.asarray(now.head * 4 + now.fruit), minlength=16).reshape(4, 4)
    assert not pairs.diagonal().any()
    assert chisquare(pairs[~np.eye(4, dtype=bool)]).pvalue > 1e-4
    assert (np.asarray(now.body).sum(axis=1) == 1).all()
    assert not np.asarray(ts.last).any()


def new_fruits(env, start, action, count=2**16):
    """How often each cell gets the fruit when this step eats."""

    @jax.jit
    def draw(key):
        step = jax.vmap(env.step, in_axes=(0, None, None, None))
        after, ts = step(jax.random.split(key, count), start, action, env.default_params())
        return after.fruit, ts.reward

    fruit, reward = draw(jax.random.key(5))
    assert (np.asarray(reward) == 1).all()
    return np.bincount(np.asarray(fruit), minlength=env.size**2)


@pytest.mark.parametrize("taken", [1, 72, 130])
def test_a_new_fruit_is_uniform_over_the_free_cells(taken):
    """Nearly free boards are served by guesses, crowded ones by counting."""
    env = Snake(12)
    rows = np.zeros(144, np.int64)
    cells = np.random.default_rng(taken).permutation(np.arange(2, 144))[: taken - 1]
    rows[cells] = 1
    rows[0] = 2
    start = state(rows.reshape(12, 12), fruit=(0, 1))
    counts = new_fruits(env, start, RIGHT)
    free = (rows == 0) & (np.arange(144) != 1)
    assert free.sum() == 143 - taken
    assert not counts[~free].any()
    assert chisquare(counts[free]).pvalue > 1e-4


def test_the_last_free_cell_gets_the_fruit():
    env = Snake(4)
    rows = np.ones((4, 4), np.int64)
    rows[3, 3], rows[0, 1], rows[0, 0] = 0, 0, 2
    assert new_fruits(env, state(rows, fruit=(0, 1)), RIGHT, 64)[15] == 64


def test_on_a_gpu_no_loop_makes_the_host_wait():
    env, count = Snake(3), 4
    venv, params = vectorize(env, count), env.default_params()

    def step(data, *args):
        return venv.step(jax.random.wrap_key_data(data), *args)

    data = jax.ShapeDtypeStruct((2,), jnp.uint32)
    state = jax.eval_shape(venv.init, KEY, params)
    actions = jax.ShapeDtypeStruct((count,), jnp.int32)
    export = jax.export.export(jax.jit(step), platforms=["cuda"])
    assert "stablehlo.while" not in export(data, state, actions, params).mlir_module()


def test_a_large_board_shows_orders_up_to_255(step):
    env = Snake(20)
    rows = np.zeros((20, 20), np.int64)
    for row in range(15):
        rows[row] = np.arange(20)[:: -1 if row % 2 else 1] + 20 * row + 1
    start = state(rows, fruit=(19, 19))  # its head, 300, is at (14, 19)
    ((after, ts),) = play(step, env, start, [DOWN])
    assert int(after.length) == 300
    assert ts.obs[4, 15, 19] == 255  # the head, 300
    assert ts.obs[4, 0, 1] == 1
    assert ts.obs[0].sum() == 300
    assert env.observation_space.contains(ts.obs)


@pytest.mark.parametrize("size", [1, 256])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(ValueError, match=f"2..255, got {size}"):
        metarl.make("Snake-v0", size=size)


def test_pictures():
    env = Snake(4)
    now = state([[0, 0, 0, 0], [1, 2, 3, 0], [0, 0, 0, 0], [0, 0, 0, 0]], fruit=(3, 0))
    params = env.default_params()
    assert env.render_text(now, params) == "....\noo@.\n....\n*..."
    picture = np.asarray(jax.jit(env.render)(now, params)).reshape(4, 16, 4, 16, 3)
    centre = picture[:, 8, :, 8].astype(int)  # [4, 4, 3]
    assert picture.dtype == np.uint8
    assert [tuple(rgb.argmax() for rgb in centre[1, :3])] == [(1, 1, 1)]  # green
    assert np.diff(centre[1, :3, 1]).min() > 0  # brighter towards the head
    assert centre[3, 0].argmax() == 0  # red
    assert centre[0].max() < 60  # the ground is dark
    assert picture[1, 4:9, 2, :].min() < 30 < picture[1, 4:9, 1, 2:14].max()  # eyes

"""Minesweeper: jumanji's rules step for step, uniform mines, and two rules that jumanji lacks."""

from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl

HIDDEN = -1


@pytest.fixture(scope="module")
def env():
    return metarl.make("Minesweeper-v0")


def play(env, params, key, actions):
    """Time steps [T, ...] of one episode, past its end too."""
    state, _ = env.reset(key, params)

    def step(state, x):
        state, ts = env.step(*x[:1], state, x[1], params)
        return state, (state, ts)

    return jax.lax.scan(step, state, (jax.random.split(key, len(actions)), actions))[1]


def shown(planes):
    """The board as players see it: `HIDDEN` or the number."""
    return np.where(planes[..., 0, :, :] > 0, planes[..., 1, :, :].astype(int), HIDDEN)


def around(mines):
    """How many neighbours have mines, [H, W], by a sum over slices."""
    padded, (height, width) = np.pad(mines.astype(int), 1), mines.shape
    slices = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return sum(slices) - mines


def test_every_step_is_the_same_as_jumanjis(env):
    """300 episodes of uniform actions, half of them legal, with mines translated."""
    pytest.importorskip("jumanji")
    from jumanji.environments.logic.minesweeper.env import Minesweeper
    from jumanji.environments.logic.minesweeper.types import State
    from jumanji.types import StepType

    theirs, params, length = Minesweeper(), env.default_params(), 24

    def episode(mines, actions):
        board = jnp.full((10, 10), HIDDEN, jnp.int32)
        where = jnp.flatnonzero(mines, size=10).astype(jnp.int32)
        start = State(
            board=board,
            step_count=jnp.int32(0),
            flat_mine_locations=where,
            key=jax.random.PRNGKey(0),
        )

        def step(state, action):
            state, ts = theirs.step(state, jnp.stack(jnp.divmod(action, 10)))
            return state, (ts.observation, ts.reward, ts.step_type == StepType.LAST)

        ours = play(env, params.replace(mines=mines), jax.random.key(0), actions)
        return ours[1], jax.lax.scan(step, start, actions)[1]

    rng = np.random.default_rng(0)
    mines = np.zeros((300, 100), bool)
    for row in mines:
        row[rng.permutation(100)[:10]] = True
    actions = rng.integers(0, 100, (300, length)).astype(np.int32)
    for i in range(150):
        actions[i] = rng.permutation(100)[:length]
    ts, (seen, reward, last) = jax.device_get(jax.jit(jax.vmap(episode))(mines, actions))
    alive = np.cumsum(last, axis=1) - last == 0
    assert alive.sum() > 1000 and (last & alive).sum() > 200
    np.testing.assert_array_equal(shown(ts.obs)[alive], seen.board[alive])
    np.testing.assert_array_equal(
        ts.action_mask[alive], seen.action_mask.reshape(300, -1, 100)[alive]
    )
    np.testing.assert_array_equal(ts.reward[alive], reward[alive])
    np.testing.assert_array_equal((ts.terminated | ts.truncated)[alive], last[alive])
    assert not ts.truncated.any()


@pytest.mark.parametrize("height, width, mines, layouts", [(3, 3, 3, 84), (15, 18, 20, None)])
def test_mines_are_uniform(height, width, mines, layouts):
    env = metarl.make("Minesweeper-v0", height=height, width=width, mines=mines)
    count = 84 * 120 if layouts else 500
    lay = jax.jit(jax.vmap(lambda key: env.reset(key, env.default_params())[0]))
    state = jax.device_get(lay(jax.random.split(jax.random.key(0), count)))
    laid = state.board > 0
    assert (laid.sum(axis=1) == mines).all()
    assert (state.left == height * width - mines).all()
    if layouts:
        counts = np.array(list(Counter(map(bytes, laid)).values()))
        assert len(counts) == layouts
        chi2 = ((counts - 120) ** 2 / 120).sum()
        assert chi2 < 135  # of 83 degrees of freedom: 99.9 % lie below 127
    expected = mines / (height * width)
    assert np.abs(laid.mean(axis=0) - expected).max() < 4.5 * np.sqrt(expected / count)


def test_the_first_click_is_safe_and_mines_stay_uniform():
    env = metarl.make("Minesweeper-v0", height=2, width=3, mines=2, first_click_safe=True)
    run = jax.jit(jax.vmap(partial(play, env, env.default_params()), in_axes=(0, None)))
    actions = jnp.array([1, 4])
    state, ts = jax.device_get(run(jax.random.split(jax.random.key(0), 4000), actions))
    assert not ts.terminated[:, 0].any() and (ts.reward[:, 0] == 1).all()
    assert 0.3 < ts.terminated[:, 1].mean() < 0.5  # a mine with probability 2/5: only once safe
    counts = Counter(map(bytes, state.board[:, 0] >= 128))
    assert len(counts) == 10  # two among the five other cells
    assert max(abs(n - 400) for n in counts.values()) < 90
    mines = (state.board[:, 0] >= 128).reshape(-1, 2, 3)
    numbers = np.stack([around(m) for m in mines])[:, 0, 1]
    np.testing.assert_array_equal(ts.obs[:, 0, 1, 0, 1], numbers)


def flooded(mines, start):
    """Cells that open, by a search over a set."""
    numbers, seen, border = around(mines), {start}, [start]
    while border:
        row, column = border.pop()
        if numbers[row, column]:
            continue
        for cell in ((row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
            inside = 0 <= cell[0] < mines.shape[0] and 0 <= cell[1] < mines.shape[1]
            if inside and cell not in seen:
                seen.add(cell)
                border.append(cell)
    return seen


def test_empty_regions_open_at_once():
    env = metarl.make("Minesweeper-v0", height=7, width=9, mines=4, flood_fill=True)
    run = jax.jit(jax.vmap(partial(play, env, env.default_params())))
    actions = np.random.default_rng(0).integers(0, 63, (200, 6)).astype(np.int32)
    state, ts = jax.device_get(run(jax.random.split(jax.random.key(0), 200), actions))
    floods = wins = 0
    for i in range(200):
        mines = (state.board[i, 0] >= 128).reshape(7, 9)
        known = np.full((7, 9), False)
        for t, action in enumerate(actions[i]):
            cell = divmod(int(action), 9)
            before = known.sum()
            repeat = known[cell]
            for opened in {cell} if mines[cell] or repeat else flooded(mines, cell):
                known[opened] = True
            expected = np.where(known, around(mines), HIDDEN)
            np.testing.assert_array_equal(shown(ts.obs[i, t]), expected)
            won = (known | mines).all() and not mines[cell]
            assert ts.terminated[i, t] == (mines[cell] or repeat or won)
            assert ts.reward[i, t] == (0 if mines[cell] else known.sum() - before)
            floods, wins = floods + (known.sum() - before > 1), wins + won
            if ts.terminated[i, t]:
                break
    assert floods > 150 and wins > 0


def test_a_board_can_be_a_task():
    env = metarl.make("Minesweeper-v0", height=4, width=4, mines=3)
    draw = jax.jit(jax.vmap(env.sample_params, in_axes=(0, None)), static_argnums=1)
    many = jax.random.split(jax.random.key(0), 400)
    tasks = [draw(many, split) for split in ("train", "heldout")]
    train, heldout = (set(map(bytes, np.asarray(task.mines))) for task in tasks)
    assert not train & heldout and min(len(train), len(heldout)) > 100
    params = jax.tree.map(lambda x: x[0], tasks[0])
    starts = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(many[:9], params)[0]
    assert ((starts.board > 0) == params.mines).all()
    change = jax.jit(jax.vmap(env.mutate, in_axes=(0, None)))
    changed = np.asarray(change(many, params).mines)
    assert (changed.sum(axis=1) == 3).all() and ((changed ^ params.mines).sum(axis=1) == 2).all()
    assert len(set(map(bytes, changed))) == 3 * 13
    assert not change(many[:2], env.default_params()).mines.any()


def test_winning_clock_pictures_and_repeats():
    env = metarl.make("Minesweeper-v0", height=2, width=3, mines=1)
    params = env.default_params()
    params = params.replace(
        mines=jnp.arange(6) == 4, mine_reward=jnp.float32(-1), repeat_reward=jnp.float32(-0.5)
    )
    run = jax.jit(partial(play, env))
    actions = jnp.array([0, 1, 2, 3, 5, 5])
    state, ts = run(params, jax.random.key(0), actions)
    assert ts.reward.tolist() == [1, 1, 1, 1, 1, -0.5]
    assert ts.terminated.tolist() == [False, False, False, False, True, True]
    assert ts.info["solved"].tolist()[:5] == [False, False, False, False, True]
    assert env.render_text(jax.tree.map(lambda x: x[4], state), params) == "111\n1#1"
    _, ts = run(params.replace(max_steps=jnp.int32(2)), jax.random.key(0), actions)
    assert ts.truncated.tolist()[:2] == [False, True]
    state, ts = run(params, jax.random.key(0), jnp.array([1, 99, 4, 4, 0, 0]))
    assert ts.reward.tolist()[:4] == [1, 1, -1, -0.5]  # 99 is clipped to 5
    exploded = jax.tree.map(lambda x: x[2], state)
    assert env.render_text(exploded, params) == "#1#\n#*1"
    picture = np.asarray(env.render(exploded, params))
    assert picture.shape == (32, 48, 3) and picture.dtype == np.uint8
    assert (picture[17, 17] == [205, 60, 50]).all()


@pytest.mark.parametrize("fields", [{"mines": 0}, {"mines": 100}, {"height": 1}, {"width": 256}])
def test_bad_boards_are_refused(fields):
    with pytest.raises(ValueError, match="mine|height"):
        metarl.make("Minesweeper-v0", **fields)

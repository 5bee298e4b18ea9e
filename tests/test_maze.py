"""Maze: jumanji's rules step for step, and mazes that are like its mazes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl

MAZES = 1500


@pytest.fixture(scope="module")
def env():
    return metarl.make("Maze-v0")


@pytest.fixture(scope="module")
def starts(env):
    """Many first states, walls [MAZES, 10, 10]."""
    reset = jax.jit(jax.vmap(lambda key: env.reset(key, env.default_params())[0]))
    return jax.device_get(reset(jax.random.split(jax.random.key(0), MAZES)))


def reached(walls, cell):
    """Cells that can be reached on a board [H, W], by a search over a set."""
    seen, border = {cell}, [cell]
    while border:
        row, column = border.pop()
        for step in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            new = row + step[0], column + step[1]
            inside = 0 <= new[0] < walls.shape[0] and 0 <= new[1] < walls.shape[1]
            if inside and not walls[new] and new not in seen:
                seen.add(new)
                border.append(new)
    return seen


def connected(walls):
    free = np.argwhere(~walls)
    return len(reached(walls, tuple(map(int, free[0])))) == len(free)


def test_mazes_are_connected_and_divided_to_the_end(starts):
    for walls in starts.walls.reshape(-1, 10, 10)[:300]:
        assert connected(walls)
        ways = (~walls[1:] & ~walls[:-1]).sum() + (~walls[:, 1:] & ~walls[:, :-1]).sum()
        assert ways == (~walls).sum() - 1  # a tree: one way alone from cell to cell
        assert not walls[::2, ::2].any()  # rooms
        assert walls[1:9:2, 1:9:2].all()  # where walls meet
    assert len(set(map(bytes, starts.walls))) == MAZES


def test_starts_and_goals_are_uniform_free_cells(starts):
    row = np.arange(MAZES)
    assert not starts.walls[row, starts.agent].any() and not starts.walls[row, starts.goal].any()
    assert (starts.agent != starts.goal).all()
    for cells in (starts.agent, starts.goal):  # the rank among the free ones is uniform
        free = ~starts.walls
        rank = (np.cumsum(free, axis=1)[row, cells] - 0.5) / free.sum(axis=1)
        counts = np.histogram(rank, bins=10, range=(0, 1))[0]
        assert ((counts - MAZES / 10) ** 2 / (MAZES / 10)).sum() < 30  # 9 degrees of freedom


def test_walls_are_as_frequent_as_jumanjis(starts):
    pytest.importorskip("jumanji")
    from jumanji.environments.commons.maze_utils.maze_generation import generate_maze

    make = jax.jit(jax.vmap(partial(generate_maze, 10, 10)))
    theirs = np.asarray(make(jax.random.split(jax.random.PRNGKey(0), MAZES))) > 0
    ours = starts.walls.reshape(-1, 10, 10)
    share, their_share = ours.mean(axis=0), theirs.mean(axis=0)
    error = np.sqrt((share * (1 - share) + their_share * (1 - their_share)) / MAZES) + 1e-9
    assert np.abs((share - their_share) / error).max() < 4.2
    counts, their_counts = ours.sum(axis=(1, 2)), theirs.sum(axis=(1, 2))
    assert abs(counts.mean() - their_counts.mean()) < 0.25
    assert abs(counts.std() - their_counts.std()) < 0.25
    # Two cells apart, walls depend on each other: the pair that a hash would spoil first.
    pairs, their_pairs = ((w[:, :, 1:-2:2] & w[:, :, 3::2]).mean(axis=0) for w in (ours, theirs))
    assert np.abs(pairs - their_pairs).max() < 4.5 * np.sqrt(0.5 / MAZES)


def test_every_step_is_the_same_as_jumanjis(env, starts):
    """Random moves in 300 mazes; the time limit truncates here and terminates there."""
    pytest.importorskip("jumanji")
    from jumanji.environments.routing.maze.env import Maze
    from jumanji.environments.routing.maze.types import Position, State
    from jumanji.types import StepType

    theirs, params = Maze(), env.default_params()

    def place(cell):
        return Position(*jnp.divmod(cell, 10))

    def episode(state, actions):
        walls, agent = state.walls.reshape(10, 10), place(state.agent)
        start = State(
            agent_position=agent,
            target_position=place(state.goal),
            walls=walls,
            action_mask=theirs._compute_action_mask(walls, agent),
            step_count=jnp.int32(0),
            key=jax.random.PRNGKey(0),
        )

        def step(carry, action):
            state, their_state = carry
            state, ts = env.step(jax.random.key(0), state, action, params)
            their_state, their_ts = theirs.step(their_state, action)
            here = their_ts.observation.agent_position
            seen = here.row * 10 + here.col, their_ts.observation.action_mask
            last = their_ts.step_type == StepType.LAST
            return (state, their_state), (state.agent, ts, seen, their_ts.reward, last)

        return jax.lax.scan(step, (state, start), actions)[1]

    first = jax.tree.map(lambda x: x[:300], starts)
    actions = np.random.default_rng(0).integers(0, 4, (300, 100)).astype(np.int32)
    played = jax.device_get(jax.jit(jax.vmap(episode))(first, actions))
    agent, ts, (their_agent, their_mask), reward, last = played
    alive = np.cumsum(last, axis=1) - last == 0
    assert ts.terminated[alive].sum() > 40 and ts.truncated[alive].sum() > 100
    np.testing.assert_array_equal(agent[alive], their_agent[alive])
    np.testing.assert_array_equal(ts.action_mask[alive], their_mask[alive])
    np.testing.assert_array_equal(ts.reward[alive], reward[alive])
    np.testing.assert_array_equal((ts.terminated | ts.truncated)[alive], last[alive])
    np.testing.assert_array_equal(ts.terminated[alive], reward[alive] > 0)
    planes = ts.obs.reshape(300, 100, 3, 100)
    assert (planes.argmax(axis=-1)[..., 0] == agent).all() and (planes[:, :, 0].sum(-1) == 1).all()
    assert (planes.argmax(axis=-1)[..., 1] == first.goal[:, None]).all()
    assert (planes[:, :, 2] == first.walls[:, None]).all()


@pytest.fixture(scope="module")
def small():
    return metarl.make("Maze-v0", height=5, width=6)


@pytest.fixture(scope="module")
def reset(small):
    run = jax.jit(jax.vmap(small.reset, in_axes=(0, None)))
    many = jax.random.split(jax.random.key(0), 400)
    return lambda params: run(many, params)


def test_any_size_and_splits_that_share_no_task(small):
    draw = jax.jit(jax.vmap(small.sample_params, in_axes=(0, None)), static_argnums=1)
    many = jax.random.split(jax.random.key(0), 300)
    tasks = [jax.device_get(draw(many, split)) for split in ("train", "heldout")]
    seen = [
        {(bytes(walls), int(goal)) for walls, goal in zip(task.walls, task.goal, strict=True)}
        for task in tasks
    ]
    assert not seen[0] & seen[1] and min(map(len, seen)) > 100
    assert all(connected(walls.reshape(5, 6)) for walls in tasks[0].walls)


@pytest.fixture(scope="module")
def task(small):
    return jax.jit(small.sample_params)(jax.random.key(3))


def test_a_task_keeps_its_maze_and_draws_the_start(task, reset):
    params = task
    state = jax.device_get(reset(params)[0])
    assert (state.walls == params.walls).all() and (state.goal == params.goal).all()
    free = set(np.flatnonzero(~params.walls)) - {int(params.goal)}
    assert set(state.agent.tolist()) == free
    assert (reset(params.replace(start=jnp.int32(0)))[0].agent == 0).all()


def test_mutated_tasks_are_near_and_valid(small, task):
    params = task
    change = jax.jit(jax.vmap(small.mutate, in_axes=(0, None)))
    many = jax.random.split(jax.random.key(0), 300)
    tasks = jax.device_get(change(many, params))
    differs = (tasks.walls != params.walls).sum(axis=1)
    assert set(differs.tolist()) == {0, 1}
    assert ((differs == 0) == (tasks.goal != params.goal)).all()
    for walls, goal in zip(tasks.walls, tasks.goal, strict=True):
        assert connected(walls.reshape(5, 6)) and not walls[goal]
    drawn = change(many, small.default_params())
    assert not drawn.walls.any() and (drawn.goal == -1).all()


def test_pictures(small, reset):
    params = small.default_params().replace(
        walls=jnp.arange(30) == 1, goal=jnp.int32(2), start=jnp.int32(0)
    )
    state, ts = jax.tree.map(lambda x: x[0], reset(params))
    assert small.render_text(state, params).splitlines()[:2] == ["A#G...", "......"]
    assert ts.action_mask.tolist() == [False, False, True, False]
    picture = np.asarray(small.render(state, params))
    assert picture.shape == (80, 96, 3) and picture.dtype == np.uint8
    assert len({tuple(picture[8, 16 * i + 8]) for i in range(4)}) == 4


@pytest.mark.parametrize("fields", [{"height": 1}, {"width": 256}])
def test_bad_sizes_are_refused(fields):
    with pytest.raises(ValueError, match="height and width"):
        metarl.make("Maze-v0", **fields)

"""Every step and every value against a grid-world written again in plain numpy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.gridworld import GridWorld, State

SIZE = 5
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
MAZE = """
..#..
.##..
...#.
.#.#.
.#..."""


def walls_of(text):
    return np.array([[c == "#" for c in row] for row in text.split()])


def neighbour(walls, cell, action):
    row, column = cell[0] + MOVES[action][0], cell[1] + MOVES[action][1]
    inside = 0 <= row < len(walls) and 0 <= column < len(walls)
    return (row, column) if inside and not walls[row, column] else cell


def distances(walls, goal):
    """Moves to the goal from every free cell, breadth first."""
    found, edge = {goal: 0}, [goal]
    while edge:
        edge = [
            after
            for cell in edge
            for after in {neighbour(walls, cell, a) for a in range(4)}
            if after not in found and not found.update({after: found[cell] + 1})
        ]
    return found


@pytest.fixture(scope="module")
def env():
    return GridWorld(size=SIZE)


@pytest.fixture(scope="module")
def params(env):
    return env.default_params().replace(
        walls=jnp.array(walls_of(MAZE).ravel()), goal=jnp.int32(4), step_reward=jnp.float32(-0.25)
    )


@pytest.fixture(scope="module")
def outcomes(env, params):
    """The time step and the next cell for every cell and action, [cells, 4]."""

    def outcome(cell, action):
        return env.step(jax.random.key(0), State(cell, jnp.int32(0)), action, params)

    pairs = jax.vmap(jax.vmap(outcome, in_axes=(None, 0)), in_axes=(0, None))
    state, ts = jax.jit(pairs)(jnp.arange(SIZE**2), jnp.arange(4))
    return np.asarray(state.agent), jax.device_get(ts)


def test_every_move_from_every_cell(env, params, outcomes):
    walls, (cells, ts) = walls_of(MAZE), outcomes
    for cell in np.argwhere(~walls):
        for action in range(4):
            at = SIZE * cell[0] + cell[1], action
            after = neighbour(walls, tuple(cell), action)
            assert cells[at] == SIZE * after[0] + after[1]
            assert ts.terminated[at] == (after == (0, 4))
            assert ts.reward[at] == (1 if after == (0, 4) else -0.25)
            legal = [neighbour(walls, after, a) != after for a in range(4)]
            np.testing.assert_array_equal(ts.action_mask[at], legal)
            agent, goal, wall = ts.obs[at]
            assert agent[after] == 1 and agent.sum() == 1 and goal[0, 4] == 1 and goal.sum() == 1
            np.testing.assert_array_equal(wall, walls)


def test_values_are_those_of_the_shortest_way(outcomes):
    cells, ts = outcomes
    discount, values = 0.9, np.zeros(SIZE**2)
    for _ in range(SIZE**2):  # value iteration over the environment's own outcomes
        values = (ts.reward + discount * (1 - ts.terminated) * values[cells]).max(axis=1)
    for (row, column), d in distances(walls_of(MAZE), (0, 4)).items():
        if d > 0:
            best = discount ** (d - 1) - 0.25 * (1 - discount ** (d - 1)) / (1 - discount)
            np.testing.assert_allclose(values[SIZE * row + column], best, rtol=1e-5)


def test_starts_are_uniform_over_free_cells(env, params):
    many = jax.random.split(jax.random.key(0), 3200)
    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
    count = np.bincount(reset(many, params)[0].agent, minlength=SIZE**2).reshape(SIZE, SIZE)
    free = ~walls_of(MAZE)
    free[0, 4] = False
    assert (count[~free] == 0).all()
    expected = 3200 / free.sum()
    assert abs(count[free] - expected).max() < 4.5 * np.sqrt(expected)

    fixed = reset(many[:3], params.replace(start=jnp.int32(7)))
    assert fixed[0].agent.tolist() == [7, 7, 7]


def test_the_clock_truncates_unless_the_goal_is_reached(env, params):
    def last_step(cell, action):
        state = State(jnp.int32(cell), params.max_steps - 1)
        ts = env.step(jax.random.key(0), state, jnp.int32(action), params)[1]
        return bool(ts.terminated), bool(ts.truncated)

    assert last_step(cell=9, action=0) == (True, False)
    assert last_step(cell=9, action=3) == (False, True)


def test_goals_and_walls_can_be_batched(env, params):
    goals = jnp.array([3, 24])
    batch = jax.vmap(lambda goal: params.replace(goal=goal))(goals)
    _, ts = jax.vmap(env.reset, in_axes=(None, 0))(jax.random.key(0), batch)
    assert ts.obs[:, 1].reshape(2, -1).argmax(axis=1).tolist() == goals.tolist()


def test_walled_in_on_all_sides_every_action_is_allowed(env, params):
    closed = params.replace(walls=jnp.arange(SIZE**2) != 12)
    _, mask = env.observe(State(jnp.int32(12), jnp.int32(0)), closed)
    assert mask.all()


def test_it_can_be_looked_at(env, params):
    state = State(jnp.int32(0), jnp.int32(0))
    assert env.render_text(state, params) == "A.#.G\n.##..\n...#.\n.#.#.\n.#..."
    picture = np.asarray(jax.jit(env.render)(state, params))
    assert picture.shape == (40, 40, 3) and picture.dtype == np.uint8
    corners = [tuple(picture[8 * r + 4, 8 * c + 4]) for r, c in ((0, 0), (0, 4), (0, 2), (4, 4))]
    assert corners == [(50, 90, 200), (60, 160, 80), (40, 40, 40), (255, 255, 255)]


@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_every_default_grid_can_be_solved(size):
    params = GridWorld(size=size).default_params()
    walls = np.asarray(params.walls).reshape(size, size)
    assert len(distances(walls, (size - 1, size - 1))) == (~walls).sum()


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="size must lie in 2..255, got 1"):
        metarl.make("GridWorld-v0", size=1)


def sound(params, n):
    """Whether level `n` of a batch has a free start, and a way to the goal from all free cells."""
    walls, goal = params.walls[n].reshape(SIZE, SIZE), divmod(int(params.goal[n]), SIZE)
    reached = distances(walls, goal)
    return not walls[goal] and len(reached) == (~walls).sum() > 1


@pytest.fixture(scope="module")
def sampled(env):
    """300 levels of each split."""
    many = jax.random.split(jax.random.key(0), 300)
    draw = {split: partial(env.sample_params, split=split) for split in ("train", "heldout")}
    return {split: jax.device_get(jax.jit(jax.vmap(f))(many)) for split, f in draw.items()}


def test_every_sampled_level_can_be_solved_from_everywhere(sampled):
    for levels in sampled.values():
        assert all(sound(levels, n) for n in range(300))
        assert 0.25 < levels.walls.mean() < 0.4 and (2 * levels.walls.sum(axis=1) <= SIZE**2).all()
        assert abs(np.bincount(levels.goal, minlength=SIZE**2) - 12).max() < 5 * np.sqrt(12)


def test_splits_share_no_level(sampled):
    train, heldout = (
        {(*map(bool, walls), int(goal)) for walls, goal in zip(p.walls, p.goal, strict=True)}
        for p in (sampled["train"], sampled["heldout"])
    )
    assert len(train) > 290 and not train & heldout


def test_mutations_are_small_and_keep_levels_sound(env, sampled):
    start = sampled["train"].walls.argmin(axis=1)  # the first free cell, for every other level
    drawn = (np.arange(300) % 2 == 0) | (start == sampled["train"].goal)
    fixed = sampled["train"].replace(start=jnp.where(drawn, -1, start))

    def mutate(params, key):
        after = jax.vmap(env.mutate)(jax.random.split(key, 300), params)
        return after, after

    rounds = jax.random.split(jax.random.key(1), 20)
    _, levels = jax.device_get(jax.jit(partial(jax.lax.scan, mutate))(fixed, rounds))
    before, moved, toggled = jax.device_get(fixed), 0, 0
    for level in (jax.tree.map(lambda x, i=i: x[i], levels) for i in range(20)):
        assert all(sound(level, n) for n in range(0, 300, 10))
        changes = (level.walls != before.walls).sum(axis=1) + (level.goal != before.goal)
        assert changes.max() == 1
        moved += (level.goal != before.goal).sum()
        toggled += (level.walls != before.walls).sum()
        at = np.maximum(level.start, 0)
        free = ~level.walls[np.arange(300), at] & (level.goal != at)
        assert (free | (level.start < 0)).all()
        before = level
    assert moved + toggled > 0.98 * 6000 and 0.2 < moved / 6000 < 0.5

"""The maze: its levels by search, its moves by hand; and what all such games share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.procgen.game import Params, four_moves, level_of, moves
from metarl.envs.procgen.maze import World
from metarl.envs.procgen.mazes import kruskal
from metarl.envs.splits import side
from metarl.envs.ways import distances
from metarl.testing.levels import play_levels

MODES = ("easy", "hard", "memory")


@pytest.fixture(scope="module", params=MODES)
def game(request):
    return metarl.make("ProcMaze-v0", mode=request.param)


def searcher(game):
    """Walks down the distances to the cheese."""
    way = jnp.array([7, 3, 5, 1])  # right, down, up, left

    def prepare(state):
        world = state.world
        return jnp.pad(distances(~world.walls, world.cheese), 1, constant_values=10**6)

    def player(far, state):
        row, column = jnp.divmod(state.world.mouse, far.shape[0] - 2)
        around = [(1, 2), (2, 1), (0, 1), (1, 0)]
        return far, way[jnp.argmin(jnp.stack([far[row + r, column + c] for r, c in around]))]

    return prepare, player


def test_every_level_can_be_won(game):
    params = game.default_params(num_levels=300)
    played = play_levels(game, params, *searcher(game), steps=500)
    assert (played.ret == 10).mean() >= 0.99 and (played.terminated == (played.ret == 10)).all()


def test_between_two_rooms_there_is_one_way():
    mazes = jax.jit(jax.vmap(lambda key, size: kruskal(key, 9, size)))
    sizes = jnp.array([1, 3, 5, 7, 9] * 20)
    walls = np.asarray(mazes(jax.random.split(jax.random.key(0), 100), sizes))
    for one, size in zip(walls, sizes, strict=True):
        rooms = ((int(size) + 1) // 2) ** 2
        assert (~one).sum() == 2 * rooms - 1  # a tree: every room, and a passage less
        start = np.flatnonzero(~one)[0]
        far = np.asarray(distances(jnp.asarray(~one), jnp.int32(start)))
        assert (far[~one] < 81).all()
    assert len({one.tobytes() for one in walls[4::5]}) == 20


def test_splits_never_overlap_and_levels_follow_from_their_seeds():
    game = metarl.make("ProcMaze-v0")
    held = game.default_params(num_levels=50, split="heldout").levels
    train = game.default_params(num_levels=50, start_level=10).levels
    assert (jax.vmap(side)(held) == 1).all() and (jax.vmap(side)(train) == 0).all()
    for a, b in zip(
        jax.tree.leaves(jax.tree.map(lambda x: x[7], train)),
        jax.tree.leaves(jax.jit(level_of, static_argnums=(0, 2))(game, 17, "train")),
        strict=True,
    ):
        assert (a == b).all()


def test_levels_without_end_are_made_at_every_reset():
    game = metarl.make("ProcMaze-v0")
    params = game.default_params(num_levels=0, split="heldout")
    assert params.levels is None
    keys = jax.random.split(jax.random.key(0), 20)
    states, _ = jax.jit(jax.vmap(game.reset, in_axes=(0, None)))(keys, params)
    assert (jax.vmap(side)(states.world) == 1).all()
    assert len({walls.tobytes() for walls in np.asarray(states.world.walls)}) > 15


def test_edits_keep_levels_winnable(game):
    params = game.default_params(num_levels=64)
    edit = jax.jit(game.mutate)
    changed = params
    for key in jax.random.split(jax.random.key(0), 5):
        changed = edit(key, changed)
    assert (changed.levels.walls != params.levels.walls).any()
    assert (changed.levels.cheese != params.levels.cheese).any()
    played = play_levels(game, changed, *searcher(game), steps=500)
    assert (played.ret == 10).all()


def test_moves_by_hand():
    assert [tuple(map(int, moves(jnp.int32(a)))) for a in range(10)] == [
        *((1, -1), (0, -1), (-1, -1), (1, 0), (0, 0), (-1, 0), (1, 1), (0, 1), (-1, 1), (0, 0))
    ]
    assert tuple(map(int, four_moves(jnp.int32(6)))) == (0, 1)
    game = metarl.make("ProcMaze-v0")
    walls = np.ones((15, 15), bool)
    walls[0, :3] = walls[1, 2] = False
    level = World(jnp.asarray(walls), jnp.int32(0), jnp.int32(17))
    params = Params(jax.tree.map(lambda x: x[None], level), jnp.int32(6))
    step = jax.jit(game.step)
    state, ts = game.reset(jax.random.key(0), params)
    assert game.render_text(state, params).splitlines()[:2] == ["@  " + "#" * 12, "##*" + "#" * 12]
    seen = []
    for action in (5, 1, 0, 6, 8, 99):  # off the world twice, once more, right twice, no move
        state, ts = step(jax.random.key(0), state, jnp.int32(action), params)
        seen.append((int(state.world.mouse), float(ts.reward), bool(ts.last)))
    still = (0, 0.0, False)
    assert seen == [still, still, still, (1, 0.0, False), (2, 0.0, False), (2, 0.0, True)]
    assert ts.truncated and not ts.terminated
    state, ts = step(jax.random.key(0), state, jnp.int32(3), params)
    assert ts.terminated and not ts.truncated and ts.reward == 10


def test_a_picture_shows_what_the_planes_show():
    planes = metarl.make("ProcMaze-v0", mode="memory")
    pixels = metarl.make("ProcMaze-v0", mode="memory", view="pixels")
    params = planes.default_params(num_levels=4)
    state, ts = planes.reset(jax.random.key(1), params)
    shown = np.asarray(jax.jit(pixels.observe)(state, params)[0])
    marked = np.asarray(ts.obs)
    assert pixels.observation_space.contains(shown)
    atlas, size = planes.atlas(), 64 / planes.span
    for row in range(planes.span):
        for column in range(planes.span):
            marks = np.flatnonzero(marked[:, row, column])
            kind = marks[0] + 1 if len(marks) else 0
            middle = [int((x + 0.5) * size) for x in (row, column)]
            inner = [
                int(((m + 0.5) / size - x) * 8) for m, x in zip(middle, (row, column), strict=True)
            ]
            texel = atlas[kind, inner[0], inner[1]]
            texel = texel if texel[3] else atlas[0, inner[0], inner[1]]
            assert (shown[:, middle[0], middle[1]] == texel[:3]).all()


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="has modes"):
        metarl.make("ProcMaze-v0", mode="extreme")
    with pytest.raises(ValueError, match="view must be"):
        metarl.make("ProcMaze-v0", view="sounds")
    with pytest.raises(ValueError, match="must not be negative"):
        metarl.make("ProcMaze-v0").default_params(num_levels=-1)
    with pytest.raises(ValueError, match="split must be"):
        metarl.make("ProcMaze-v0").default_params(split="test")

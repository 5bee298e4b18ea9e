"""Dodgeball: its levels by search with foresight, its rules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.procgen.dodgeball import Level, strollers
from metarl.envs.splits import side
from metarl.envs.ways import distances
from metarl.testing.levels import foresee, play_levels

MODES = ("easy", "hard", "memory")
FIRE = 9


def plans(horizon):
    """[P, H]: hold a move for a while, then stay; throw before, or after a turn."""
    stay = np.full(horizon, 4)
    found = [stay]
    for move in (0, 1, 2, 3, 5, 6, 7, 8):
        for steps in (1, 2, 4, horizon):
            found.append(np.where(np.arange(horizon) < steps, move, 4))
        found.append(np.concatenate([[FIRE], found[-1][1:]]))
        if move % 2:
            found.append(np.concatenate([[move, FIRE], stay[2:]]))
    return jnp.asarray(np.array([*found, np.concatenate([[FIRE], stay[1:]])]))


def between(cells):
    """[2 S - 1, 2 S - 1] whether all cells are true that a square on a half cell covers."""
    cells = jnp.repeat(jnp.repeat(cells, 2, 0), 2, 1)
    cells = cells[:-1] & cells[1:]
    return cells[:, :-1] & cells[:, 1:]


def searcher(game, horizon=8):
    """Takes what can be had soon; else stays alive and goes to the next enemy, or the door."""
    options = plans(horizon)

    def prepare(state):
        return between(~state.world.level.lava), jnp.zeros(3, jnp.int32), jnp.int32(0)

    def player(memory, state):
        free, chosen, count = memory
        world, side = state.world, len(free)
        ret, alive, _ = foresee(game, world, options)
        half = lambda x: jnp.clip(2 * x - 1, 0, side - 1).astype(jnp.int32)  # noqa: E731
        enemies = world.alive.any()
        place = jnp.stack(strollers(world.level, world.time))  # [2, M]
        off = jnp.abs(place - jnp.stack([world.row, world.column])[:, None]).sum(axis=0)
        nearest = jax.lax.top_k(jnp.where(world.alive, -off, -jnp.inf), 3)[1]
        # The same until one of all is hit, or it would turn back half-way for ever.
        chosen = jnp.where(world.alive.sum() == count, chosen, nearest)
        row, column = half(jnp.where(enemies, place[:, chosen], world.level.door[:, None] + 0.5))
        there = world.alive[chosen] | ~enemies
        target = jnp.zeros(free.shape, bool).at[row, column].max(there)
        far = distances(free, target, most=9)
        # Enemies are to be seen along an axis from 2 to 4 cells away, with nothing in between.
        line = jnp.arange(side)
        down = jnp.abs(line[:, None] - row)[:, None]  # [side, 1, 3]
        right = jnp.abs(line[:, None] - column)[None]
        clear = there & (jnp.minimum(down, right) == 0) & (far[..., None] == down + right)
        stand = jnp.where(enemies, clear.any(axis=-1) & (far >= 4) & (far <= 8), target)
        here = half(world.row) * side + half(world.column)
        way = distances(free & ((far > 2) | ~enemies), stand, source=here)
        following = jax.vmap(lambda action: game.advance(world, action)[0])(options[:, 0])
        score = 1000 * ret - way[half(following.row), half(following.column)]
        lives = alive + (ret >= 10) * horizon >= horizon
        best = options[jnp.argmax(jnp.where(lives, score, alive - 1e6)), 0]
        return (free, chosen, world.alive.sum()), best

    return prepare, player


def won(game, params):
    """[L] bool, whether the searcher hits every enemy of a level and leaves."""
    played = play_levels(game, params, *searcher(game), steps=1000)
    whole = 10 + 2 * (params.levels.pause > 0).sum(axis=1)
    return played.terminated & (played.ret == whole)


@pytest.mark.parametrize(
    ("mode", "count"),
    [
        *(("easy", 30), ("hard", 30), ("memory", 3)),
        *(pytest.param(mode, 200, marks=pytest.mark.slow) for mode in MODES),
    ],
)
def test_every_level_can_be_won(mode, count):
    game = metarl.make("ProcDodgeball-v0", mode=mode)
    assert won(game, game.default_params(num_levels=count)).mean() >= 0.99


@pytest.fixture(scope="module")
def game():
    return metarl.make("ProcDodgeball-v0")


@pytest.fixture(scope="module")
def advance(game):
    return jax.jit(game.advance)


def level(enemies=(), strolls=None, pauses=None, player=(10, 10), door=(18, 18)):
    """A room with nothing in it but six slots of enemies."""
    lava = np.ones((20, 20), bool)
    lava[1:-1, 1:-1] = False
    cell, stroll, pause = np.ones((6, 2)), np.zeros((6, 2)), np.zeros(6)
    for i, enemy in enumerate(enemies):
        cell[i], pause[i] = enemy, pauses[i] if pauses else 200
        stroll[i] = strolls[i] if strolls else 0
    u = lambda x: jnp.asarray(x, jnp.uint8)  # noqa: E731
    return Level(
        jnp.asarray(lava), u(player), u(door), u(cell), jnp.asarray(stroll, jnp.int8),
        u(np.zeros(6)), u(pause),
    )  # fmt: skip


def trace(game, advance, level, actions):
    """Worlds, rewards and ends of a series of actions."""
    world, seen = game.begin(level), []
    for action in actions:
        world, reward, ended = advance(world, jnp.int32(action))
        seen.append((world, float(reward), bool(ended)))
    return seen


def test_moves_and_lava(game, advance):
    world, _, ended = trace(game, advance, level([(1, 1)]), [6, 6, 1])[-1]
    assert (world.row, world.column, world.facing, ended) == (11.5, 11.0, 4, False)
    # From the cell beside lava half a step more is death; 17 moves to the right lead there.
    ends = [ended for *_, ended in trace(game, advance, level([(1, 1)]), [7] * 17)]
    assert ends == [False] * 16 + [True]


def test_a_ball_hits_and_the_next_waits(game, advance):
    seen = trace(game, advance, level([(10, 14), (1, 1)]), [5, 7, 1, 7, 7, *[FIRE] * 12])
    world = seen[5][0]  # just thrown, facing right, from column 11.5
    assert (world.ball_column[0], world.way[0], world.wait) == (12.5, 2, 6)
    assert [reward for _, reward, _ in seen[5:]] == [0, 0, 2, *[0] * 9]  # 12.5, 13.5, then 14.5
    assert list(map(bool, seen[-1][0].alive)) == [False, True, *[False] * 4]
    assert [int(world.wait) for world, *_ in seen[5:]] == [6, 5, 4, 3, 2, 1, 0, 6, 5, 4, 3, 2]
    assert list(map(int, seen[12][0].way[:3])) == [2, 0, 0] and not any(e for *_, e in seen)


def test_enemies_stroll_throw_and_kill(game, advance):
    strolling = level([(10, 4), (10, 16)], strolls=[(0, 1), (0, 0)], pauses=[200, 5])
    seen = trace(game, advance, strolling, [4] * 16)
    columns = [float(strollers(strolling, world.time)[1][0]) for world, *_ in seen]
    assert columns[:9] == [4.75, 5.0, 5.25, 5.5, 5.25, 5.0, 4.75, 4.5, 4.75]
    ball = [(int(w.way[4]), float(w.ball_column[4])) for w, *_ in seen[4:7]]
    assert ball == [(4, 16.5), (4, 16.0), (4, 15.5)]
    # It has to come from 16.5 to less than 0.65 from 10.5: 11 steps of half a cell.
    assert [e for *_, e in seen] == [False] * 15 + [True]
    assert [e for *_, e in trace(game, advance, level([(10, 12)]), [7, 7, 7])] == [
        False,
        False,
        True,
    ]


def test_the_door_opens_when_no_enemy_is_left(game, advance):
    def ends(enemies):
        return [(r, e) for _, r, e in trace(game, advance, level(enemies, door=(10, 12)), [7] * 3)]

    assert ends([(1, 1)]) == [(0, False)] * 3
    assert ends([]) == [(0, False), (0, False), (10, True)]
    shut, opened = (
        game.scene(trace(game, advance, level(x, door=(10, 12)), [4])[0][0]).tiles[10, 12]
        for x in ([(1, 1)], [])
    )
    assert (game.kinds[int(shut)], game.kinds[int(opened)]) == ("shut door", "open door")


def test_lava_ends_balls(game, advance):
    seen = trace(game, advance, level([(1, 1)]), [7, FIRE, *[4] * 9])
    assert [int(world.way[0]) for world, *_ in seen[1:]] == [2] * 7 + [0] * 3


def test_levels_are_whole_and_edits_keep_them_so(game):
    params = game.default_params(num_levels=30)
    held = game.default_params(num_levels=30, split="heldout")
    assert (jax.vmap(side)(params.levels) == 0).all() and (jax.vmap(side)(held.levels) == 1).all()
    changed, edit = params, jax.jit(game.mutate)
    for key in jax.random.split(jax.random.key(0), 5):
        changed = edit(key, changed)
    assert (changed.levels.door != params.levels.door).any()
    assert (changed.levels.enemy != params.levels.enemy).any()

    @jax.vmap
    def whole(level):
        home = level.player[0].astype(jnp.int32) * level.lava.shape[0] + level.player[1]
        inside = distances(~level.lava, home) < level.lava.size
        places = jnp.linspace(0, 1, 5)[:, None, None] * level.stroll + level.enemy + 0.5
        row, column = jnp.floor(places).astype(jnp.int32).transpose(2, 0, 1)
        away = jnp.maximum(jnp.abs(row - level.player[0]), jnp.abs(column - level.player[1]))
        return (
            (inside == ~level.lava).all()
            & inside[level.door[0], level.door[1]]
            & (~level.lava[row, column] & (away >= 7)).all()
        )

    for levels in (params.levels, changed.levels):
        count = (levels.pause > 0).sum(axis=1)
        assert count.min() == 3 and count.max() == 6 and whole(levels).all()

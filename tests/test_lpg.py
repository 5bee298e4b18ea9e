"""The LPG grid-worlds: each clause of a step by hand, the tables, and what the draws are like."""

import dataclasses
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom, chisquare

import metarl
from metarl.envs.lpg.grid import LPGGrid, State
from metarl.envs.lpg.level import Params

UP, DOWN, LEFT, RIGHT, STAY = range(5)
KEY = jax.random.key(0)
ENV = LPGGrid("small")  # 6 by 6 cells, 3 objects: one programme for all rules
RAND = LPGGrid("rand_small", size=7, objects=4)


@pytest.fixture(scope="module")
def step():
    return jax.jit(lambda env, *args: env.step(*args), static_argnums=0)


@pytest.fixture(scope="module")
def steps():
    """Many keys, one state."""
    many = lambda env, *args: jax.vmap(env.step, in_axes=(0, None, None, None))(*args)  # noqa: E731
    return jax.jit(many, static_argnums=0)


def level(env, rows, *, rewards=(1,), terminate=0.0, respawn=0.0, steps=100, absent=()):
    """A level from rows of signs: `#` wall, `@` start, `a`, `b`, `c` objects."""
    rows = rows.split()
    cells = {sign: r * env.size + c for r, row in enumerate(rows) for c, sign in enumerate(row)}
    walls = np.zeros((env.size, env.size), bool)
    walls[: len(rows), : len(rows)] = [[sign == "#" for sign in row] for row in rows]
    used = [name in cells for name in "abcd"[: env.objects]]
    fill = lambda x: np.resize(np.array(x, np.float32), env.objects) * used  # noqa: E731
    return Params(
        size=jnp.int32(len(rows)),
        walls=jnp.array(walls.ravel()),
        start=jnp.int32(cells["@"]),
        cells=jnp.array([cells.get(name, 0) for name in "abcd"[: env.objects]], jnp.int32),
        present=jnp.array([u and n not in absent for u, n in zip(used, "abcd", strict=False)]),
        kinds=jnp.arange(env.objects, dtype=jnp.int32) % len(fill(0)),
        rewards=jnp.array(fill(rewards)),
        p_terminate=jnp.array(fill(terminate)),
        p_respawn=jnp.array(fill(respawn)),
        max_steps=jnp.int32(steps),
    )


def start(env, params):
    return State(params.start, env.number(params.present), jnp.zeros(0, jnp.int32), jnp.int32(0))


def play(step, params, actions, env=ENV):
    """(row, column), objects, reward and time step of each step."""
    state, out = start(env, params), []
    for action in actions:
        state, ts = step(env, KEY, state, jnp.int32(action), params)
        place = divmod(int(state.cell), env.size)
        out.append((place, int(state.objects), float(ts.reward), ts))
    return out


def test_moves_end_at_walls_and_at_the_levels_own_border(step):
    params = level(ENV, "..# .@. ...")
    walk = [RIGHT, RIGHT, UP, STAY, DOWN, DOWN, LEFT, LEFT, LEFT, UP, UP, UP, RIGHT, UP, RIGHT]
    places = [place for place, *_ in play(step, params, walk)]
    assert places[:7] == [(1, 2), (1, 2), (1, 2), (1, 2), (2, 2), (2, 2), (2, 1)]
    assert places[7:] == [(2, 0), (2, 0), (1, 0), (0, 0), (0, 0), (0, 1), (0, 1), (0, 1)]


def test_actions_out_of_range_are_clipped(step):
    params = level(ENV, "... .@. ...")
    assert [place for place, *_ in play(step, params, [-3, 9])] == [(0, 1), (0, 1)]


def test_what_was_there_before_is_picked_up_and_gone(step):
    params = level(ENV, "@ab ... ...", rewards=(0.5, -2), respawn=0)
    found = [
        (objects, reward) for _, objects, reward, _ in play(step, params, [RIGHT, RIGHT, LEFT])
    ]
    assert found == [(0b10, 0.5), (0b00, -2.0), (0b00, 0.0)]


def test_an_object_returns_after_the_step_and_is_picked_up_in_the_next(step):
    """With certainty of returning: absent, there, picked up, there, ... under a resting agent."""
    params = level(ENV, "@a. ... ...", respawn=1, absent="a")
    found = [(o, r) for _, o, r, _ in play(step, params, [RIGHT, STAY, STAY, STAY, STAY])]
    # Returns while the agent comes: not before the step, so not picked up in it.
    assert found == [(1, 0.0), (0, 1.0), (1, 0.0), (0, 1.0), (1, 0.0)]


def test_rewards_and_chances_of_ending_add_up_on_a_shared_cell(step, steps):
    params = level(ENV, "@a. b.c ...", rewards=(1, 2, 4), terminate=(0.25, 0.5, 1))
    shared = params.replace(cells=params.cells.at[1].set(params.cells[0]))
    (_, objects, reward, _), *_ = play(step, shared, [RIGHT])
    assert (objects, reward) == (0b100, 3.0)
    keys = jax.random.split(KEY, 4096)
    _, ts = steps(ENV, keys, start(ENV, shared), jnp.int32(RIGHT), shared)
    assert 1e-4 < binom.cdf(int(ts.terminated.sum()), 4096, 0.75) < 1 - 1e-4


def test_only_what_is_picked_up_can_end_the_episode(steps):
    params = level(ENV, "@ab ... ...", terminate=(0.3, 1))
    keys = jax.random.split(KEY, 4096)
    _, ts = steps(ENV, keys, start(ENV, params), jnp.int32(RIGHT), params)
    assert 1e-4 < binom.cdf(int(ts.terminated.sum()), 4096, 0.3) < 1 - 1e-4
    _, ts = steps(ENV, keys, start(ENV, params), jnp.int32(DOWN), params)
    assert not ts.terminated.any()


def test_absent_objects_return_independently_with_their_own_chances(steps):
    params = level(ENV, "@.. ab. c..", respawn=(0.5, 0.02, 1), absent="abc", terminate=1)
    keys = jax.random.split(KEY, 4096)
    after, ts = steps(ENV, keys, start(ENV, params), jnp.int32(RIGHT), params)
    expected = [a * b for b in (0.98, 0.02) for a in (0.5, 0.5)]  # c always
    counts = np.bincount(after.objects, minlength=8)
    assert not counts[:4].any()
    assert chisquare(counts[4:], 4096 * np.array(expected)).pvalue > 1e-4
    assert not ts.terminated.any()


def test_the_end_of_an_episode_does_not_depend_on_what_returns(steps):
    params = level(ENV, "@a. b.c ...", terminate=0.5, respawn=0.5, absent="bc")
    keys = jax.random.split(jax.random.key(1), 4096)
    after, ts = steps(ENV, keys, start(ENV, params), jnp.int32(RIGHT), params)
    pairs = np.bincount(np.asarray(after.objects // 2 * 2 + ts.terminated), minlength=8)
    assert chisquare(pairs).pvalue > 1e-4


def test_the_clock_truncates_unless_the_task_ends_first(step):
    params = level(ENV, "@.. ... ...", steps=2)
    assert [bool(ts.truncated) for *_, ts in play(step, params, [STAY, STAY])] == [False, True]
    params = level(ENV, "@.a ... ...", steps=2, terminate=1)
    *_, ts = play(step, params, [RIGHT, RIGHT])[-1]
    assert (bool(ts.terminated), bool(ts.truncated)) == (True, False)


def test_reset_and_what_it_shows():
    params = level(ENV, "a.@ ..b ...", absent="b")
    state, ts = ENV.reset(KEY, params)
    assert (int(state.cell), int(state.objects)) == (2, 1)
    assert {name: x.tolist() for name, x in ts.obs.items()} == {
        "cell": 2, "objects": 1, "time": [0.0],
    }  # fmt: skip
    assert ENV.render_text(
        state, params
    ) == "+.@###\n..-###\n...###\n######\n######\n######".replace("-", ".")
    assert ENV.render(state, params).shape == (96, 96, 3)


def test_the_one_hot_view_tells_the_same(step):
    hot = dataclasses.replace(ENV, one_hot=True)
    params = level(ENV, "@ab ... ...", respawn=0.5)
    state = start(ENV, params)
    for action in (RIGHT, RIGHT, DOWN, LEFT):
        _, ts = step(ENV, KEY, state, jnp.int32(action), params)
        state, seen = step(hot, KEY, state, jnp.int32(action), params)
        assert seen.obs.shape == (36 * 8 + 1,)
        assert seen.obs[:-1].sum() == 1
        assert int(seen.obs.argmax()) == int(ENV.index(ts.obs)) == int(hot.index(seen.obs))
        assert seen.obs[-1] == ts.obs["time"][0] == jnp.float32(0.001) * state.time
    assert hot.observation_space.contains(np.asarray(seen.obs))


def test_every_state_has_its_own_number():
    cells, objects = (x.ravel() for x in jnp.meshgrid(jnp.arange(36), jnp.arange(8)))
    numbers = ENV.index({"cell": cells, "objects": objects})
    assert sorted(numbers.tolist()) == list(range(ENV.num_states))
    assert (ENV.number(ENV.bits(jnp.int32(5))), ENV.bits(jnp.int32(5)).tolist()) == (
        5, [True, False, True],
    )  # fmt: skip


def cells_of(env, params):
    """[cells] bool, free ones but the start."""
    inside = np.zeros((env.size, env.size), bool)
    inside[: int(params.size), : int(params.size)] = True
    free = inside.ravel() & ~np.asarray(params.walls)
    free[int(params.start)] = False
    return free


def test_random_places_are_uniform_over_distinct_free_cells():
    params = level(RAND, "@#. abc .#d", rewards=(1, -1, 1, -1))
    many = jax.vmap(RAND.reset, in_axes=(0, None))
    state, _ = jax.jit(many)(jax.random.split(KEY, 2**14), params)
    places = np.asarray(state.places)
    free = np.flatnonzero(cells_of(RAND, params))
    assert len(free) == 6
    orders = Counter(map(tuple, places.tolist()))
    assert set(places.ravel()) == set(free)
    assert all(len(set(order)) == 4 for order in orders)
    assert len(orders) == 6 * 5 * 4 * 3
    assert chisquare(list(orders.values())).pvalue > 1e-4


def test_objects_return_to_places_that_are_free_then(steps):
    """Two stay, one is picked up, one returns: three cells and a way to stand are left to it."""
    params = level(RAND, "@#. abc .#d", respawn=0.5)
    n = RAND.size
    places = jnp.array([n + 0, 2, 2 * n + 2, 0], jnp.int32)
    state = State(jnp.int32(0), jnp.int32(0b0111), places, jnp.int32(0))
    keys = jax.random.split(KEY, 2**14)
    after, ts = steps(RAND, keys, state, jnp.int32(DOWN), params)  # onto object 0
    assert set(after.objects.tolist()) == {0b0110, 0b1110}
    back = np.asarray(after.objects) == 0b1110
    assert 1e-4 < binom.cdf(back.sum(), 2**14, 0.5) < 1 - 1e-4
    assert (np.asarray(after.places)[:, :3] == np.asarray(places[:3])).all()
    drawn = Counter(np.asarray(after.places)[back, 3].tolist())
    assert set(drawn) == {0, n + 1, n + 2, 2 * n}  # not on walls, the agent or the others
    assert chisquare(list(drawn.values())).pvalue > 1e-4
    planes = np.asarray(ts.obs["planes"])[
        np.argmax(back)
    ]  # kinds are 0, 1, 2, 3: of planes 2 exist
    assert planes[0].sum() == 1 == planes[0, 1, 0]


def test_planes_show_the_agent_and_each_type(step):
    params = level(RAND, "@#. abc .#d").replace(kinds=jnp.array([0, 0, 1, 1]))
    state = State(jnp.int32(0), jnp.int32(0b1011), jnp.array([2, 7, 9, 16]), jnp.int32(3))
    obs, _ = RAND.observe(state, params)
    assert [np.flatnonzero(plane).tolist() for plane in obs["planes"].reshape(3, -1)] == [
        [0], [2, 7], [16],
    ]  # fmt: skip
    assert RAND.render_text(state, params).splitlines()[:3] == ["@#+####", "+..####", ".#+####"]


@pytest.mark.parametrize("bad", [{"mode": "tiny"}, {"size": 3}, {"objects": 2}, {"size": 300}])
def test_fields_that_do_not_fit_are_refused(bad):
    with pytest.raises(ValueError, match=str(next(iter(bad.values())))):
        metarl.make("LPGSmall-v0", **bad)


def test_planes_have_no_one_hot_view_and_no_number():
    with pytest.raises(ValueError, match="one_hot is for tabular modes"):
        metarl.make("LPGRandAll-v0", one_hot=True)
    with pytest.raises(ValueError, match="not tabular"):
        RAND.index({})


@pytest.mark.parametrize("name", ["all", "mazes", "longer", "tabular", "rand_all", "rand_sparse"])
def test_the_mode_that_stands_for_others_steps_as_they_do(name):
    env = LPGGrid(name)
    other = env.mechanics
    assert other == other.mechanics and (other.size, other.objects) == (env.size, env.objects)
    assert other.observation_space == env.observation_space
    params = env.default_params()
    state, _ = jax.eval_shape(env.reset, KEY, params)
    for function in ("reset", "step"):
        rest = (state, jnp.int32(0), params) if function == "step" else (params,)
        made = [str(jax.make_jaxpr(getattr(e, function))(KEY, *rest)) for e in (env, other)]
        assert made[0] == made[1]


def test_modes_of_other_sizes_or_planes_do_not_stand_for_each_other():
    assert LPGGrid("all").mechanics == LPGGrid("large").mechanics
    assert LPGGrid("small").mechanics != LPGGrid("medium").mechanics
    planes = LPGGrid("rand_dense", size=11, objects=4), LPGGrid("rand_long", size=11, objects=4)
    assert planes[0].mechanics != planes[1].mechanics  # three types of objects, and two

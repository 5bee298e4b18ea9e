"""Sokoban move by move on small boards worked out by hand, and solutions played to the end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.build import make_env
from metarl.config import Part
from metarl.envs.levels.bits import Level
from metarl.envs.levels.boxoban import parse_levels
from metarl.envs.levels.generate import LevelSpec, room_split, solved_levels
from metarl.envs.levels.solve import fewest_pushes
from metarl.envs.levels.table import LevelTable
from metarl.envs.sokoban import Params, Sokoban, params_from, tiles
from metarl.rollout import fresh, vectorize

UP, RIGHT, DOWN, LEFT = range(4)
ENV = Sokoban(height=5, width=7, boxes=2)
START = """
#######
#     #
#@$.$.#
#     #
#######"""


@pytest.fixture(scope="module")
def step():
    return jax.jit(ENV.step)


def params_of(*texts, **numbers):
    return Params.from_levels(parse_levels("\n\n".join(t.strip() for t in texts)), **numbers)


def play(step, params, actions):
    """The start, and what each action led to: (state, time step) pairs."""
    state, ts = ENV.reset(jax.random.key(0), params)
    outcomes = [(state, ts)]
    for action in actions:
        state, ts = step(jax.random.key(1), state, jnp.int32(action), params)
        outcomes.append((state, ts))
    return outcomes


def text(state):
    return ENV.render_text(state, params_of(START))


def test_a_push_onto_a_target_and_over_it(step):
    params = params_of(START)
    outcomes = play(step, params, [RIGHT, RIGHT])
    rewards = [float(ts.reward) for _, ts in outcomes[1:]]
    assert text(outcomes[1][0]).split("\n")[2] == "# @*$.#"
    np.testing.assert_allclose(rewards, [0.9, -0.1], rtol=1e-6)  # then a box blocks the box
    assert text(outcomes[2][0]) == text(outcomes[1][0])
    assert outcomes[2][0].time == 2


def test_a_box_leaves_its_target_and_comes_back(step):
    params = params_of(START)
    around = [RIGHT, UP, RIGHT, DOWN]  # the last one pushes the box off, downwards
    outcomes = play(step, params, around)
    rewards = [float(ts.reward) for _, ts in outcomes[1:]]
    np.testing.assert_allclose(rewards, [0.9, -0.1, -0.1, -1.1], rtol=1e-6)
    assert text(outcomes[-1][0]).split("\n")[2:4] == ["#  +$.#", "#  $  #"]
    assert [int(ts.info["boxes_left"]) for _, ts in outcomes] == [2, 1, 1, 1, 2]


def test_from_target_to_target_costs_the_step_alone(step):
    params = params_of("#######\n#     #\n#@*.$ #\n#     #\n#######")
    (_, ts) = play(step, params, [RIGHT])[-1]
    np.testing.assert_allclose(ts.reward, -0.1, rtol=1e-6)
    assert ts.info["boxes_left"] == 1 and not ts.last


def test_the_last_push_pays_and_ends(step):
    state, ts = play(step, params_of("#######\n#     #\n# @$. #\n#     #\n#######"), [RIGHT])[-1]
    np.testing.assert_allclose(ts.reward, 10.9, rtol=1e-6)
    assert ts.terminated and not ts.truncated and ts.info["solved"]
    assert text(state).split("\n")[2] == "#  @* #"


def test_walls_and_pairs_of_boxes_do_not_move(step):
    params = params_of("#######\n#@$$..#\n#     #\n#     #\n#######")
    start, after_up, after_right = play(step, params, [UP, RIGHT])
    assert text(start[0]) == text(after_up[0]) == text(after_right[0])
    np.testing.assert_allclose([after_up[1].reward, after_right[1].reward], -0.1, rtol=1e-6)
    assert start[1].action_mask.tolist() == [False, False, True, False]


def test_the_mask_allows_what_changes_something(step):
    for board in (START, "#######\n#  $  #\n# $@. #\n#  $..#\n#######"):
        params = params_of(board)
        (state, ts), *_ = play(step, params, [])
        changes = [text(play(step, params, [a])[-1][0]) != text(state) for a in range(4)]
        assert ts.action_mask.tolist() == changes
    assert changes == [False, True, False, True]


def test_a_player_walled_in_may_choose_anything(step):
    params = params_of("#######\n#@#$. #\n###   #\n#     #\n#######")
    assert play(step, params, [RIGHT])[-1][1].action_mask.all()


def test_actions_out_of_range_are_clipped(step):
    params = params_of(START)
    for odd, known in ((-1, UP), (4, LEFT), (99, LEFT)):
        (a, _), (b, _) = (play(step, params, [RIGHT, action])[-1] for action in (odd, known))
        assert text(a) == text(b)


def test_the_clock_truncates_but_a_solution_on_the_last_step_counts(step):
    params = params_of("#######\n#     #\n#@ $. #\n#     #\n#######", max_steps=2)
    ends = [[UP, UP], [RIGHT, RIGHT]]
    (_, late), (_, solved) = (play(step, params, actions)[-1] for actions in ends)
    assert late.truncated and not late.terminated
    assert solved.terminated and not solved.truncated
    assert not play(step, params, [UP])[-1][1].last


def test_rewards_are_numbers_in_the_params(step):
    numbers = {"step_reward": 0.0, "on_reward": 2.0, "off_reward": -3.0, "solved_reward": 5.0}
    params = params_of(START, **numbers)
    rewards = [float(ts.reward) for _, ts in play(step, params, [RIGHT, UP, RIGHT, DOWN])[1:]]
    assert rewards == [2, 0, 0, -3]


def test_the_planes_are_walls_targets_boxes_player(step):
    state, ts = play(step, params_of("#######\n#+$*  #\n#     #\n#     #\n#######"), [])[0]
    wall, target, box, player = np.asarray(ts.obs)
    assert ts.obs.dtype == jnp.uint8 and ENV.observation_space.contains(np.asarray(ts.obs))
    assert wall[0].all() and wall[:, 0].all() and not wall[1:-1, 1:-1].any()
    assert np.argwhere(target).tolist() == [[1, 1], [1, 3]]
    assert np.argwhere(box).tolist() == [[1, 2], [1, 3]]
    assert np.argwhere(player).tolist() == [[1, 1]]
    assert state.left == 1


def test_levels_are_drawn_uniformly():
    top = "#     #"
    rows = [
        START.replace("@", " ").replace(top, f"#{'@':>{n}}{'':{5 - n}}#", 1) for n in range(1, 6)
    ]
    params = params_of(*rows)
    draw = jax.jit(jax.vmap(lambda key: ENV.reset(key, params)[0].player))
    counts = np.bincount(draw(jax.random.split(jax.random.key(2), 5000)) - 8, minlength=5)
    assert counts.sum() == 5000 and abs(counts - 1000).max() < 6 * np.sqrt(800)


@pytest.mark.parametrize("spec", [LevelSpec(), LevelSpec(6, 6, 2, max_steps=30)], ids=str)
def test_solutions_return_what_the_rules_promise(spec):
    env = Sokoban(spec.height, spec.width, spec.boxes)
    made = solved_levels(11, spec)
    levels, solutions = zip(*(next(made) for _ in range(40)), strict=True)
    lengths = np.array([len(actions) for actions in solutions])
    actions = np.stack([np.pad(a, (0, spec.max_steps - len(a))) for a in solutions])
    starts = Params.from_levels(LevelTable.pack(np.stack(levels)))

    @jax.jit
    def run(params, actions):
        def body(carry, action):
            state, alive = carry
            state, ts = env.step(jax.random.key(0), state, action, params)
            return (state, alive & ~ts.last), (ts.reward * alive, alive & ts.terminated)

        state, _ = env.reset(jax.random.key(0), params)
        _, (reward, ended) = jax.lax.scan(body, (state, True), actions)
        return reward.sum(), jnp.argmax(ended), ended.sum()

    for i, (plan, length) in enumerate(zip(actions, lengths, strict=True)):
        one = starts.levels.replace(
            board=starts.levels.board[i : i + 1],
            player=starts.levels.player[i : i + 1],
            left=starts.levels.left[i : i + 1],
        )
        total, last, ends = run(starts.replace(levels=one), plan)
        assert ends == 1 and last == length - 1
        np.testing.assert_allclose(total, 10 + spec.boxes - 0.1 * length, rtol=1e-5)


def test_levels_are_an_argument_of_the_programme():
    one, other = params_of(START, START), params_of(START.replace("@$.", "+$ "), START)
    venv, traces = vectorize(ENV, 3, fresh), []

    @jax.jit
    def step(key, state, actions, params):
        traces.append(1)
        return venv.step(key, state, actions, params)

    args = jax.random.key(1), venv.init(jax.random.key(0), one), jnp.zeros(3, jnp.int32)
    for params in (one, other):
        step(*args, params)
    assert len(traces) == 1
    constants = jax.make_jaxpr(venv.step)(*args, one).consts
    assert sum(np.size(constant) for constant in constants) < 100


def test_levels_of_another_size_are_refused():
    with pytest.raises(ValueError, match="given levels of 5 by 7 cells; make it with height=5"):
        Sokoban().reset(jax.random.key(0), params_of(START))
    with pytest.raises(ValueError, match="3 by 3"):
        Sokoban(height=2)


def test_params_come_from_paths_and_from_the_package(tmp_path):
    (tmp_path / "one.txt").write_text(START.strip())
    params = params_from(tmp_path / "one.txt", max_steps=7)
    assert params.max_steps == 7 and params.levels.board.shape == (1, 35)
    train, heldout = (Sokoban().default_params(split) for split in ("train", "heldout"))
    assert train.levels.board.shape == (4000, 100) and heldout.levels.board.shape == (500, 100)
    assert Sokoban(5, 6, 1).default_params().levels.board.shape == (100, 30)
    assert train.max_steps == 120


def test_the_picture_shows_each_cell():
    params = params_of("#######\n#+$*  #\n#   . #\n#    $#\n#######")
    state, _ = ENV.reset(jax.random.key(0), params)
    picture = jax.jit(ENV.render)(state, params)
    assert picture.shape == (80, 112, 3) and picture.dtype == jnp.uint8
    art = tiles()
    for row, column, flags in ((0, 0, 1), (1, 1, 10), (1, 2, 4), (1, 3, 6), (2, 4, 2), (2, 5, 0)):
        cell = picture[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        assert (np.asarray(cell) == art[flags]).all()
    shown = [art[flags].tobytes() for flags in (0, 1, 2, 4, 6, 8, 10)]
    assert len(set(shown)) == 7


def test_a_run_may_name_its_levels_and_limits(tmp_path):
    """As in `metarl train Sokoban-v0 height=3 width=5 levels=corridor.txt max_steps=7`."""
    path = tmp_path / "corridor.txt"
    path.write_text("; 0\n#####\n#@$.#\n#####\n")
    words = f"Sokoban-v0 height=3 width=5 levels={path} max_steps=7".split()
    env, params, part = make_env(Part.parse(words))
    assert params.levels.board.shape == (1, 15) and params.max_steps == 7
    assert part.fields["levels"] == str(path)
    with pytest.raises(ValueError, match="did you mean max_steps"):
        make_env(Part.parse(["Sokoban-v0", "max_step=7"]))
    with pytest.raises(ValueError, match="split"):
        make_env(Part.parse(["Sokoban-v0", "split=test"]))


def test_a_sampled_task_is_one_level_of_its_split():
    env = Sokoban(6, 6, 2)
    draw = jax.jit(lambda keys: jax.vmap(lambda k: env.sample_params(k, "heldout"))(keys))
    tasks = draw(jax.random.split(jax.random.key(0), 50))
    boards = np.asarray(tasks.levels.board)
    assert boards.shape == (50, 1, 36) and len(np.unique(boards, axis=0)) > 30
    known = {b.tobytes() for b in np.asarray(env.default_params("heldout").levels.board)}
    assert all(board.tobytes() in known for board in boards[:, 0])
    with pytest.raises(ValueError, match="split must be"):
        env.sample_params(jax.random.key(0), "test")


def test_mutated_levels_stay_solvable_and_in_their_split():
    env = Sokoban(6, 6, 2)
    params = env.default_params("heldout")
    params = params.replace(levels=jax.tree.map(lambda x: x[:40], params.levels))
    changed = jax.jit(env.mutate)(jax.random.key(0), params).levels
    boards = np.array(changed.board).reshape(-1, 6, 6)
    assert (boards != np.asarray(params.levels.board).reshape(-1, 6, 6)).any((1, 2)).sum() > 25
    boards.reshape(-1, 36)[np.arange(40), changed.player] |= 8
    for board in LevelTable.pack(boards).boards():
        assert fewest_pushes(board) is not None
        assert room_split(Level.of(board).floor, 6, 6) == "heldout"

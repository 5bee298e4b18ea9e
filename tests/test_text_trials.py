"""Trials in words: what is played, paid, counted and told."""

import re

import jax
import numpy as np
import pytest

import metarl
from metarl.envs import sokoban
from metarl.envs.levels.boxoban import parse_levels
from metarl.text import RandomTextPolicy, ScriptedPolicy, codec_for, run_text_trials
from metarl.text.policies import action
from metarl.wrappers import pass_at, trial

MINES = metarl.make("TrialMinesweeper-v0", height=3, width=3, mines=2)
SOKOBAN = metarl.make("Sokoban-v0", height=3, width=6, boxes=1)
LEVEL = "######\n#@ $.#\n######"
N = 4


def mines(policy, **options):
    options = {"boards": N, "turns": 3, **options}
    return run_text_trials(MINES, codec_for(MINES), policy, **options)


def pushes(policy, **options):
    params = sokoban.Params.from_levels(parse_levels(LEVEL))
    options = {"boards": 2, "turns": 2, "params": params, **options}
    return run_text_trials(SOKOBAN, codec_for(SOKOBAN), policy, **options)


def words(*answers):
    return ScriptedPolicy([action(answer) for answer in answers])


@pytest.fixture(scope="module")
def log():
    return mines(RandomTextPolicy(3), attempts=3, seed=6)


def test_it_is_what_a_plain_loop_plays(log):
    """Boards, rewards and ends of every attempt, one environment at a time."""
    env, codec, params = MINES, codec_for(MINES), MINES.default_params()
    step, reset = jax.jit(env.step), jax.jit(env.reset)
    keys = jax.random.split(jax.random.key(6), 3)[0]
    assert any(len(attempts) == 3 for attempts in log.trials) and log.success.any()
    for board, attempts in enumerate(log.trials):
        start, _ = reset(jax.random.fold_in(keys, board), params)
        for number, attempt in enumerate(attempts):
            state, won, last = start, False, False
            for turn, done in enumerate(attempt.turns):
                assert not last
                assert done.prompt.board == codec.render(state, params)
                where = done.prompt.trial, done.prompt.attempt, done.prompt.turn
                assert where == (board, number, turn)
                state, ts = step(keys, state, done.actions[0], params)
                assert done.rewards == (pytest.approx(float(ts.reward)),)
                won, last = bool(ts.info["solved"]), bool(ts.last)
            assert attempt.won == won and (last or len(attempt.turns) == 3)
            assert attempt.won == (number == len(attempts) - 1 and log.success[board].any())


def test_pass_at_k_counts_boards(log):
    np.testing.assert_array_equal(log.pass_at, pass_at(log.success))
    told = log.summary()
    for k in range(3):
        mean, low, high = told[f"pass@{k + 1}"]
        assert mean == np.mean([any(a.won for a in t[: k + 1]) for t in log.trials])
        assert low <= mean <= high
    assert told["attempts_played"] == sum(map(len, log.trials))
    failures = sum(not a.won for t in log.trials for a in t[:2])
    assert told["reflections"] == failures and told["invalid_reflections"] == 0
    assert told["turns"] == told["moves"] == len(list(log.turns()))
    assert told["first_return"][0] == pytest.approx(np.mean([t[0].ret for t in log.trials]))


@pytest.mark.parametrize("reflect", [True, False])
@pytest.mark.parametrize("memory", ["history", "reflection", "both"])
def test_every_prompt_shows_the_board_of_now_and_its_own_trial(memory, reflect):
    """The published history of attempts 2 and 3 was that of the first, without the board."""
    lesson = "<remark>I am trial {0.trial}, attempt {0.attempt}.</remark>".format
    chance = RandomTextPolicy(3)

    def answer(prompt):
        return lesson(prompt) if prompt.reflect else chance.act([prompt])[0]

    log = mines(ScriptedPolicy(answer), memory=memory, reflect=reflect, seed=6)
    asked = list(log.turns())
    assert {turn.prompt.attempt for turn in asked} == {0, 1, 2}
    for turn in asked:
        prompt = turn.prompt
        assert prompt.text.endswith(f"The board now:\n{prompt.board}\n{codec_for(MINES).form()}")
        seen = re.findall(r"I am trial (\d+), attempt (\d+)\.", prompt.text)
        kept = reflect and memory != "history"
        assert seen == [(str(prompt.trial), str(a)) for a in range(prompt.attempt) if kept]
        moves = {int(a) for a in re.findall(r"Attempt (\d), turn", prompt.text)}
        own = {prompt.attempt + 1} if prompt.turn else set()
        before = set() if memory == "reflection" else set(range(1, prompt.attempt + 1))
        assert moves == own | before
    failures = sum(not attempt.won for attempts in log.trials for attempt in attempts[:2])
    assert len(list(log.reflections())) == failures * (reflect and memory != "history") != 1
    for turn in log.reflections():
        assert f"The board at the end:\n{turn.prompt.board}\n" in turn.prompt.text
        assert "<remark>" in turn.prompt.text and turn.prompt.legal == ()


def test_all_moves_of_an_answer_are_paid_and_those_after_the_end_not_played():
    log = pushes(words("right, right, left"))
    (attempt,) = log.trials[0]
    (turn,) = attempt.turns
    assert attempt.won and turn.actions == (1, 1) and turn.valid
    assert turn.rewards == pytest.approx((-0.1, -0.1 + 1 + 10))
    assert turn.reward == attempt.ret == pytest.approx(10.8)


def test_forbidden_moves_cost_and_the_others_are_played():
    log = pushes(words("up, right, down"), attempts=1)
    first, second = log.trials[1][0].turns
    assert first.actions == (0, 1, 2) and first.forbidden == 2 and first.valid
    assert first.rewards == pytest.approx((-0.1, -0.1, -0.1))
    assert "up (not possible), right, down (not possible), reward -0.3" in second.prompt.text
    assert second.prompt.board == "0:######\n1:#_PXO#\n2:######"
    assert second.prompt.legal == ("right", "left") and log.trials[1][0].won


@pytest.mark.parametrize("answer", ["", "open (1, 1)", "<action>(9, 9)</action>", None])
def test_an_answer_without_a_move_costs_the_turn(answer):
    log = mines(ScriptedPolicy(lambda prompt: answer), attempts=2, turns=3)
    told = log.summary()
    assert told["turns"] == told["invalid_answers"] == N * 2 * 3 and told["moves"] == 0
    assert told["reflections"] == told["invalid_reflections"] == N
    assert told["unanswered"] == (N * 7 if answer is None else 0)
    for attempts in log.trials:
        for attempt in attempts:
            assert not attempt.won and attempt.ret == -3  # LaMer's price, three times
            assert len({turn.prompt.board for turn in attempt.turns}) == 1
            assert "turn 1: no valid move, reward -1" in attempt.turns[1].prompt.text


def test_choosing_an_open_cell_costs_the_turn_whatever_the_environment_says():
    env = metarl.make("Minesweeper-v0", height=2, width=2, mines=1, first_click_safe=True)
    log = run_text_trials(env, codec_for(env), words("(1, 1)"), boards=2, attempts=1, turns=3)
    for (attempt,) in log.trials:
        assert [turn.reward for turn in attempt.turns] == [1, -1, -1]
        assert [turn.forbidden for turn in attempt.turns] == [0, 1, 1] and not attempt.won


def test_the_same_moves_lead_to_the_same_boards():
    """Also where a mine under the first cell moves to a random one."""
    env = metarl.make("Minesweeper-v0", height=4, width=4, mines=9, first_click_safe=True)
    policy = words("(1, 1)", "(1, 2)", "(1, 3)")
    log = run_text_trials(env, codec_for(env), policy, boards=8, stop_on_success=False)
    boards = [
        {tuple(turn.prompt.board for turn in attempt.turns) for attempt in attempts}
        for attempts in log.trials
    ]
    assert all(len(seen) == 1 for seen in boards) and len(set.union(*boards)) > 4


def test_a_trial_can_go_on_after_a_success():
    log = pushes(words("right, right"), stop_on_success=False, attempts=3)
    assert log.success.all() and log.success.shape == (2, 3) and not list(log.reflections())


def test_the_first_boards_do_not_depend_on_how_many_there_are(log):
    few = mines(RandomTextPolicy(3), seed=6, boards=2)
    assert few.trials == log.trials[:2]
    other = mines(RandomTextPolicy(3), seed=2)
    assert other.trials != log.trials


def test_tasks_can_be_drawn():
    log = mines(RandomTextPolicy(), sample_task=True, split="heldout")
    again = mines(RandomTextPolicy(), sample_task=True, split="train")
    assert log.trials != again.trials


def test_the_report_ends_at_the_end():
    seen = []
    mines(RandomTextPolicy(3), seed=6, report=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[0] >= (N, N * 9) and seen[-1] == (N * 9, N * 9)


def test_mistakes_are_explained():
    chance = RandomTextPolicy()
    with pytest.raises(ValueError, match="need a board, an attempt and a turn, got 0, 3, 3"):
        mines(chance, boards=0)
    with pytest.raises(ValueError, match="no memory 'all'"):
        mines(chance, memory="all")
    with pytest.raises(ValueError, match="makes the attempts itself"):
        run_text_trials(trial(MINES), codec_for(MINES), chance, boards=1)

    with pytest.raises(ValueError, match="has no `sample_params`"):
        maze = metarl.make("Snake-v0")
        run_text_trials(maze, codec_for(maze), chance, boards=1, sample_task=True)

    class Silent:
        def act(self, prompts):
            return []

    with pytest.raises(ValueError, match="4 prompts got 0 answers"):
        mines(Silent())
    with pytest.raises(ValueError, match="at least one answer"):
        ScriptedPolicy([])

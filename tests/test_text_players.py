"""Exact players that read prompts: what they know stands there, and nowhere else."""

import numpy as np
import pytest

import metarl
from metarl.players.minesweeper import MINE
from metarl.text import codec_for, run_text_trials
from metarl.text.players import exact_player, minesweeper_boards, sokoban_board

MINES = metarl.make("TrialMinesweeper-v0", height=4, width=4, mines=3)


@pytest.fixture(scope="module")
def play():
    codec = codec_for(MINES)
    player = exact_player(codec)
    how = {"boards": 64, "turns": 6, "attempts": 4, "seed": 1}
    return lambda **options: run_text_trials(MINES, codec, player, **{**how, **options})


@pytest.fixture(scope="module")
def control(play):
    """Told of nothing but the attempt in progress."""
    return play(memory="reflection", reflect=False)


def test_boards_are_read_back():
    text = "x\nRow 1: ? . 8\nRow 2: * 1 ?\nRow 1: 1 1 1\nRow 1: ? ? ?\nRow 2: . . ?"
    first, second = minesweeper_boards(text, 2, 3)
    assert first.tolist() == [0, 1, 9, MINE, 2, 0] and second.tolist() == [0, 0, 0, 1, 1, 0]
    board = sokoban_board("0:####\n1:#SX#\n0:####\n1:#P√#\n2:#_O#", 3)
    assert board.tolist() == [[1, 1, 1, 1], [1, 8, 6, 1], [1, 0, 2, 1]]


@pytest.mark.parametrize("memory", ["history", "reflection", "both"])
def test_what_is_remembered_is_enough_never_to_hit_a_mine_twice(play, control, memory):
    """In each mode by its own way: boards of earlier attempts, or those noted as lessons."""
    log = play(memory=memory)
    told = log.summary()
    assert told["invalid_answers"] == told["forbidden_moves"] == told["invalid_reflections"] == 0
    for trial in log.trials:
        mines = [a.turns[-1].actions[0] for a in trial if a.turns[-1].reward < 0]
        assert len(set(mines)) == len(mines)
    np.testing.assert_array_equal(log.success[:, 0], control.success[:, 0])
    assert log.pass_at[:, -1].mean() > control.pass_at[:, -1].mean() + 0.05
    again = [a.turns[-1].actions[0] for t in control.trials for a in t if a.turns[-1].reward < 0]
    assert len(again) > sum(a.turns[-1].reward < 0 for t in log.trials for a in t)


def test_sokoban_is_solved_in_as_few_steps_as_can_be():
    from metarl.envs.levels.solve import fewest_steps

    env = metarl.make("Sokoban-v0", height=6, width=6, boxes=2)
    codec = codec_for(env)
    log = run_text_trials(env, codec, exact_player(codec), boards=4, attempts=1)
    for (attempt,) in log.trials:
        best = fewest_steps(sokoban_board(attempt.turns[0].prompt.board, 6))
        assert best is not None and attempt.won
        assert len(best) == sum(len(turn.actions) for turn in attempt.turns)
        assert attempt.ret == pytest.approx(12 - 0.1 * len(best), abs=1e-5)


def test_other_games_have_no_exact_player():
    hidden = metarl.make("Sokoban-v0", height=6, width=6, boxes=2, hidden_targets=True)
    for env in (hidden, metarl.make("GridWorld-v0", size=3)):
        with pytest.raises(ValueError, match="only of Minesweeper, and of Sokoban with its tar"):
            exact_player(codec_for(env))

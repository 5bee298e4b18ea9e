"""`metarl text-trials`: what it writes, says and refuses."""

import json

import numpy as np
import pytest

import metarl
from metarl.cli import main
from metarl.text import RandomTextPolicy, codec_for, run_text_trials

pytestmark = pytest.mark.usefixtures("compile_once")

TINY = "--env minesweeper height=3 width=3 mines=2 --boards 4 --attempts 2 --turns 3 --seed 10"


def words(capsys, line, *more):
    """Exit code, and what was printed to both streams, without tyro's frames and line breaks."""
    code: object
    try:
        code = main(["text-trials", *line.split(), *map(str, more)])
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    return code, " ".join((printed.out + printed.err).replace("│", " ").split())


@pytest.fixture(scope="module")
def run(compile_once, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "random"
    assert main(["text-trials", *TINY.split(), "--policy", "random", "--out", str(out)]) == 0
    return out


def test_a_run_leaves_its_answers_and_its_result(run):
    assert {path.name for path in run.iterdir()} == {
        ".lock", "config.json", "result.json", "transcript.jsonl",
    }  # fmt: skip
    result = json.loads((run / "result.json").read_text())
    env = metarl.make("TrialMinesweeper-v0", height=3, width=3, mines=2)
    policy = RandomTextPolicy(10)
    log = run_text_trials(env, codec_for(env), policy, boards=4, attempts=2, turns=3, seed=10)
    won_at = np.where(log.success.any(axis=1), log.success.argmax(axis=1) + 1, 0)
    assert set(won_at) == {0, 1, 2} and result["won_at"] == won_at.tolist()
    told = result["pass@2"]
    assert (told["mean"], *told["interval"]) == log.summary()["pass@2"]
    assert result["command"] == f"metarl text-trials {TINY} --policy random --out {run}".replace(
        "--boards 4 --attempts 2 --turns 3 --seed 10 --policy random",
        "--policy random --boards 4 --attempts 2 --turns 3 --seed 10",
    )
    assert result["env"].startswith("TrialMinesweeper-v0 height=3 width=3 mines=2")
    assert result["agent"] == {"policy": "random"} and result["invalid_answers"] == 0
    asked = [json.loads(line) for line in (run / "transcript.jsonl").read_text().splitlines()]
    assert len(asked) == result["turns"] + result["reflections"]
    assert {line["kind"] for line in asked} == {"act", "reflect"}
    assert asked[0]["text"].startswith("Attempt 1 of 2, turn 1 of 3.\nThe board now:\nRow 1: ")


def test_the_same_command_tells_the_same_again_and_another_is_refused(run, capsys):
    before = (run / "transcript.jsonl").read_bytes()
    code, said = words(capsys, TINY, "--policy", "random", "--out", run)
    assert code == 0 and "pass@2 50.0 % [" in said
    assert "0 without a move, 0 forbidden moves" in said and f"{run}/result.json" in said
    assert (run / "transcript.jsonl").read_bytes() == before
    code, said = words(capsys, TINY, "--memory", "history", "--policy", "random", "--out", run)
    assert code == 2 and "holds another run, or other settings" in said


def test_an_interrupted_run_says_how_to_go_on(run, tmp_path, capsys, monkeypatch):
    act, rounds = RandomTextPolicy.act, iter([True, True])

    def interrupted(policy, prompts):
        if next(rounds, False):
            return act(policy, prompts)
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(RandomTextPolicy, "act", interrupted)
        code, said = words(capsys, TINY, "--policy", "random", "--out", out)
    assert code == 128 + 2 and not (out / "result.json").exists()
    assert f"stopped; continue with `metarl text-trials {TINY.partition(' --boards')[0]} " in said
    assert f"--out {out}`" in said and len((out / "transcript.jsonl").read_bytes()) > 100
    assert words(capsys, TINY, "--policy", "random", "--out", out)[0] == 0
    assert (out / "transcript.jsonl").read_bytes() == (run / "transcript.jsonl").read_bytes()


def test_a_script_plays(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answers").write_text("<action>(1, 1)</action>\nwhat?\n")
    code, said = words(capsys, TINY, "--policy", "scripted", "--script", "answers")
    assert code == 0 and "runs/text-minesweeper-scripted-1/result.json" in said
    result = json.loads((tmp_path / "runs/text-minesweeper-scripted-1/result.json").read_text())
    assert result["invalid_answers"] > 0


def test_sokoban_and_any_other_grid_can_be_played(tmp_path, capsys):
    line = "--policy random --boards 2 --attempts 1 --turns 2 --env "
    code, said = words(capsys, f"{line} sokoban", "--out", tmp_path / "a")
    assert code == 0 and "over 2 boards" in said
    assert json.loads((tmp_path / "a/result.json").read_text())["moves"] == 12
    code, said = words(capsys, f"{line} GridWorld-v0 size=3", "--out", tmp_path / "b")
    assert code == 0 and "0 reflections" in said


def test_exact_players_play(tmp_path, capsys):
    code, said = words(capsys, TINY, "--policy", "exact", "--out", tmp_path / "run")
    assert code == 0 and "0 without a move, 0 forbidden moves" in said
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["agent"] == {"policy": "exact"} and result["pass@2"]["mean"] >= 0.5


def test_tasks_are_drawn_for_each_board(tmp_path, capsys):
    """Of moves whose words mean something else on every board."""
    (tmp_path / "answers").write_text("<action>up</action>\n")
    line = "--env Sokoban-v0 height=6 width=6 boxes=2 permute_actions=true --sample-task "
    line += "--boards 12 --attempts 1 --turns 2 --policy scripted --script"
    code, _ = words(capsys, line, tmp_path / "answers", "--out", tmp_path / "run")
    assert code == 0
    asked = (tmp_path / "run" / "transcript.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in asked]
    boards = [text[text.index("0:#") :] for text in texts]
    places = [min(board.find(sign) % 99 for sign in "PS") for board in boards]
    steps = {after - before for before, after in zip(places[:12], places[12:], strict=True)}
    assert steps <= {0, -1, 1, -9, 9} and len(steps) > 2  # a row has 9 signs


@pytest.mark.parametrize(
    "line, expected",
    [
        ("", "say who plays: --endpoint URL --model NAME, or --policy random"),
        ("--endpoint http://localhost:1/v1", "say who plays"),
        ("--policy random --model x", "asks no endpoint and no model"),
        ("--policy scripted", "--policy scripted and --script FILE go together"),
        ("--policy scripted --script nowhere", "nowhere"),
        ("--policy random --boards 0", "--boards must be at least 1"),
        ("--policy random --timeout 0", "--timeout must be positive"),
        ("--policy random --split heldout", "--split is of the tasks that --sample-task draws"),
        ("--policy exact --env Snake-v0", "there is no exact player of Snake, only of Minesweeper"),
        ("--policy random --extra [1]", "--extra should be a JSON object"),
        ("--policy random --extra {", "--extra should be JSON"),
        ("--policy random --memory all", "--memory"),
        ("--policy random --env minsweeper", "no environment 'minsweeper'"),
        ("--policy random --env minesweeper mine=2", "did you mean mines?"),
        ("--policy random --env Pendulum-v0", "no numbered actions"),
    ],
)
def test_mistakes_are_explained_with_exit_code_2(capsys, tmp_path, monkeypatch, line, expected):
    monkeypatch.chdir(tmp_path)
    code, text = words(capsys, line)
    assert code == 2 and expected in text
    assert not list(tmp_path.iterdir())

import json
import os
import subprocess
import sys
import termios
import threading

import pytest
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from metarl.cli import COMMANDS, main
from metarl.config import Part, read_value, show_value, whole_number

pytestmark = pytest.mark.usefixtures("compile_once")


@pytest.fixture(scope="module")
def run(compile_once, tmp_path_factory):
    """A finished run of `metarl train`."""
    out = tmp_path_factory.mktemp("runs") / "grid"
    arguments = (
        "GridWorld-v0 size=3 max_steps=9 --rule a2c learning_rate=0.003 --agent mlp hidden=16 "
        "--num-envs 8 --length 8 --steps 1e4 --seeds 0 5 --out"
    )
    assert main(["train", *arguments.split(), str(out)]) == 0
    return out


def words(capsys, *argv):
    """Exit code, and what was printed to both streams, without tyro's frames and line breaks."""
    try:
        code = main(list(argv))
    except SystemExit as stop:
        return stop.code, _plain(capsys)
    return code, _plain(capsys)


def _plain(capsys):
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).replace("│", " ").split())


def test_help_is_instant(capsys):
    code = "import sys; from metarl.cli import main; main(['--help']); print('jax' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.endswith("False\n")
    for name in COMMANDS:
        assert name in out.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    code, text = words(capsys, command, "--help")
    assert code == 0 and f"usage: metarl {command}" in text
    assert len(text) > 100 and "default: )" not in text


@pytest.mark.parametrize(
    "line, expected",
    [
        ("trian", "no command 'trian'; did you mean train?"),
        ("train Snake-v0 --seds 1", "Perhaps you meant: --seeds"),
        ("train Snak-v0", "no environment 'Snak-v0'; did you mean Snake-v0?"),
        ("train Bandit-v0 --rule pppo", "no rule 'pppo'; did you mean ppo?"),
        ("train Bandit-v0 --rule a2c entropy=1", "did you mean entropy_cost?"),
        ("train Bandit-v0 --rule a2c discount=high", "should be a number, got 'high'"),
        ("train Bandit-v0 --steps 1.5", "expected a whole number, got 1.5"),
        ("train Bandit-v0 --steps 10", "less than one update"),
        ("train Bandit-v0 --rule my.rule", "No module named 'my'"),
        ("train", "expected a name"),
        ("train size=6", "expected a name"),
        ("train Bandit-v0 size", "read name=value, got 'size'"),
        ("train Bandit-v0 --num-envs 6 --length 3 --steps 36", "minibatches do not divide 18"),
        ("play", "say what to play"),
        ("resume nowhere", "nowhere holds no run"),
    ],
)
def test_mistakes_are_explained_with_exit_code_2(capsys, tmp_path, monkeypatch, line, expected):
    monkeypatch.chdir(tmp_path)
    code, text = words(capsys, *line.split())
    assert code == 2 and expected in text
    assert not list(tmp_path.iterdir())


def test_training_leaves_a_whole_folder(run):
    names = {p.name for p in run.iterdir()} - {".lock"}
    assert names == {
        "config.json", "metrics.csv", "tensorboard", "checkpoints", "curve.png",
        "evaluation.json", "play.gif",
    }  # fmt: skip
    result = json.loads((run / "evaluation.json").read_text())
    assert set(result["trained"]["returns"]) == {"0", "5"}
    assert result["trained"]["mean"] > 0.9 > result["random"]["mean"] > 0.3
    low, high = result["random"]["interval"]
    assert low < result["random"]["mean"] < high
    assert Image.open(run / "curve.png").size == (960, 600)
    assert Image.open(run / "play.gif").size[0] >= 256


def test_resume_of_a_finished_run_tells_the_result_again(capsys, run):
    before = (run / "evaluation.json").read_bytes()
    code, text = words(capsys, "resume", str(run))
    assert code == 0 and (run / "evaluation.json").read_bytes() == before
    mean = json.loads(before)["trained"]["mean"]
    assert f"mean return {mean:.3g}" in text and "random policy" in text
    assert f"learning curve: {run}/curve.png" in text and f"an episode: {run}/play.gif" in text


def test_evaluate_draws_its_own_randomness(capsys, run):
    results = []
    for seed in (1, 1, 2):
        arguments = ("evaluate", str(run), "--episodes", "7", "--seed", str(seed))
        assert words(capsys, *arguments)[0] == 0
        results.append(json.loads((run / "evaluation.json").read_text()))
    assert results[0] == results[1] != results[2]
    assert results[0]["episodes"] == 7
    code, text = words(capsys, "evaluate", str(run), "--episodes", "0")
    assert code == 2 and "at least 1" in text


def test_render_films_the_agent_asked_for(capsys, run, tmp_path):
    out = tmp_path / "x.gif"
    options = ("--agent-seed", "5", "--episodes", "1", "--steps", "9", "--side", "100")
    code, text = words(capsys, "render", str(run), "--out", str(out), *options)
    assert code == 0 and text == str(out)
    with GifImageFile(out) as image:
        assert 1 < image.n_frames <= 10 and image.size[0] >= 100
    code, text = words(capsys, "render", str(run), "--agent-seed", "4")
    assert code == 2 and "has the seeds (0, 5), not 4" in text


def test_a_run_without_a_checkpoint_cannot_be_evaluated(capsys, run, tmp_path):
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    code, text = words(capsys, "evaluate", str(tmp_path))
    assert code == 2 and f"metarl resume {tmp_path}" in text


class Typist(threading.Thread):
    """Somebody at a pseudo-terminal who types the next key when the screen shows what it awaits."""

    def __init__(self, descriptor, script):
        super().__init__(daemon=True)
        self.descriptor, self.script, self.seen = descriptor, script, ""

    def run(self):
        for awaited, keys in self.script:
            start = len(self.seen)
            while awaited not in self.seen[start:]:
                self.seen += os.read(self.descriptor, 1024).decode()
            os.write(self.descriptor, keys.encode())


def test_play_by_keyboard_in_a_terminal(monkeypatch):
    ours, theirs = os.openpty()
    before = termios.tcgetattr(ours)
    typist = Typist(ours, [("step 0", "\x1b[C"), ("step 1", "a"), ("step 2", "9q")])
    typist.start()
    with os.fdopen(theirs, "r+b", buffering=0) as keys, os.fdopen(os.dup(theirs), "w") as screen:
        monkeypatch.setattr(sys, "stdin", keys)
        monkeypatch.setattr(sys, "stdout", screen)
        assert main(["play", "GridWorld-v0", "size=4"]) == 0
        assert termios.tcgetattr(ours) == before
        typist.join(10)
    assert not typist.is_alive() and "arrows or WASD" in typist.seen
    os.close(ours)


def test_play_without_a_terminal(monkeypatch, capsys):
    read, write = os.pipe()
    os.write(write, b"1x10")  # two arms; x and the end of the input are no arm
    os.close(write)
    with os.fdopen(read, "rb", buffering=0) as keys:
        monkeypatch.setattr(sys, "stdin", keys)
        code, text = words(capsys, "play", "Bandit-v0", "max_steps=3", "--episodes", "1")
    assert code == 0 and "step 2" in text and "\x1b" not in text
    assert "episode 1 over after 3 steps (time is up)" in text


def test_watch_a_trained_agent(monkeypatch, capsys, run):
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as keys:
        monkeypatch.setattr(sys, "stdin", keys)
        options = ("--run", str(run), "--episodes", "2", "--fps", "1000")
        code, text = words(capsys, "play", *options)
        assert code == 0 and "episode 2 over" in text and "(the task ended): return 1" in text
        code, text = words(capsys, "play", "Bandit-v0", *options)
        assert code == 2 and "observation_space" in text
    os.close(write)


def test_envs_and_parts_are_listed(capsys):
    code, text = words(capsys, "envs")
    assert code == 0 and "GridWorld-v0 uint8[3, 5, 5] 4 choices" in text
    code, text = words(capsys, "parts")
    assert code == 0 and "rule ppo discount=0.99" in text and "agent mlp hidden=64,64" in text


@pytest.mark.parametrize("value", [1, -2.5, True, False, None, "relu", (), (3,), (1, 2.0), 1e-5])
def test_settings_are_read_as_they_are_shown(value):
    assert read_value(show_value(value)) == value
    assert type(read_value(show_value(value))) is type(value)


def test_values_that_cannot_be_written_down_stay_text():
    assert read_value("{1: 2}") == "{1: 2}" and read_value("1+2") == "1+2"
    assert Part.parse(["a", "b=c=d"]).fields == {"b": "c=d"}
    assert [whole_number(t) for t in ("7", "2e6", "1_000")] == [7, 2_000_000, 1000]
    for bad in ("1.5", "x", "nan", "inf"):
        with pytest.raises(ValueError):
            whole_number(bad)

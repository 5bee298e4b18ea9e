"""Real processes, killed at random moments: what they leave behind continues as if nothing was."""

import random
import signal
import subprocess
import time
from dataclasses import replace

import pytest

from metarl.config import Config
from metarl.io import checkpoint
from metarl.io.runs import RunFolder
from metarl.run import resume, train

pytestmark = pytest.mark.usefixtures("compile_once")

ARGUMENTS = (
    "Bandit-v0 max_steps=5 --rule a2c --agent mlp hidden=4 --num-envs 3 --length 4 --steps 24000 "
    "--seeds 0 1 --log-every 5 --checkpoint-seconds 0 --tick-seconds 0"
)


class Silent:
    def line(self, text):
        pass

    def progress(self, *numbers):
        pass


def stop(process, path, number):
    """Sends the signal a random moment after the run has written new metrics."""
    before = path.stat().st_size if path.exists() else 0
    deadline = time.monotonic() + 120
    while not path.exists() or path.stat().st_size <= max(before, 200):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.1))
    process.send_signal(number)
    return process.communicate(timeout=120)


def state_of(folder):
    newest = checkpoint.listed(folder.checkpoints)[-1]
    return newest.name, newest.read_bytes(), folder.metrics.read_bytes()


def test_a_killed_run_continues_to_the_same_bits(tmp_path, mortal):
    folder, path = RunFolder(tmp_path / "run"), str(tmp_path / "run")

    def start(*arguments, kill=-1):
        pipe = subprocess.PIPE
        return subprocess.Popen(mortal(kill, *arguments), stderr=pipe, stdout=pipe, text=True)

    first = start("train", *ARGUMENTS.split(), "--out", path)
    stop(first, folder.metrics, signal.SIGKILL)
    assert first.returncode == -signal.SIGKILL

    torn = start("resume", path, kill=random.randint(1, 9))
    torn.communicate(timeout=120)
    assert torn.returncode == -signal.SIGKILL
    assert list(folder.checkpoints.glob(".*.tmp"))

    for number in (signal.SIGTERM, signal.SIGINT):
        polite = start("resume", path)
        _, errors = stop(polite, folder.metrics, number)
        assert polite.returncode == 128 + number
        assert f"metarl resume {path}" in errors

    updates = int(checkpoint.listed(folder.checkpoints)[-1].stem.removeprefix("update_"))
    assert updates < 2000, "the run was too short to be stopped four times"
    resume(folder.path, Silent())

    config = replace(Config.loads(folder.config.read_text()), checkpoint_seconds=1e9)
    whole, _ = train(config, tmp_path / "whole", Silent())
    assert state_of(whole) == state_of(folder)
    assert len(folder.metrics.read_text().splitlines()) == 1 + 2 * 400

"""The examples run, and the README shows them as they are."""

import pathlib
import re
import runpy

import pytest

import metarl

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def corridor():
    return runpy.run_path(str(ROOT / "examples" / "own_environment.py"))


def test_own_environment_is_registered_checked_and_learned(corridor, capsys):
    assert "Corridor-v0" in metarl.registered()
    corridor["main"]()
    (length,) = re.findall(r"length: ([\d.]+)", capsys.readouterr().out)
    assert 5 <= float(length) < 5.5


def test_readme_shows_the_example_as_it_is():
    source = (ROOT / "examples" / "own_environment.py").read_text()
    code = source.split("# [corridor]\n")[1].split("# [end]")[0].strip()
    assert code in (ROOT / "README.md").read_text()
    assert len([line for line in code.splitlines() if line.strip()]) <= 30

"""The examples run, and the README shows them as they are."""

import json
import pathlib
import re
import runpy

import pytest

import metarl
from metarl import registry

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def corridor():
    """What the example defines; what it registers is gone behind this file."""
    yield runpy.run_path(str(ROOT / "examples" / "own_environment.py"))
    del registry._REGISTRY["Corridor-v0"]


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


def test_a_rule_of_ones_own_is_tuned_by_both_outer_loops(tmp_path, capsys):
    example = runpy.run_path(str(ROOT / "examples" / "tune_own_rule.py"))
    example["main"](str(tmp_path / "schedules.png"), updates=20)
    assert (tmp_path / "schedules.png").stat().st_size > 10_000
    told = re.findall(r"'tuned/discount': '([\d.]+)'", capsys.readouterr().out)
    assert len(told) == 2 and all(0.5 < float(x) < 1 and float(x) != 0.7 for x in told)
    source = (ROOT / "examples" / "tune_own_rule.py").read_text()
    code = source.split("# [rule]\n")[1].split("# [end]")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 45


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "examples" / "evaluate_rule.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    known: dict = {}
    for cell in cells:
        exec("".join(cell["source"]), known)
    assert known["results"].rules == ("a2c", "ppo") and len(known["final"]) == 2 * 2 * 3
    lines = known["axes"].get_lines()
    for rule, line in zip(known["results"].rules, lines, strict=True):
        assert line.get_ydata()[-1] == known["results"].aggregates(rule)["iqm"].value
    assert 0 <= known["contest"].improvement.value <= 1
    assert (tmp_path / "runs" / "notebook" / "report.html").is_file()

"""`metarl evaluate-rule` and `metarl compare`, with scores that are drawn instead of played."""

import numpy as np
import pytest

from metarl import cells
from metarl.cli import main
from metarl.results import Results

SIZES = ["--seeds", "3", "--points", "1", "--suite", "Catch-v0", "Pendulum-v0", "ProbeAction-v0"]


def drawn(cell):
    gain = 1.0 if cell.rule == "q_lambda" else 0.2
    luck = 0.1 * np.random.default_rng(len(cell.env)).normal(size=(2, 3))
    return np.array([[0.0], [gain]]) + luck


def run(capsys, *words):
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.fixture
def results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cells, "play_cell", drawn)
    told = {}
    for rule in ("q_lambda", "a2c"):
        code, told[rule] = run(capsys, "evaluate-rule", rule, *SIZES, "--out", tmp_path / rule)
        assert code == 0, told[rule]
    return tmp_path, told


def test_a_rule_is_told_of_with_what_was_left_out(results):
    folder, told = results
    assert "q_lambda, 2 environments, 3 seeds" in told["q_lambda"] and "iqm" in told["q_lambda"]
    assert "q_lambda skipped Pendulum-v0: q_lambda cannot act here" in told["q_lambda"]
    assert "Pendulum-v0 takes no part in aggregates" in told["a2c"]
    assert Results.load(folder / "a2c").envs() == ("Catch-v0", "Pendulum-v0", "ProbeAction-v0")


def test_results_are_compared_and_merged(results, capsys):
    folder, _ = results
    both = [folder / "q_lambda", folder / "a2c"]
    code, text = run(capsys, "compare", *both, "--out", folder / "both")
    assert code == 0 and "q_lambda beats a2c with probability" in text
    assert "p = 0.031 (permutations of pairs of a seed)" in text  # 2 of 64 rearrangements
    assert Results.load(folder / "both").rules == ("q_lambda", "a2c")


def test_mistakes_are_told(results, capsys, tmp_path):
    folder, _ = results
    for words, said in (
        (("compare", folder / "a2c", folder / "a2c"), "several of the results are of a2c"),
        (("compare", tmp_path / "none"), "holds no results"),
        (("evaluate-rule", "a2c", "--suite", "minatr"), "did you mean minatar"),
        (("evaluate-rule", "a2c", "--suite", "Catch-v0", "colums=3"), "did you mean columns"),
        (("evaluate-rule", "a3c", "--suite", "classic"), "did you mean a2c"),
    ):
        code, text = run(capsys, *words)
        assert code == 2 and said in text

"""The search for an arm's rates: what is tried, by whom, what wins, and that it can be killed."""

import json
import textwrap
from typing import Any

import numpy as np
import pytest

from metarl import cells, scores, search
from metarl.arms import Arm, active
from metarl.cells import play_cell
from metarl.cli import main
from metarl.config import Part
from metarl.evaluation import evaluate_rule
from metarl.search import RANGES, SEEDS, candidates, ranges_of, score_of
from metarl.suites import suite

SIZES: Any = {"seeds": 2, "budget": 2000, "points": 2, "episodes": 16}
SCALED, PLAIN = "Catch-v0", "DelayedChain-v0 length=3"
POLE = "gym/CartPole-v1"
USER = """
    from metarl.rules.reinforce import heads, hypers, reinforce
    from metarl.rules import reinforce as module

    def hypers():
        return module.hypers()

    def picky(agent, heads, *, eta, learning_rate=0.1):
        rate = 0.5 if learning_rate > 0.05 else 0.01
        return reinforce(agent, heads, eta=module.hypers(learning_rate=rate))
"""


@pytest.fixture(scope="module", autouse=True)
def quick(compile_once):
    """Compiled programmes are shared."""


def arm(rule, envs=PLAIN, agent="auto", steps=1280):
    convention = suite([envs] if isinstance(envs, str) else envs)
    convention = search.replace(convention, steps=steps)
    return Arm(rule, Part.parse(rule.split()), Part(agent), convention, (0, 1), 1, 16)


def drawn(best=0.01):
    """Returns that are the better the nearer the learning rate is to `best`."""

    def returns(cell, chosen):
        far = [abs(np.log(c["learning_rate"] / best)) for c in chosen]
        return np.stack([np.zeros((len(chosen), SEEDS)), -np.array(far)[:, None] * np.ones(SEEDS)])

    return returns


def test_candidates_are_points_of_a_halton_sequence():
    ranges = {name: RANGES[name] for name in ("learning_rate", "entropy_cost")}
    points = [(1 / 2, 1 / 3), (1 / 4, 2 / 3), (3 / 4, 1 / 9), (1 / 8, 4 / 9)]  # in bases 2 and 3
    for found, unit in zip(candidates(ranges, 4), points, strict=True):
        for (name, value), u in zip(found.items(), unit, strict=True):
            low, high, _ = ranges[name]
            assert value == pytest.approx(low ** (1 - u) * high**u, rel=6e-3)
    assert candidates(ranges, 9)[:4] == candidates(ranges, 4) and candidates(ranges, 0) == []


def test_every_range_is_sound_and_has_a_reason():
    for name, found in RANGES.items():
        assert 0 < found.low < found.high and len(found.why) > 10, name


def test_what_is_searched_is_what_the_rule_has_and_nobody_named():
    assert list(ranges_of(arm("a2c"))) == ["learning_rate", "entropy_cost"]
    assert list(ranges_of(arm("a2c learning_rate=0.1"))) == ["entropy_cost"]
    assert list(ranges_of(arm("lpg-grid"))) == ["adam", "policy_rate", "y_rate"]
    assert list(ranges_of(arm("disco103"))) == ["learning_rate"]
    assert ranges_of(arm("open-ant"))["learning_rate"] == RANGES["open_ppo learning_rate"]
    with pytest.raises(ValueError, match="nothing to tune: .* has learning_rate, and settings"):
        ranges_of(arm("q_lambda learning_rate=0.1"))


def test_only_settings_that_do_something_are_tried():
    names = tuple(ranges_of(arm("lpg-grid")))
    table = arm("lpg-grid").cell(PLAIN).parts
    network = arm("lpg-grid", agent="mlp").cell(PLAIN).parts
    assert set(active(table, names)) == {"policy_rate", "y_rate"}
    assert active(network, names) == {"adam": 5e-4}
    tuned = search.replace(arm("lpg-grid"), tuned={"adam": 0.1, "policy_rate": 7.0})
    fields = tuned.cell(PLAIN).parts.config.rule.fields
    assert fields["policy_rate"] == 7 and fields["adam"] == 0
    network = search.replace(tuned, agent=Part("mlp"))
    assert network.cell(PLAIN).parts.config.rule.fields["adam"] == 0.1


def test_scores_are_normalised_means_or_else_ranks():
    known = scores.entry(SCALED)
    assert known.random and known.reference
    low, high = known.random.ret, known.reference.ret
    scaled = low + (high - low) * np.array([[0.0, 0.5], [1.0, 0.5], [0.2, np.nan]])
    other = np.array([[9.0, 9.0], [1.0, 3.0], [5.0, 5.0]])
    by, found = score_of({SCALED: scaled, PLAIN: other})
    assert by == "mean normalised score"
    np.testing.assert_allclose(found, [0.25, 0.75, np.nan])
    by, found = score_of({PLAIN: other, "b": np.array([[1.0], [1.0], [3.0]])})
    assert by == "minus the mean rank"
    np.testing.assert_allclose(found, [-(1 + 2.5) / 2, -(3 + 2.5) / 2, -(2 + 1) / 2])


@pytest.mark.parametrize(
    ("rule", "env", "chosen"),
    [
        (
            "reinforce",
            PLAIN,
            [{"learning_rate": 0.1, "entropy_cost": 0.1}, {"learning_rate": 1e-3}],
        ),
        ("lpg hidden=4 embedding=2 adam=0.01", PLAIN, [{"adam": 0.1}, {"adam": 1e-3}]),
        ("reinforce", POLE, [{"learning_rate": 0.1, "entropy_cost": 0.1}, {"learning_rate": 1e-3}]),
    ],
)
def test_lives_side_by_side_are_those_of_the_settings(rule, env, chosen):
    """Numbers of eta, and of an optimizer that the rule makes; also on the host."""
    chosen = [{**chosen[0], **one} for one in chosen]
    cell = arm(rule, env).cell(env)
    found = search._returns(cell, chosen)
    assert found.shape == (2, 2, 2) and not np.allclose(found[1, 0], found[1, 1])
    one = search.with_numbers(cell, chosen[1])
    alone = play_cell(one._replace(parts=search.build(one.parts.config)))
    np.testing.assert_allclose(found[:, 1], alone, atol=0.05)


def test_a_rule_that_must_know_its_numbers_is_tried_one_by_one(tmp_path, monkeypatch):
    (tmp_path / "picky_rules.py").write_text(textwrap.dedent(USER))
    monkeypatch.syspath_prepend(tmp_path)
    cell = arm("picky_rules:picky").cell(PLAIN)
    found = search._returns(cell, [{"learning_rate": 0.1}, {"learning_rate": 0.01}])
    assert found.shape == (2, 2, 2) and not np.allclose(found[1, 0], found[1, 1])


def test_agents_that_diverge_cannot_win(monkeypatch):
    cell = arm("reinforce").cell(PLAIN)
    found = search._returns(cell, [{"learning_rate": 0.1}, {"learning_rate": float("nan")}])
    assert np.isfinite(found[1, 0]).all() and np.isnan(found[1, 1]).all()
    nothing = lambda cell, chosen: np.full((2, len(chosen), SEEDS), np.nan)  # noqa: E731
    monkeypatch.setattr(search, "_returns", nothing)
    with pytest.raises(ValueError, match="diverge by every one"):
        search.search(arm("reinforce"), 3, None, print)


def test_the_winner_is_played_and_all_is_recorded(monkeypatch, tmp_path):
    played, searched = [], []

    def noted(cell, chosen):
        searched.append((cell.parts.config.seeds, len(chosen), cell.steps[-1]))
        return drawn()(cell, chosen)

    def play(cell):
        played.append(cell.parts.config)
        return np.zeros((3, 2))

    monkeypatch.setattr(search, "_returns", noted)
    monkeypatch.setattr(cells, "play_cell", play)
    envs = [SCALED, PLAIN, "Pendulum-v0"]
    results = [
        evaluate_rule(rule, envs, tune=5, folder=tmp_path / rule, **SIZES)
        for rule in ("reinforce", "q_lambda")
    ]
    told = [r.about[r.rules[0]]["tune"] for r in results]
    assert results[0].rules == ("reinforce tune=5",)
    best = told[0]["trials"][told[0]["winner"]]
    assert best["score"] == max(t["score"] for t in told[0]["trials"])
    assert told[0]["numbers"] == best["numbers"]
    config = played[0]
    assert {k: config.rule.fields[k] for k in best["numbers"]} == best["numbers"]
    assert played[0].rule.fields["learning_rate"] == 0.0178  # the nearest to 0.01 of its points
    for seeds, _, _ in searched:
        assert len(seeds) == SEEDS and not {*seeds} & {0, 1}
    assert all(config.seeds == (0, 1) for config in played)
    # Pendulum is nothing for q_lambda; where both act, they had the same trials and steps.
    assert [len(t["trials"]) for t in told] == [5, 5]
    assert told[0]["steps"] * 2 == told[1]["steps"] * 3 == 5 * SEEDS * 2560 * 6
    assert told[0]["seeds"] == told[1]["seeds"] == list(searched[0][0])
    saved = json.loads((tmp_path / "reinforce" / "results.json").read_text())
    assert saved["about"]["reinforce tune=5"]["tune"] == told[0]


def test_a_killed_search_goes_on(monkeypatch, tmp_path):
    count = []

    def mortal(cell, chosen):
        count.append((cell.env, len(chosen)))
        if len(count) == 2:
            raise KeyboardInterrupt
        return drawn()(cell, chosen)

    monkeypatch.setattr(search, "_returns", mortal)
    envs = (PLAIN, "DelayedChain-v0 length=4")
    both = arm("reinforce", envs)
    with pytest.raises(KeyboardInterrupt):
        search.search(both, 10, tmp_path, print)
    assert count == [(PLAIN, 8), (PLAIN, 2)]
    said: list[str] = []
    found = search.search(both, 10, tmp_path, said.append)
    assert count[2:] == [(PLAIN, 2), (envs[1], 8), (envs[1], 2)]
    assert said[0] == f"{PLAIN}: 10 of 10 trials, 8 finished before"
    fresh = search.search(both, 10, None, print)
    assert found == fresh
    more = len(count)
    search.search(both, 12, tmp_path, print)  # with more trials the old ones are the first
    assert [n for _, n in count[more:]] == [2, 2]


def test_the_command_tells_of_the_search(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(search, "_returns", drawn())
    monkeypatch.setattr(cells, "play_cell", lambda cell: np.zeros((2, 2)))
    words = "evaluate-rule reinforce --suite Catch-v0 --seeds 2 --points 1 --tune 3 --out"
    assert main([*words.split(), str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "3 of 3 trials" in text and "best by mean normalised score is learning_rate=" in text
    assert "reinforce tune=3, 1 environments" in text
    with pytest.raises(ValueError, match="tune at least 0"):
        evaluate_rule("a2c", SCALED, tune=-1)

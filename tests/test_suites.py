"""Named lists of environments, and the table of scores that makes them comparable."""

import dataclasses
import json

import numpy as np
import pytest

import metarl
from metarl import scores, suites
from metarl.suites import SUITES, Suite


@pytest.mark.parametrize("name", SUITES)
def test_suites_name_environments_that_are_there_and_say_why(name):
    found = suites.suite(name)
    assert found == SUITES[name] and len(found.why) > 20
    for env_id in found.ids:
        assert env_id.startswith("gym/") or env_id in metarl.registered()
    if found.split:
        assert all(hasattr(metarl.make(env_id), "sample_params") for env_id in found.ids)


def test_ids_are_a_suite_too():
    assert suites.suite("Catch-v0").ids == ("Catch-v0",)
    assert suites.suite(["Snake-v0 size=6", "module:Class"]).ids == (
        "Snake-v0 size=6",
        "module:Class",
    )


def test_a_misspelt_suite_or_id_gets_a_hint():
    with pytest.raises(ValueError, match="no suite or environment 'minatr'; did you mean minatar"):
        suites.suite("minatr")
    with pytest.raises(ValueError, match="no environment 'Snak-v0'; did you mean Snake-v0"):
        suites.suite(["Catch-v0", "Snak-v0"])
    with pytest.raises(ValueError, match="no environment"):
        suites.suite([""])


def test_impossible_suites_are_refused():
    fine = Suite(("Catch-v0",), "why")
    for ids, words in (((), "one or more"), (("a", "a"), "each once")):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(fine, ids=ids)
    with pytest.raises(ValueError, match="steps"):
        dataclasses.replace(fine, steps=0)


def test_normalised_scores_are_0_at_random_and_1_at_the_reference():
    random = scores.entry("CartPole-v0").random
    assert random
    assert scores.normalise("CartPole-v0", random.ret) == 0
    assert scores.normalise("CartPole-v0", 500.0) == 1
    middle = (random.ret + 500) / 2
    assert scores.normalise("CartPole-v0", middle) == pytest.approx(0.5)


def test_what_cannot_be_normalised_is_told_apart_and_not_crashed_on():
    assert not scores.can_normalise("Seaquest-v0") and scores.can_normalise("Breakout-v0")
    assert not scores.can_normalise("Snake-v0 size=6")  # with settings it is another one
    assert not scores.can_normalise("ProbeValue-v0")  # random play is the best there is
    for name, words in (
        ("Seaquest-v0", "no reference score is known"),
        ("CartPol-v0", "no random and no reference score is known; did you mean CartPole-v0"),
    ):
        with pytest.raises(ValueError, match=words):
            scores.normalise(name, 1.0)


def test_the_table_says_where_scores_come_from():
    for name, entry in scores.table().items():
        assert entry.random
        if name in SUITES["atari"].ids:
            assert entry.random.kind == "published" and "dqn_zoo" in entry.random.how
        else:
            assert name in metarl.registered() and "reference_scores.py" in entry.random.how
        if entry.reference:
            assert entry.reference.kind in scores.KINDS and entry.reference.how
            assert entry.reference.ret > entry.random.ret
    optima = {n for n, e in scores.table().items() if e.reference and e.reference.kind == "optimum"}
    assert set(SUITES["grid-heldout"].ids) < optima
    for suite in ("minatar", "classic", "grid", "procgen", "atari"):
        assert set(SUITES[suite].ids) <= set(scores.table())


@pytest.mark.parametrize("name, paid", [("ProcMiner-v0", 1.0), ("ProcDodgeball-v0", 2.0)])
def test_what_all_levels_pay_is_a_mean_of_whole_levels(name, paid):
    """Of easy levels: 3 % of Miner's 100 cells are diamonds; Dodgeball has 3 to 6 enemies."""
    reference = scores.entry(name).reference
    assert reference and reference.kind == "complete"
    things = (reference.ret - 10) / paid
    low, high = {"ProcMiner-v0": (2.9, 3.0), "ProcDodgeball-v0": (4.4, 4.6)}[name]
    assert low < things < high


def test_a_table_that_says_nonsense_is_refused(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"A-v0": {"random": {"ret": 1.0, "kind": "guess", "how": "so"}}}))
    with pytest.raises(ValueError, match="random score of A-v0"):
        scores._read(path)


def test_random_scores_are_those_of_the_exact_chain():
    """Of probes and bandits the random policy's return is known in closed form."""
    exact = {"Bandit-v0": 20 * float(np.mean(np.linspace(0.1, 0.9, 10))), "ProbeAction-v0": 0.5}
    exact |= {"DiscountingChain-v0": (4 + 1.1) / 5, "Umbrella-v0": 0.0, "DelayedChain-v0": 0.0}
    for name, ret in exact.items():
        known = scores.entry(name).random
        assert known
        error = float(known.how.partition("standard error ")[2].partition(":")[0])
        assert abs(known.ret - ret) < 4 * error + 1e-6

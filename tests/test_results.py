"""Records of rules on environments: what is made of them, and that files lose nothing."""

import json
import sys

import numpy as np
import pytest

from metarl import scores
from metarl.ops import aggregate
from metarl.results import Record, Results

ENVS = ("CartPole-v0", "Catch-v0", "Seaquest-v0")  # the last one has no reference
STEPS = (0, 100, 200)


def made(rule, gain, seeds=(0, 1, 2, 3), envs=ENVS):
    """Runs whose normalised scores are about gain * steps / 200."""
    rng, records = np.random.default_rng(len(rule)), []
    for env in envs:
        known = scores.entry(env)
        low = known.random.ret if known.random else 0.0
        high = known.reference.ret if known.reference else 1.0
        for seed in seeds:
            luck = 0.1 * rng.normal()
            for steps in STEPS:
                ret = low + (high - low) * (gain * steps / 200 + luck)
                records.append(Record.of(rule, env, seed, steps, ret))
    return Results(tuple(records), {rule: {"Pendulum-v0": "no"}}, {rule: {"points": 2}})


BOTH = Results.merge([made("good", 0.9), made("bad", 0.2)])


def test_scores_are_normalised_and_what_has_no_scale_is_listed():
    steps, normalised = BOTH.normalised("good")
    assert steps.tolist() == [0, 100, 200] and normalised.shape == (3, 4, 2)
    assert normalised[2].mean() == pytest.approx(0.9, abs=0.15)
    assert BOTH.unnormalised == {"Seaquest-v0": "no reference score is known"}
    assert all(np.isnan(r.normalised) == (r.env == "Seaquest-v0") for r in BOTH.records)


def test_aggregates_and_curves_are_those_of_the_scores():
    last = BOTH.normalised("good")[1][-1]
    assert BOTH.aggregates("good")["iqm"] == aggregate.interval(aggregate.iqm, last)
    steps, curve = BOTH.curve("good")
    assert steps.shape == curve.value.shape == curve.low.shape == (3,)
    assert curve.value[-1] == aggregate.iqm(last) and curve.low[-1] > curve.high[0]
    profile = BOTH.profile("good", np.array([0.0, 0.5, 2.0]))
    assert profile.value[1] == 1 and profile.value[2] == 0


def test_pairs_are_compared_where_seeds_are_shared():
    contest = BOTH.compare("good", "bad")
    assert contest.paired and contest.envs == ENVS[:2]
    assert contest.improvement.value > 0.95
    assert contest.test.difference == pytest.approx(0.7, abs=0.2) and contest.test.p < 0.02
    other = Results.merge([made("good", 0.9), made("bad", 0.2, seeds=(7, 8, 9))])
    assert not other.compare("good", "bad").paired


def test_rules_are_compared_where_both_were_played():
    few = Results.merge([made("good", 0.9), made("bad", 0.2, envs=("Catch-v0",))])
    assert few.compare("good", "bad").envs == ("Catch-v0",)
    none = Results.merge([made("good", 1.0, envs=("Seaquest-v0",)), made("bad", 0.2)])
    with pytest.raises(ValueError, match="in common"):
        none.compare("good", "bad")
    with pytest.raises(ValueError, match="no environment of good has a reference"):
        none.aggregates("good")


def test_one_seed_gives_values_without_intervals(tmp_path):
    alone = made("good", 0.9, seeds=(3,))
    told = alone.aggregates("good")
    assert all(np.isfinite(x.value) and np.isnan(x.low) for x in told.values())
    alone.save(tmp_path)
    saved = json.loads((tmp_path / "results.json").read_text())["aggregates"]["good"]["iqm"]
    assert saved[1:] == [None, None]  # JSON has no NaN


def test_files_lose_nothing(tmp_path):
    BOTH.save(tmp_path)
    again = Results.load(tmp_path)
    assert repr(again.records) == repr(BOTH.records)
    assert (again.skipped, again.about) == (BOTH.skipped, BOTH.about)
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["aggregates"]["good"]["iqm"][0] == float(BOTH.aggregates("good")["iqm"].value)


def test_damaged_or_absent_files_are_told(tmp_path):
    with pytest.raises(ValueError, match="holds no results"):
        Results.load(tmp_path)
    BOTH.save(tmp_path)
    table = tmp_path / "results.csv"
    table.write_text(table.read_text().replace("good,", "good;", 1))
    with pytest.raises(ValueError, match="damaged"):
        Results.load(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        Results.load(tmp_path)


def test_what_cannot_be_put_together_is_refused():
    with pytest.raises(ValueError, match="several of the results are of good"):
        Results.merge([BOTH, made("good", 1.0)])
    holes = Results(BOTH.records[1:], {}, {})
    with pytest.raises(ValueError, match="every seed needs one score"):
        holes.aggregates("good")
    mixed = (*made("good", 1, (0, 1), ENVS[:1]).records, *made("good", 1, (0, 2), ENVS[1:]).records)
    with pytest.raises(ValueError, match="Catch-v0 has seeds"):
        Results(mixed, {}, {}).aggregates("good")
    with pytest.raises(ValueError, match="no results of 'goood'; did you mean good"):
        BOTH.aggregates("goood")
    with pytest.raises(ValueError, match="no results of good on 'Catc-v0'; did you mean Catch"):
        BOTH.returns("good", "Catc-v0")


def test_a_score_that_is_no_number_is_refused():
    bad = (*BOTH.records[:-1], BOTH.records[-1])
    bad = tuple(Record.of(*r[:4], float("nan")) if r.env == "Catch-v0" else r for r in bad)
    with pytest.raises(ValueError, match="not finite"):
        Results(bad, {}, {}).aggregates("good")


def test_the_frame_is_long():
    pandas = pytest.importorskip("pandas")
    frame = BOTH.frame()
    assert isinstance(frame, pandas.DataFrame) and list(frame) == list(Record._fields)
    last = frame[(frame.steps == 200) & (frame.env == "Catch-v0") & (frame.rule == "good")]
    np.testing.assert_array_equal(last.ret, BOTH.returns("good", "Catch-v0")[2][-1])


def test_without_pandas_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install metarl-jax\[pandas\]"):
        BOTH.frame()


def test_records_are_also_kept_as_parquet_where_that_can_be_written(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    BOTH.save(tmp_path)
    found = pandas.read_parquet(tmp_path / "results.parquet")
    pandas.testing.assert_frame_equal(found, BOTH.frame())
    Results((), {}, {}).save(tmp_path)
    assert len(pandas.read_parquet(tmp_path / "results.parquet")) == 0


@pytest.mark.parametrize("absent", ["pandas", "pyarrow"])
def test_without_parquet_the_rest_is_written(tmp_path, monkeypatch, absent):
    (tmp_path / "results.parquet").write_text("of older results")
    monkeypatch.setitem(sys.modules, absent, None)
    BOTH.save(tmp_path)
    assert not (tmp_path / "results.parquet").exists()
    assert repr(Results.load(tmp_path).records) == repr(BOTH.records)

"""Trials from the command line: trained, evaluated attempt by attempt, on held-out tasks too."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl import registry
from metarl.agents.uniform import uniform
from metarl.attempts import attempt_summary, mean_of
from metarl.build import make_env
from metarl.cli import main
from metarl.config import Part
from metarl.evaluate import Scores, evaluate
from metarl.wrappers import pass_at, trial

pytestmark = pytest.mark.usefixtures("compile_once")


def scores_of(env, episodes, **options):
    agent = uniform(env, {"logits": env.num_actions})
    params = env.default_params()
    sizes = {"episodes": episodes, **options}
    return evaluate(agent, env, {}, params, jax.random.key(0), **sizes)


def test_random_play_passes_as_often_as_chance_says(reveal):
    """One of four actions is right, at every attempt anew; five standard errors."""
    scores = scores_of(trial(reveal(), 3, sample_task=True), 2000)
    passed = np.asarray(pass_at(scores.attempt_success)).mean(0)
    expected = 1 - 0.75 ** np.arange(1, 4)
    assert (abs(passed - expected) < 5 * np.sqrt(expected * (1 - expected) / 2000)).all()
    success, ret = np.asarray(scores.attempt_success), np.asarray(scores.attempt_return)
    np.testing.assert_array_equal(ret, success)  # a success is worth 1, in its own attempt
    np.testing.assert_allclose(scores.ret, ret.sum(1))
    first = np.where(success.any(1), success.argmax(1) + 1, 3)
    np.testing.assert_array_equal(scores.attempts, first)


def test_all_attempts_are_played_where_success_ends_nothing(reveal):
    env = trial(reveal(), 2, stop_on_success=False)
    scores = scores_of(env, 50)
    assert (scores.attempts == 2).all() and np.asarray(scores.attempt_success).all(1).any()
    cut = scores_of(env, 50, max_steps=1)
    np.testing.assert_array_equal(cut.attempts, cut.attempt_success[:, 0])
    assert not cut.finished.any()


def test_outside_of_trials_there_are_no_attempts(reveal):
    assert scores_of(reveal(), 5).attempts is None


def test_summaries_by_hand():
    """Three trials of two attempts: won at once, won at the second, never won."""
    zero, yes = jnp.zeros(3), jnp.ones(3, bool)
    success = jnp.array([[1, 0], [0, 1], [0, 0]], bool)
    ret = jnp.array([[5.0, 0], [1, 7], [0, -1]])
    scores = Scores(zero, zero, yes, yes, jnp.array([1, 2, 2]), ret, success)
    told = attempt_summary(scores)
    np.testing.assert_allclose([x["mean"] for x in told["pass_at"]], [1 / 3, 2 / 3])
    assert [x["mean"] for x in told["attempt_returns"]] == [2, 3]
    np.testing.assert_allclose([x["played"] for x in told["attempt_returns"]], [1, 2 / 3])
    low, high = told["pass_at"][0]["interval"]
    assert 0 <= low < 1 / 3 < high <= 1
    two = attempt_summary(jax.tree.map(lambda x: jnp.stack([x, x]), scores))
    assert two["pass_at"][1] == {"mean": 2 / 3, "interval": [2 / 3, 2 / 3]}  # equal seeds
    assert mean_of(np.full((1, 3), np.nan)) == {"mean": None, "interval": None}


def test_wrappers_take_their_arguments_by_name():
    part = Part.parse("GridWorld-v0 size=3 trial=2 trial.stop_on_success=false".split())
    env: Any
    env, _, again = make_env(part)
    assert (env.episodes, env.stop_on_success) == (2, False)
    assert make_env(again)[0] == env
    env, *_ = make_env(Part("GridWorld-v0", {"trial.split": "train"}))
    assert (env.split, env.episodes) == ("train", 3)
    with pytest.raises(ValueError, match="no wrapper takes"):
        make_env(Part("GridWorld-v0", {"trial.tries": 2}))
    with pytest.raises(ValueError, match="did you mean trial"):
        make_env(Part("GridWorld-v0", {"trail.episodes": 2}))


SIZES = "--num-envs 8 --length 16 --steps 256 --seeds 0 1"


@pytest.fixture(scope="module")
def run(compile_once, reveal, tmp_path_factory):
    """A finished run of GRPO in groups, on trials of the training tasks."""
    metarl.register("Reveal-v0", reveal)
    out = tmp_path_factory.mktemp("runs") / "trial"
    env = "Reveal-v0 trial=2 trial.sample_task=true trial.split=train"
    rule = "--rule grpo attempt_discount=0.5 --reset grouped size=4 --agent mlp hidden=4"
    assert main(["train", *f"{env} {rule} {SIZES}".split(), "--out", str(out)]) == 0
    yield out
    del registry._REGISTRY["Reveal-v0"]


def test_a_run_on_trials_tells_of_attempts(run):
    result = json.loads((run / "evaluation.json").read_text())
    assert "split" not in result
    one, two = (x["mean"] for x in result["random"]["pass_at"])
    assert 0.1 < one < 0.4 < two < 0.6  # of 100 trials: 1/4 and 7/16
    tries = result["trained"]["attempt_returns"]
    assert tries[0]["played"] == 1 > tries[1]["played"] > 0
    assert tries[0]["mean"] == result["trained"]["pass_at"][0]["mean"]


def test_a_run_is_evaluated_on_tasks_that_it_was_not_trained_on(run, capsys):
    assert main(["evaluate", str(run), "--split", "heldout", "--greedy", "--episodes", "8"]) == 0
    result = json.loads((run / "evaluation.json").read_text())
    assert result["split"] == "heldout"
    # There is one held-out secret, so a greedy agent without memory does the same in all trials.
    assert {x["mean"] for x in result["trained"]["pass_at"]} <= {0, 0.5, 1}
    printed = capsys.readouterr().out
    assert "pass@1" in printed and "pass@2" in printed and "(random" in printed
    assert main(["evaluate", str(run), "--split", "test"]) == 2


@pytest.mark.parametrize(
    "line, said",
    [
        ("Bandit-v0 --rule grpo --reset grouped size=4", "trial(env, 1)"),
        ("Bandit-v0 trial=2 --reset grouped size=3", "groups of 3 do not divide 8"),
        ("Bandit-v0 trial=2 --reset grouped of=3", "has no setting 'of'"),
    ],
)
def test_groups_that_cannot_be_are_named(line, said, tmp_path, capsys):
    assert main(["train", *f"{line} {SIZES}".split(), "--out", str(tmp_path / "x")]) == 2
    printed = capsys.readouterr()
    assert said in " ".join((printed.out + printed.err).replace("│", " ").split())

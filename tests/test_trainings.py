"""Meta-trainings at tiny sizes: they run, resume to the same bits, and leave a rule behind."""

import json
import signal
import subprocess
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from metarl import registry
from metarl.cli import main
from metarl.config import Part
from metarl.configs import TrainingConfig, loads
from metarl.curriculum.scores import episode_mean
from metarl.inner import birth
from metarl.io import checkpoint
from metarl.io.logging import read_metrics
from metarl.io.runs import RunFolder
from metarl.meta.discovery import newborn
from metarl.rules import load
from metarl.training import build_training
from metarl.training_programme import TrainingProgramme
from metarl.trainings import groove
from metarl.trainings.common import eta_of
from metarl.trainings.grid import grid_parts

pytestmark = pytest.mark.usefixtures("compile_once")

GRID: dict[str, Any] = {
    "env": "LPGSmall-v0",
    **{"updates": 4, "lives": 4, "workers": 2, "window": 1, "length": 3, "lifetime": 3},
    **{"hidden": 4, "targets": 2, "chunk": 2, "test_levels": 3},
}
TINY: dict[str, dict[str, Any]] = {  # settings of every meta-training
    "groove": {**GRID, "capacity": 16, "batch": 2},
    "lpg_grid": GRID,
}


def test_every_meta_training_is_here():
    assert set(TINY) == set(registry.TRAININGS), "add tiny settings of it to TINY"


def parts_of(name, scale="quick", seeds=(0,), **settings):
    part = Part(name, {**TINY[name], **settings})
    return build_training(TrainingConfig(part, seeds), scale)


@pytest.mark.parametrize("name", sorted(set(TINY) - {"groove"}))  # `finished` is a run of that
def test_it_learns_something_and_is_tested(name):
    parts = parts_of(name)
    training, key = parts.training, jax.random.key(1)
    before = jax.jit(training.begin)(jax.random.key(0))
    state, metrics = jax.jit(training.update)(before, key)
    changed = jax.tree.map(lambda a, b: np.any(a != b), eta_of(before), eta_of(state))
    assert all(jax.tree.leaves(changed))
    assert all(np.ndim(x) == 0 for x in metrics.values())
    assert np.isfinite(metrics["meta_loss"])
    returns = jax.jit(training.test.returns)(eta_of(state), key)
    assert np.isfinite(returns).all()
    others = jax.eval_shape(training.test.references, key)
    assert {x.shape for x in others.values()} == {returns.shape}


def arguments(name, **settings):
    words = {**TINY[name], **settings}
    return [name, *(f"{k}={v}" for k, v in words.items()), "--quick", "--checkpoint-seconds", "0"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two seeds, by the command line."""
    path = tmp_path_factory.mktemp("trainings") / "run"
    assert main(["meta-train", *arguments("groove"), "--seeds", "3", "4", "--out", str(path)]) == 0
    return RunFolder(path)


def test_what_a_run_leaves_behind(finished):
    config = loads(finished.config.read_text())
    assert isinstance(config, TrainingConfig)
    assert config.training.fields == {**asdict(groove.QUICK), **TINY["groove"]}
    assert config.steps_per_update == 4 * 2 * 1 * 3
    metrics = read_metrics(finished.metrics)
    assert sorted(set(metrics["seed"])) == [3, 4]
    assert metrics["steps"].max() == 4 * config.steps_per_update
    assert {"meta_loss", "births", "levels_scored", "episode_return"} <= set(metrics)
    assert list(finished.tensorboard.rglob("events*"))
    for picture in (finished.curve, finished.levels):
        assert np.ptp(np.asarray(Image.open(picture).convert("L"))) > 100
    result = json.loads(finished.evaluation.read_text())
    assert set(result["returns"]) == {
        *("meta-trained", "random initialisation", "A2C", "best possible")
    }
    for name in ("A2C", "meta-trained"):
        assert result["returns"][name]["mean"] <= result["returns"]["best possible"]["mean"] + 1


def test_the_weights_of_every_seed_can_be_loaded(finished):
    found, _ = checkpoint.load(
        checkpoint.listed(finished.checkpoints)[-1],
        TrainingProgramme(parts_of("groove", seeds=(3, 4))).like,
    )
    for i, seed in enumerate((3, 4)):
        weights = load(finished.weights(seed))
        assert weights.about["seed"] == seed
        assert weights.rule == "lpg"
        assert weights.heads == {"targets": 2}
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_array_equal(a, b[i]), weights.eta, found.eta
        )


def test_a_seed_learns_the_same_alone(finished):
    programme = TrainingProgramme(parts_of("groove", seeds=(4,)))
    run, _, finite = programme.advance(programme.born(), 4)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a[0], b), run.eta, load(finished.weights(4)).eta
    )
    assert finite.all()


def test_a_killed_run_goes_on_to_the_same_bits(finished, tmp_path, mortal):
    path = str(tmp_path / "run")
    command = ["meta-train", *arguments("groove"), "--seeds", "3", "4", "--out", path]
    assert subprocess.run(mortal(2, *command), timeout=500).returncode == -signal.SIGKILL
    assert main(["resume", path]) == 0
    for seed in (3, 4):
        ours, theirs = load(RunFolder(tmp_path / "run").weights(seed)), load(finished.weights(seed))
        jax.tree.map(np.testing.assert_array_equal, ours.eta, theirs.eta)
    assert RunFolder(tmp_path / "run").metrics.read_text() == finished.metrics.read_text()


def test_lives_are_scored_in_every_way():
    """What scores see of a life and its critic; the scores themselves have tests of their own."""
    settings = replace(groove.QUICK, **TINY["groove"])
    parts = grid_parts(settings)
    critic = groove.critic_of(settings, parts.env)
    born = partial(birth, parts.agent, parts.rule, parts.venv, parts.env.default_params())
    learners = jax.vmap(born)(jax.random.split(jax.random.key(0), 1))
    life = jax.tree.map(lambda x: x[0], (learners, newborn(critic, jax.random.key(1), learners)))
    level, best = parts.env.default_params(), np.float32(5)
    scored = {}
    for score in groove.SCORES[2:]:
        scoring = groove.scoring_of(replace(settings, score=score), parts)
        assert scoring.reference is None
        outcome = jax.jit(scoring.outcome)
        scored[score], _ = outcome(life, level, best, jax.random.key(2))
    seen = groove.seen_by_critic(parts, critic, length=3)(life, jax.random.key(2))
    rewards = seen.adv.shape
    assert rewards == (2, 3)
    assert scored["l1_value_loss"] >= scored["positive_value_loss"] >= 0
    np.testing.assert_allclose(scored["max_mc"], 5 - episode_mean(seen.value, seen.last), rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lpg_gird"], "lpg_grid"),
        (["lpg_grid", "hiden=3"], "hidden"),
        (["lpg_grid", "hidden=0"], "hidden must be at least 1"),
        (["lpg_grid", "lives=6", "chunk=4"], "divisor"),
        (["groove", "score=regret"], "algorithmic_regret"),
        (["groove", "capacity=4", "lives=32"], "capacity"),
        (["lpg_grid", "--quick", "--laptop"], "exclude"),
        (["lpg_grid", "--seeds", "1", "1"], "different"),
    ],
)
def test_mistakes_are_named_before_anything_is_compiled(words, message, tmp_path, capsys):
    assert main(["meta-train", *words, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_without_agents_says_so(finished, capsys):
    assert main(["evaluate", str(finished.path)]) == 2
    assert "meta-training" in capsys.readouterr().err

"""Meta-trainings at tiny sizes: they run, resume to the same bits, and leave a rule behind."""

import json
import signal
import subprocess
from dataclasses import replace
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
from metarl.meta.critics import newborn
from metarl.rules import load
from metarl.rules.lpo import learned_drift
from metarl.training import build_training
from metarl.training_programme import TrainingProgramme
from metarl.trainings import groove, lpo, ta_lpg
from metarl.trainings.common import eta_of
from metarl.trainings.grid import grid, grid_parts
from metarl.trainings.lives import life_returns

pytestmark = pytest.mark.usefixtures("compile_once")

GRID: dict[str, Any] = {
    "env": "LPGSmall-v0",
    **{"updates": 4, "lives": 4, "workers": 2, "window": 1, "length": 3, "lifetime": 3},
    **{"hidden": 4, "targets": 2, "chunk": 2, "test_levels": 3},
}
PAIRS: dict[str, Any] = {"updates": 2, "pairs": 2, "chunk": 1, "workers": 2, "hidden": 4}
DRIFT: dict[str, Any] = {
    **{**PAIRS, "env": "Catch-v0", "std": 1.0, "length": 8, "lifetime": 3, "agent": (4,)},
    **{"epochs": 2, "minibatches": 2, "learning_rate": 0.1, "played": 16, "max_steps": 20},
    **{"test_envs": ("Catch-v0", "ProbeAction-v0"), "test_seeds": 2},
}
TINY: dict[str, dict[str, Any]] = {  # settings of every meta-training
    "disco": {
        **{"updates": 2, "lives": 2, "workers": 2, "rows": 3, "columns": 2, "length": 3},
        **{
            "window": 3,
            "valid": 3,
            "lifetime": 3,
            "predictions": 3,
            "bins": 5,
            "hidden": 4,
            "memory": 3,
        },
        **{"agent": (4,), "model": 3, "value_layers": (4,), "chunk": 2, "test_seeds": 2},
    },
    "groove": {**GRID, "capacity": 16, "batch": 2},
    "lpg_grid": GRID,
    "lpo": DRIFT,
    "ta_lpg": {
        **{**PAIRS, "env": "LPGSmall-v0", "length": 3, "shortest": 1, "longest": 4, "targets": 2},
        **{"pairs": 4, "std": 1.0, "test_levels": 3, "test_lifetimes": (2, 4)},
    },
    "ta_lpo": {**DRIFT, "test_envs": ("ProbeAction-v0",)},
}


def test_every_meta_training_is_here():
    assert set(TINY) == set(registry.TRAININGS), "add tiny settings of it to TINY"


def parts_of(name, scale="quick", seeds=(0,), **settings):
    part = Part(name, {**TINY[name], **settings})
    return build_training(TrainingConfig(part, seeds), scale)


SLOW = ("groove", "ta_lpo")  # what their programmes are made of has tests of its own


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in TINY],
)
def test_it_learns_something_and_is_tested(name):
    parts = parts_of(name)
    training, key = parts.training, jax.random.key(1)
    before = jax.jit(training.begin)(jax.random.key(0))
    update = jax.jit(training.update)
    state, metrics = update(before, key)
    jax.tree.map(np.testing.assert_array_equal, update(before, key), (state, metrics))
    jax.tree.map(lambda a, b: None, update(state, key)[0], state)  # goes on in the same form
    changed = jax.tree.map(lambda a, b: np.any(a != b), eta_of(before), eta_of(state))
    assert all(jax.tree.leaves(changed))
    assert all(np.ndim(x) == 0 for x in metrics.values())
    assert np.isfinite(metrics["meta_loss"])
    returns = jax.jit(training.test.returns)(eta_of(state), key)
    assert np.isfinite(returns).all()
    assert sum(training.test.groups.values()) == len(returns)
    others = jax.eval_shape(training.test.references, key)
    assert {x.shape for x in others.values()} == {returns.shape}


TOY = """
from dataclasses import dataclass
import jax
import jax.numpy as jnp
import optax
from metarl.meta.common import moved, started
from metarl.rules.lpg import lpg
from metarl.trainings.common import Test, Training

PAPER = "Nobody 1999"
CLAIM = "Noise"


@dataclass(frozen=True)
class Settings:
    updates: int = 8
    hidden: int = 3
    size: float = 1.0


QUICK = Settings(updates=4)
LAPTOP = Settings(updates=6)


def training(settings):
    rule = lpg(None, {"logits": 2, "y": 2}, hidden=settings.hidden)
    optimizer = optax.sgd(1.0)

    def update(state, key):
        key = jax.random.fold_in(key, state.updates)
        normal = lambda x: settings.size * jax.random.normal(key, (1, *x.shape))
        noise = jax.tree.map(normal, state.eta)
        state, told = moved(optimizer, state, noise)
        return state, {**told, "meta_loss": settings.size, "episodes": 1.0, "episode_return": 2.0}

    def returns(eta, key):
        return jnp.arange(3.0) + eta["pi"]["b"].sum()

    test = Test(returns, lambda key: {"nobody": jnp.zeros(3)}, {"low": 1, "high": 2})
    begin = lambda key: started(rule, optimizer, key)
    fields = {"hidden": settings.hidden}
    return Training("lpg", fields, {"targets": 2}, 10, begin, update, test)
"""
SEEDS = (3, 4)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The folder of a module `toy.training`, which can be imported here and by the command line."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy").mkdir()
    (folder / "toy" / "training.py").write_text(TOY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield folder


def arguments(path):
    words = "toy.training --quick size=0.5 --checkpoint-seconds 0 --log-every 1".split()
    return ["meta-train", *words, "--seeds", *map(str, SEEDS), "--out", str(path)]


@pytest.fixture(scope="module")
def finished(toy):
    """A run of two seeds, by the command line."""
    assert main(arguments(toy / "finished")) == 0
    return RunFolder(toy / "finished")


def test_what_a_run_leaves_behind(finished):
    config = loads(finished.config.read_text())
    assert isinstance(config, TrainingConfig)
    assert config.training.fields == {"updates": 4, "hidden": 3, "size": 0.5}
    assert config.steps_per_update == 10
    metrics = read_metrics(finished.metrics)
    assert tuple(sorted(set(metrics["seed"]))) == SEEDS
    assert metrics["steps"].max() == 40
    assert {"meta_loss", "meta_grad_norm", "episode_return"} <= set(metrics)
    assert list(finished.tensorboard.rglob("events*"))
    for picture in (finished.curve, finished.levels):
        assert np.ptp(np.asarray(Image.open(picture).convert("L"))) > 100
    result = json.loads(finished.evaluation.read_text())
    assert set(result["returns"]) == {"meta-trained", "before meta-training", "nobody"}
    etas = [load(finished.weights(seed)).eta for seed in SEEDS]
    expected = np.mean([1 + float(eta["pi"]["b"].sum()) for eta in etas])
    assert result["returns"]["meta-trained"]["mean"] == pytest.approx(expected)
    assert result["returns"]["before meta-training"]["mean"] == 1  # biases begin at zero
    assert result["gain"]["mean"] == pytest.approx(expected - 1)
    for group, mean in (("low", 0), ("high", 1.5)):
        found = result["groups"][group]
        assert found["returns"]["before meta-training"]["mean"] == mean
        assert found["returns"]["meta-trained"]["mean"] == pytest.approx(mean + expected - 1)
        assert found["gain"]["mean"] == pytest.approx(expected - 1)


def test_the_weights_of_every_seed_can_be_loaded(finished):
    config = TrainingConfig.loads(finished.config.read_text())
    newest = checkpoint.listed(finished.checkpoints)[-1]
    found, _ = checkpoint.load(newest, TrainingProgramme(build_training(config)).like)
    for i, seed in enumerate(SEEDS):
        weights = load(finished.weights(seed))
        assert (weights.rule, weights.heads) == ("lpg", {"targets": 2})
        assert (weights.about["seed"], weights.about["environment_steps"]) == (seed, 40)
        eta = jax.tree.map(lambda x, i=i: x[i], found.eta)
        jax.tree.map(np.testing.assert_array_equal, weights.eta, eta)


def test_a_seed_learns_the_same_alone(finished):
    config = replace(TrainingConfig.loads(finished.config.read_text()), seeds=SEEDS[1:])
    programme = TrainingProgramme(build_training(config))
    run, _, finite = programme.advance(programme.born(), 4)
    alone = jax.tree.map(lambda x: x[0], run.eta)
    jax.tree.map(np.testing.assert_array_equal, alone, load(finished.weights(SEEDS[1])).eta)
    assert finite.all()


def test_a_killed_run_goes_on_to_the_same_bits(finished, toy, mortal):
    path = toy / "killed"
    assert subprocess.run(mortal(1, *arguments(path)), timeout=500).returncode == -signal.SIGKILL
    assert main(["resume", str(path)]) == 0
    for seed in SEEDS:
        ours, theirs = load(RunFolder(path).weights(seed)), load(finished.weights(seed))
        jax.tree.map(np.testing.assert_array_equal, ours.eta, theirs.eta)
    assert RunFolder(path).metrics.read_text() == finished.metrics.read_text()


def test_nan_stops_it_with_a_hint(toy, capsys):
    words = [x.replace("size=0.5", "size=1e39") for x in arguments(toy / "diverged")]
    assert main(words) == 1
    assert "smaller steps" in capsys.readouterr().err


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


def test_each_lifetime_of_a_test_is_that_of_lives_told_it_alone():
    settings = replace(ta_lpg.QUICK, **TINY["ta_lpg"])
    training, key = ta_lpg.training(settings), jax.random.key(1)
    eta = eta_of(training.begin(jax.random.key(0)))
    found = jax.jit(training.test.returns)(eta, key)
    sizes: Any = {"targets": settings.targets, "workers": settings.workers}
    build = partial(registry.rule_module("ta_lpg").ta_lpg, **training.fields)
    parts = grid(settings.env, build, **sizes)
    level_key, life_key, _ = jax.random.split(key, 3)
    draw = partial(parts.env.sample_params, split="heldout")
    levels = jax.vmap(draw)(jax.random.split(level_key, settings.test_levels))
    lived = jax.jit(life_returns(*parts[1:], length=settings.length), static_argnums=2)
    alone = lived(eta, levels, 4, jax.random.split(life_key, settings.test_levels))
    np.testing.assert_allclose(found[3:], alone, rtol=1e-5)


def test_the_control_of_ta_lpg_is_lpg_in_the_same_search():
    timed, untimed = (parts_of("ta_lpg", timed=timed).training for timed in (True, False))
    assert (timed.rule, untimed.rule) == ("ta_lpg", "lpg")
    assert timed.fields == {**untimed.fields, "lifetime": 4}
    assert (
        timed.steps_per_update == untimed.steps_per_update == round(2 * 4 * 2 * 3 * 3 / np.log(4))
    )
    ours, theirs = (eta_of(x.begin(jax.random.key(0))) for x in (timed, untimed))
    read = ours["core"]["in"].pop("w"), theirs["core"]["in"].pop("w")
    np.testing.assert_array_equal(read[0][:5], read[1])
    np.testing.assert_array_equal(read[0][5:], np.zeros((2, 3 * 4)))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_two_opposite_drifts_are_one_so_the_search_starts_beside_zero():
    settings = replace(lpo.QUICK, **TINY["lpo"])
    eta = eta_of(lpo.training(settings).begin(jax.random.key(0)))
    x = jax.random.normal(jax.random.key(1), (64, 8))
    noise = jax.tree.map(lambda x: jax.random.normal(jax.random.key(2), x.shape), eta)
    opposite = jax.tree.map(lambda x: -x, noise)
    np.testing.assert_array_equal(learned_drift(noise, x), learned_drift(opposite, x))
    np.testing.assert_array_equal(learned_drift(eta, x), 0)
    plus, minus = ({**eta, "out": e["out"]} for e in (noise, opposite))
    assert (learned_drift(plus, x) != learned_drift(minus, x)).mean() > 0.9


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
        (["ta_lpg", "shortest=9", "longest=3"], "9 and 3"),
        (["ta_lpg", "test_lifetimes=0,5"], "test_lifetimes must be at least 1"),
        (["lpo", "pairs=6", "chunk=4"], "divisor"),
        (["ta_lpo", "std=0"], "std must be positive"),
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

"""Meta-training as a run: what is logged, resuming to the same bits, and mistakes."""

import json
import math
import os
import signal
import struct
import subprocess
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from metarl.cli import main
from metarl.config import Config, MetaConfig, Part, Tune
from metarl.configs import loads
from metarl.io import checkpoint
from metarl.io.logging import read_metrics
from metarl.io.runs import RunFolder
from metarl.meta.common import MetaState, Moments, lone_numbers
from metarl.meta.forward import ForwardState
from metarl.meta_programme import MetaProgramme, MetaRun, meta_keys, population, watched
from metarl.outcome import draw_schedules, load
from metarl.outer import build_meta, parts_of
from metarl.run import Diverged, Stopped, resume, train
from metarl.train import meta_train

pytestmark = pytest.mark.usefixtures("compile_once")

TINY = MetaConfig(
    Part("Bandit-v0", {"max_steps": 5}),
    Part("a2c", {"learning_rate": 0.01}),
    Part("mlp", {"hidden": (4,)}),
    tune=Tune({"discount": "sigmoid", "entropy_cost": "softplus,0.1"}),
    outer=Part("metagrad", {"levels": 0}),
    learners=2,
    lifetime=5,
    meta_learning_rate=0.1,
    num_envs=3,
    length=4,
    steps=24 * 21,
    seeds=(3, 11),
    log_every=4,
)
ARGUMENTS = (  # the same
    "Bandit-v0 max_steps=5 --rule a2c learning_rate=0.01 --agent mlp hidden=4 --tune "
    "discount=sigmoid entropy_cost=softplus,0.1 --outer metagrad levels=0 --learners 2 "
    "--lifetime 5 --meta-learning-rate 0.1 --num-envs 3 --length 4 --steps 504 --seeds 3 11 "
    "--log-every 4 --checkpoint-seconds 0 --tick-seconds 0"
)


class Notes:
    """A reporter that remembers, and may do something when it is told of progress."""

    def __init__(self, act=lambda steps: None):
        self.lines, self.act = [], act

    def line(self, text):
        self.lines.append(text)

    def progress(self, steps, total, rate, episode_return, unit="steps"):
        self.act(steps)


def state_of(folder: RunFolder):
    newest = checkpoint.listed(folder.checkpoints)[-1]
    return newest.name, newest.read_bytes(), folder.metrics.read_bytes()


def histograms(folder: RunFolder, seed: int):
    """(step, name) -> number of values, of all histograms in the event files of a seed."""
    found = {}
    for path in sorted((folder.tensorboard / f"seed_{seed}").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            for value in event.summary.value:
                if value.HasField("histo"):
                    found[event.step, value.tag] = value.histo.num
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(TINY, tmp_path_factory.mktemp("runs") / "run", Notes())


def test_the_config_is_resolved_and_read_back_exactly(finished):
    text = finished[0].config.read_text()
    config = loads(text)
    assert isinstance(config, MetaConfig) and config.dumps() == text
    assert parts_of(config).config == config
    assert config.outer.fields == {"updates": 1, "mix": None, "levels": 0, "eligibility": 1.0}
    assert config.objective.fields["baseline"] == "value" and config.tune == TINY.tune
    assert config.steps_per_update == 3 * 4 * 2 and config.updates == 21
    with pytest.raises(ValueError, match="entries"):
        Config.loads(text)


@pytest.mark.slow
def test_a_run_is_the_function_meta_train_for_every_seed(finished):
    parts = build_meta(TINY)
    birth_keys, run_keys = meta_keys(parts)

    @jax.jit
    @jax.vmap
    def whole(birth_key, run_key):
        learners = population(parts, parts.env_params, birth_key)
        return meta_train(parts.meta, learners, run_key, updates=21)

    state, learners, expected = whole(birth_keys, run_keys)
    found = read_metrics(finished[0].metrics)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    for i, seed in enumerate(TINY.seeds):
        rows = found["seed"] == seed
        np.testing.assert_array_equal(found["update"][rows], [4, 8, 12, 16, 20, 21])
        np.testing.assert_array_equal(found["steps"][rows], found["update"][rows] * 24)
        for name, value in lone_numbers(jax.tree.map(lambda x, i=i: x[i], state.eta)).items():
            close(found[f"eta/{name}"][rows][-1], value)
        for name in ("meta_loss", "meta_grad_norm", "meta_grad_std", "tuned/discount"):
            close(found[name][rows][1], expected[name][i, 4:8].mean(), rtol=1e-3)
        assert found["births"][rows][:-1].sum() * 4 == expected["births"][i, :20].sum() > 0
        assert found["episodes"][rows].sum() == expected["episodes"][i].sum() > 0
        assert np.isnan(found["meta_grad_snr"][rows][0])  # of one meta-gradient alone
        assert np.isfinite(found["meta_grad_snr"][rows][1:]).all()
        assert np.isfinite(found["episode_return"][rows][:-1]).all()
    np.testing.assert_array_equal(np.max(learners.age, axis=1), finished[1].age)  # the eldest
    assert finished[1].params["torso"][0]["w"].shape[0] == 2


def test_histograms_of_eta_and_of_the_meta_gradient(finished):
    names = {"eta/discount", "eta/entropy_cost", "meta_grad/discount", "meta_grad/entropy_cost"}
    for seed in TINY.seeds:
        found = histograms(finished[0], seed)
        assert {name for _, name in found} >= names
        assert {step for step, _ in found} == {24 * 21}  # at the one checkpoint
        assert all(count == 21 for count in found.values())


def test_a_killed_process_continues_to_the_same_bits(finished, tmp_path, mortal):
    """Killed twice between writing and renaming a checkpoint, then stopped politely."""
    folder, path = RunFolder(tmp_path / "run"), str(tmp_path / "run")
    for kill, command in ((2, ("meta-train", *ARGUMENTS.split(), "--out")), (3, ("resume",))):
        child = mortal(kill, *command, path)
        assert subprocess.run(child, timeout=500).returncode == -signal.SIGKILL
        assert list(folder.checkpoints.glob(".*.tmp"))
    kept = checkpoint.listed(folder.checkpoints)[-1].stem
    assert kept == f"update_{4 * (1 + 2):012d}", "each cost one interval, not more"

    def stop(steps):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match=f"metarl resume {path}"):
        resume(folder.path, Notes(stop))
    assert state_of(folder) != state_of(finished[0])
    _, learner = resume(folder.path, Notes())
    assert state_of(folder) == state_of(finished[0])
    jax.tree.map(np.testing.assert_array_equal, learner.params, finished[1].params)


@pytest.mark.parametrize("what", ["eta/discount", None])
def test_nan_stops_with_a_hint_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, what):
    config = replace(TINY, tick_seconds=0.0, checkpoint_seconds=0.0)
    advance = MetaProgramme.advance

    def broken(programme, state, updates):
        """From update 5 on of the second seed something is NaN."""
        done = int(np.max(state.learners.age))
        state, metrics, finite = advance(programme, state, updates)
        if done >= 4 and what:
            metrics[what] = metrics[what].at[1, 0].set(math.nan)
        return state, metrics, np.array([True, bool(what) or done < 4])

    monkeypatch.setattr(MetaProgramme, "advance", broken)
    with pytest.raises(Diverged, match=f"{what or 'a parameter'} is n.*of seed 11") as error:
        train(config, tmp_path / "run", Notes())
    text = str(error.value)
    for words in (
        "eps_root",
        "--meta-max-norm (now 1.0) to clip",
        "--meta-learning-rate (now 0.1)",
    ):
        assert words in text
    assert "learning_rate=1e-4" in text
    (kept,) = checkpoint.listed(tmp_path / "run" / "checkpoints")
    assert kept.stem == f"update_{4:012d}" and str(kept) in text


def test_histograms_and_checks_of_arrays():
    """A rule whose eta is a network is no setting of the command line, but programmes know it."""
    eta = {"net": np.ones((2, 3, 4)), "lone": np.zeros(2)}
    nothing: Any = ()
    meta = MetaState(eta, nothing, Moments(eta, eta), nothing)
    state = MetaRun(ForwardState(meta, nothing), nothing)
    found = {name: x.shape for name, x in watched(state.outer).items()}
    assert found == {"eta/net": (2, 3, 4), "meta_grad_mean/net": (2, 3, 4)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "outer",
    [
        "bmg updates=2 bootstrap=3",
        "bmg match=distance",
        "evolution updates=2 pairs=2 fitness=objective",
        "forward decay=0.9",
        "metagrad updates=3 mix=1.0 levels=2",
        "persistent",
        "truncated updates=4 window=2",
    ],
)
@pytest.mark.parametrize("rule", ["outer_value", "ppo epochs=1 minibatches=2"])
def test_the_command_line_from_training_to_film(tmp_path, capsys, outer, rule):
    run = tmp_path / "run"
    arguments = (
        f"GridWorld-v0 size=3 max_steps=9 --rule {rule} --agent mlp hidden=8 --num-envs 4 "
        f"--length 4 --steps 1280 --outer {outer} --tune entropy_cost=softplus "
        "--learners 2 --seeds 0 5 --out"
    )
    assert main(["meta-train", *arguments.split(), str(run)]) == 0
    text = capsys.readouterr().out
    assert "mean return" in text and f"what was learned: {run}/eta.png" in text
    with Image.open(run / "eta.png") as image:
        assert np.asarray(image).std() > 0
    metrics = read_metrics(run / "metrics.csv")
    assert metrics["tuned/entropy_cost"][0] != metrics["tuned/entropy_cost"][-1]
    result = json.loads((run / "evaluation.json").read_text())
    assert set(result["trained"]["returns"]) == {"0", "5"}
    assert result["steps"] * 2 == metrics["steps"][-1]  # of one learner, and of two
    config = json.loads((run / "config.json").read_text())
    assert config["objective"]["fields"]["baseline"] == (
        "outer_value" if rule == "outer_value" else "value"
    )
    assert main(["evaluate", str(run), "--episodes", "3"]) == 0
    assert main(["render", str(run), "--episodes", "1", "--steps", "5"]) == 0
    assert main(["resume", str(run)]) == 0


def test_what_a_finished_run_shows(finished, capsys):
    folder = finished[0]
    config = MetaConfig.loads(folder.config.read_text())
    with Image.open(draw_schedules(folder, config)) as image:
        assert np.asarray(image).std() > 0
    _, parts, learner = load(folder.path, Notes())
    jax.tree.map(np.testing.assert_array_equal, learner.params, finished[1].params)
    assert parts.config == config and learner.age.shape == (2,)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"tune": Tune({"discont": "sigmoid"})}, "no 'discont'; did you mean discount?"),
        ({"tune": Tune({})}, "name what is to be tuned"),
        ({"tune": Tune({"discount": "sigmod"})}, "no bijection 'sigmod'; did you mean sigmoid?"),
        ({"tune": Tune({"discount": "sigmoid,2,1"})}, "discount=sigmoid,2,1: .*low < high"),
        ({"tune": Tune({"discount": "sigmoid,0,0.9"})}, "discount starts at 0.99.*between"),
        ({"tune": Tune({"discount": "exponential,2"})}, "exponential,2: .*argument"),
        ({"outer": Part("metagrat")}, "no outer loop 'metagrat'; did you mean metagrad?"),
        ({"outer": Part("bmg", {"update": 3})}, "no setting 'update'; did you mean updates?"),
        ({"outer": Part("bmg", {"match": "kll"})}, "no match 'kll'; did you mean kl?"),
        ({"outer": Part("evolution", {"fitness": "rewrd"})}, "did you mean reward?"),
        ({"outer": Part("persistent"), "learners": 3}, "even number of learners, got 3"),
        ({"outer": Part("forward", {"decay": 1.5})}, "decay must lie in 0..1"),
        ({"outer": Part("metagrad", {"mix": -1})}, "mix should be none or a number"),
        ({"outer": Part("metagrad", {"levels": -1})}, "at least 1; got -1"),
        ({"outer": Part("truncated", {"updates": 4, "window": 5})}, "window must lie in 1..4"),
        ({"objective": Part("policy_gradent")}, "did you mean policy_gradient?"),
        ({"objective": Part("policy_gradient", {"baseline": "valu"})}, "has .'logits', 'value'"),
        ({"env": Part("gym/CartPole-v1")}, "outer loops need environments that compile"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        train(replace(TINY, **{"lifetime": 0, **changes}), tmp_path / "run", Notes())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"learners": 0}, "--learners must be at least 1"),
        ({"lifetime": -1}, "--lifetime must be at least 0"),
        (
            {"lifetime": 3, "outer": Part("bmg", {"updates": 2, "bootstrap": 3})},
            "--lifetime 3 is shorter than one update of the outer loop.*makes 4",
        ),
        ({"meta_learning_rate": math.nan}, "--meta-learning-rate must be above 0"),
        ({"meta_max_norm": -1.0}, "--meta-max-norm must not be negative"),
        ({"outer": Part("truncated", {"window": 0})}, "window must be at least 1"),
        ({"steps": 23}, "3 environments x 4 steps x 1 updates x 2 learners = 24"),
    ],
)
def test_impossible_numbers_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(TINY, **changes)

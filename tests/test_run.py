import os
import pathlib
import signal
from functools import partial

import jax
import numpy as np
import pytest

from metarl.build import build
from metarl.config import Config, Part
from metarl.io import checkpoint
from metarl.io.logging import read_metrics, summarise
from metarl.io.runs import RunFolder
from metarl.run import Diverged, Stopped, resume, train
from metarl.train import train as whole_life

pytestmark = pytest.mark.usefixtures("compile_once")

TINY = Config(
    Part("Bandit-v0", {"max_steps": 5}),
    Part("a2c"),
    Part("mlp", {"hidden": (4,)}),
    num_envs=3,
    length=4,
    steps=12 * 41,
    seeds=(3, 11),
    log_every=4,
)


class Notes:
    """A reporter that remembers, and may do something when it is told of progress."""

    def __init__(self, act=lambda steps: None):
        self.lines, self.act = [], act

    def line(self, text):
        self.lines.append(text)

    def progress(self, steps, total, rate, episode_return, unit="steps"):
        self.act(steps)


def changed(config=TINY, **changes):
    return Config(**{**vars(config), **changes})


def state_of(folder: RunFolder):
    """Everything that must not depend on how a run was cut into pieces."""
    newest = checkpoint.listed(folder.checkpoints)[-1]
    return newest.name, newest.read_bytes(), folder.metrics.read_bytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(TINY, tmp_path_factory.mktemp("runs") / "run", Notes())


def test_the_config_of_a_run_is_resolved_and_read_back_exactly(finished):
    text = finished[0].config.read_text()
    config = Config.loads(text)
    assert config.dumps() == text
    assert config.rule.fields["discount"] == 0.99 and config.env.fields["num_actions"] == 2
    assert build(config).config == config


def test_a_run_is_the_function_train_for_every_seed(finished):
    folder, learners = finished
    _, env, env_params, agent, rule, venv = build(TINY)
    metrics = read_metrics(folder.metrics)
    keys = jax.numpy.stack([jax.random.key(seed) for seed in TINY.seeds])
    life = partial(whole_life, agent, rule, venv, env_params=env_params, updates=41, length=4)
    expected_learners, all_expected = jax.jit(jax.vmap(life))(keys)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, learners.params, expected_learners.params)
    for i, seed in enumerate(TINY.seeds):
        expected = {name: np.asarray(x[i]) for name, x in all_expected.items()}
        rows = metrics["seed"] == seed
        entropy = expected["entropy"]
        close(metrics["entropy"][rows][[0, -1]], [entropy[:4].mean(), entropy[40]])
        assert metrics["episodes"][rows].sum() == expected["episodes"].sum() == 3 * (41 * 4 // 5)
        np.testing.assert_array_equal(metrics["update"][rows], [*range(4, 41, 4), 41])
        np.testing.assert_array_equal(metrics["steps"][rows], metrics["update"][rows] * 12)
        lengths = metrics["episode_length"][rows]
        assert (lengths[:-1] == 5).all() and np.isnan(lengths[-1])  # no episode ends in update 41


def test_a_row_averages_over_updates_but_returns_over_episodes():
    row = summarise(
        {
            "loss": np.array([1.0, 2.0, 6.0]),
            "episodes": np.array([1, 0, 3]),
            "episode_return": np.array([8.0, np.nan, 4.0]),
        }
    )
    assert row == {"loss": 3.0, "episodes": 4.0, "episode_return": 5.0}
    nothing = summarise({"episodes": np.array([0]), "episode_return": np.array([np.nan])})
    assert np.isnan(nothing["episode_return"])


def test_results_do_not_depend_on_the_length_of_chunks(finished, tmp_path):
    steps: list[int] = []
    folder, _ = train(changed(tick_seconds=0.0), tmp_path / "run", Notes(steps.append))
    assert steps == [*range(48, 12 * 41, 48), 12 * 41]
    assert state_of(folder) == state_of(finished[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_resumed_run_equals_the_uninterrupted_one(
    finished, tmp_path, number
):
    def stop(steps):
        if steps == 96:
            os.kill(os.getpid(), number)

    config = changed(tick_seconds=0.0)
    with pytest.raises(Stopped, match=f"metarl resume {tmp_path}/run") as stopped:
        train(config, tmp_path / "run", Notes(stop))
    assert stopped.value.number == number
    folder = RunFolder(tmp_path / "run")
    assert state_of(folder) != state_of(finished[0])
    resume(folder.path, Notes())
    assert state_of(folder) == state_of(finished[0])


def test_a_second_signal_does_not_wait(tmp_path):
    def stop(steps):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path / "run", Notes(stop))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_damaged_checkpoint_costs_one_interval(finished, tmp_path):
    folder, _ = train(changed(tick_seconds=0.0, checkpoint_seconds=0.0), tmp_path / "run", Notes())
    kept = checkpoint.listed(folder.checkpoints)
    assert len(kept) == 3
    kept[-1].write_bytes(kept[-1].read_bytes()[:1000])
    notes = Notes()
    resume(folder.path, notes)
    assert any("checksum" in line and kept[-1].name in line for line in notes.lines)
    assert state_of(folder) == state_of(finished[0])


def test_resuming_a_finished_run_changes_nothing(finished):
    before = state_of(finished[0])
    _, learner = resume(finished[0].path, Notes())
    assert state_of(finished[0]) == before
    jax.tree.map(np.testing.assert_array_equal, learner.params, finished[1].params)


def test_a_checkpoint_of_another_configuration_is_refused_in_words(tmp_path):
    folder, _ = train(changed(steps=12), tmp_path / "run", Notes())
    wider = changed(build(TINY).config, agent=Part("mlp", {"hidden": (5,)}), steps=12)
    folder.config.write_text(wider.dumps())
    with pytest.raises(ValueError, match=r"params.*float32\[2, 4, 2\].*needs float32\[2, 5, 2\]"):
        resume(folder.path, Notes())
    for broken, words in [
        ("{}", "entries"),
        ("{", "Expecting"),
        (wider.dumps().replace('"num_envs": 3', '"num_envs": "3"'), "'str'"),
        (wider.dumps().replace('"name": "mlp"', '"nome": "mlp"'), "name"),
    ]:
        folder.config.write_text(broken)
        with pytest.raises(ValueError, match=f"config.json.*{words}"):
            resume(folder.path, Notes())


def test_nan_stops_the_run_and_names_the_seed_the_step_and_the_last_good_checkpoint(tmp_path):
    config = changed(
        rule=Part("a2c", {"learning_rate": 1e30}), tick_seconds=0.0, checkpoint_seconds=0.0
    )
    with pytest.raises(Diverged) as error:
        train(config, tmp_path / "run", Notes())
    text = str(error.value)
    assert "of seed 3" in text and "learning_rate" in text and "(now 1e+30)" in text
    for path in checkpoint.listed(tmp_path / "run" / "checkpoints"):
        assert str(path) in text


def test_impossible_configurations_are_refused_before_anything_is_written(finished, tmp_path):
    path = tmp_path / "run"
    for config, words in [
        (changed(rule=Part("ppo", {"minibatches": 5})), "5 minibatches do not divide 12"),
        (changed(rule=Part("os.path")), "posixpath is no rule: it has no 'heads'"),
        (changed(agent=Part("conv")), "conv agent needs planes"),
        (changed(agent=Part("mlpp")), "did you mean mlp"),
        (changed(env=Part("Bandit-v0", {"max_step": 3})), "did you mean max_steps"),
        (changed(env=Part("Bandit-v0", {"num_actions": 0})), "at least 1"),
        (changed(reset=Part("pool", {"size": 4, "refresh": 9})), "refresh <= size"),
    ]:
        with pytest.raises(ValueError, match=words):
            train(config, path, Notes())
        assert not path.exists()
    with pytest.raises(ValueError, match="already holds a run"):
        train(TINY, finished[0].path, Notes())
    with pytest.raises(ValueError, match=f"holds no run.*{finished[0].path}"):
        resume(finished[0].path.parent / "other", Notes())


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"steps": 11}, "less than one update.*3 environments x 4 steps = 12"),
        ({"num_envs": 0}, "--num-envs must be at least 1"),
        ({"checkpoint_seconds": float("nan")}, "--checkpoint-seconds must not be negative"),
        ({"seeds": (1, 1)}, "different"),
        ({"seeds": ()}, "one or more"),
        ({"reset": Part("fresher")}, "fresh, pool or grouped"),
    ],
)
def test_impossible_numbers_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        changed(**changes)


def test_two_processes_cannot_write_to_one_run(finished):
    with finished[0].locked(), pytest.raises(ValueError, match="another process"):
        resume(finished[0].path, Notes())


def test_pool_and_parameters_reach_the_programme(tmp_path):
    config = changed(
        env=Part("Bandit-v0", {"max_steps": 2, "arms": (0.0, 0.0)}),
        reset=Part("pool", {"size": 2, "refresh": 1}),
    )
    folder, _ = train(config, tmp_path / "run", Notes())
    metrics = read_metrics(folder.metrics)
    assert set(metrics["episode_length"]) == {2} and set(metrics["episode_return"]) == {0}
    assert pathlib.Path(folder.tensorboard / "seed_11").is_dir()

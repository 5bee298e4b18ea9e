"""Rules of others' weights by name: Disco103 and PPO with OPEN's optimizers."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl import cells
from metarl.agents.mlp import mlp
from metarl.build import agent_for, build
from metarl.cli import main
from metarl.config import Config, MetaConfig, Part
from metarl.evaluation import evaluate_rule
from metarl.inner import act, birth
from metarl.registry import PUBLISHED
from metarl.rollout import vectorize
from metarl.rules import authors, open_ppo, ppo
from metarl.rules.life import with_lifetime
from metarl.rules.open import open_optimizer
from metarl.rules.proximal import prepare

DATA = Path(os.environ.get("METARL_DATA", "data"))
TINY: Any = {"seeds": 1, "budget": 1280, "points": 1, "episodes": 2}


@pytest.fixture(scope="module", autouse=True)
def quick(compile_once):
    """Compiled programmes are shared."""


@pytest.fixture
def nowhere(monkeypatch):
    for variable in ("METARL_OPEN", "METARL_DISCO103"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with an optimizer of OPEN's form under the name of ant's."""
    folder = tmp_path_factory.mktemp("open")
    weights = np.random.default_rng(0).normal(size=1211).astype(np.float32) * 0.3
    np.save(folder / "ant_OPEN.npy", weights)
    return folder


def run(capsys, *words):
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def config(rule, agent="auto", **settings):
    return Config(Part("Catch-v0"), Part.parse(rule.split()), Part.parse(agent.split()), **settings)


@pytest.mark.parametrize("command", ["train Catch-v0 --rule", "evaluate-rule"])
@pytest.mark.parametrize(
    ("name", "file", "variable"),
    [
        ("disco103", "disco_103.npz", "METARL_DISCO103"),
        ("open-freeway", "freeway_OPEN.npy", "METARL_OPEN"),
    ],
)
def test_without_weights_they_say_where_to_get_them(
    command, name, file, variable, nowhere, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, text = run(capsys, *command.split(), name)
    text = " ".join(text.split())
    assert code == 2 and file in text and variable in text and "weights=PATH" in text
    assert "https://github.com/" in text and not list(tmp_path.iterdir())


def test_files_are_found_by_folder_and_by_path(drawn, nowhere, monkeypatch, tmp_path):
    file = drawn / "ant_OPEN.npy"
    assert authors.find(str(file)) == file
    monkeypatch.setenv("METARL_OPEN", str(drawn))
    assert authors.find("open-ant") == file
    with pytest.raises(ValueError, match=f"METARL_OPEN says {drawn}, where it is not"):
        authors.find("open-multi")
    monkeypatch.setenv("METARL_OPEN", str(file))  # of ant alone, so it cannot stand for others
    with pytest.raises(ValueError, match="where it is not"):
        authors.find("open-breakout")
    for where in (tmp_path, tmp_path / "disco_103.npz"):
        (tmp_path / "disco_103.npz").write_bytes(b"")
        monkeypatch.setenv("METARL_DISCO103", str(where))
        assert authors.find("disco103").name == "disco_103.npz"
    with pytest.raises(ValueError, match="no file 'gone.npy'"):
        authors.find("gone.npy")


def test_a_run_names_file_digest_agent_and_lifetime(drawn, tmp_path):
    file = tmp_path / "mine.npy"
    file.write_bytes((drawn / "ant_OPEN.npy").read_bytes())
    asked = config(f"open-multi weights={file}", num_envs=8, length=4, steps=100)
    found = build(asked).config
    assert found.rule.fields["weights"] == str(file)
    assert str(found.rule.fields["digest"]).startswith("sha256:")
    assert found.rule.fields["lifetime"] == 4  # of 32 steps each
    assert found.agent.name == "mlp" and found.agent.fields["separate"] is True
    assert build(found).config == found == Config.loads(found.dumps())
    file.write_bytes((drawn / "ant_OPEN.npy").read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ValueError, match="not those that this run began with"):
        build(found)


def test_auto_is_the_agent_of_the_authors():
    assert agent_for(config("disco103")) == Part("disco")
    assert agent_for(config("open-ant", "auto hidden=8")).fields == {"separate": True, "hidden": 8}
    assert agent_for(config("open-ant", "mlp")).fields == {"separate": True}
    assert agent_for(config("open-ant", "mlp separate=false")).fields == {"separate": False}
    assert agent_for(config("open-ant", "gru")) == Part("gru")
    assert agent_for(config("ppo")) == Part("auto")
    assert {p.agent for p in PUBLISHED.values()} == {"disco", "mlp"}


def test_rules_that_know_the_time_are_told_of_the_training():
    sizes: Any = {"num_envs": 8, "length": 4, "steps": 320}
    assert build(config("ta_lpo", **sizes)).config.rule.fields["lifetime"] == 10
    assert build(config("ta_lpo lifetime=7", **sizes)).config.rule.fields["lifetime"] == 7
    meta = MetaConfig(Part("Catch-v0"), Part("ta_lpo"), **sizes)  # whose steps are not those of one
    assert build(meta).config.rule.fields["lifetime"] == 1000


def test_open_ppo_is_ppo_with_that_optimizer(drawn):
    """Where the agent does not show its units."""
    env = metarl.make("Bandit-v0")
    agent = mlp(env, ppo.heads(env), hidden=(4,), separate=True)._replace(units=None)
    sizes: Any = {"epochs": 2, "minibatches": 1}
    file = drawn / "ant_OPEN.npy"
    rule = open_ppo.open_ppo(agent, ppo.heads(env), weights=str(file), lifetime=9, **sizes)
    venv, key = vectorize(env, 2), jax.random.key(5)
    own, noise = jax.random.split(key)

    @jax.jit
    def one(lifetime):
        born = birth(agent, rule, venv, env.default_params(), jax.random.key(0))
        rollout, _ = act(agent, venv, born, jax.random.key(1), length=3)
        state = with_lifetime(born.rule_state, lifetime)
        steps = jnp.int32(2)  # taken before, so that the second rollout is learned from
        state = state.replace(optimizer=state.optimizer._replace(steps=steps))
        eta = rule.init_eta(key)
        found, later, _ = rule.update(eta, born.params, state, rollout, key)
        optimizer = open_optimizer(file, key=noise, updates=5, **sizes)
        plain = ppo.ppo(agent, ppo.heads(env), optimizer=optimizer, **sizes)
        wanted, kept, _ = plain.update(eta, born.params, state.optimizer, rollout, own)
        return (found, later.optimizer), (wanted, kept), later.clock

    found, wanted, clock = one(5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), found, wanted)
    assert clock.age == 1 and clock.lifetime == 5
    slower = one(50)[0][0]
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), slower, found[0])))
    assert float(rule.init_eta(key).learning_rate) == 1 and ppo.hypers().learning_rate < 1


def test_open_ppo_hears_how_active_units_are(drawn):
    """One step, against the optimizer told of activations by a numpy loop over all rows."""
    env = metarl.make("Catch-v0")
    agent = mlp(env, ppo.heads(env), hidden=(4, 3), separate=True, activation="relu")
    sizes: Any = {"epochs": 1, "minibatches": 1}
    file, venv, key = drawn / "ant_OPEN.npy", vectorize(env, 2), jax.random.key(5)
    rule = open_ppo.open_ppo(agent, ppo.heads(env), weights=str(file), lifetime=5, **sizes)
    eta = rule.init_eta(key)

    @jax.jit
    def one():
        born = birth(agent, rule, venv, env.default_params(), jax.random.key(0))
        rollout, _ = act(agent, venv, born, jax.random.key(1), length=8)
        return born, rollout, rule.update(eta, born.params, born.rule_state, rollout, key)

    born, rollout, (found, _, _) = one()
    dormancy: Any = {"torso": {}, "heads": {}}
    for torso, head in (("policy", "logits"), ("value", "value")):
        rows, told = np.asarray(rollout.inputs.obs, np.float64).reshape(16, -1), []
        layers = [*born.params["torso"][torso], born.params["heads"][head]]
        for i, layer in enumerate(layers):
            rows = rows @ np.asarray(layer["w"]) + np.asarray(layer["b"])
            rows = np.maximum(rows, 0) if i < 2 else rows
            active = [np.mean([abs(row[unit]) for row in rows]) for unit in range(rows.shape[1])]
            told.append(dict.fromkeys("wb", np.array(active) / sum(active) * len(active)))
        dormancy["torso"][torso], dormancy["heads"][head] = told[:2], told[2]
    batch = prepare(agent, eta, born.params, rollout)
    grads = jax.grad(lambda p: ppo.ppo_loss(agent, eta, p, batch)[0])(born.params)
    optimizer = open_optimizer(file, key=jax.random.split(key)[1], updates=5, **sizes)
    before = born.rule_state.optimizer
    step, _ = optimizer.update(grads, before, born.params, dormancy=dormancy)
    deaf, _ = optimizer.update(grads, before, born.params)
    wanted = jax.tree.map(jnp.add, born.params, step)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, wanted)
    heard = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), step, deaf)
    assert max(jax.tree.leaves(heard)) > 1e-5


def test_shared_layers_are_refused(drawn, monkeypatch, capsys):
    monkeypatch.setenv("METARL_OPEN", str(drawn))
    for agent in (["mlp", "separate=false"], ["gru"]):
        words = ("train", "Catch-v0", "--rule", "open-ant", "--agent", *agent)
        code, text = run(capsys, *words)
        assert code == 2 and "actor and a critic apart" in " ".join(text.split())
    tables = {"logits": jnp.zeros((2, 3)), "value": jnp.zeros((2, 1))}
    open_ppo.check_apart(tables)


def test_a_tiny_cell_of_open(drawn, monkeypatch):
    monkeypatch.setenv("METARL_OPEN", str(drawn))
    found = evaluate_rule("open-ant", ["DelayedChain-v0"], **TINY)
    returns = found.returns("open-ant", "DelayedChain-v0")[2]
    assert np.isfinite(returns).all()
    about = found.about["open-ant"]
    assert about["code"] == authors.digest(drawn / "ant_OPEN.npy")


@pytest.mark.parametrize("name", ["disco103", *(n for n in PUBLISHED if n.startswith("open-"))])
def test_a_tiny_cell_of_each_published_rule(name, monkeypatch):
    folder = DATA / ("disco103" if name == "disco103" else "open")
    if not folder.is_dir():
        pytest.skip(f"no weights; name the folder that holds {folder.name}/ in METARL_DATA")
    monkeypatch.setenv("METARL_DISCO103" if name == "disco103" else "METARL_OPEN", str(folder))
    if name not in ("disco103", "open-multi"):  # the others have the programme of the drawn one
        parts = build(dataclasses.replace(config(name), env=Part("DelayedChain-v0")))
        assert str(parts.config.rule.fields["weights"]).endswith("_OPEN.npy")
        return
    played = []
    plain = cells.play_cell

    def noted(cell):
        played.append(cell)
        return plain(cell)

    monkeypatch.setattr(cells, "play_cell", noted)
    found = evaluate_rule(name, ["DelayedChain-v0"], **TINY)
    assert np.isfinite(found.returns(name, "DelayedChain-v0")[2]).all()
    assert played[0].parts.config.agent.name == PUBLISHED[name].agent


def test_they_are_listed_among_the_parts(capsys):
    code, text = run(capsys, "parts")
    assert code == 0 and "disco103" in text and "open-spaceinvaders" in text

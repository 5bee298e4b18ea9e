"""Learned rules as files: written and read whole, refused in words, and followed by name."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.agents.tabular import tabular
from metarl.cli import main
from metarl.rules import Weights, load, lpg, lpo, save, shipped, ta_lpg, weights

pytestmark = pytest.mark.usefixtures("compile_once")
ENV = metarl.make("TabularMDP-v0", states=5, num_actions=3)
HEADS = {"logits": 3, "y": 4}
FIELDS = {"hidden": 6, "embedding": 3, "policy_rate": 7.0, "core": "lstm"}
ABOUT = {"recipe": "none", "updates": 0, "seed": 1}


def drawn(rule):
    """An eta in the rule's form; drawn with numpy, which compiles nothing."""
    rng = np.random.default_rng(0)
    form = jax.eval_shape(rule.init_eta, jax.random.key(0))
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), form)


def tiny(module=lpg, fields=FIELDS, heads=HEADS, widths={"targets": 4}):  # noqa: B006
    agent = tabular(ENV, heads)
    name = module.__name__.rpartition(".")[2]
    eta = drawn(getattr(module, name)(agent, heads, **fields))
    return Weights(name, dict(fields), dict(widths), eta, ABOUT)


def changed(path, change):
    """The file with its entries and what its JSON says as `change(entries, told)` leaves them."""
    with np.load(path) as archive:
        entries: Any = dict(archive)
    told = json.loads(str(entries.pop("metarl-weights-1")))
    change(entries, told)
    entries["metarl-weights-1"] = np.array(json.dumps(told))
    np.savez(path, **entries)


@pytest.mark.parametrize(
    "given",
    [
        tiny(),
        tiny(ta_lpg, {"hidden": 4, "lifetime": 9, "as_released": True}),
        tiny(lpo, {"hidden": 5, "ppo_init": True, "entropy_cost": 0.0}, lpo.heads(ENV), {}),
    ],
    ids=lambda given: given.rule,
)
def test_what_is_saved_is_loaded(given, tmp_path):
    path = tmp_path / "given.npz"
    save(path, given)
    found, data = load(path), path.read_bytes()
    assert found._replace(eta=None, digest="") == given._replace(eta=None)
    assert str(jax.tree.structure(found.eta)) == str(jax.tree.structure(given.eta))
    jax.tree.map(np.testing.assert_array_equal, found.eta, given.eta)
    save(path, found)
    assert path.read_bytes() == data and [p.name for p in tmp_path.iterdir()] == ["given.npz"]


def test_leaves_are_named_by_their_path(tmp_path):
    save(tmp_path / "x.npz", tiny())
    with np.load(tmp_path / "x.npz") as archive:
        names = set(archive.files)
        assert {"core/in/w", "embed/1/b", "y/w", "metarl-weights-1"} <= names
        told = json.loads(str(archive["metarl-weights-1"]))
    assert told == {"rule": "lpg", "fields": FIELDS, "heads": {"targets": 4}, "about": ABOUT}


def test_an_agent_follows_them(tmp_path):
    save(tmp_path / "x.npz", tiny())
    found = load(str(tmp_path / "x.npz"))
    env = metarl.make("TabularMDP-v0", states=2, num_actions=6)  # not that of the training
    heads = found.heads_of(env)
    assert heads == {"logits": 6, "y": 4}
    agent = tabular(env, heads)
    rule = found.rule_for(agent, heads, y_cost=0.25)
    jax.tree.map(np.testing.assert_array_equal, rule.init_eta(jax.random.key(5)), found.eta)
    numbers = rule.init(agent.init(jax.random.key(0))).numbers
    assert [float(x) for x in (numbers.policy_rate, numbers.y_rate, numbers.y_cost)] == [7, 4, 0.25]
    for settings, needed, words in (
        ({"hidden": 9}, heads, r"eta's core/in/b is float32\[24\], but .* float32\[36\]"),
        ({"core": "gru"}, heads, "eta has|eta lacks"),
        ({}, {"logits": 6, "y": 5}, r"eta's embed/0/w is float32\[4, 3\], but .*\[5, 3\]"),
    ):
        with pytest.raises(ValueError, match=words):
            found.rule_for(agent, needed, **settings)


def nothing(entries, told):
    pass


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda e, t: e.pop("y/b"), "eta lacks y/b"),
        (lambda e, t: e.update(more=np.zeros(2)), "eta has more"),
        (lambda e, t: e.update({"y/b": np.zeros(5, np.float32)}), r"y/b is float32\[5\], but"),
        (lambda e, t: e.update({"y/b": np.zeros(4)}), r"y/b is float64\[4\], but .* float32\[4\]"),
        (lambda e, t: e.update({"y/b": np.full(4, np.nan, np.float32)}), "y/b is not finite"),
        (lambda e, t: e["pi/w"].fill(np.inf), "pi/w is not finite"),
        (lambda e, t: t.update(rule="lgp"), "no rule 'lgp'; did you mean lpg?"),
        (lambda e, t: t.update(rule="os.path"), "no rule 'os.path'"),
        (lambda e, t: t["fields"].update(hiden=3), "unexpected keyword argument 'hiden'"),
        (lambda e, t: t["fields"].update(hidden="many"), "the rule lpg cannot be made with"),
        (lambda e, t: t["fields"].update(core="rnn"), "no core 'rnn'"),
        (lambda e, t: t["heads"].update(targets=3), r"embed/0/w is float32\[4, 3\], but"),
        (lambda e, t: t.pop("fields"), "'fields' is wrong"),
        (lambda e, t: t.update(about="me"), "'about' is wrong"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, change, words):
    path = tmp_path / "x.npz"
    save(path, tiny())
    changed(path, nothing)
    load(path)  # or the changes below prove nothing
    changed(path, change)
    with pytest.raises(ValueError, match=words) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_file_that_is_no_whole_file_of_weights_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    save(path, tiny())
    data = path.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
    for wrong in (data[:-40], data[:middle], flipped, b"", b"words", b"PK\x03\x04"):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="x.npz: cut short, or no file of weights"):
            load(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ValueError, match="no file of weights of this version: it has no entry"):
        load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="cut short, or no file of weights"):
        load(path)
    np.savez(path, a=np.array([{}]))
    with pytest.raises(ValueError, match="no file of weights .*pickle"):
        load(path)


def test_names_are_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="no weights 'tini'; known: none"):
        load("tini")
    save(tmp_path / "tiny.npz", tiny())
    assert list(shipped()) == ["tiny"] and load("tiny").about == ABOUT
    with pytest.raises(ValueError, match="no weights 'tini'; did you mean tiny"):
        load("tini")
    with pytest.raises(ValueError, match=r"no file gone.npz; .* \['tiny'\]"):
        load("gone.npz")


def test_nothing_that_would_be_refused_is_written(tmp_path):
    good = tiny()
    broken = {**good.eta, "pi": {"w": good.eta["pi"]["w"] * jnp.nan, "b": good.eta["pi"]["b"]}}
    for wrong, name in (
        (good, "x.zip"), (good._replace(eta=broken), "x.npz"), (good._replace(rule="no"), "x.npz"),
        (good._replace(heads={"targets": 5}), "x.npz"),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            save(tmp_path / name, wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", shipped().values(), ids=lambda path: path.stem)
def test_what_is_shipped_is_small_and_has_a_card(path):
    found = load(path.stem)
    card = path.with_suffix(".md").read_text()
    assert path.stat().st_size < 2**20 and found.rule in card and found.about


def test_every_card_has_its_weights():
    cards = {path.stem for path in weights.FOLDER.glob("*.md")} - {"README"}
    assert cards == set(shipped())


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A place to work in, where `tiny` is shipped."""
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "shipped")
    save(tmp_path / "shipped" / "tiny.npz", tiny())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(rule, *more):
    options = "--num-envs 2 --length 2 --steps 16 --out run --rule".split()
    return main(["train", "LPGSmall-v0", "--agent", "tabular", *options, rule, *more])


@pytest.mark.parametrize("name", ["tiny", "shipped/tiny.npz"])
def test_a_run_follows_weights_and_is_resumed(runs, name, monkeypatch, capsys):
    assert train(name, "policy_rate=8") == 0, capsys.readouterr().err
    config = json.loads((runs / "run" / "config.json").read_text())
    fields = config["rule"]["fields"]
    digest = load("tiny").digest
    own = {"hidden": 6, "core": "lstm", "targets": 4, "policy_rate": 8.0, "digest": digest}
    assert fields == {**fields, **own} and digest.startswith("sha256:")
    file = str(runs / "shipped" / "tiny.npz")
    assert config["rule"]["name"] == (file if "/" in name else "tiny")
    capsys.readouterr()
    monkeypatch.chdir(runs / "run")  # a file is found from anywhere
    assert main(["evaluate", ".", "--episodes", "2", "--max-steps", "2"]) == 0
    weights_ = tiny()
    save(runs / "shipped" / "tiny.npz", weights_._replace(about={}))
    assert main(["resume", "."]) == 2
    assert "are not those that this run began with" in capsys.readouterr().err


def test_mistakes_with_weights_are_explained(runs, capsys):
    for rule, words in (
        (["tini"], "no rule 'tini'; did you mean tiny?"),
        (["tiny", "targets=5"], "eta's embed/0/w is float32[4, 3]"),
        (["tiny", "polcy_rate=5"], "tiny has no setting 'polcy_rate'; did you mean policy_rate?"),
        (["none.npz"], "no file none.npz"),
    ):
        assert train(*rule) == 2
        assert words in capsys.readouterr().err
    assert main(["parts"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "weights tiny rule=lpg targets=4" in shown

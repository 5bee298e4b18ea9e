"""An update rule on several environments: lives are those of `train`, none is lived twice."""

import shlex
import sys
import textwrap
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl import cells, evaluation, moulds
from metarl.agents.tabular import tabular
from metarl.arms import ADAM, Arm, weights_of
from metarl.config import Part
from metarl.evaluate import evaluate
from metarl.evaluation import evaluate_rule, parts_of
from metarl.hosted_programme import HostedProgramme, play_hosted
from metarl.results import Results
from metarl.rollout import vectorize
from metarl.rules import reinforce
from metarl.suites import suite
from metarl.train import train

ENVS = ("DelayedChain-v0", "DelayedChainNoisy-v0")  # states have numbers: agents are tables
SIZES: Any = {"seeds": 2, "budget": 2000, "points": 2, "episodes": 16}
USER = """
    import jax, jax.numpy as jnp
    from metarl.rules.reinforce import heads, hypers, reinforce

    def fine(agent, heads, *, eta, rate=1.0):
        return reinforce(agent, heads, eta=eta)

    def changed(update):
        def rule(agent, heads, *, eta):
            own = reinforce(agent, heads, eta=eta)
            return own._replace(update=lambda *inputs: update(*own.update(*inputs), inputs[3]))
        return rule

    tree = jax.tree.map
    wide = changed(lambda params, *rest: (tree(lambda x: x[None], params), *rest[:2]))
    fewer = changed(lambda params, *rest: ({}, *rest[:2]))
    pair = changed(lambda params, *rest: (params, rest[0]))
    broken = changed(lambda params, *rest: (tree(lambda x: x * jnp.nan, params), *rest[:2]))
    greedy = changed(lambda p, s, m, rollout: (p, s, {**m, "v": rollout.heads["value"].mean()}))
"""


@pytest.fixture(scope="module", autouse=True)
def quick(compile_once):
    """Compiled programmes are shared."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def results(folder):
    return evaluate_rule("reinforce learning_rate=0.1", ENVS, folder=folder, **SIZES)


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    path = tmp_path_factory.mktemp("own")
    (path / "rules_of_a_user.py").write_text(textwrap.dedent(USER))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path)
        yield "rules_of_a_user:"


def nothing(cell):
    raise AssertionError(f"{cell.env} is played again")


def test_every_seed_has_a_score_at_every_point(results):
    title = "reinforce learning_rate=0.1"
    assert results.rules == (title,) and results.envs() == ENVS and results.skipped == {title: {}}
    for env in ENVS:
        seeds, steps, returns = results.returns(title, env)
        assert seeds.tolist() == [0, 1] and steps.tolist() == [0, 1280, 2560]
        assert returns.shape == (3, 2)
    known = results.about[title]
    assert known["steps"] == 2000 and set(known["seconds"]) == set(ENVS) and known["device"]
    assert known["wall_seconds"] >= sum(known["seconds"].values()) - 0.2
    assert shlex.split(known["command"])[1:] == sys.argv[1:]
    assert known["python"] == ".".join(map(str, sys.version_info[:3])) and known["platform"]


def test_lives_are_those_of_train(results):
    env = metarl.make(ENVS[0])
    agent = tabular(env, reinforce.heads(env))
    rule = reinforce.reinforce(agent, reinforce.heads(env), eta=reinforce.hypers(learning_rate=0.1))
    key, params = jax.random.key(1), env.default_params()
    told = {"env_params": params, "updates": 2, "length": 20}
    learner, _ = jax.jit(partial(train, agent, rule, vectorize(env, 64), **told))(key)
    play = jax.random.fold_in(jax.random.fold_in(key, cells._PLAY), 2)
    wanted = evaluate(agent, env, learner.params, params, play, episodes=16).ret.mean()
    found = results.returns(results.rules[0], ENVS[0])[2]
    np.testing.assert_allclose(found[2, 1], wanted, rtol=1e-6)


def test_finished_cells_are_not_played_again(results, folder, monkeypatch):
    monkeypatch.setattr(cells, "play_cell", nothing)
    again = evaluate_rule("reinforce learning_rate=0.1", ENVS, folder=folder, **SIZES)
    timeless = [
        repr((one.records, {**one.about[one.rules[0]], "wall_seconds": None}, one.skipped))
        for one in (again, results, Results.load(folder))
    ]
    assert timeless[0] == timeless[1] == timeless[2]
    with pytest.raises(AssertionError, match="DelayedChain-v0 is played again"):
        evaluate_rule("reinforce learning_rate=0.2", ENVS, folder=folder, **SIZES)


def test_what_was_killed_goes_on_and_damaged_cells_are_played_again(results, folder, monkeypatch):
    monkeypatch.setattr(evaluation.Results, "save", lambda *_: None)
    damaged = next((folder / "cells").glob("*delayedchainnoisy*"))
    text = damaged.read_text()
    damaged.write_text(text[: len(text) // 2])
    played = []

    def counted(cell):
        played.append(cell.env)
        return results.returns(cell.rule, cell.env)[2]

    monkeypatch.setattr(cells, "play_cell", counted)
    again = evaluate_rule("reinforce learning_rate=0.1", ENVS, folder=folder, **SIZES)
    assert played == [ENVS[1]] and again.records == results.records


def test_environments_in_which_a_rule_cannot_act_are_skipped_and_listed(monkeypatch):
    monkeypatch.setattr(cells, "play_cell", lambda cell: np.zeros((3, 2)))
    said = []
    envs = ("Pendulum-v0", "Bandit-v0", "gym/Pendulum-v1")
    found = evaluate_rule("q_lambda", envs, report=said.append, **SIZES)
    assert found.envs() == ("Bandit-v0",)
    for env in ("Pendulum-v0", "gym/Pendulum-v1"):
        assert "Discrete" in found.skipped["q_lambda"][env]
    assert len(said) == 3 and "skipped" in said[0]


def test_lives_on_the_host_are_those_of_its_programme(tmp_path, monkeypatch):
    """Tables in one of Gymnasium's environments, two seeds, one after the other."""
    sizes: Any = {"seeds": 2, "budget": 1280, "points": 1, "episodes": 4, "folder": tmp_path}
    env = "gym/FrozenLake-v1 is_slippery=false"
    found = evaluate_rule("reinforce learning_rate=0.1", [env], **sizes)
    returns = found.returns(found.rules[0], env)[2]
    parts = parts_of("reinforce learning_rate=0.1", "auto", env, suite([env]), 2)
    parts = parts._replace(config=replace(parts.config, steps=1280))
    assert parts.config.agent.name == "tabular"
    programme = HostedProgramme(parts)
    learners, _, finite = programme.advance(programme.born(), 1)
    programme.close()
    assert finite.all() and learners.age.tolist() == [1, 1]
    own = [jax.random.fold_in(jax.random.key(seed), cells._PLAY) for seed in (0, 1)]
    keys = jnp.stack([jax.random.fold_in(key, 1) for key in own])
    how: Any = {"episodes": 4, "max_steps": suite([env]).max_steps}
    scores = play_hosted(parts, parts.agent, learners.params, keys, **how)
    np.testing.assert_array_equal(returns[1], scores.ret.mean(axis=1))
    monkeypatch.setattr(cells, "play_cell", nothing)
    again = evaluate_rule("reinforce learning_rate=0.1", [env], **sizes)
    assert again.records == found.records


def test_malformed_rules_are_refused_on_the_host_too(users):
    env = ["gym/FrozenLake-v1"]
    with pytest.raises(ValueError, match="looks for 'value', .* agents only say"):
        evaluate_rule(users + "greedy", env, **SIZES)
    with pytest.raises(ValueError, match="params/logits is NaN or infinite after"):
        evaluate_rule(users + "broken", env, seeds=1, budget=1280, points=1, episodes=1)


def test_a_rule_of_the_users_own(users, monkeypatch):
    monkeypatch.setattr(cells, "play_cell", lambda cell: np.zeros((3, 2)))
    found = evaluate_rule(users + "fine rate=2.0", ["Bandit-v0"], **SIZES)
    assert found.rules == (users + "fine rate=2.0",)
    assert found.about[found.rules[0]]["code"].startswith("sha256:")
    with pytest.raises(ValueError, match="has no setting 'rat'; did you mean rate"):
        evaluate_rule(users + "fine rat=2.0", ["Bandit-v0"], **SIZES)
    with pytest.raises(ValueError, match="is no rule: it has no 'absent'"):
        evaluate_rule(users + "absent", ["Bandit-v0"], **SIZES)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("wide", r"given params/logits as float32\[\d+, 2\] and returns float32\[1, \d+, 2\]"),
        ("fewer", "lacks params/logits"),
        ("pair", r"should return \(params, state, metrics\)"),
        ("greedy", "looks for 'value', .* agents only say .*'logits': 2"),
        ("broken", "params/logits is NaN or infinite after 1280 steps"),
    ],
)
def test_malformed_rules_are_refused_with_the_leaf(users, rule, words):
    with pytest.raises(ValueError, match=words):
        evaluate_rule(users + rule, ENVS[:1], **SIZES)


def test_bad_requests_are_refused_in_words():
    for call, words in (
        (lambda: evaluate_rule("a3c", ENVS), "no rule 'a3c'; did you mean a2c"),
        (
            lambda: evaluate_rule("a2c", "minatr"),
            "no suite or environment 'minatr'; did you mean minatar",
        ),
        (lambda: evaluate_rule("a2c", ["Bandi-v0"]), "did you mean Bandit-v0"),
        (lambda: evaluate_rule("a2c", ENVS, seeds=0), "seeds"),
        (lambda: evaluate_rule("a2c", ENVS, points=0), "points"),
        (lambda: evaluate_rule("a2c", ENVS, budget=0), "steps"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_the_folder_of_a_meta_training_stands_for_its_weights(tmp_path):
    with pytest.raises(ValueError, match="none yet"):
        evaluate_rule(str(tmp_path), ENVS)
    (tmp_path / "eta-0.npz").write_bytes(metarl.rules.weights.shipped()["lpg-grid"].read_bytes())
    assert weights_of(str(tmp_path)) == str(tmp_path / "eta-0.npz")


def test_networks_follow_rules_for_tables_by_adam_and_suites_draw_levels():
    def built(rule, env, convention):
        return Arm(rule, Part(rule), Part("auto"), convention, (0, 1), 1, 1).cell(env).parts

    network = built("lpg-grid", "ProbeAction-v0", suite("bsuite-probes")).config
    assert network.rule.fields["adam"] == ADAM and network.agent.name == "mlp"
    needs_network = built("q_lambda", "DelayedChain-v0", suite("DelayedChain-v0")).config
    assert needs_network.agent.name == "mlp"  # its epsilon is a layer of its own
    convention = suite("grid-heldout")
    parts = built("lpg-grid", "LPGMazes-v0", convention)
    assert parts.config.rule.fields["adam"] == 0 and parts.config.agent.name == "tabular"
    keys = jax.random.split(jax.random.key(0), 2)
    levels = cells._levels(parts, convention, keys)
    assert not np.array_equal(levels.walls[0], levels.walls[1])


def test_cells_of_one_mould_share_their_programmes():
    def cell(env, rule="reinforce", agent="auto"):
        part = Part.parse(rule.split())
        return Arm(rule, part, Part(agent), suite([env]), (0, 1), 1, 4).cell(env)

    one = cell("LPGAll-v0").mould
    assert one == cell("LPGLarge-v0").mould and hash(one) == hash(cell("LPGLarge-v0").mould)
    others = ("LPGSmall-v0", "reinforce"), ("LPGAll-v0", "reinforce learning_rate=0.1")
    assert all(one != cell(*other).mould for other in others)
    assert one != cell("LPGAll-v0", agent="mlp").mould
    free = ("learning_rate",)
    assert cell(*others[1]).mould_of(free) == cell("LPGAll-v0").mould_of(free) != one
    compiled: Any = (moulds.born, moulds.older, moulds.played)
    counts = [f._cache_size() for f in compiled]
    envs = ("DelayedChain-v0 length=3", "DelayedChain-v0 length=4")  # one number differs
    found = evaluate_rule("reinforce learning_rate=0.2", envs, **SIZES)
    after = [f._cache_size() for f in compiled]
    assert [b - a for a, b in zip(counts, after, strict=True)] == [1, 1, 1]
    assert found.envs() == envs

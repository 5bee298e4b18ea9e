"""Looking inside rules: numbers against closed forms, the rules' own functions, differences."""

import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.cli import main
from metarl.config import Part
from metarl.inspection import _family, inspect_rule
from metarl.inspection.drift import Function, drift_function, drift_of, slope
from metarl.inspection.inputs import same_step
from metarl.inspection.panels import panels_of
from metarl.inspection.probe import BEHAVIOUR, REACH, STREAMS
from metarl.inspection.push import push_of
from metarl.inspection.targets import aims_of
from metarl.nets import disco as disco_nets
from metarl.nets import lpg as lpg_nets
from metarl.ops.moments import new_moments
from metarl.rules import dpo, lpo, ppo
from metarl.rules.disco import DiscoState

TINY: Any = {"seeds": 2, "updates": 4, "num_envs": 4, "length": 6, "agent": "mlp hidden=8"}
ENTROPY = 0.01  # the default cost of all rules here
LPG = Part("lpg", {"hidden": 8, "targets": 3})


@pytest.fixture(scope="module", autouse=True)
def quick(compile_once):
    """Compiled programmes are shared."""


@pytest.fixture(scope="module")
def a2c():
    return inspect_rule("a2c", **TINY)


@pytest.fixture(scope="module")
def ta_lpo():
    return inspect_rule("ta_lpo hidden=8 minibatches=1 epochs=1", **TINY)


def drifting(rule, fields, eta) -> Function:
    function = drift_function(rule, fields, eta)
    assert function is not None
    return function


def mesh(push, rows):
    return np.meshgrid(push.grid.reward, rows)


def entropy_push(p):
    """Derivative of the entropy of two actions in the logit of the first: p (1 - p) times its."""
    return -p * (1 - p) * (np.log(p) - np.log1p(-p))


def standardised(reward):
    """As PPO sees the rewards of the probe, values being zero: over all of its rows."""
    return (reward - reward.mean()) / (reward.std() + 1e-8)


def test_the_push_of_a2c_is_its_formula(a2c):
    reward, p = mesh(a2c.push, a2c.push.grid.prob)
    wanted = reward * (1 - p) + ENTROPY * entropy_push(p)
    np.testing.assert_allclose(a2c.push.by_prob[0], wanted, atol=1e-3)
    reward, ratio = mesh(a2c.push, a2c.push.grid.ratio)
    p = ratio * BEHAVIOUR  # who acted does not matter to A2C
    np.testing.assert_allclose(
        a2c.push.by_ratio[0], reward * (1 - p) + ENTROPY * entropy_push(p), atol=1e-3
    )


def test_the_credit_of_a2c_falls_by_discount_and_lambda(a2c):
    lag = np.arange(REACH)
    np.testing.assert_allclose(a2c.push.credit[0], 0.5 * (0.99 * 0.95) ** lag, atol=1e-3)


def test_the_push_of_ppo_is_its_formula():
    push = push_of(Part("ppo", {"entropy_cost": 0.0, "clip": 0.3}), [None])
    reward, p = mesh(push, push.grid.prob)
    np.testing.assert_allclose(push.by_prob[0], standardised(reward) * (1 - p), atol=1e-3)
    reward, ratio = mesh(push, push.grid.ratio)
    adv = standardised(reward)
    held = ((adv > 0) & (ratio > 1.3)) | ((adv < 0) & (ratio < 0.7))
    wanted = np.where(held, 0, ratio * adv * (1 - ratio * BEHAVIOUR))
    np.testing.assert_allclose(push.by_ratio[0], wanted, atol=1e-3)
    lag = np.arange(REACH)
    rewards = np.zeros((STREAMS + 1) * (REACH + 1))
    rewards[:REACH] = (0.99 * 0.95) ** lag
    wanted = 0.5 * (standardised(rewards)[:REACH] - 0)
    np.testing.assert_allclose(push.credit[0], wanted, atol=1e-2)


@pytest.mark.parametrize("rule", ["ppo", "dpo"])
def test_drifts_are_those_of_the_rules(rule):
    eta = {"ppo": ppo.hypers(clip=0.3), "dpo": dpo.hypers(alpha=1.5)}[rule]
    found = drift_of(drifting(rule, {}, eta), [0.0], size=7)
    ratio, adv = np.meshgrid(found.ratio, found.adv, indexing="ij")
    if rule == "ppo":
        wanted = np.maximum((ratio - np.clip(ratio, 0.7, 1.3)) * adv, 0)
    else:
        up, down = (ratio - 1) * adv, np.log(ratio) * adv
        good, bad = up - 1.5 * np.tanh(up / 1.5), down - 0.6 * np.tanh(down / 0.6)
        wanted = np.maximum(np.where(adv >= 0, good, bad), 0)
    np.testing.assert_allclose(found.drift[0], wanted, atol=1e-5)


def test_learned_drifts_change_with_the_time_only_where_the_rule_knows_it():
    eta = lpo.drift_init(jax.random.key(0), 8, 8)
    timed = lpo.drift_init(jax.random.key(0), 16, 8)
    plain = drift_of(drifting("lpo", {"ppo_init": True}, eta), [0.0, 0.5], size=7)
    aware = drift_of(drifting("ta_lpo", {"ppo_init": False}, timed), [0.0, 0.5], size=7)
    for i, r in enumerate(plain.ratio):
        d, e = np.log(r), 1 - r
        for j, a in enumerate(plain.adv):
            x = np.array([d, d * d, e, e * e, a * d, a * d * d, a * e, a * e * e])
            base = max((r - np.clip(r, 0.8, 1.2)) * a, 0)
            said = np.tanh(x @ np.asarray(eta["hidden"])) @ np.asarray(eta["out"])
            wanted = max(base + said[0] - 1e-4, 0)
            np.testing.assert_allclose(plain.drift[:, i, j], wanted, atol=1e-5)
            x = np.concatenate([x, 0.5 * x])
            said = np.tanh(x @ np.asarray(timed["hidden"])) @ np.asarray(timed["out"])
            np.testing.assert_allclose(aware.drift[1, i, j], max(said[0] - 1e-4, 0), atol=1e-5)
    assert np.abs(aware.drift[0] - aware.drift[1]).max() > 1e-2


def test_the_slope_of_a_surrogate_is_a_difference_of_it():
    function = drifting("dpo", {}, dpo.hypers())
    r, a, step = jnp.array([-0.4, 0.3, 0.6]), jnp.array([1.0, -2.0, 2.0]), 1e-2
    gain = lambda r: jnp.exp(r) * a - function(r, a, 0 * r)  # noqa: E731
    wanted = (gain(r + step) - gain(r - step)) / (2 * step)
    np.testing.assert_allclose(slope(function)(r, a, 0 * r), wanted, rtol=1e-3, atol=1e-4)


def test_the_push_of_ta_lpo_is_the_slope_of_its_surrogate_at_each_time(ta_lpo):
    push = ta_lpo.push
    assert push.by_ratio.shape[0] == 3 and ta_lpo.drift.time.tolist() == [0.0, 0.5, 0.75]
    assert np.abs(push.by_ratio[0] - push.by_ratio[2]).max() > 1e-2
    eta = lpo.drift_init(jax.random.key(0), 16, 8)
    pushed = slope(drifting("ta_lpo", {"ppo_init": False}, eta))
    reward, ratio = mesh(push, push.grid.ratio)
    p, adv = ratio * BEHAVIOUR, standardised(reward)
    for time, found in zip(ta_lpo.drift.time, push.by_ratio, strict=True):
        points = [jnp.asarray(x, jnp.float32) for x in (np.log(ratio), adv, 0 * adv + time)]
        wanted = np.asarray(pushed(*points)) * (1 - p) + ENTROPY * entropy_push(p)
        off = np.abs(found - wanted) > 2e-3
        assert off.mean() < 0.01  # where the drift begins, float32 may take either side


def test_the_push_of_lpg_is_its_target_times_what_is_left_of_the_probability():
    fields = {"core": "gru", "as_released": False}
    aims: Any = aims_of("lpg", LPG, fields, [None])
    push = push_of(LPG, [None])
    np.testing.assert_allclose(
        push.by_prob[0], aims.target[0] * (1 - aims.prob[:, None]), atol=1e-3
    )


def test_the_target_of_disco_is_where_its_push_leads():
    part = Part("disco", {"predictions": 5, "bins": 11, "hidden": 6, "memory": 4})
    memory = (jnp.ones(4), jnp.linspace(-1, 1, 4))  # without one, all targets are alike
    old = DiscoState(None, jnp.zeros(()), None, memory, new_moments(), new_moments())
    aims: Any = aims_of("disco", part, {}, [old])
    push = push_of(part, [old])
    assert np.ptp(aims.target) > 1e-3
    np.testing.assert_allclose(push.by_prob[0], aims.target[0] - aims.prob[:, None], atol=1e-3)


@pytest.mark.parametrize("core", lpg_nets.CORES)
def test_sensitivities_are_differences_at_the_same_step(core):
    eta = lpg_nets.lpg_init(jax.random.key(0), 3, lpg_nets.Sizes(core, 8, 4))
    x = jax.random.normal(jax.random.key(1), (2, 4, 5))
    last = jnp.zeros((2, 4), bool).at[0, 2].set(True)
    say = jax.jit(lambda x: lpg_nets.targets_of(eta, x, last, core=core).pi_hat)
    found = jax.jit(partial(same_step, say))(x)
    for t, f in ((0, 0), (2, 3), (3, 4)):
        step = jnp.zeros_like(x).at[:, t, f].set(1e-2)
        wanted = (say(x + step) - say(x - step))[:, t] / 2e-2
        np.testing.assert_allclose(found[:, t, f], wanted, rtol=2e-2, atol=1e-4)


def test_inputs_are_named_and_weighed_by_their_spread(ta_lpo):
    inputs = ta_lpo.inputs
    assert inputs.names == ("log ratio", "advantage", "n/N")
    np.testing.assert_allclose(inputs.std[1], 1, atol=1e-3)  # advantages are standardised
    np.testing.assert_allclose(inputs.std[2], np.std([0, 0.5, 0.75]), rtol=1e-4)
    assert inputs.derivative["push"].shape == (3,) and inputs.derivative["push"][1] > 0.1
    np.testing.assert_allclose(
        inputs.scaled("push"), inputs.std * inputs.derivative["push"], rtol=1e-6
    )
    assert len(disco_nets.NAMES) == disco_nets.SEEN == 27


def test_lives_begin_with_the_policy_that_knows_nothing(a2c):
    life = a2c.life
    assert life.size.shape == life.kl.shape == life.entropy.shape == (2, 4)
    assert life.steps.tolist() == [0, 24, 48, 72]
    assert np.all(life.size > 0) and np.all(life.kl >= -1e-6) and np.all(life.kl[:, :2] < 0.1)
    np.testing.assert_allclose(life.entropy[:, 0], np.log(3), atol=0.05)


def test_an_inspection_is_a_folder(tmp_path, capsys):
    words = ["inspect", "q_lambda", "--env", "Bandit-v0", "--seeds", "1", "--updates", "2"]
    assert main([*words, "--out", str(tmp_path / "q")]) == 0
    said = capsys.readouterr().out
    assert "no pushes: q_lambda has no logits" in said and "no sensitivities" in said
    told = json.loads((tmp_path / "q" / "inspection.json").read_text())
    assert told["push"] is None and len(told["life"]["entropy"][0]) == 2
    assert (tmp_path / "q" / "life.png").stat().st_size > 1000
    assert main(["inspect", "a3c", "--out", str(tmp_path / "x")]) == 2
    assert "did you mean a2c" in capsys.readouterr().err


def test_published_rules_are_looked_into_as_what_they_are():
    assert [_family(name) for name in ("open-ant", "disco103", "lpo-minatar", "a2c")] == [
        *("ppo", "disco", "lpo", "a2c")
    ]


def test_every_figure_is_there(ta_lpo, a2c):
    assert set(panels_of(ta_lpo)) == {"life", "push", "drift", "inputs"}
    assert set(panels_of(a2c)) == {"life", "push"}
    assert json.loads(json.dumps(ta_lpo.numbers()))["drift"]["time"] == [0.0, 0.5, 0.75]
    with pytest.raises(ValueError, match="at least 2"):
        inspect_rule("a2c", updates=1)

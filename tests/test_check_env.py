"""`metarl check-env`, the template, the plug-in package, and fuzzed environments."""

import os
import pathlib
import subprocess
import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnasium.spaces import Box, Discrete
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import metarl
from metarl.cli import main
from metarl.testing import ContractError, check_env
from metarl.testing.shapes import form_problems, shape_problems
from metarl.testing.tasks import task_problems
from metarl.types import TimeStep

PLUGIN = pathlib.Path(__file__).parents[1] / "examples" / "plugin"
BROKEN = """
from dataclasses import dataclass
import jax.numpy as jnp
import metarl_lights
from gymnasium.spaces import Discrete

@dataclass(frozen=True)
class Counts(metarl_lights.LightsOut):
    action_space = Discrete(3)

@dataclass(frozen=True)
class Drifts(metarl_lights.LightsOut):
    def sample_params(self, key):
        return self.default_params().max_steps
"""


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A folder with the template and two broken heirs of it, which is the current one."""
    (tmp_path / "metarl_lights.py").write_text((PLUGIN / "metarl_lights.py").read_text())
    (tmp_path / "broken_lights.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("metarl_lights", "broken_lights"):
        sys.modules.pop(name, None)


def test_the_template_keeps_the_contract(here, capsys):
    assert main(["check-env", "metarl_lights:LightsOut", "size=3", "--steps", "40"]) == 0
    assert "keeps the contract; nothing found" in capsys.readouterr().out
    env = metarl.make("metarl_lights:LightsOut", size=3)
    boards = jax.vmap(lambda k: env.sample_params(k, "train").board)(
        jax.random.split(jax.random.key(0), 40)
    )
    held = jax.vmap(lambda k: env.sample_params(k, "heldout").board)(
        jax.random.split(jax.random.key(0), 40)
    )
    one, other = ({row.tobytes() for row in np.asarray(x)} for x in (boards, held))
    assert len(one) > 20 and len(other) > 20 and not one & other


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("Counts", "1. `num_actions` is 16"), ("Drifts", "gives no start")],
)
def test_what_is_wrong_is_listed_with_exit_code_1(here, capsys, name, sentence):
    assert main(["check-env", f"broken_lights:{name}"]) == 1
    printed = capsys.readouterr()
    assert sentence in printed.out and f"broken_lights:{name} has 1 problem\n" in printed.err


def test_what_is_not_there_is_told(here, capsys):
    assert main(["check-env", "metarl_lights:Lights"]) == 2
    assert "module 'metarl_lights' has no 'Lights'" in capsys.readouterr().err
    assert main(["check-env", "metarl_lights:LightsOut", "size=1"]) == 2
    assert "size must lie in 2..16" in capsys.readouterr().err
    assert main(["check-env", "lights:LightsOut"]) == 2
    assert "No module named 'lights'" in capsys.readouterr().err


def test_an_installed_plug_in_is_discovered(tmp_path):
    """The package is built and installed by pip, without a network, beside what is there."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "metarl_lights.py"):
        (source / name).write_text((PLUGIN / name).read_text())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(tmp_path / "site"), str(source)]
    out = subprocess.run(command, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    code = (
        "import metarl; print('LightsOut-v0' in metarl.registered(), metarl.make('LightsOut-v0'))"
    )
    path = os.pathsep.join([str(tmp_path / "site"), str(PLUGIN.parents[1])])
    env = {**os.environ, "PYTHONPATH": path}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert out.stdout.strip() == "True LightsOut(size=4)", out.stderr


def value(kind):
    """A leaf of any form, right or wrong."""
    shape, dtype, fill = kind
    return jnp.full(shape, fill, dtype)


leaves = st.tuples(
    st.sampled_from([(), (1,), (2,), (2, 2)]),
    st.sampled_from([np.float32, np.int32, np.bool_, np.uint8]),
    st.sampled_from([0, 1]),
).map(value)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_an_environment_returns_it_is_told_in_words(data):
    """Fuzzed environments: the checks of form, shapes and tasks find something or nothing, but
    never fail themselves."""

    class State(struct.PyTreeNode):
        x: jax.Array

    shown = st.one_of(
        st.builds(TimeStep, leaves, leaves, leaves, leaves, st.none() | leaves),
        st.none(),
        st.tuples(leaves),
        leaves,
    )
    pair = st.one_of(st.tuples(leaves.map(State), shown), shown)
    space = st.sampled_from([Discrete(2), Box(0, 1, (2,), np.uint8), Box(0, 1, (1,)), None, 3])
    returned = {name: data.draw(pair, name) for name in ("reset", "step")}
    sampled, changed = data.draw(leaves), data.draw(leaves)

    @dataclass(frozen=True)
    class Fuzzed:
        observation_space = data.draw(space)
        action_space = data.draw(space)
        num_actions = data.draw(st.sampled_from([2, 3, None]))

        def default_params(self):
            return jnp.int32(3)

        def reset(self, key, params):
            return returned["reset"]

        def step(self, key, state, action, params):
            return returned["step"]

        def sample_params(self, key):
            return sampled

        def mutate(self, key, params):
            return changed

    env = Fuzzed()
    problems = [*form_problems(env)]
    if not problems:
        problems = [*shape_problems(env, jnp.int32(3)), *task_problems(env, jnp.int32(3))]
    assert all(isinstance(problem, str) and len(problem) > 20 for problem in problems)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.tuples(st.just("Snake-v0"), st.fixed_dictionaries({"size": st.integers(2, 20)})),
        st.tuples(st.just("GridWorld-v0"), st.fixed_dictionaries({"size": st.integers(2, 15)})),
        st.tuples(
            st.just("Minesweeper-v0"),
            st.fixed_dictionaries(
                {
                    "height": st.integers(2, 9),
                    "width": st.integers(2, 9),
                    "mines": st.integers(1, 3),
                }
            ),
        ),
        st.tuples(
            st.just("Sokoban-v0"),
            st.fixed_dictionaries({"height": st.just(6), "width": st.just(6), "boxes": st.just(2)}),
        ),
    )
)
def test_environments_of_any_size_keep_the_contract(chosen):
    """Form, shapes and tasks by tracing; the conformance tests play one size of each."""
    name, fields = chosen
    env = metarl.make(name, **fields)
    params = env.default_params()
    assert not [*form_problems(env), *shape_problems(env, params), *task_problems(env, params)]


def test_a_check_finds_what_fuzzing_would():
    """So that the tests above are not green for want of a check."""

    @dataclass(frozen=True)
    class Wrong:
        observation_space = Box(0, 1, (2,), np.uint8)
        action_space = Discrete(2)
        num_actions = 2

        def default_params(self):
            return jnp.int32(3)

        def reset(self, key, params):
            return params, TimeStep(*[jnp.float32(0)] * 4)

        step = None

    with pytest.raises(ContractError, match="no method `step`"):
        check_env(Wrong())

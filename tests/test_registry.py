import subprocess
import sys
from dataclasses import dataclass

import pytest

import metarl
from metarl import registry


@dataclass(frozen=True)
class Thing:
    size: int = 3
    colour: str = "red"

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")


@pytest.fixture(autouse=True)
def table(monkeypatch):
    """Registrations of a test end with it."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))


def test_a_registered_class_is_made_with_its_fields():
    metarl.register("Thing-v0", Thing, size=4)
    assert "Thing-v0" in metarl.registered()
    assert metarl.make("Thing-v0") == Thing(size=4)
    assert metarl.make("Thing-v0", size=5, colour="blue") == Thing(5, "blue")


def test_a_dotted_path_is_imported_on_use():
    metarl.register("Snake-v99", "metarl.envs.snake:Snake", size=5)
    assert metarl.make("Snake-v99") == metarl.make("Snake-v0", size=5)


def test_ids_are_taken_once():
    metarl.register("Thing-v0", Thing)
    for name in ("Thing-v0", "Snake-v0"):
        with pytest.raises(ValueError, match=f"'{name}' is already registered"):
            metarl.register(name, Thing)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: metarl.make("Snak-v0"), "no environment 'Snak-v0'; did you mean Snake-v0?"),
        (lambda: metarl.make("zzz"), "no environment 'zzz'; known: Acrobot-v0, "),
        (lambda: metarl.make("Thing-v0", sise=2), "no field 'sise'; did you mean size?"),
        (lambda: metarl.make("Thing-v0", size=0), "size must be at least 1, got 0"),
        (lambda: metarl.make("Lost-v0"), "'no_colon' should read 'module:Class'"),
        (lambda: metarl.make("Gone-v0"), "module 'metarl.types' has no 'Nothing'"),
        (lambda: registry.agent_builder("mpl"), "no agent 'mpl'; did you mean mlp?"),
        (lambda: registry.rule_module("a3c"), "no rule 'a3c'; did you mean a2c?"),
    ],
)
def test_mistakes_are_explained(call, words):
    metarl.register("Thing-v0", Thing)
    metarl.register("Lost-v0", "no_colon")
    metarl.register("Gone-v0", "metarl.types:Nothing")
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value)


@pytest.mark.parametrize("name", registry.AGENTS)
def test_every_agent_is_found(name):
    assert registry.agent_builder(name).__name__ == name


@pytest.mark.parametrize("name", registry.RULES)
def test_every_rule_is_found(name):
    module = registry.rule_module(name)
    assert callable(getattr(module, name)) and callable(module.heads) and callable(module.hypers)


PLUGIN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Maze:
    size: int = 7
"""


def test_a_plugin_distribution_adds_names(tmp_path):
    """A distribution as pip installs it: a module and a dist-info folder with entry points."""
    (tmp_path / "maze_plugin.py").write_text(PLUGIN)
    info = tmp_path / "maze_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: maze-plugin\nVersion: 1.0\n")
    points = "[metarl.envs]\nMaze3D-v0 = maze_plugin:Maze\n"
    (info / "entry_points.txt").write_text(points)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import metarl
assert "Maze3D-v0" in metarl.registered()
assert "maze_plugin" not in sys.modules
assert metarl.make("Maze3D-v0", size=9).size == 9
try:
    metarl.register("Maze3D-v0", object)
except ValueError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "'Maze3D-v0' is already registered" in out.stdout, out.stderr

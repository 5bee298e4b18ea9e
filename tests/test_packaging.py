"""What is installed: built and unpacked without a network, apart from the checkout."""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = {"metarl": "metarl", "envs": "metarl/envs", "agents": "metarl/agents"}


def run(*command, cwd, **env):
    environment = {**os.environ, "PYTHONPATH": "", **env}
    out = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return out.stdout.strip()


def build(source, kind, out):
    code = f"from setuptools.build_meta import build_{kind} as build; build({str(out)!r})"
    run(sys.executable, "-c", code, cwd=source)
    (path,) = pathlib.Path(out).iterdir()
    return path


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """Of a copy of the checkout, so that nothing is left behind in it."""
    copy = tmp_path_factory.mktemp("source") / "metarl"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return build(copy, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built from the unpacked sdist, as pip does where there is no wheel."""
    folder = tmp_path_factory.mktemp("unpacked")
    shutil.unpack_archive(sdist, folder)
    (source,) = folder.iterdir()
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


def files(suffixes=(".py", ".npz", ".md", ".json", ".html")):
    """Every file that belongs in the wheel, by its name there."""
    for folder, place in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            parts = path.relative_to(ROOT / folder).parts
            linked = folder == "metarl" and parts[0] in ("envs", "agents")
            if path.is_file() and path.suffix in suffixes and not linked:
                yield "/".join((place, *parts))


def test_the_wheel_holds_every_file_once_and_nothing_else(wheel):
    names = [n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n]
    assert sorted(names) == sorted(files())


def test_the_sdist_holds_every_file_once(sdist):
    with tarfile.open(sdist) as archive:
        members = [m for m in archive.getmembers() if not m.isdir()]
    assert all(member.isfile() for member in members)
    names = [member.name.partition("/")[2] for member in members]
    assert len(names) == len(set(names))
    assert {"LICENSE", "README.md", "pyproject.toml"} <= set(names)
    assert not [n for n in names if n.startswith(("metarl/envs/", "metarl/agents/"))]


def test_the_installed_package_works_and_its_folders_are_not_on_top(wheel, tmp_path):
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    code = """
import importlib.util, metarl, metarl.agents.mlp
print(metarl.__file__)
print([importlib.util.find_spec(name) for name in ("envs", "agents")])
print(metarl.make("Snake-v0", size=5))
from metarl.envs.levels import shipped
from metarl.rules import weights
print((weights.FOLDER / "README.md").is_file(), len(weights.shipped()))
"""
    out = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).splitlines()
    shipped = len(list((ROOT / "metarl/rules/weights").glob("*.npz")))
    told = ["[None, None]", "Snake(size=5)", f"True {shipped}"]
    assert out == [str(installed / "metarl/__init__.py"), *told]
    entry_points = next(installed.glob("*.dist-info")) / "entry_points.txt"
    assert "metarl = metarl.cli:main" in entry_points.read_text()


@pytest.mark.parametrize(
    "first",
    [
        "import envs, agents",
        "import envs.snake, agents.mlp",
        "from envs import snake; from agents import mlp",
        "import metarl.envs.snake, metarl.agents.mlp; import envs.snake, agents.mlp",
        "import envs.levels.table; import envs.snake, agents.mlp",
    ],
)
def test_a_checkout_has_no_second_copy(first):
    code = f"""
{first}
import envs, agents, envs.snake, agents.mlp, envs.levels.table, metarl.envs.levels.table
import sys, metarl.envs.snake, metarl.agents.mlp
assert envs is metarl.envs and agents is metarl.agents
assert envs.snake is metarl.envs.snake and agents.mlp is metarl.agents.mlp
assert sys.modules["envs.levels.table"] is metarl.envs.levels.table
assert metarl.make("Snake-v0").__class__ is envs.snake.Snake
print(envs.snake.__name__, envs.snake.__spec__.name, envs.levels.__spec__.name)
"""
    out = run(sys.executable, "-c", code, cwd=ROOT)
    assert out == "metarl.envs.snake metarl.envs.snake metarl.envs.levels"


def test_a_missing_module_of_a_checkout_is_told_plainly():
    code = "try:\n    import envs.nothing\nexcept ModuleNotFoundError as error:\n    print(error)"
    assert run(sys.executable, "-c", code, cwd=ROOT) == "No module named 'metarl.envs.nothing'"


def test_reloading_keeps_one_copy():
    code = "import importlib, envs.snake, metarl; print(importlib.reload(envs.snake) is envs.snake)"
    assert run(sys.executable, "-c", code, cwd=ROOT) == "True"


def test_the_links_are_committed_as_links():
    for name in ("envs", "agents"):
        assert os.readlink(ROOT / "metarl" / name) == f"../{name}"

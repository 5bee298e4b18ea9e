"""The house rules, checked: who may import whom, how long things are, what an import may do."""

import ast
import os
import pathlib
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LAYERS = [  # a module imports from its own folder and from the layers above it
    {"tables"},
    {"types", "registry", "alias", "files"},
    {"ops", "scores", "suites"},
    {"nets"},
    {"rollout", "sequences"},
    {"envs", "agents", "wrappers"},
    {"players", "together", "grouped"},
    {"rules"},
    {"inner"},
    {"meta", "curriculum"},
    {"train", "evaluate", "results"},
    {"attempts"},
    {"recipes", "trainings"},
    {"testing", "host", "text"},
    {"io", "config", "console"},
    {"text_config"},
    {"configs", "settings"},
    {"named_rules"},
    {"build"},
    {"training", "rule_checks"},
    {"outer"},
    {"programme", "gym"},
    {"meta_programme", "hosted_programme", "moulds"},
    {"cells"},
    {"arms", "filming"},
    {"search"},
    {"evaluation"},
    {"inspection"},
    {"training_programme"},
    {"programmes"},
    {"run"},
    {"training_outcome", "text_run"},
    {"outcome", "reproduce"},
    {"play"},
    {"checks", "catalogue", "text_commands", "rule_commands"},
    {"commands"},
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
LONGEST_FILE, LONGEST_FUNCTION = 300, 40  # lines; of a function without its docstring


def modules():
    """Path and dotted name of every module, the links metarl/envs and metarl/agents left out."""
    for folder, prefix in (("metarl", ()), ("envs", ("envs",)), ("agents", ("agents",))):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if prefix or parts[0] not in ("envs", "agents"):
                yield path, ".".join(("metarl", *prefix, *parts)).removesuffix(".__init__")


MODULES = dict(sorted((name, path) for path, name in modules()))
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
each_module = pytest.mark.parametrize("name", MODULES)


def imported(tree):
    """Every absolute dotted name that a tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert all(alias.name != "*" for alias in node.names), "no star imports"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@each_module
def test_imports_point_upwards(name):
    top = name.split(".")[1] if "." in name else "registry"
    assert top in RANK, f"{top} has no layer; add it to LAYERS"
    for target in imported(TREES[name]):
        package, _, rest = target.partition(".")
        other = rest.partition(".")[0]
        if package != "metarl" or other in ("", top) or other not in RANK:
            continue
        assert RANK[other] < RANK[top] or top == "registry", f"{top} must not import {other}"


def test_types_and_registry_import_nothing_of_ours():
    for name in ("metarl.types", "metarl.tables", "metarl.registry"):
        ours = {target for target in imported(TREES[name]) if target.startswith("metarl")}
        assert {target.rpartition(".")[0] for target in ours} <= {"metarl.tables"}


@each_module
def test_nothing_is_pickled(name):
    assert not {"pickle", "cloudpickle", "dill"} & {t.split(".")[0] for t in imported(TREES[name])}


@each_module
def test_files_and_functions_are_short(name):
    assert len(MODULES[name].read_text().splitlines()) <= LONGEST_FILE
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def runs_at_import(tree):
    """The expressions evaluated when a module is imported: everything outside of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            for part in (*getattr(node, "decorator_list", ()), node.args):
                yield from runs_at_import(part)
        else:
            yield node
            yield from runs_at_import(node)


@each_module
def test_no_array_is_made_at_import(name):
    for node in runs_at_import(TREES[name]):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            lazy = called in ("jax.jit", "jax.vmap", "jax.grad")
            assert not called.startswith(("jnp.", "jax.")) or lazy, f"line {node.lineno}: {called}"


def python(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True
    )


def test_importing_metarl_loads_nothing_heavy():
    heavy = ("jax", "flax", "optax", "brax", "gymnasium", "matplotlib", "scipy", "tensorboardX")
    out = python(
        f"import sys, metarl; metarl.registered(); print([m for m in {heavy} if m in sys.modules])"
    )
    assert out.stdout.strip() == "[]", out.stderr


def test_importing_everything_starts_no_backend_and_loads_no_brax():
    """With a platform that does not exist, the first use of a backend raises."""
    out = python(
        f"import importlib, sys\nfor name in {list(MODULES)}:\n    importlib.import_module(name)\n"
        "heavy = ('brax', 'mujoco', 'matplotlib', 'jumanji', 'tensorboardX')\n"
        "print([m for m in heavy if m in sys.modules])",
        JAX_PLATFORMS="nowhere",
    )
    assert out.stdout.strip() == "[]", out.stderr
    broken = python("import jax; jax.numpy.zeros(1)", JAX_PLATFORMS="nowhere")
    assert broken.returncode != 0  # or the check above proves nothing


def test_every_package_is_shipped():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert set(settings["packages"]) == packages
    shipped = {
        path
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for path in MODULES[package].parent.glob(pattern)
    }
    data = {
        path
        for folder in ("metarl", "envs", "agents")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert {p.resolve() for p in data} == {p.resolve() for p in shipped}

"""Weights of learned rules: what an outer loop found, and which rule it is the eta of.

A file is an npz without pickles. Each leaf of eta is an entry under its path, such as `core/in/w`,
in float32; one more entry is JSON that says the rule, its settings, and where the weights come
from. The files that come with the package lie beside this one, each with a model card, `NAME.md`.
"""

import io
import json
import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl import registry
from metarl.files import digest, write_atomically
from metarl.types import Agent, Environment, Eta, PyTree, UpdateRule

FOLDER = pathlib.Path(__file__).parent
SUFFIX = ".npz"
_TOLD = "metarl-weights-1"  # the entry that is JSON; its name is the version of the form

_DAMAGED = (  # what reading a damaged archive may raise
    *(OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


class Weights(NamedTuple):
    """A learned eta, and all that is needed to follow it.

    Name every setting that the weights depend on: what `fields` and `heads` leave out is the rule's
    default at the time of loading.
    """

    rule: str  # a name in `metarl.registry.RULES`
    fields: dict[str, Any]  # settings of the rule: the form of eta, the numbers of a life
    heads: dict[str, Any]  # settings of the rule's heads, such as targets=8
    eta: Eta
    about: dict[str, Any]  # where it comes from: recipe, updates, seed, whatever JSON can say
    digest: str = ""  # of the file that was read, `sha256:` and 16 digits

    def heads_of(self, env: Environment) -> dict[str, int]:
        """What an agent must say to follow the weights in `env`; raises as the rule's `heads`."""
        return registry.rule_module(self.rule).heads(env, **self.heads)

    def rule_for(self, agent: Agent, heads: Mapping[str, int], **settings: Any) -> UpdateRule:
        """The rule with these weights as its eta.

        Args:
          agent: whose params are learned.
          heads: as declared by `heads_of(env)`.
          **settings: of the rule, instead of those in `fields`; also `optimizer`.

        Raises:
          ValueError: a setting or a width that needs an eta of another form.
        """
        builder = _builder(self.rule)
        chosen = {**self.fields, **settings}
        _check(named(self.eta), _form(builder(agent, heads, **chosen)))
        return builder(agent, heads, eta=self.eta, **chosen)


def shipped() -> dict[str, pathlib.Path]:
    """The weights that come with the package, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*" + SUFFIX))}


def load(name: str | pathlib.Path) -> Weights:
    """Weights by name, or those in a file whose name ends in `.npz`.

    Raises:
      ValueError: no such name or file; a file that is cut short or holds something else; leaves
        that the rule does not have, lacks or has in another form; numbers that are not finite.
    """
    path = find(str(name))
    try:
        return _read(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def find(name: str) -> pathlib.Path:
    """The file of these weights.

    Raises:
      ValueError: no such name or file.
    """
    if not name.endswith(SUFFIX):
        known = shipped()
        if name not in known:
            raise registry.unknown("weights", name, list(known))
        return known[name]
    path = pathlib.Path(name)
    if not path.is_file():
        raise ValueError(f"no file {path}; weights are shipped under the names {list(shipped())}")
    return path


def save(path: str | pathlib.Path, weights: Weights) -> None:
    """Writes a file that `load` reads, whole or not at all; the same weights make the same bytes.

    Raises:
      ValueError: a name without `.npz`, or weights that `load` would refuse.
      TypeError: settings or `about` that JSON cannot say.
    """
    path = pathlib.Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"name files of weights NAME{SUFFIX}, not {path.name}")
    told = {name: getattr(weights, name) for name in ("rule", "fields", "heads", "about")}
    leaves = {name: np.asarray(x) for name, x in named(weights.eta).items()}
    file = io.BytesIO()
    entries: dict[str, Any] = {**leaves, _TOLD: np.array(json.dumps(told, sort_keys=True))}
    np.savez_compressed(file, **entries)
    try:
        _read(file.getvalue())
    except ValueError as error:
        raise ValueError(f"not saved as {path}: {error}") from error
    write_atomically(path, file.getvalue())


def _read(data: bytes) -> Weights:
    entries = _entries(data)
    told = _told(entries.pop(_TOLD, None))
    rule, fields, heads = told["rule"], told["fields"], told["heads"]
    form = _claimed(rule, fields, heads)
    _check(entries, form)
    for name, x in entries.items():
        if not np.isfinite(x).all():
            raise ValueError(f"eta's {name} is not finite")
    leaves = [jnp.asarray(entries[name]) for name in named(form)]
    eta = jax.tree.unflatten(jax.tree.structure(form), leaves)
    return Weights(rule, fields, heads, eta, told["about"], digest(data))


def _entries(data: bytes) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise ValueError("cut short, or no file of weights")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except _DAMAGED as error:
        raise ValueError(f"cut short, or no file of weights ({error})") from error


def _told(entry: np.ndarray | None) -> dict[str, Any]:
    """What the JSON says."""
    if entry is None:
        raise ValueError(f"no file of weights of this version: it has no entry {_TOLD!r}")
    try:
        told = json.loads(str(entry))
    except ValueError as error:
        raise ValueError(f"the entry {_TOLD!r} is no JSON: {error}") from error
    kinds = {"rule": str, "fields": dict, "heads": dict, "about": dict}
    for name, kind in kinds.items():
        if not isinstance(told, dict) or not isinstance(told.get(name), kind):
            raise ValueError(f"the entry {_TOLD!r} should say {list(kinds)}: {name!r} is wrong")
    for name in ("fields", "heads"):
        told[name] = {k: tuple(v) if isinstance(v, list) else v for k, v in told[name].items()}
    return told


def _claimed(rule: str, fields: dict[str, Any], heads: dict[str, Any]) -> PyTree:
    """Shapes and dtypes of the eta of a rule with these settings."""
    builder = _builder(rule)
    env = registry.make("Bandit-v0")  # any: eta knows neither environments nor agents
    try:
        needed = registry.rule_module(rule).heads(env, **heads)
        return _form(builder(registry.agent_builder("mlp")(env, needed), needed, **fields))
    except TypeError as error:
        raise ValueError(
            f"the rule {rule} cannot be made with {fields}, {heads}: {error}"
        ) from error


def _builder(rule: str) -> Any:
    """The rule itself; only known ones, since a file must not choose what is imported."""
    if rule not in registry.RULES:
        raise registry.unknown("rule", rule, sorted(registry.RULES))
    return getattr(registry.rule_module(rule), rule)


def _form(rule: UpdateRule) -> PyTree:
    with jax.enable_x64(False):  # files hold float32
        return jax.eval_shape(lambda: rule.init_eta(jax.random.key(0)))


def named(eta: PyTree) -> dict[str, Any]:
    """Leaves by their path, in the order of the tree."""
    keystr = jax.tree_util.keystr
    leaves = jax.tree_util.tree_leaves_with_path(eta)
    return {keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _check(found: dict[str, Any], form: PyTree) -> None:
    """Raises ValueError where the leaves are not those of the form."""
    wanted = named(form)
    for kind, names in (("lacks", wanted.keys() - found), ("has", found.keys() - wanted)):
        if names:
            raise ValueError(f"eta {kind} {', '.join(sorted(names))}, unlike that of its settings")
    for name, leaf in wanted.items():
        x = found[name]
        if x.shape != leaf.shape or x.dtype != leaf.dtype:
            raise ValueError(
                f"eta's {name} is {x.dtype}{list(x.shape)}, but with these settings it would be "
                f"{leaf.dtype}{list(leaf.shape)}"
            )

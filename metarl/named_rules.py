"""From the name of a rule and its settings to the rule itself, whoever wrote it.

A name is one of `metarl.tables.RULES` or `PUBLISHED`, weights that come with the package, a file of
weights, a module, or `module:function`.
"""

import pathlib
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, NamedTuple

from metarl import registry
from metarl.config import Part, Value
from metarl.registry import PUBLISHED, RULES
from metarl.rules import authors, weights
from metarl.settings import settings, settle
from metarl.types import Environment, UpdateRule

DIGEST = "digest"  # of weights from a file, beside the settings of their rule
LIFETIME = "lifetime"  # the setting of rules that know the time: updates of the whole training


class CannotAct(ValueError):
    """A rule or an agent that is not made for the actions or observations of an environment."""


class Named(NamedTuple):
    """A rule for an environment, before there is an agent."""

    make: Callable[..., UpdateRule]  # (agent, heads, **numbers instead of settings, also traced)
    heads: Mapping[str, int]
    part: Part  # with every setting


def rule_of(part: Part, env: Environment, updates: int | None = None) -> Named:
    """The rule that a name and settings stand for.

    Args:
      part: name and settings.
      env: in which it is followed.
      updates: of the whole training, for rules that know the time, unless `lifetime` says another.

    Raises:
      ValueError: an unknown name or setting, or no file of weights.
      CannotAct: it is not for these actions.
    """
    known, numbers = _known(part.name)
    if updates and LIFETIME in known and LIFETIME not in part.fields:
        part = Part(part.name, {**part.fields, LIFETIME: updates})
    chosen = settle(part.name, part.fields, {**numbers, **known})
    part = Part(part.name, chosen)
    if is_weights(part.name):
        return _weights(part, env)
    if part.name in PUBLISHED:
        file = authors.find(str(chosen["weights"]))
        part.fields["weights"] = str(file)
        _check_digest(part, authors.digest(file))
    module, own = _found(part.name)

    @wraps(own)  # whoever asks finds the rule's own settings
    def make(agent: Any, heads: Any, **options: Any) -> UpdateRule:
        eta = {name: options.pop(name, chosen[name]) for name in numbers}
        return own(agent, heads, eta=module.hypers(**eta), **options)

    return _fitted(part, env, module.heads, make, settings(own, apart=("optimizer", "eta")))


def rule_settings(name: str) -> tuple[dict[str, Value], dict[str, Value]]:
    """Numbers that are a rule's eta, and what fixes its shape, each with defaults."""
    module, rule = _found(name)
    shapes = {**settings(module.heads), **settings(rule, apart=("optimizer", "eta"))}
    preset = PUBLISHED[name].settings if name in PUBLISHED else {}
    return settings(module.hypers), {**shapes, **preset}


def is_weights(name: str) -> bool:
    """Whether a name is that of a file of learned weights, or of weights that are shipped."""
    return name.endswith(weights.SUFFIX) or name in weights.shipped()


def code_of(part: Part) -> str:
    """The digest of weights, or of the file of a rule of the user's own; else empty.

    Raises:
      ValueError: there is no such file.
    """
    if is_weights(part.name):
        return weights.load(part.name).digest
    if part.name in PUBLISHED:
        file = part.fields.get("weights", PUBLISHED[part.name].settings["weights"])
        return authors.digest(authors.find(str(file)))
    if part.name in RULES or not _is_module(part.name):
        return ""
    return authors.digest(pathlib.Path(registry.rule_module(part.name).__file__))


def _is_module(name: str) -> bool:
    return bool({".", ":"} & {*name})


def _known(name: str) -> tuple[dict[str, Value], dict[str, Value]]:
    """Settings of whatever has this name: what fixes the shape, and the numbers of its eta."""
    if is_weights(name):
        found = weights.load(name)
        shapes = rule_settings(found.rule)[1]
        return {**shapes, **found.fields, **found.heads, DIGEST: found.digest}, {}
    numbers, shapes = rule_settings(name)
    return ({**shapes, DIGEST: ""} if name in PUBLISHED else shapes), numbers


def _weights(part: Part, env: Environment) -> Named:
    """The rule with a learned eta; the part then names a file by its whole path and its digest."""
    found = weights.load(part.name)
    _check_digest(part, found.digest)
    if part.name.endswith(weights.SUFFIX):
        part = Part(str(pathlib.Path(part.name).resolve()), part.fields)
    module, own = _found(found.rule)
    shapes = settings(own, apart=("optimizer", "eta"))
    return _fitted(part, env, module.heads, found.rule_for, shapes)


def _check_digest(part: Part, found: str) -> None:
    """Names the weights in the part; raises ValueError where it names others."""
    given = part.fields[DIGEST] = part.fields.get(DIGEST) or found
    if given != found:
        raise ValueError(
            f"the weights {part.name} are not those that this run began with: their digest is "
            f"{found}, not {given}; bring back the old file, or start a new run"
        )


def _fitted(
    part: Part,
    env: Environment,
    heads: Callable[..., Any],
    make: Callable[..., UpdateRule],
    own: Mapping[str, Value],
) -> Named:
    """The rule for an environment: `make` with the settings that are its `own`."""
    name, chosen = part.name, part.fields
    widths = {setting: chosen[setting] for setting in settings(heads)}
    options = {setting: chosen[setting] for setting in own if setting not in widths}
    for setting, value in {**widths, **options}.items():
        if type(value) is int and value < 1:
            raise ValueError(f"{name} {setting} must be at least 1, got {value}")
    try:
        needed = heads(env, **widths)
    except TypeError as error:
        raise CannotAct(f"{name} cannot act here: {error}") from error
    return Named(partial(make, **options), needed, part)


def _found(name: str) -> tuple[Any, Callable[..., UpdateRule]]:
    """A rule's module, and the rule: the function under the module's own name, or behind `:`."""
    if name not in {*RULES, *PUBLISHED} and not _is_module(name):
        raise registry.unknown("rule", name, sorted([*RULES, *PUBLISHED, *weights.shipped()]))
    module = registry.rule_module(name)
    own = name.partition(":")[2] or module.__name__.rpartition(".")[2]
    for needed in ("heads", "hypers", own):
        if not hasattr(module, needed):
            raise ValueError(f"the module {module.__name__} is no rule: it has no {needed!r}")
    return module, getattr(module, own)

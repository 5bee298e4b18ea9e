"""An arm of a comparison: a rule with its agent and all that fixes how it is played."""

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from metarl import registry
from metarl.agents.tabular import numbered
from metarl.build import Parts, build, make_env
from metarl.cells import Cell
from metarl.config import Config, Part
from metarl.named_rules import is_weights, rule_settings
from metarl.rules import weights
from metarl.suites import Suite

ADAM = 5e-4  # of networks that follow a rule whose own rates are for tables
BY_ADAM = ("policy_rate", "y_rate")  # rates for tables, which do nothing where Adam is used


@dataclass(frozen=True)
class Arm:
    """Who plays, what, and how."""

    title: str
    rule: Part
    agent: Part  # `auto` chooses for each environment
    convention: Suite
    seeds: tuple[int, ...]
    points: int  # evaluations, apart from that at birth
    episodes: int  # of each
    tuned: Mapping[str, float] = field(default_factory=dict)  # settings, where they do something

    def cell(self, env: str) -> Cell:
        """The cell of an environment, an id with settings.

        Raises:
          ValueError: an unknown name or setting.
          CannotAct: rule or agent are not made for it.
        """
        part = Part.parse(env.split())
        published = self.rule.name in registry.PUBLISHED  # which have an agent of their own
        if self.agent.name == "auto" and not published and _has_numbers(make_env(part)[0]):
            cell = self._built(env, part, Part("tabular", self.agent.fields), {})
            try:
                cell.check()
                return cell
            except ValueError as error:
                if not isinstance(error.__cause__, KeyError):
                    raise  # else it looks for layers of a network
        adam = {"adam": ADAM} if self.agent.name != "tabular" and "adam" in self.known else {}
        return self._built(env, part, self.agent, adam)

    @property
    def known(self) -> dict[str, Any]:
        """Settings of the rule, also of the one that weights are for, with defaults."""
        learned = is_weights(self.rule.name)
        numbers, shapes = rule_settings(
            weights.load(self.rule.name).rule if learned else self.rule.name
        )
        return shapes if learned else {**numbers, **shapes}

    def _built(self, env: str, part: Part, agent: Part, adam: Mapping[str, float]) -> Cell:
        how, own = self.convention, {**adam, **self.tuned}
        unused = BY_ADAM if adam else ("adam",)
        own = {k: v for k, v in own.items() if k not in unused}
        config = Config(
            part,
            Part(self.rule.name, {**own, **self.rule.fields}),
            agent,
            num_envs=how.num_envs,
            length=how.length,
            steps=max(how.steps, how.num_envs * how.length),
            seeds=self.seeds,
        )
        return Cell(self.title, env, build(config), how, self.points, self.episodes)


def active(parts: Parts, names: tuple[str, ...]) -> dict[str, float]:
    """Settings of a rule of these names that do something, with their values."""
    fields: dict[str, Any] = parts.config.rule.fields
    unused = BY_ADAM if fields.get("adam") else ("adam",)
    return {name: fields[name] for name in names if name in fields and name not in unused}


def with_numbers(cell: Cell, numbers: Mapping[str, float]) -> Cell:
    """The cell of another candidate, as it would be built from these settings; to be found by."""
    config = cell.parts.config
    rule = Part(config.rule.name, {**config.rule.fields, **numbers})
    return cell._replace(parts=cell.parts._replace(config=replace(config, rule=rule)))


def weights_of(name: str) -> str:
    """The file of weights in the folder of a meta-training; any other name stays as it is.

    Raises:
      ValueError: a folder without weights, or of several seeds.
    """
    folder = pathlib.Path(name)
    known = {*registry.RULES, *registry.PUBLISHED, *weights.shipped()}
    if name in known or not folder.is_dir():
        return name
    found = sorted(folder.glob("eta-*" + weights.SUFFIX))
    if len(found) != 1:
        said = ", ".join(map(str, found)) or "none yet"
        raise ValueError(f"{name} should hold one file of weights, eta-SEED.npz; it has {said}")
    return str(found[0])


def _has_numbers(env: Any) -> bool:
    try:
        numbered(env)
    except ValueError:
        return False
    return True

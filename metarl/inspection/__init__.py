"""Looking inside an update rule: what it does to policies, and what it listens to."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax

from metarl.config import Part
from metarl.evaluation import named_rule, parts_of
from metarl.files import as_json
from metarl.inspection.drift import Drift, drift_function, drift_of
from metarl.inspection.inputs import Inputs, inputs_of
from metarl.inspection.lives import Life, lives
from metarl.inspection.probe import ETA
from metarl.inspection.push import Push, push_of
from metarl.inspection.targets import Aims, aims_of
from metarl.named_rules import is_weights
from metarl.registry import PUBLISHED
from metarl.rules import weights
from metarl.rules.disco import DiscoState
from metarl.rules.life import LifeState
from metarl.suites import Suite

__all__ = ["Inspection", "inspect_rule"]

MOMENTS = ("at birth", "in the middle", "at the end")  # of a life


@dataclass(frozen=True)
class Inspection:
    """The numbers. What a rule does not have is None, with the reason among the notes."""

    rule: str
    env: str
    moments: tuple[str, ...]  # K of a life, or one of a rule to which they are alike
    life: Life
    push: Push | None
    aims: Aims | None  # targets of the policy
    drift: Drift | None
    inputs: Inputs | None
    notes: tuple[str, ...]

    def numbers(self) -> dict[str, Any]:
        """All of them as JSON can hold them."""
        return as_json({f.name: getattr(self, f.name) for f in dataclasses.fields(self)})


def inspect_rule(
    rule: str | Part,
    env: str = "Catch-v0",
    *,
    agent: str | Part = "",
    seeds: int = 5,
    updates: int = 200,
    num_envs: int = 16,
    length: int = 20,
) -> Inspection:
    """Looks inside a rule.

    Args:
      rule: as `metarl.evaluation.evaluate_rule` takes it. Where its network is drawn, it is that of
        seed 0.
      env: in which agents live by it; with settings.
      agent: a name with settings, or `auto` as of `evaluate_rule`; by default that of a published
        rule, else `mlp`.
      seeds: lives.
      updates: of each life, at least 2.
      num_envs: environments of each life.
      length: steps between updates.

    Raises:
      ValueError: an unknown name or setting, too few updates, or an environment in which the rule
        cannot act.
    """
    if updates < 2:
        raise ValueError(f"updates must be at least 2, got {updates}")
    part = named_rule(rule)
    if not str(agent):
        agent = "auto" if part.name in PUBLISHED else "mlp"
    steps = updates * num_envs * length
    convention = Suite((env,), "looked into", steps=steps, num_envs=num_envs, length=length)
    parts = parts_of(part, agent, env, convention, seeds)
    name, fields = _family(part.name), parts.config.rule.fields
    life, seen = lives(parts, updates)
    states = [moment.before.rule_state for moment in seen]
    changing = _changes(states[0])
    chosen: list[Any] = states if changing else [None]
    notes: list[str] = []
    push = None
    try:
        push = push_of(part, chosen)
    except ValueError as error:
        notes.append(f"no pushes: {error}")
    function = drift_function(name, fields, parts.eta(jax.random.key(ETA)))
    times = [float(s.clock.relative) for s in states] if name == "ta_lpo" else [0.0]
    found = Inspection(
        rule=str(part),
        env=env,
        moments=MOMENTS if changing else ("",),
        life=life,
        push=push,
        aims=aims_of(name, part, fields, chosen),
        drift=drift_of(function, times) if function else None,
        inputs=inputs_of(name, parts, seen),
        notes=(),
    )
    return dataclasses.replace(found, notes=(*notes, *_notes(found)))


def _family(name: str) -> str:
    """The name in the registry of a rule, or of that which weights are for."""
    if is_weights(name):
        return weights.load(name).rule
    rule = PUBLISHED[name].rule if name in PUBLISHED else name
    return "ppo" if rule == "metarl.rules.open_ppo" else rule  # PPO but for its optimizer


def _changes(state: Any) -> bool:
    """Whether a rule does other things at other moments of a life."""
    return isinstance(state, DiscoState) or (isinstance(state, LifeState) and bool(state.clock))


def _notes(found: Inspection) -> list[str]:
    notes = []
    if found.push and not found.push.plain:
        notes.append("pushes are those of the rule's own optimizer: it takes no other")
    if found.inputs is None:
        notes.append("no sensitivities: the rule has neither a network nor a surrogate known here")
    return notes

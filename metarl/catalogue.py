"""The commands that list what there is: environments, parts, recipes."""

from dataclasses import dataclass
from typing import Any

from metarl import registry
from metarl.config import Part
from metarl.console import Console


@dataclass(frozen=True)
class Envs:
    """List the environments with the shapes of their observations and actions."""

    def __call__(self) -> None:
        """Runs the command."""
        rows = []
        for name in registry.registered():
            try:
                env = registry.make(name)
                rows.append((name, _space(env.observation_space), _space(env.action_space)))
            except Exception as error:  # one broken plug-in must not hide the others
                rows.append((name, f"cannot be made: {error}", ""))
        Console().table(("environment", "observation", "action"), rows)


@dataclass(frozen=True)
class Parts:
    """List rules, learned weights, agents, cores, outer loops, objectives, with their settings."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.named_rules import rule_settings
        from metarl.rules import weights
        from metarl.settings import settings

        rows = [
            ("rule", name, {**one, **two})
            for name in sorted([*registry.RULES, *registry.PUBLISHED])
            for one, two in [rule_settings(name)]
        ]
        rows += [
            ("weights", name, {"rule": found.rule, **found.heads, **found.fields})
            for name in weights.shipped()
            for found in [weights.load(name)]
        ]
        for kind, table, builder in (
            ("agent", registry.AGENTS, registry.agent_builder),
            ("core", registry.CORES, registry.core_builder),
            ("outer", registry.OUTER_LOOPS, registry.outer_builder),
            ("objective", registry.OBJECTIVES, registry.objective_builder),
        ):
            rows += [(kind, name, settings(builder(name))) for name in sorted(table)]
        shown = [
            (kind, str(Part(name)), str(Part(name, fields)).partition(" ")[2])
            for kind, name, fields in rows
        ]
        Console().table(("kind", "name", "settings"), shown)


@dataclass(frozen=True)
class Recipes:
    """List the recipes with the claim that each tests, and the meta-trainings of update rules."""

    def __call__(self) -> None:
        """Runs the command."""
        header = "scales", "claim and paper"
        for kind, table, module_of in (
            ("reproduce", registry.RECIPES, registry.recipe_module),
            ("meta-train", registry.TRAININGS, registry.training_module),
        ):
            rows = []
            for name, module in ((name, module_of(name)) for name in sorted(table)):
                scales = [
                    scale for scale in SCALES if scale == "full" or hasattr(module, SCALES[scale])
                ]
                rows += [(name, " ".join(scales), module.CLAIM), ("", "", module.PAPER)]
            Console().table((f"metarl {kind}", *header), rows)


SCALES = {"quick": "QUICK", "laptop": "LAPTOP", "full": "Settings", "long": "LONG"}


def _space(space: Any) -> str:
    """A space in a few characters: `uint8[5, 12, 12]`, `4 actions`."""
    if hasattr(space, "n"):
        return f"{int(space.n)} choices"
    return f"{space.dtype}{list(space.shape)}" if space.shape else str(space)

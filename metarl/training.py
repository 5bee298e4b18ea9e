"""From the name of a meta-training and its settings to its parts."""

import dataclasses
from types import ModuleType
from typing import Any, NamedTuple

from metarl import registry
from metarl.config import Part
from metarl.configs import TrainingConfig
from metarl.settings import at_scale
from metarl.trainings.common import Training

SCALES = {"quick": "QUICK", "laptop": "LAPTOP"}  # name -> the module's; `full` is its defaults


class TrainingParts(NamedTuple):
    """Everything a meta-training is made of; `config` names every setting."""

    config: TrainingConfig
    training: Training


def build_training(config: TrainingConfig, scale: str = "full") -> TrainingParts:
    """Builds a meta-training.

    Args:
      config: of the run; settings that it does not name are those of the scale.
      scale: `quick`, `laptop` or `full`.

    Raises:
      ValueError: no such meta-training, scale or setting, or settings that do not fit together.
    """
    module = registry.training_module(config.training.name)
    settings = settings_of(module, config.training, scale)
    training = module.training(settings)
    part = Part(config.training.name, dataclasses.asdict(settings))
    steps = training.steps_per_update
    return TrainingParts(
        dataclasses.replace(config, training=part, steps_per_update=steps), training
    )


def settings_of(module: ModuleType, part: Part, scale: str) -> Any:
    """The settings of a scale with those of `part` in their place.

    Raises:
      ValueError: no such scale or setting, a whole number below 1, or a module without its parts.
    """
    for needed in ("PAPER", "CLAIM", "Settings", "training", *SCALES.values()):
        if not hasattr(module, needed):
            raise ValueError(f"{module.__name__} is no meta-training: it has no {needed!r}")
    scales = {name: getattr(module, constant) for name, constant in SCALES.items()}
    settings = at_scale(part, {**scales, "full": module.Settings()}, scale)
    for name, value in dataclasses.asdict(settings).items():
        if type(value) is int and value < 1:
            raise ValueError(f"{part.name} {name} must be at least 1, got {value}")
    return settings

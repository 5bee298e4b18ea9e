"""LPG on random grid-worlds: every life gets a level of its own, drawn uniformly."""

from metarl.curriculum.replay import uniform
from metarl.trainings.common import Training
from metarl.trainings.grid import GridSettings, grid_training, training_levels

PAPER = "Oh et al. 2020, https://arxiv.org/abs/2007.08794"
CLAIM = "A learned update rule: what to predict, and how to change the policy by it"

Settings = GridSettings
QUICK = Settings(
    env="LPGSmall-v0",
    updates=600,
    lives=32,
    workers=16,
    lifetime=250,
    hidden=32,
    meta_learning_rate=1e-3,
    chunk=32,
    test_levels=128,
)
LAPTOP = Settings(
    updates=4000,
    lives=32,
    workers=16,
    lifetime=1000,
    hidden=64,
    meta_learning_rate=5e-4,
    chunk=8,
    test_levels=128,
)


def training(settings: Settings) -> Training:
    """LPG with a new level for every life."""
    return grid_training(
        settings, lambda parts: uniform(training_levels(parts.env), settings.lives)
    )

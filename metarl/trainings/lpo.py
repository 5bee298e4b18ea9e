"""LPO: a drift, what leaving the old policy costs, evolved over whole lives in one environment."""

from dataclasses import replace

from metarl.rules import lpo
from metarl.trainings.common import Training
from metarl.trainings.drift import DriftSettings, drift_training

PAPER = "Lu et al. 2022, https://arxiv.org/abs/2210.05639"
CLAIM = "A learned penalty in the place of PPO's clipping"

Settings = DriftSettings
QUICK = Settings(
    updates=40,
    pairs=8,
    chunk=2,
    meta_learning_rate=0.03,
    momentum=0.9,
    std=0.1,
    std_decay=1.0,
    least_std=0.1,
    workers=16,
    length=32,
    lifetime=60,
    agent=(16,),
    hidden=16,
    ppo_init=False,
    minibatches=4,
    learning_rate=1e-2,
    played=32,
    max_steps=500,
    test_envs=("SpaceInvaders-v0", "Breakout-v0"),
)
LAPTOP = replace(QUICK, updates=400, lifetime=120, hidden=32, test_envs=Settings.test_envs)


def training(settings: Settings) -> Training:
    """A drift that the time does not change."""
    return drift_training("lpo", lpo.lpo, settings)

"""Temporally aware LPO: a drift that is also told how much of its life a learner has behind it."""

from metarl.rules import ta_lpo
from metarl.trainings import lpo
from metarl.trainings.common import Training
from metarl.trainings.drift import DriftSettings, drift_training

PAPER = "Jackson et al. 2024, https://arxiv.org/abs/2402.05828"
CLAIM = "A learned penalty that changes in the course of a life, as annealed clipping does"

Settings = DriftSettings
QUICK = lpo.QUICK
LAPTOP = lpo.LAPTOP


def training(settings: Settings) -> Training:
    """A drift that knows the time."""
    return drift_training("ta_lpo", ta_lpo.ta_lpo, settings)

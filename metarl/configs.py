"""Configurations of any kind: of a run, of an outer loop, of a meta-training."""

import json
from dataclasses import dataclass

from metarl.config import Config, MetaConfig, Part, Stored


@dataclass(frozen=True)
class TrainingConfig(Stored):
    """One meta-training of a learned rule (`metarl.trainings`)."""

    training: Part
    """Its name, and settings: in the configuration of a run, all of them."""
    seeds: tuple[int, ...] = (0,)
    """One meta-training a seed, one after the other."""
    log_every: int = 0
    """Meta-updates per row of metrics.csv; 0 makes about 200 rows."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints: what a crash may lose."""
    tick_seconds: float = 1.0
    """Seconds between looks at the device, to log and to notice Ctrl-C. Never changes a result."""
    steps_per_update: int = 1
    """Environment steps of one seed that a meta-update learns from; the settings say how many."""

    def __post_init__(self):
        self.check_run()

    @property
    def updates(self) -> int:
        """Meta-updates in all."""
        updates = self.training.fields["updates"]
        assert isinstance(updates, int)
        return updates

    @property
    def updates_per_row(self) -> int:
        """`log_every`, or enough for 200 rows."""
        return min(self.log_every or max(1, self.updates // 200), self.updates)


AnyConfig = Config | TrainingConfig


def loads(text: str) -> AnyConfig:
    """A configuration of any kind from JSON; raises as `Stored.loads`."""
    entries = json.loads(text)
    keys = entries if isinstance(entries, dict) else {}
    if "training" in keys:
        return TrainingConfig.loads(text)
    return MetaConfig.loads(text) if "outer" in keys else Config.loads(text)

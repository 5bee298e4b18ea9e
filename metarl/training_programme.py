"""A meta-training of all seeds as one compiled function that makes any number of meta-updates."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from metarl.meta_programme import watched
from metarl.programme import Compiled, strong
from metarl.training import TrainingParts
from metarl.trainings.common import eta_of
from metarl.types import Eta, Key, Metrics, PyTree


class TrainingRun(struct.PyTreeNode):
    """What a meta-training keeps."""

    state: PyTree  # [S, ...]

    @property
    def eta(self) -> Eta:
        """[S, ...] what was learned so far."""
        return eta_of(self.state)


class TrainingProgramme(Compiled):
    """The meta-trainings of all seeds, one after the other.

    Side by side, what happens only now and then (births, an antagonist's life) would be computed at
    every update.
    """

    def __init__(self, parts: TrainingParts):
        """Traces the programme."""
        self.parts = parts
        self._begin_keys, run_keys = training_keys(parts)
        row, like = parts.config.updates_per_row, training_shapes(parts)
        super().__init__(row, like, run_keys, (), self._step, _learned, in_turn=True)

    @property
    def advice(self) -> str:
        """What to do about a run that diverged."""
        fields = self.parts.config.training.fields
        rates = [f"{k}={v}" for k, v in fields.items() if k.endswith(("rate", "max_norm"))]
        return f"Start again with smaller steps: now {', '.join(rates)}"

    def born(self) -> TrainingRun:
        """The states of all seeds at the beginning."""
        return jax.jit(_beginning(self.parts))(self._begin_keys)

    def watched(self, state: TrainingRun) -> dict[str, jax.Array]:
        """Arrays [S, ...] of which histograms are kept."""
        return watched(state.state)

    def _step(self, key: Key, run: TrainingRun, _: PyTree) -> tuple[TrainingRun, Metrics]:
        state, metrics = self.parts.training.update(run.state, key)
        return TrainingRun(strong(state)), metrics


def training_keys(parts: TrainingParts) -> tuple[Key, Key]:
    """Keys of the beginning and of the run, for each seed."""
    keys = jnp.stack([jax.random.key(seed) for seed in parts.config.seeds])
    split = jax.vmap(jax.random.split)(keys)
    return split[:, 0], split[:, 1]


def training_shapes(parts: TrainingParts) -> TrainingRun:
    """Shapes and dtypes of the states of all seeds, which checkpoints are held to."""
    return jax.eval_shape(_beginning(parts), training_keys(parts)[0])


def _beginning(parts: TrainingParts) -> Any:
    def one(key: Key) -> TrainingRun:
        return TrainingRun(strong(parts.training.begin(key)))

    return partial(jax.lax.map, one)


def _learned(run: TrainingRun) -> PyTree:
    return run.eta

"""Meta-trainings with numbers from a table, and as released."""

from typing import Any

import jax
import numpy as np
import pytest

from metarl.config import Part
from metarl.configs import TrainingConfig
from metarl.curriculum.released import ReleasedState
from metarl.training import build_training

TINY: dict[str, Any] = {
    **{"env": "LPGSmall-v0", "lives": 4, "workers": 2, "window": 1, "length": 3, "lifetime": 3},
    **{"hidden": 4, "targets": 2, "chunk": 2, "test_levels": 3, "capacity": 16, "batch": 2},
}


@pytest.mark.slow  # its parts have tests of their own
def test_lives_get_numbers_from_a_table_and_the_code_is_followed_as_released():
    rates = {"policy_rates": (20.0, 80.0), "y_costs": (0.1, 0.5)}
    part = Part("groove", {**TINY, **rates, "as_released": True})
    training = build_training(TrainingConfig(part, (0,)), "quick").training
    assert training.fields["time_outs_end"] is True
    first = jax.jit(training.begin)(jax.random.key(0))
    last, update, births = first, jax.jit(training.update), 0
    for _ in range(3):
        last, metrics = update(last, jax.random.key(1))
        births += int(metrics["births"])
    assert births > 2 and np.isfinite(metrics["meta_loss"])
    (before, _), (levels, learners) = first, last
    numbers, bandit = learners.rule_state.numbers, levels.curriculum
    chosen = np.stack([numbers.policy_rate, numbers.y_cost], axis=1)
    rows = np.array([(20, 0.1), (20, 0.5), (80, 0.1), (80, 0.5)], np.float32)
    np.testing.assert_array_equal(chosen, rows[bandit.row])
    assert bandit.bandit.count.sum() == births
    assert isinstance(bandit.curriculum, ReleasedState)
    old, new = before.meta.critics, levels.meta.critics
    same = old.life == new.life
    assert same.any() and not same.all()
    np.testing.assert_array_equal(old.params["value"][same], new.params["value"][same])

"""Snake's recipe of mixed meta-gradients: its statistics by hand, and what its agent sees."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from metarl.recipes.snake_mixing import estimates, ratio
from metarl.recipes.unmasked import unmasked
from metarl.types import Agent, AgentInput


def test_the_agent_does_not_see_which_moves_are_legal():
    mask = jnp.array([True, False, False, False])
    seen = AgentInput(jnp.zeros(3), jnp.int32(0), jnp.float32(0), jnp.bool_(True), mask)
    repeat: Any = lambda params, carry, inputs: (inputs, carry)  # noqa: E731
    echo: Any = Agent(lambda key: (), tuple, repeat)
    told: Any = unmasked(echo).apply((), (), seen)[0]
    assert told.action_mask is None
    assert echo.apply((), (), seen)[0].action_mask is mask


def test_variances_and_signals_by_hand():
    """Two updates, three replicas: of one seed at one stage."""
    grads = np.array([[[[1.0, 2.0], [2.0, 6.0], [3.0, 10.0]]]])
    found = {name: float(value[0, 0]) for name, value in estimates(grads).items()}
    assert found["variance 1-step"] == 1 and found["variance n-step"] == 16
    assert found["variance mixed"] == 6.25  # of 1.5, 4, 6.5
    assert found["n-step / 1-step"] == 16 and found["n-step / mixed"] == 16 / 6.25
    np.testing.assert_allclose(found["signal n-step"], np.sqrt(36 / 16 - 1 / 3))


def test_noise_alone_has_no_signal():
    grads = np.random.default_rng(0).normal(size=(200, 1, 100, 2))
    square = estimates(grads)["signal n-step"] ** 2
    assert square.mean() < 0.01  # without the correction it is 0.01 and more, half of it never 0


def test_ratios_are_averaged_as_ratios():
    found = ratio(np.array([2.0, 8.0]))
    np.testing.assert_allclose(found["mean"], 4)
    assert found["low"] < 4 < found["high"] and found["seeds"] == 2
    assert ratio(np.array([0.0, 1.0]))["mean"] == 0.5

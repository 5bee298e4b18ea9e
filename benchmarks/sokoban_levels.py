"""The levels that every suite steps through in the Sokoban benchmark.

They are the first 1000 Boxoban training levels where the environment variable METARL_DATA names a
folder that holds `boxoban/`, else the first 1000 of the package's own.
"""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl.envs.levels.boxoban import load_levels
from metarl.envs.levels.shipped import default_levels
from metarl.envs.levels.table import BOX, PLAYER, TARGET, WALL, LevelTable
from metarl.envs.sokoban import Params

COUNT = 1000


def levels() -> LevelTable:
    """The same 1000 levels for all."""
    file = Path(os.environ.get("METARL_DATA", "data")) / "boxoban/unfiltered/train/000.txt"
    return (load_levels(file) if file.exists() else default_levels(10, 10, 4, "train"))[:COUNT]


def our_params(env: Any) -> Params:
    """Params for our Sokoban."""
    return Params.from_levels(levels())


def jumanji_sokoban() -> Any:
    """Sokoban-v0, which would download its levels if it were not given these."""
    from jumanji.environments.routing.sokoban.env import Sokoban
    from jumanji.environments.routing.sokoban.generator import Generator
    from jumanji.environments.routing.sokoban.types import State

    boards = levels().boards()
    fixed = np.select([boards & WALL > 0, boards & TARGET > 0], [1, 2]).astype(np.uint8)
    variable = np.select([boards & PLAYER > 0, boards & BOX > 0], [3, 4]).astype(np.uint8)

    class Given(Generator):
        """Draws a level uniformly, as jumanji's own generators do."""

        def __call__(self, rng_key: jax.Array) -> State:
            key, draw_key = jax.random.split(rng_key)
            row = jax.random.randint(draw_key, (), 0, len(boards))
            grid = jnp.asarray(variable).take(row, axis=0)
            return State(
                key=key,
                fixed_grid=jnp.asarray(fixed).take(row, axis=0),
                variable_grid=grid,
                agent_location=self.get_agent_coordinates(grid),
                step_count=jnp.int32(0),
            )

    return Sokoban(generator=Given())

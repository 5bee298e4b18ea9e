"""Step for step like jumanji's Sokoban, on levels of our generator.

Named differences: jumanji ends the time limit with a termination, here it is a truncation; and its
number -1 for an action is a no-op, here it is clipped.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("jumanji")

from jumanji.environments.routing.sokoban.env import Sokoban as Theirs
from jumanji.environments.routing.sokoban.generator import ToyGenerator
from jumanji.environments.routing.sokoban.types import State as TheirState
from jumanji.types import StepType

from metarl.envs.levels.generate import solved_levels
from metarl.envs.levels.table import LevelTable
from metarl.envs.sokoban import Params, Sokoban, State

LEVELS, STEPS = 256, 120


@pytest.fixture(scope="module")
def compare():
    """A compiled function that plays many episodes in both: see `_compare`."""
    ours, theirs = Sokoban(), Theirs(ToyGenerator())
    play = jax.vmap(partial(_compare, ours, theirs), in_axes=(None, 0, 0, 0, 0))
    return jax.jit(play)


def their_start(theirs, obs):
    wall, target, box, player = obs
    variable = 3 * player + 4 * box
    return TheirState(
        key=jax.random.PRNGKey(0),
        fixed_grid=wall + 2 * target,
        variable_grid=variable,
        agent_location=theirs.generator.get_agent_coordinates(variable),
        step_count=jnp.int32(0),
    )


def _compare(ours, theirs, params, board, player, left, actions):
    """One episode in both: at how many steps each thing differs, and some counts."""
    state = State(board, player, left, jnp.int32(0))
    their_state = their_start(theirs, ours.observe(state, params)[0])

    def body(carry, action):
        state, their_state, alive = carry
        state, ts = ours.step(jax.random.key(0), state, action, params)
        their_state, their_ts = theirs.step(their_state, action)
        wall, target, box, player = ts.obs
        grid = jnp.stack([3 * player + 4 * box, wall + 2 * target], axis=-1)
        done = their_ts.step_type == StepType.LAST
        differs = {
            "grid": (grid != their_ts.observation.grid).any(),
            "reward": ts.reward != their_ts.reward,
            "end": ts.last != done,
            "solved": ts.terminated != their_ts.extras["solved"],
            "boxes": 1 - ts.info["boxes_left"] / 4 != their_ts.extras["prop_correct_boxes"],
            "clock": ts.truncated != (done & ~their_ts.extras["solved"]),
        }
        counts = {"steps": alive, "ends": ts.terminated, "off": ts.reward < -1}
        tally = jax.tree.map(lambda x: jnp.int32(x & alive), (differs, counts))
        return (state, their_state, alive & ~ts.last), tally

    return jax.tree.map(jnp.sum, jax.lax.scan(body, (state, their_state, True), actions)[1])


@pytest.fixture(scope="module")
def levels():
    """Starts, and the solutions padded with moves up."""
    made = solved_levels(21)
    boards, solutions = zip(*(next(made) for _ in range(LEVELS)), strict=True)
    padded = np.stack([np.pad(plan, (0, STEPS - len(plan))) for plan in solutions])
    return Params.from_levels(LevelTable.pack(np.stack(boards))), padded


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1, 0.3, 1.0])
def test_every_step_is_the_same(compare, levels, noise):
    """Solutions, solutions with mistakes, random moves: 256 episodes each."""
    params, solutions = levels
    rng = np.random.default_rng(int(100 * noise))
    random = rng.integers(0, 4, solutions.shape)
    actions = np.where(rng.random(solutions.shape) < noise, random, solutions)
    table = params.levels
    differs, counts = compare(params, table.board, table.player, table.left, jnp.asarray(actions))
    assert {name: int(n.sum()) for name, n in differs.items()} == dict.fromkeys(differs, 0)
    totals = {name: int(n.sum()) for name, n in counts.items()}
    assert totals["steps"] > 10_000 or noise == 0
    assert totals["ends"] == LEVELS if noise == 0 else totals["steps"] > LEVELS
    assert totals["off"] > 0

"""Bounds of Sokoban: by hand, and reached by playing the solutions found."""

import jax
import jax.numpy as jnp
import numpy as np

import metarl
from metarl.envs.levels.boxoban import parse_levels
from metarl.envs.levels.shipped import default_levels
from metarl.envs.levels.solve import fewest_steps
from metarl.envs.sokoban import Params
from metarl.players.sokoban import optimal_steps, step_bound

ONE = """
#######
#     #
#@$.  #
#     #
#######"""
FOUR = """
#######
#     #
#  $. #
#@    #
#######"""
NEVER = """
#######
#$   .#
#@    #
#######
#######"""


def test_bounds_by_hand():
    levels = parse_levels("\n\n".join(t.strip() for t in (ONE, FOUR, NEVER)))
    assert optimal_steps(levels).tolist() == [1, 3, -1]
    assert step_bound(levels, 2) == (1 / 3, 1.0, 10.9)
    np.testing.assert_allclose(step_bound(levels, 9), (2 / 3, 2, 10.8))
    assert step_bound(levels, 0).solvable == 0


def test_the_best_returns_are_reached():
    """On twenty held-out boards."""
    env = metarl.make("Sokoban-v0", height=6, width=6, boxes=2)
    levels, step = default_levels(6, 6, 2, "heldout")[:20], jax.jit(env.step)
    bound, returns = step_bound(levels, 30), []
    for number, board in enumerate(levels.boards()):
        params = Params.from_levels(levels[[number]], max_steps=30)
        state, _ = env.reset(jax.random.key(0), params)
        total, solution = 0.0, fewest_steps(board)
        assert solution is not None
        for action in solution:
            state, ts = step(jax.random.key(0), state, jnp.int32(action), params)
            total += float(ts.reward)
        assert ts.terminated
        returns.append(total)
    assert bound.solvable == 1
    np.testing.assert_allclose(bound.best_return, np.mean(returns), rtol=1e-5)


def test_the_held_out_boards_of_six_by_six_can_be_solved_in_twenty_one_moves():
    """All but one of the 500, which takes 22."""
    bound = step_bound(default_levels(6, 6, 2, "heldout"), 21)
    np.testing.assert_allclose(bound, (0.998, 9.808, 11.019), atol=2e-3)

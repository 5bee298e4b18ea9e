import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.t_maze import CORRIDOR, DOWN, JUNCTION, UP, State, TMaze

NORTH, EAST, SOUTH, WEST = range(4)


@pytest.fixture(scope="module")
def env():
    return TMaze(length=3)


@pytest.fixture(scope="module")
def step(env):
    return jax.jit(env.step)


def play(step, params, sign, actions):
    """Rewards, ends and observations after a start in front of a sign."""
    state, steps = State(jnp.int32(sign), jnp.int32(0), jnp.int32(0)), []
    for action in actions:
        state, ts = step(jax.random.key(0), state, jnp.int32(action), params)
        steps.append((round(float(ts.reward), 3), bool(ts.terminated), int(ts.obs)))
    return [list(column) for column in zip(*steps, strict=True)]


@pytest.mark.parametrize("opposite", [False, True])
@pytest.mark.parametrize("sign", [UP, DOWN])
@pytest.mark.parametrize("turn", [NORTH, SOUTH])
def test_turning_where_the_sign_points_pays_four(env, step, sign, turn, opposite):
    params = env.default_params().replace(opposite=jnp.bool_(opposite))
    rewards, ends, seen = play(step, params, sign, [EAST, EAST, EAST, turn])
    right = ((turn == SOUTH) == (sign == DOWN)) != opposite
    assert rewards == [0, 0, 0, 4 if right else -0.1]
    assert ends == [False, False, False, True]
    assert seen[:3] == [CORRIDOR, CORRIDOR, JUNCTION]


def test_walls_cost_and_the_sign_can_be_read_again(env, step):
    actions = [WEST, -1, SOUTH, EAST, NORTH, WEST, EAST, EAST, EAST, 7, EAST, EAST]
    rewards, ends, seen = play(step, env.default_params(), DOWN, actions)
    # West and north of the start are walls, 7 is clipped to west, and east ends at the junction.
    assert rewards == [-0.1, -0.1, -0.1, 0, -0.1, 0, 0, 0, 0, 0, 0, -0.1]
    assert seen == [1, 1, 1, 2, 2, 1, 2, 2, 3, 2, 3, 3] and not any(ends)


def test_the_clock_truncates(env, step):
    params = env.default_params().replace(max_steps=jnp.int32(5))
    for place, ended in ((0, (False, True)), (3, (True, False))):
        state = State(jnp.int32(UP), jnp.int32(place), jnp.int32(4))
        ts = step(jax.random.key(0), state, jnp.int32(NORTH), params)[1]
        assert (bool(ts.terminated), bool(ts.truncated)) == ended


def test_signs_are_fair(env):
    keys = jax.random.split(jax.random.key(0), 2000)
    state, ts = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(keys, env.default_params())
    assert abs(float(state.sign.mean()) - 0.5) < 4.5 * 0.5 / np.sqrt(2000)
    np.testing.assert_array_equal(ts.obs, state.sign)


def test_it_can_be_looked_at(env):
    state = State(jnp.int32(DOWN), jnp.int32(1), jnp.int32(1))
    assert env.render_text(state, env.default_params()) == "   .\n.A..\n   G"
    picture = np.asarray(jax.jit(env.render)(state, env.default_params()))
    assert picture.shape == (48, 64, 3) and picture[40, 56].tolist() == [72, 158, 92]


def test_a_maze_without_a_corridor_is_refused():
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        metarl.make("TMaze-v0", length=0)

"""The optimum of LPG grid-worlds: against plain recursion, by hand, and by playing its policy."""

from functools import cache, partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.envs.lpg.grid import LPGGrid
from metarl.envs.lpg.level import Params
from metarl.envs.lpg.optimal import optimal_policy, optimal_return

ENV = LPGGrid("small")


@pytest.fixture(scope="module")
def best():
    """Of many levels at once."""
    return jax.jit(jax.vmap(partial(optimal_return, ENV), in_axes=(0, None)))


def tiny_level(seed):
    """2 or 3 cells a side, 1 or 2 objects, at most 6 steps; the numbers in round values."""
    rng = np.random.default_rng(seed)
    side, count = rng.integers(2, 4), rng.integers(1, 3)
    cells = [row * 6 + column for row in range(side) for column in range(side)]
    start, *places = rng.permutation(cells)[: 2 + count]
    walls = np.zeros(36, bool)
    walls[places.pop()] = side == 3
    slots = lambda x: jnp.array([*x, *[0.0] * (3 - count)], jnp.float32)  # noqa: E731
    return Params(
        size=jnp.int32(side),
        walls=jnp.array(walls),
        start=jnp.int32(start),
        cells=jnp.array([*places, *[0] * (3 - count)], jnp.int32),
        present=jnp.array([*(rng.random(count) < 0.9), *[False] * (3 - count)]),
        kinds=jnp.zeros(3, jnp.int32),
        rewards=slots(rng.choice([-1, 0.5, 1, 1], count)),
        p_terminate=slots(rng.choice([0, 0.25, 1], count)),
        p_respawn=slots(rng.choice([0, 0.25, 0.5, 1], count)),
        max_steps=jnp.int32(rng.integers(3, 7)),
    )


def by_recursion(level, discount):
    """The best return by every action and every set of objects that may return, in plain Python."""
    level = jax.device_get(level)
    side, cells = int(level.size), level.cells.tolist()
    numbers = [x.tolist() for x in (level.rewards, level.p_terminate, level.p_respawn)]

    @cache
    def value(row, column, there, left):
        return max(worth(row, column, there, left, move) for move in MOVES) if left else 0.0

    def worth(row, column, there, left, move):
        to = row + move[0], column + move[1]
        if not (0 <= min(to) and max(to) < side) or level.walls[to[0] * 6 + to[1]]:
            to = row, column
        here = [i for i in range(3) if there[i] and cells[i] == to[0] * 6 + to[1]]
        future = 0.0
        for back in product([False, True], repeat=3):  # which of the absent ones return
            chance = 1.0
            for i in range(3):
                p = 0.0 if there[i] else numbers[2][i]
                chance *= p if back[i] else 1 - p
            after = tuple((there[i] and i not in here) or back[i] for i in range(3))
            future += chance * value(*to, after, left - 1) if chance else 0.0
        survives = 1 - sum(numbers[1][i] for i in here)
        return sum(numbers[0][i] for i in here) + discount * survives * future

    start = divmod(int(level.start), 6)
    return value(*start, tuple(level.present.tolist()), int(level.max_steps))


MOVES = [(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)]


@pytest.mark.parametrize("discount", [1.0, 0.75])
def test_it_equals_plain_recursion_on_tiny_levels(best, discount):
    levels = [tiny_level(seed) for seed in range(60)]
    expected = [by_recursion(level, discount) for level in levels]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *levels)
    np.testing.assert_allclose(best(together, discount), expected, rtol=1e-5, atol=1e-6)
    assert len({round(x, 4) for x in expected}) > 15


def test_an_object_that_always_returns_pays_every_other_step(best):
    """From `d` moves away, `T` steps pay `1 + (T - d) // 2`: gone in one step, back in the next."""
    start, cell = 0, 6 * 2 + 3  # five moves
    steps = np.arange(1, 20)
    one = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(steps)), tiny_level(0))
    levels = one.replace(
        size=one.size * 0 + 6,
        walls=one.walls & False,
        start=one.start * 0 + start,
        cells=one.cells * 0 + cell,
        present=jnp.arange(3) == one.start[:, None] * 0,
        rewards=one.rewards * 0 + 1,
        p_terminate=one.p_terminate * 0,
        p_respawn=one.p_respawn * 0 + (jnp.arange(3) == 0),
        max_steps=jnp.array(steps),
    )
    expected = np.where(steps < 5, 0, 1 + (steps - 5) // 2)
    np.testing.assert_allclose(best(levels, 1.0), expected, atol=1e-6)


@jax.jit
def played(level, key):
    """Values, and returns of 8192 episodes of the best policy in a level of up to 100 steps."""
    values, actions = optimal_policy(ENV, level, 100)

    def one(carry, key):
        state, ts, total, alive = carry
        left = jnp.maximum(level.max_steps - state.time, 0)
        state, ts = ENV.step(key, state, actions[left, ENV.index(ts.obs)], level)
        return (state, ts, total + alive * ts.reward, alive & ~ts.last), None

    def episode(key):
        first = (*ENV.reset(key, level), jnp.float32(0), jnp.bool_(True))
        return jax.lax.scan(one, first, jax.random.split(key, 100))[0][2]

    return values, jax.vmap(episode)(jax.random.split(key, 8192))


@pytest.mark.parametrize("seed", [0, 5])
def test_its_policy_earns_it(best, seed):
    """The mean return is within four standard errors of the optimum."""
    level = ENV.sample_params(jax.random.key(seed))
    values, returns = jax.device_get(played(level, jax.random.key(7)))
    assert values.shape == (101, ENV.num_states)
    (optimum,) = best(jax.tree.map(lambda leaf: leaf[None], level), 1.0)
    first = int(level.start + ENV.size**2 * ENV.number(level.present))
    assert abs(optimum - values[int(level.max_steps), first]) < 1e-4
    error = returns.std() / np.sqrt(len(returns))
    assert abs(returns.mean() - optimum) < 4 * error
    assert error < 0.05 * abs(optimum)


def test_random_places_have_no_table():
    with pytest.raises(ValueError, match="random places"):
        optimal_return(LPGGrid("rand_small"), LPGGrid("rand_small").default_params())

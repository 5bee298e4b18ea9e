"""Step for step against jumanji's Snake-v1, and every point where ours differs on purpose.

Both games start from the same state and jumanji's random fruits are put on our board, so that all
that the rules say must be equal.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.envs.snake import Snake, State
from metarl.ops import keys
from metarl.types import TimeStep

jumanji = pytest.importorskip("jumanji", reason="jumanji, a test extra, is not installed")
pytest.importorskip("jumanji.environments.routing.snake")

GAMES = 64
UP, RIGHT, DOWN, LEFT = range(4)


class Case(NamedTuple):
    size: int
    policy: str
    steps: int
    max_steps: int


CASES = [
    Case(12, "random", 256, 4000),
    Case(12, "greedy", 384, 100),
    Case(4, "greedy", 512, 40),
    Case(3, "legal", 512, 4000),
]


class Seen(NamedTuple):
    """One step of both games."""

    before: State  # what both started from
    action: jax.Array
    own: State  # after our step, with our own random fruit
    ours: State  # the same with jumanji's fruit
    view: tuple[jax.Array, jax.Array]  # what ours shows of it
    ts: TimeStep
    theirs: State
    their_ts: Any


def theirs(size, time_limit):
    from jumanji.environments.routing.snake import Snake as Theirs

    return Theirs(num_rows=size, num_cols=size, time_limit=time_limit)


def translated(size, state):
    """Our state from theirs."""
    cell = lambda position: (position.row * size + position.col).astype(jnp.int32)  # noqa: E731
    body = state.body_state.reshape(-1).astype(jnp.uint8)
    head, fruit = cell(state.head_position), cell(state.fruit_position)
    return State(body, head, fruit, state.length, state.step_count)


def choose(policy, env, key, state, mask):
    """An action: any, a legal one, or the legal one nearest to the fruit (a tenth at random)."""
    word, luck = keys.words(key, 2)
    anything = keys.below(word, 4)
    if policy == "random":
        return anything
    size = env.size
    moves = jnp.array([[-1, 0], [0, 1], [1, 0], [0, -1]])
    at = lambda cell: jnp.stack([cell // size, cell % size])  # noqa: E731
    distance = jnp.abs(at(state.head) + moves - at(state.fruit)).sum(axis=1)
    tie = (jnp.arange(4) - anything) % 4
    cost = (4 * distance if policy == "greedy" else 0) + tie + 10_000 * ~mask
    return jnp.where(keys.below(luck, 10) == 0, jnp.argmin(tie + 99 * ~mask), jnp.argmin(cost))


def both(case, key):
    """Plays both games side by side; whoever ends starts anew from jumanji's reset."""
    env, rival = Snake(case.size), theirs(case.size, case.max_steps)
    params = env.default_params().replace(max_steps=jnp.int32(case.max_steps))

    def game(key):
        def step(rival_state, key):
            before = translated(case.size, rival_state)
            act_key, step_key, reset_key = jax.random.split(key, 3)
            mask = rival_state.action_mask
            action = choose(case.policy, env, act_key, before, mask)
            own, ts = env.step(step_key, before, action, params)
            after, their_ts = rival.step(rival_state, action)
            theirs = translated(case.size, after)
            ours = own.replace(fruit=jnp.where(own.fruit < 0, -1, theirs.fruit))
            view = env.observe(ours, params)
            fresh, _ = rival.reset(reset_key)
            rival_state = jax.tree.map(partial(jnp.where, their_ts.last()), fresh, after)
            return rival_state, Seen(before, action, own, ours, view, ts, theirs, their_ts)

        start, loop = jax.random.split(key)
        return jax.lax.scan(step, rival.reset(start)[0], jax.random.split(loop, case.steps))[1]

    return jax.jit(jax.vmap(game))(jax.random.split(key, GAMES))


class Played(NamedTuple):
    """Every step of every game, and which are of a special kind, [GAMES * steps]."""

    case: Case
    seen: Seen
    out: np.ndarray  # the head left the board
    won: np.ndarray  # the board is full


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{c.size}x{c.size}-{c.policy}")
def played(request) -> Played:
    case = request.param
    seen = jax.device_get(both(case, jax.random.key(2)))
    seen = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), seen)
    row, column = np.divmod(seen.before.head, case.size)
    row = row + (seen.action == DOWN) - (seen.action == UP)
    column = column + (seen.action == RIGHT) - (seen.action == LEFT)
    out = (row < 0) | (row >= case.size) | (column < 0) | (column >= case.size)
    return Played(case, seen, out, seen.theirs.length == case.size**2)


def equal(a, b, where):
    np.testing.assert_array_equal(a[where], b[where])


def test_enough_happened(played):
    case, seen, out, won = played
    assert len(out) == GAMES * case.steps
    assert seen.ts.reward.sum() > {"random": 20, "greedy": 1000, "legal": 1000}[case.policy]
    assert out.any() or case.policy != "random"
    assert won.any() or case.size > 3


def test_states_are_equal(played):
    _, seen, out, _ = played
    for name in ("body", "head", "length", "time"):
        equal(getattr(seen.own, name), getattr(seen.theirs, name), ~out if name != "time" else ...)


def test_rewards_and_ends_are_equal(played):
    np.testing.assert_array_equal(played.seen.ts.reward, played.seen.their_ts.reward)
    np.testing.assert_array_equal(played.seen.ts.last, played.seen.their_ts.step_type == 2)


def test_observations_are_equal(played):
    _, seen, out, won = played
    obs, grid = seen.view[0], np.moveaxis(seen.their_ts.observation.grid, -1, 1)
    usual = ~out & ~won
    equal(obs[:, :4], grid[:, :4], usual)
    order = obs[:, 4] / np.maximum(obs[:, 4].max(axis=(1, 2), keepdims=True), 1)
    np.testing.assert_allclose(order[usual], grid[usual, 4], rtol=1e-6)


def test_masks_are_equal_while_there_is_a_legal_action(played):
    _, seen, out, _ = played
    mask = seen.their_ts.observation.action_mask
    equal(seen.view[1], mask, ~out & mask.any(axis=1))


def test_a_new_fruit_is_on_a_free_cell_and_an_old_one_stays(played):
    _, seen, _, won = played
    ate = seen.ts.reward > 0
    equal(seen.own.fruit, seen.before.fruit, ~ate)
    drawn = np.flatnonzero(ate & ~won)
    assert (seen.own.body[drawn, seen.own.fruit[drawn]] == 0).all()


def test_exception_without_a_legal_action_any_may_be_played(played):
    """Jumanji's mask is then empty, which no policy can sample from."""
    case, seen, out, _ = played
    stuck = ~seen.their_ts.observation.action_mask.any(axis=1) & ~out
    assert seen.view[1][stuck].all()
    assert stuck.any() or case.policy == "random"


def test_exception_the_clock_truncates(played):
    """Jumanji ends with discount 0 for whatever reason."""
    case, seen, _, _ = played
    ts, late = seen.ts, seen.theirs.time >= case.max_steps
    np.testing.assert_array_equal(seen.their_ts.discount, 1.0 - ts.last)
    np.testing.assert_array_equal(ts.truncated, late & ~ts.terminated)
    assert ts.truncated.any() == (case.policy == "greedy")
    assert ts.terminated.any()


def test_exception_out_of_the_board_the_snake_is_shown_where_it_stood(played):
    """Jumanji shows it beyond the opposite edge, or without its head."""
    case, seen, out, _ = played
    params = Snake(case.size).default_params()
    before, _ = jax.vmap(Snake(case.size).observe, in_axes=(0, None))(seen.before, params)
    equal(seen.ts.obs, np.asarray(before), out)
    head, grid = np.asarray(before)[:, 1], seen.their_ts.observation.grid
    over, under = out & (seen.action == UP), out & (seen.action == DOWN)
    equal(grid[:, -1, :, 1], head[:, 0], over)
    assert not grid[under][..., 1].any()


def test_exception_a_full_board_shows_no_fruit(played):
    """Jumanji draws one from nothing and puts it on the snake."""
    _, seen, _, won = played
    assert (seen.own.fruit[won] == -1).all()
    assert not seen.view[0][won, 3].any()
    assert seen.their_ts.observation.grid[won][..., 3].any(axis=(1, 2)).all()

"""The posterior player of Minesweeper: exact chances of a mine, the lowest of them played.

All placements that agree with every number seen are equally likely, but for what a free opening
tells: one that would open the whole board is replaced, so a lone number at the start is likelier
where that can happen.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metarl.envs.minesweeper import Minesweeper
from metarl.players.common import any_best, game_of, seen
from metarl.players.placements import Placements, placements
from metarl.types import Agent, AgentInput, Environment, Heads

MINE = 10  # what is known of a cell: 0 nothing, its number plus 1, or this
_SAME = 3e-6  # chances that differ by less are equal: float32 sums of thousands of weights


class Knowledge(struct.PyTreeNode):
    """Of one board, from as many attempts as are remembered."""

    known: jax.Array  # [cells] uint8
    safe: jax.Array  # [cells] bool, opened by the last action of an attempt, its number not seen
    lone: jax.Array  # [] bool, the free opening was one cell with a number


def posterior_player(
    env: Environment, *, ties: Literal["cascade", "random"] = "cascade", remember: bool = True
) -> Agent:
    """Plays a closed cell with the lowest chance of a mine.

    It knows how the game lays mines, that an action which is paid was safe, and that one which is
    not was a mine: true where mines pay nothing or less, and safe cells more.

    Args:
      env: Minesweeper, in a trial or not.
      ties: of equally safe cells, "cascade" prefers the likeliest to have no number and open others
        with it; what is equal then is played at random, as all of them are with "random".
      remember: know in later attempts of a trial what was seen in those before, and the mine hit.

    Raises:
      ValueError: the environment is another, or there are too many placements for a table.
    """
    game = game_of(env, Minesweeper)
    table = placements(game.height, game.width, game.mines)
    cells = game.num_actions

    def carry() -> Knowledge:
        none = jnp.zeros(cells, bool)
        return Knowledge(none.astype(jnp.uint8), none, jnp.bool_(False))

    def apply(params: dict, carry: Knowledge, inputs: AgentInput) -> tuple[Heads, Knowledge]:
        del params
        planes, again = seen(inputs)
        opened, number = planes.reshape(2, cells)
        carry = _begun(carry, inputs, again, opened, remember)
        known = jnp.where(opened > 0, number + 1, carry.known).astype(jnp.uint8)
        carry = carry.replace(known=known)
        lone = carry.lone & game.free_opening & game.flood_fill
        weights = _agreeing(table, carry) * jnp.where(lone, _lone_weights(table), 1)
        mine, empty, total = _counts(table, weights)
        closed = opened == 0
        mine = jnp.where(closed, mine, jnp.inf)
        best = mine <= mine.min() + _SAME * total
        if ties == "cascade":
            empty = jnp.where(best, empty, -jnp.inf)
            best = empty >= empty.max() - _SAME * total
        return any_best(best), carry

    return Agent(lambda key: {}, carry, apply)


def mine_chances(env: Environment, planes: jax.Array) -> jax.Array:
    """[cells] float32, the chance of a mine in each cell given an observation, mines being uniform.

    Raises:
      ValueError: as `posterior_player`.
    """
    game = game_of(env, Minesweeper)
    table = placements(game.height, game.width, game.mines)
    opened, number = planes.reshape(2, game.num_actions)
    known = jnp.where(opened > 0, number + 1, 0).astype(jnp.uint8)
    knowledge = Knowledge(known, jnp.zeros(game.num_actions, bool), jnp.bool_(False))
    mine, _, total = _counts(table, _agreeing(table, knowledge))
    return mine / total


def _begun(
    carry: Knowledge, inputs: AgentInput, again: jax.Array, opened: jax.Array, remember: bool
) -> Knowledge:
    """What is still known at this step, before its numbers are read."""
    last = jnp.arange(opened.shape[0]) == inputs.prev_action
    paid = inputs.prev_reward > 0
    hit = again & last & ~paid & (carry.known == 0)
    known = jnp.where(hit, jnp.uint8(MINE), carry.known)
    safe = carry.safe | (again & last & paid)
    forget = inputs.first | (again & (not remember))
    lone = jnp.where(inputs.first | again, jnp.sum(opened > 0) == 1, carry.lone)
    return Knowledge(jnp.where(forget, jnp.uint8(0), known), safe & ~forget, lone)


def _agreeing(table: Placements, knowledge: Knowledge) -> jax.Array:
    """[P] float32, 1 for each placement that agrees with what is known."""
    codes = jnp.asarray(np.where(table.mines, MINE, table.numbers + 1).astype(np.uint8))
    differs = (knowledge.known > 0) & (codes != knowledge.known)
    differs = differs | (knowledge.safe & (codes == MINE))
    return (~differs.any(axis=1)).astype(jnp.float32)


def _counts(table: Placements, weights: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Total weights [cells] of a mine, and of no number, in each cell; and of all placements []."""
    both = np.concatenate([table.mines, table.empty], axis=1).astype(np.float32)
    counts = jnp.matmul(weights, jnp.asarray(both), precision="highest")
    mine, empty = jnp.split(counts, 2)
    return mine, empty, weights.sum()


def _lone_weights(table: Placements) -> jax.Array:
    """[P] float32, how much likelier a lone number opens a board than if nothing were replaced."""
    whole = table.whole.sum(axis=1)
    numbered = (~table.mines & ~table.empty).sum(axis=1)
    return jnp.asarray(1 + whole / numbered, jnp.float32)

"""A bandit that gives every life its own numbers, such as learning rates (Oh et al. 2020).

Discovering reinforcement learning algorithms, https://arxiv.org/abs/2007.08794: what an update rule
is worth is seen only where an agent learns with rates that suit it, so these are balanced while the
rule is learned, by a bandit over a table of them that looks at returns at the ends of lives.

Reconstructed from memory, the paper's appendix not at hand: that row k of the table is drawn with
probability in proportion to `exp((mean_k + bonus / sqrt(count_k)) / temperature)`, a bonus of 0.2
and a temperature of 0.1. Ours: one table for all levels, where the paper has one for each kind of
environment; rows without a life that ended come before all others, each as likely, which is the
limit of the formula; and how returns are averaged, see `learned`.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from metarl.curriculum.buffer import take
from metarl.curriculum.few import for_few
from metarl.curriculum.lives import Born
from metarl.curriculum.replay import Curriculum
from metarl.rollout import where
from metarl.rules.life import LifeState
from metarl.types import Key, Learner, PyTree

Earned = Callable[[PyTree, PyTree, Key], jax.Array]  # (what is known of a life, level, key)


class Given(struct.PyTreeNode):
    """What a life is born with."""

    level: PyTree
    numbers: PyTree


class Bandit(struct.PyTreeNode):
    """What is known of each of `K` rows."""

    mean: jax.Array  # [K] float32, of returns
    count: jax.Array  # [K] int32, lives that ended


class NumbersState(struct.PyTreeNode):
    """The bandit, which row each of `A` lives has, and the curriculum below."""

    bandit: Bandit
    row: jax.Array  # [A] int32
    levels: PyTree  # [A, ...]
    calls: jax.Array  # [] int32
    curriculum: PyTree


def table(numbers: PyTree, **choices: Sequence[float]) -> PyTree:
    """All combinations of the choices, [K, ...], the rest as in `numbers`.

    `table(lpg.numbers(40.0, 4.0, 0.5), policy_rate=(20, 40), y_cost=(0.1, 0.5))` has four rows; the
    last choice varies fastest.

    Raises:
      ValueError: a name that `numbers` does not have, or nothing to choose from.
    """
    for name, values in choices.items():
        if name not in vars(numbers):
            raise ValueError(f"there is no number {name!r} among {list(vars(numbers))}")
        if not len(values):
            raise ValueError(f"{name} has no values to choose from")
    rows = jnp.array(list(itertools.product(*choices.values())), jnp.float32)  # [K, choices]
    every = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(rows), *jnp.shape(x))), numbers)
    return every.replace(**{name: rows[:, i] for i, name in enumerate(choices)})


def with_numbers(born: Born) -> Born:
    """Gives birth with the numbers that `numbered` chose.

    Raises:
      TypeError: while tracing, where a rule keeps no numbers of its lives.
    """

    def one(given: Given, key: Key) -> Learner:
        learner = born(given.level, key)
        if not isinstance(learner.rule_state, LifeState):
            found = type(learner.rule_state).__name__
            raise TypeError(f"the rule keeps no numbers of a life: its state is {found}")
        return learner.replace(rule_state=learner.rule_state.replace(numbers=given.numbers))

    return one


def numbered(
    curriculum: Curriculum,
    rows: PyTree,
    earned: Earned,
    *,
    temperature: float = 0.1,
    bonus: float = 0.2,
    memory: float = 0.1,
    batch: int = 1,
) -> Curriculum:
    """The curriculum, whose levels then are `Given`: levels, and numbers that the bandit chose.

    To be used as `on_levels(meta, with_numbers(born), numbered(curriculum, rows, earned),
    lifetime=lambda given: lifetime(given.level))`.

    Args:
      curriculum: gives the levels.
      rows: numbers [K, ...], such as `table` makes.
      earned: `(life, level, key) -> return`, of a life as it ended; in the units of temperature and
        bonus. It is computed only for lives that ended, and is never differentiated.
      temperature: the lower, the likelier is the best row.
      bonus: for rows that few lives had.
      memory: the least weight of a new return, see `learned`.
      batch: returns that are computed at once.

    Returns:
      A `Curriculum` with the metrics of the one below, and of each row k its probability `row_k`
      and `row_k_return`, NaN before any life with it ended.

    Raises:
      ValueError: a number out of range.
    """
    if not temperature > 0 or not bonus >= 0 or not 0 <= memory <= 1 or batch < 1:
        raise ValueError(
            "temperature must be above 0, bonus at least 0, memory in 0..1 and batch at least 1, "
            f"got {temperature}, {bonus}, {memory} and {batch}"
        )
    kinds = len(jax.tree.leaves(rows)[0])

    def draw(bandit: Bandit, key: Key, count: int) -> jax.Array:
        weights = log_weights(bandit, temperature=temperature, bonus=bonus)
        return jax.random.categorical(key, weights, shape=(count,)).astype(jnp.int32)

    def init(key: Key) -> tuple[PyTree, NumbersState]:
        level_key, row_key = jax.random.split(key)
        levels, below = curriculum.init(level_key)
        bandit = Bandit(jnp.zeros(kinds), jnp.zeros(kinds, jnp.int32))
        row = draw(bandit, row_key, len(jax.tree.leaves(levels)[0]))
        state = NumbersState(bandit, row, levels, jnp.int32(0), below)
        return Given(levels, take(rows, row)), state

    def replace(state: NumbersState, ended: jax.Array, life: PyTree, key: Key):
        level_key, own_key = jax.random.split(key)
        earn_key, row_key = jax.random.split(jax.random.fold_in(own_key, state.calls))

        def ret(i: jax.Array) -> jax.Array:
            one = jax.lax.stop_gradient(take(life, i))  # a judgement of numbers, not of eta
            return earned(one, take(state.levels, i), jax.random.fold_in(earn_key, i))

        places, nothing = jnp.arange(len(ended)), jnp.zeros(len(ended))
        returns, *_ = for_few(ended, places, ret, nothing, batch=min(batch, len(ended)))
        bandit = learned(state.bandit, state.row, ended, returns, memory=memory)
        levels, below, told = curriculum.replace(state.curriculum, ended, life, level_key)
        row = where(ended, draw(bandit, row_key, len(ended)), state.row)
        shown: Any = jax.nn.softmax(log_weights(bandit, temperature=temperature, bonus=bonus))
        known = jnp.where(bandit.count > 0, bandit.mean, jnp.nan)
        told = {**told, **{f"row_{k}": shown[k] for k in range(kinds)}}
        told |= {f"row_{k}_return": known[k] for k in range(kinds)}
        state = NumbersState(bandit, row, levels, state.calls + 1, below)
        return Given(levels, take(rows, row)), state, told

    return Curriculum(init, replace)


def log_weights(bandit: Bandit, *, temperature: float, bonus: float) -> jax.Array:
    """[K], how likely each row is drawn: see above. `softmax` makes probabilities of them."""
    untried = bandit.count == 0
    few = bonus / jnp.sqrt(jnp.maximum(bandit.count, 1))
    weights = (bandit.mean + few) / temperature
    return jnp.where(jnp.any(untried), jnp.where(untried, 0.0, -jnp.inf), weights)


def learned(
    bandit: Bandit, row: jax.Array, ended: jax.Array, returns: jax.Array, *, memory: float
) -> Bandit:
    """What is known after lives ended.

    The mean is that of all returns until a new one would weigh less than `memory` in it, and from
    then on moves by that much: the rule changes, and old returns are those of another. Returns that
    come at once count by their mean, whose weight is that of as many one after the other.

    Args:
      bandit: before.
      row: [A] int32, of each life.
      ended: [A] bool.
      returns: [A], of no meaning where not ended.
      memory: the least weight; 0 keeps the mean of all.
    """
    to = jnp.where(ended, row, len(bandit.mean))  # beyond the last: dropped
    new = jnp.zeros_like(bandit.count).at[to].add(1, mode="drop")
    total = jnp.zeros_like(bandit.mean).at[to].add(returns, mode="drop")
    count = bandit.count + new
    share = jnp.maximum(new / jnp.maximum(count, 1), 1 - (1 - memory) ** new)
    step = share * (total / jnp.maximum(new, 1) - bandit.mean)
    return Bandit(jnp.where(new > 0, bandit.mean + step, bandit.mean), count)

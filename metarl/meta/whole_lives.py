"""Evolution over whole lives, each pair of etas on a level of its own (Jackson et al. 2024).

Discovering temporally-aware reinforcement learning algorithms, https://arxiv.org/abs/2402.05828.
Both members of a pair start on the same level with the same agent and live a whole life there, and
only which of them ends with the higher return counts: levels may pay what they like (antithetic
task sampling). What eta does early in a life is judged by its end, so that schedules can be learned
which a window of meta-gradients does not see. Numbers are those of the released code; the paper's
tables were not at hand. Here each generation lives all its lives: there is no population in
progress, and the outer loop is none of `metarl.types.MetaLearner`.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.inner import birth, live
from metarl.meta.common import MetaState, moved, started, summary
from metarl.meta.evolution import both_sides, check_std, slopes
from metarl.meta.first_returns import Return
from metarl.meta.shaping import Shaping, advantage, pair_ranks
from metarl.rollout import VectorEnv
from metarl.rules.life import with_lifetime
from metarl.types import Agent, Eta, Key, Learner, Metrics, PyTree, UpdateRule

Lifetime = int | Callable[[PyTree, Key], jax.Array]  # updates; of all, or from a level and a key
Parts = tuple[Agent, UpdateRule, VectorEnv]


class Generations(NamedTuple):
    """An outer loop without a population: `update(state, key)`, with the key of the whole run."""

    init: Callable[[Key], MetaState]
    update: Callable[[MetaState, Key], tuple[MetaState, Metrics]]


class Pair(struct.PyTreeNode):
    """What two lives are made of; all but the last is the same for both."""

    level: PyTree
    lifetime: jax.Array  # [] int32, updates
    noise: Key  # of the perturbation
    agent: Key  # of the params at birth
    chance: Key  # [2], of all other randomness


def whole_lives(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    optimizer: optax.GradientTransformation,
    ret: Return,
    levels: Callable[[Key], PyTree],
    *,
    pairs: int,
    length: int,
    lifetime: Lifetime,
    std: float | optax.Schedule = 0.1,
    shaping: Shaping | None = None,
    chunk: int | None = None,
    common: bool = False,
    alike: bool = False,
    from_zero: bool = False,
    env_params: Callable[[PyTree], PyTree] = lambda level: level,
) -> Generations:
    """Builds the outer loop.

    Memory grows with `chunk`, not with `pairs`: perturbations are drawn again for the estimate. In
    a chunk the longest life counts, so pairs of different lifetimes are sorted by them first.
    A rule with a clock is told the lifetime (`metarl.rules.life`).

    Metrics: `meta_loss`, minus the mean return at the end of the lives; `fitness_std` of these
    returns; `ties`, the share of pairs whose two returns are equal; `lifetime`, the mean; those of
    each life's last update; and those of `metarl.meta.common.moved`. The mean eta itself never
    lives: its return is to be evaluated apart.

    Args:
      agent, rule, venv: the parts of the inner loop.
      optimizer: of eta; `annealed_adam()` is the published one.
      ret: `(params, level, key) -> return` of an agent at the end of its life, of which more is
        better (`metarl.meta.first_returns`). A pair with NaN does not count.
      levels: draws one.
      pairs: of etas in each generation, 512 as published.
      length: T, steps per update.
      lifetime: updates of a life: a number, or from a level and a key (`log_uniform`).
      std: of the distance of etas from the mean, in every number; or its schedule.
      shaping: what returns count (`metarl.meta.shaping`), by default `pair_ranks`.
      chunk: pairs that live at once, a divisor of `pairs`; None: all.
      common: both of a pair also have the same actions and environments' randomness while their
        params are the same; as published they do not.
      alike: all pairs have the level, the lifetime and the agent of one, and the same randomness
        but for `common`: where returns of all pairs are compared, eta alone should tell them apart.
      from_zero: the search starts at zero, as in the released code, not where `init_eta` says.
      env_params: from a level to its params.

    Raises:
      ValueError: no pairs, a lifetime without updates, a `std` that is not positive, or a `chunk`
        that does not divide the pairs.
    """
    chunk = pairs if chunk is None else chunk
    _check(pairs, chunk, lifetime, std)
    judge = partial(lived, (agent, rule, venv), ret, env_params, lifetime, length)

    def init(key: Key) -> MetaState:
        state = started(rule, optimizer, key)
        if from_zero:
            state = state.replace(eta=jax.tree.map(jnp.zeros_like, state.eta))
        return state

    def update(state: MetaState, key: Key) -> tuple[MetaState, Metrics]:
        apart = std(state.updates) if callable(std) else std
        key = jax.random.fold_in(key, state.updates)
        drawn = drawn_pairs(levels, lifetime, key, pairs, common=common, alike=alike)
        one = partial(judge, state.eta, apart)
        fitness, metrics = jax.lax.map(one, drawn, batch_size=chunk)  # [P, 2]
        gaps = advantage(shaping or pair_ranks, fitness)
        grads = estimate(state.eta, drawn.noise, -gaps, apart, chunk)
        state, told = moved(optimizer, state, jax.tree.map(lambda x: x[None], grads))
        metrics = summary({name: x.ravel() for name, x in metrics.items()})
        return state, {
            **metrics,
            **told,
            "meta_loss": -jnp.nanmean(fitness),
            "fitness_std": jnp.nanstd(fitness),
            "ties": jnp.mean(fitness[:, 0] == fitness[:, 1]),
            "lifetime": jnp.mean(drawn.lifetime.astype(jnp.float32)),
        }

    return Generations(init, update)


def drawn_pairs(
    levels: Callable[[Key], PyTree],
    lifetime: Lifetime,
    key: Key,
    pairs: int,
    *,
    common: bool,
    alike: bool = False,
) -> Pair:
    """[P, ...] new pairs, those of short lives first. The key is consumed."""

    def one(key: Key) -> Pair:
        level_key, time_key, noise, agent, key = jax.random.split(key, 5)
        level = levels(level_key)
        updates = lifetime(level, time_key) if callable(lifetime) else lifetime
        chance = jax.random.split(key)
        chance = jnp.stack([chance[0], chance[0]]) if common else chance
        return Pair(level, jnp.asarray(updates, jnp.int32), noise, agent, chance)

    drawn = jax.vmap(one)(jax.random.split(key, pairs))
    if alike:
        first = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), drawn)
        return first.replace(noise=drawn.noise)
    if not callable(lifetime):
        return drawn
    order = jnp.argsort(drawn.lifetime)
    return jax.tree.map(lambda x: x[order], drawn)


def lived(
    parts: Parts,
    ret: Return,
    env_params: Callable[[PyTree], PyTree],
    lifetime: Lifetime,
    length: int,
    eta: Eta,
    std: Any,
    pair: Pair,
) -> tuple[jax.Array, Metrics]:
    """[2] returns at the end of both lives, and the metrics [2] of their last updates."""
    # Where all lives are equally long, a plain number spares the loop a choice for every array.
    updates = pair.lifetime if callable(lifetime) else lifetime

    def one(eta: Eta, key: Key) -> tuple[jax.Array, Metrics]:
        birth_key, life_key, play_key = jax.random.split(key, 3)
        learner = newborn(parts, env_params(pair.level), pair, birth_key)
        learner, metrics = whole_life(parts, eta, learner, life_key, updates, length)
        return ret(learner.params, pair.level, play_key), metrics

    etas = jax.tree.map(lambda x: x[0], both_sides(eta, perturbation(pair.noise[None], eta), std))
    return jax.vmap(one)(etas, pair.chance)


def newborn(parts: Parts, env_params: PyTree, pair: Pair, key: Key) -> Learner:
    """A learner with the agent and the lifetime of the pair, and environments of its own."""
    agent, rule, venv = parts
    params = agent.init(pair.agent)
    state = with_lifetime(rule.init(params), pair.lifetime)
    return birth(agent, rule, venv, env_params, key).replace(params=params, rule_state=state)


def whole_life(
    parts: Parts, eta: Eta, learner: Learner, key: Key, updates: int | jax.Array, length: int
) -> tuple[Learner, Metrics]:
    """The learner after `updates` updates, a number at least 1, and the metrics of the last one."""

    def older(learner: Learner) -> tuple[Learner, Metrics]:
        learner, metrics = live(*parts, eta, learner, key, updates=1, length=length)
        return learner, {name: x[0] for name, x in metrics.items()}

    shapes = jax.eval_shape(lambda learner: older(learner)[1], learner)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.while_loop(
        lambda loop: loop[0].age < updates, lambda loop: older(loop[0]), (learner, nothing)
    )


def estimate(eta: Eta, noise_keys: Key, gaps: jax.Array, std: Any, chunk: int) -> Eta:
    """The gradient, like eta, from what the first of each pair loses more than the second, [P]."""
    count = len(gaps)

    def add(total: Eta, part: tuple[Key, jax.Array]) -> tuple[Eta, None]:
        steps = slopes(part[1], perturbation(part[0], eta), std)
        return jax.tree.map(lambda t, x: t + x.sum(axis=0), total, steps), None

    cut = jax.tree.map(lambda x: x.reshape(count // chunk, chunk), (noise_keys, gaps))
    total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, eta), cut)
    return jax.tree.map(lambda x: x / count, total)


def perturbation(noise_keys: Key, eta: Eta) -> Eta:
    """[P, ...] standard normal numbers in the form of eta, all of a key [P] in one draw.

    `metarl.meta.evolution.perturbations` draws leaf by leaf, which for a network takes most of the
    time that compiling takes.
    """
    leaves, form = jax.tree.flatten(eta)
    ends = [0, *itertools.accumulate(x.size for x in leaves)]
    dtype = jnp.result_type(*leaves)
    drawn = jax.vmap(lambda key: jax.random.normal(key, (ends[-1],), dtype))(noise_keys)
    cut = [
        drawn[:, a:b].reshape(-1, *x.shape).astype(x.dtype)
        for a, b, x in zip(ends, ends[1:], leaves, strict=False)
    ]
    return jax.tree.unflatten(form, cut)


def annealed_adam(
    learning_rate: float = 1e-2, *, decay: float = 0.999, least: float = 1e-5, b1: float = 0.99
) -> optax.GradientTransformation:
    """The published optimizer of eta: `learning_rate * decay ** generation`, not below `least`."""
    schedule = optax.exponential_decay(learning_rate, 1, decay, end_value=least)
    return optax.adam(schedule, b1=b1)


def log_uniform(low: int, high: int) -> Callable[[PyTree, Key], jax.Array]:
    """Lifetimes of which the logarithm is uniform, rounded, from `low` to `high`.

    The released code has them between 10 and 250 for TA-LPG.

    Raises:
      ValueError: a lifetime without updates, or limits in the wrong order.
    """
    if not 1 <= low <= high:
        raise ValueError(f"lifetimes need 1 <= low <= high, got {low} and {high}")

    def lifetime(level: PyTree, key: Key) -> jax.Array:
        log = jax.random.uniform(key, (), jnp.float32, jnp.log(low), jnp.log(high))
        return jnp.clip(jnp.round(jnp.exp(log)), low, high).astype(jnp.int32)

    return lifetime


def _check(pairs: int, chunk: int, lifetime: Lifetime, std: float | optax.Schedule) -> None:
    if pairs < 1:
        raise ValueError(f"pairs must be at least 1, got {pairs}")
    if chunk < 1 or pairs % chunk:
        raise ValueError(f"chunk must be a divisor of the {pairs} pairs, got {chunk}")
    if not callable(lifetime) and lifetime < 1:
        raise ValueError(f"lifetime must be at least 1 update, got {lifetime}")
    if not callable(std):
        check_std(std)

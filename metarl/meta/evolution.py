"""Evolution strategies over eta: better and worse etas are found by trying, nothing is derived.

After Salimans et al. 2017 (https://arxiv.org/abs/1703.03864); `persistent` after Vicol et al. 2021
(https://arxiv.org/abs/2112.13835). The library evosax has both estimators, and the tests compare
with them. Its strategies do not fit an outer loop over lives, though: they count one life's windows
for all members together, where populations here are staggered; they move their mean themselves, so
that the meta-gradient is not to be seen; and importing evosax starts a backend.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.meta.common import MetaLoss, MetaState, Objective, life_keys, moved, started, summary
from metarl.meta.metagrad import check_weights, outer_losses
from metarl.rollout import VectorEnv
from metarl.types import (
    Agent,
    Eta,
    Key,
    Learner,
    MetaLearner,
    Metrics,
    Params,
    PyTree,
    Rollout,
    UpdateRule,
)

Fitness = Callable[[Learner, Metrics], jax.Array]  # a learner after a window, means of its metrics


def minus_reward(params: Params, rollout: Rollout) -> jax.Array:
    """The objective of reward alone: minus its mean over steps and environments."""
    return -jnp.mean(rollout.reward)


def episode_return(learner: Learner, metrics: Metrics) -> jax.Array:
    """The fitness of episodes: the mean return of those that ended; NaN where none did."""
    return metrics["episode_return"]


def evolution(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    optimizer: optax.GradientTransformation,
    *,
    objective: Objective = minus_reward,
    fitness: Fitness | None = None,
    weights: Sequence[float] = (1.0,),
    length: int,
    pairs: int,
    std: float,
    ranked: bool = True,
) -> MetaLearner:
    """Builds the outer loop: each learner's next window is lived with many etas.

    A window is as many updates as there are `weights`. From where it is, every learner lives it
    with `pairs` pairs of etas on opposite sides of the mean, all with the same randomness, and goes
    on from the window that it lives with the mean itself: `2 pairs + 1` windows. What eta does
    after the window is not seen; only where a window is a whole life is nothing left out
    (`metarl.meta.lives` with a lifetime of as many updates).

    Metrics: `meta_loss`, minus the mean fitness; `fitness_std` over the etas tried; the learners'
    own; and those of `metarl.meta.common.moved`.

    Args:
      agent, rule, venv: the parts of the inner loop.
      optimizer: of eta. It is given the estimate of a gradient to descend.
      objective: what is minimised: the weighted sum of its values after each update, on experience
        that is new to the learner, as in `metarl.meta.metagrad`; by default minus the reward.
      fitness: what is maximised instead of that; a pair with a value that is NaN does not count.
      weights: of the values after each update; `metarl.meta.metagrad.mixed(n)` is a window's mean.
      length: T, steps between updates.
      pairs: of etas, of each learner.
      std: of their distance from the mean, in every number of eta.
      ranked: whether fitness counts by its rank among those of one learner (`centred_ranks`). The
        length of the estimate then says nothing: choose an optimizer that ignores it, like Adam.

    Raises:
      ValueError: no weights, no pairs, or a `std` that is not positive.
    """
    if pairs < 1:
        raise ValueError(f"pairs must be at least 1, got {pairs}")
    check_std(std)
    run = window(agent, rule, venv, objective, fitness, weights=weights, length=length)

    def one(eta: Eta, learner: Learner, life_key: Key, noise_key: Key):
        noise = perturbations(noise_key, eta, pairs)
        tried = jax.vmap(lambda eta: run(eta, learner, life_key)[0])
        losses = jax.vmap(tried)(both_sides(eta, noise, std))  # [P, 2]
        gaps = differences(losses, ranked=ranked)
        grads = jax.tree.map(lambda x: x.mean(axis=0), slopes(gaps, noise, std))
        learner, metrics = run(eta, learner, life_key)[1]
        return grads, learner, {**metrics, **_fitness(losses)}

    def update(state: MetaState, learners: Learner, key: Key):
        noise_key, live_key = jax.random.split(key)
        noise_keys = jax.random.split(
            jax.random.fold_in(noise_key, state.updates), learners.age.shape[0]
        )
        lived = jax.vmap(one, in_axes=(None, 0, 0, 0))
        grads, learners, metrics = lived(
            state.eta, learners, life_keys(live_key, learners), noise_keys
        )
        state, told = moved(optimizer, state, grads)
        return state, learners, {**summary(metrics), **told}

    return MetaLearner(lambda key, learners: started(rule, optimizer, key), update)


class PersistentState(struct.PyTreeNode):
    """The outer loop's state, and what every pair has been through."""

    meta: MetaState
    noise: PyTree  # [P, ...] like eta: the sum of the pair's perturbations in this life
    life: jax.Array  # [P] int32, which life that is


def persistent(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    optimizer: optax.GradientTransformation,
    *,
    objective: Objective = minus_reward,
    fitness: Fitness | None = None,
    weights: Sequence[float] = (1.0,),
    length: int,
    std: float,
    ranked: bool = False,
) -> MetaLearner:
    """Builds the outer loop of persistent evolution strategies, without bias by truncation.

    Each two neighbours of the population are a pair: twins from birth (the second becomes a copy
    of the first at its first window) who live with the same randomness and opposite perturbations,
    new ones in every window. A window's losses are held against the sum of all perturbations since
    birth, so that eta answers for what it did in earlier windows. The variance grows with the
    number of windows in a life. Costs one window a learner.

    Args:
      agent, rule, venv, optimizer, objective, fitness, weights, length, std: as `evolution`.
      ranked: whether fitness counts by its rank in the whole population, which costs the lack of
        bias, and compares learners of all ages.

    Raises:
      ValueError: no weights, or a `std` that is not positive; in `init`, an odd population.
    """
    check_std(std)
    run = window(agent, rule, venv, objective, fitness, weights=weights, length=length)

    def init(key: Key, learners: Learner) -> PersistentState:
        count = learners.age.shape[0]
        if count % 2:
            raise ValueError(f"pairs need an even number of learners, got {count}")
        meta = started(rule, optimizer, key)
        zeros = jax.tree.map(lambda x: jnp.zeros((count // 2, *x.shape), x.dtype), meta.eta)
        return PersistentState(meta, zeros, jnp.full(count // 2, -1, jnp.int32))

    def update(state: PersistentState, learners: Learner, key: Key):
        meta, pairs = state.meta, state.life.shape[0]
        noise_key, live_key = jax.random.split(key)
        born = learners.life[::2] != state.life  # [P]
        learners = twins(learners, born)
        life_key = jnp.repeat(life_keys(live_key, learners)[::2], 2)  # [A]
        noise = perturbations(jax.random.fold_in(noise_key, meta.updates), meta.eta, pairs)
        keep = lambda old: old * _over(~born, old)  # noqa: E731
        total = jax.tree.map(lambda old, new: keep(old) + new, state.noise, noise)
        etas = jax.tree.map(_flat, both_sides(meta.eta, noise, std))  # [A, ...]
        losses, (learners, metrics) = jax.vmap(run)(etas, learners, life_key)
        losses = losses.reshape(pairs, 2)
        grads = slopes(differences(losses, ranked=ranked), total, std)
        meta, told = moved(optimizer, meta, grads)
        metrics = {**summary(metrics), **_fitness(losses), **told}
        return PersistentState(meta, total, learners.life[::2]), learners, metrics

    return MetaLearner(init, update)


def window(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    objective: Objective,
    fitness: Fitness | None,
    *,
    weights: Sequence[float],
    length: int,
) -> MetaLoss:
    """The loss of a window of a life, `evolution` says which, through which no derivative passes.

    Raises:
      ValueError: no weights.
    """
    check_weights(weights)

    def run(eta: Eta, learner: Learner, key: Key):
        losses, learner, metrics = outer_losses(
            agent, rule, venv, objective, eta, learner, key,
            weights=weights, length=length, gradient="none",
        )  # fmt: skip
        if fitness is not None:
            return -fitness(learner, metrics), (learner, metrics)
        return jnp.dot(jnp.array(weights, losses.dtype), losses), (learner, metrics)

    return run


def perturbations(key: Key, eta: Eta, count: int) -> Eta:
    """[count, ...] standard normal numbers in the form of eta. The key is consumed."""
    leaves, form = jax.tree.flatten(eta)
    drawn = [
        jax.random.normal(k, (count, *x.shape), x.dtype)
        for k, x in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
    ]
    return jax.tree.unflatten(form, drawn)


def both_sides(eta: Eta, noise: Eta, std: float) -> Eta:
    """[P, 2, ...] the etas of each pair, from noise [P, ...]."""
    return jax.tree.map(lambda x, e: jnp.stack([x + std * e, x - std * e], axis=1), eta, noise)


def differences(losses: jax.Array, *, ranked: bool) -> jax.Array:
    """[P] what the first of each pair loses more than the second, [P, 2]; 0 where one is NaN."""
    used = centred_ranks(losses) if ranked else losses
    known = ~jnp.isnan(losses).any(axis=1)
    return jnp.where(known, used[:, 0] - used[:, 1], 0)


def slopes(gaps: jax.Array, noise: Eta, std: float) -> Eta:
    """[P, ...] each pair's estimate of the gradient; their mean is that of the smoothed loss."""
    return jax.tree.map(lambda e: _over(gaps, e) * e / (2 * std), noise)


def centred_ranks(values: jax.Array) -> jax.Array:
    """Ranks from -1/2, the smallest, to 1/2; equal values share the mean of their ranks."""
    flat = values.ravel()
    below = jnp.sum(flat[None] < flat[:, None], axis=1)
    equal = jnp.sum(flat[None] == flat[:, None], axis=1) - 1
    return ((below + equal / 2) / (flat.size - 1) - 0.5).reshape(values.shape)


def twins(learners: Learner, born: jax.Array) -> Learner:
    """The population [A, ...] where the second of each pair that is `born` [P] copies the first."""

    def copied(x: jax.Array) -> jax.Array:
        pairs = x.reshape(-1, 2, *x.shape[1:])
        second = jnp.where(_over(born, pairs[:, 0]), pairs[:, 0], pairs[:, 1])
        return _flat(jnp.stack([pairs[:, 0], second], axis=1))

    return jax.tree.map(copied, learners)


def check_std(std: float) -> None:
    """Raises ValueError where nothing would be tried."""
    if not std > 0:
        raise ValueError(f"std must be above 0, got {std}")


def _fitness(losses: jax.Array) -> Metrics:
    return {"meta_loss": jnp.nanmean(losses), "fitness_std": jnp.nanstd(losses)}


def _over(rows: jax.Array, like: Any) -> jax.Array:
    """[P] with as many axes as `like`."""
    return rows.reshape(-1, *(1,) * (like.ndim - 1))


def _flat(pairs: jax.Array) -> jax.Array:
    """[P, 2, ...] -> [2 P, ...]."""
    return pairs.reshape(-1, *pairs.shape[2:])

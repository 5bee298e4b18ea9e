"""From a loss of one learner's future to an outer loop over a population of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.types import (
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

Objective = Callable[[Params, Rollout], jax.Array]  # a number, of experience [N, T, ...]
MetaLoss = Callable[[Eta, Learner, Key], tuple[jax.Array, tuple[Learner, Metrics]]]
MEMORY = 0.99  # of the running statistics of the meta-gradient


class MetaState(struct.PyTreeNode):
    """What an outer loop keeps from one update to the next."""

    eta: Eta
    optimizer: PyTree
    moments: "Moments"
    updates: jax.Array  # [] int32


class Moments(struct.PyTreeNode):
    """Running averages of the meta-gradient and of its square, like eta."""

    mean: PyTree
    square: PyTree


def meta_adam(
    learning_rate: float,
    *,
    max_norm: float | None = None,
    eps: float = 1e-8,
    eps_root: float = 0.0,
) -> optax.GradientTransformation:
    """Adam for eta, behind a clip by global norm where `max_norm` is given."""
    clip = [] if max_norm is None else [optax.clip_by_global_norm(max_norm)]
    return optax.chain(*clip, optax.adam(learning_rate, eps=eps, eps_root=eps_root))


def averaged(loss: Callable[[Params, Rollout], tuple[jax.Array, Metrics]]) -> Objective:
    """The mean over streams of `loss(params, rollout [T, ...]) -> (loss, metrics)`.

    A rule's loss with its eta fixed is such a function.
    """
    return lambda params, rollout: jnp.mean(jax.vmap(lambda one: loss(params, one)[0])(rollout))


def life_keys(key: Key, learners: Learner) -> Key:
    """[A] keys, one for each life in progress, from the key of the whole run."""
    places = jax.random.split(key, learners.age.shape[0])
    return jax.vmap(jax.random.fold_in)(places, learners.life)


def descending(
    loss: MetaLoss, rule: UpdateRule, optimizer: optax.GradientTransformation
) -> MetaLearner:
    """The outer loop that follows the gradient of `loss` in eta, averaged over the population.

    Args:
      loss: `(eta, learner, key of its life) -> (loss, (the learner afterwards, metrics))`.
      rule: whose eta is learned.
      optimizer: of eta.

    Returns:
      A `MetaLearner` whose metrics are those of `loss` (`summary` over the population) and those of
      `moved`.
    """

    def update(state: MetaState, learners: Learner, key: Key):
        grad = jax.value_and_grad(loss, has_aux=True)
        values, grads = jax.vmap(grad, in_axes=(None, 0, 0))(
            state.eta, learners, life_keys(key, learners)
        )
        loss_, (learners, metrics) = values
        state, told = moved(optimizer, state, grads)
        metrics = summary({**metrics, "meta_loss": loss_})
        return state, jax.lax.stop_gradient(learners), {**metrics, **told}

    return MetaLearner(lambda key, learners: started(rule, optimizer, key), update)


def started(rule: UpdateRule, optimizer: optax.GradientTransformation, key: Key) -> MetaState:
    """The state before the first update. The key is consumed."""
    eta = rule.init_eta(key)
    zeros = jax.tree.map(jnp.zeros_like, eta)
    return MetaState(eta, optimizer.init(eta), Moments(zeros, zeros), jnp.int32(0))


def meta_state(state: PyTree) -> MetaState | None:
    """The part of an outer loop's state that has eta, if it keeps one such."""
    is_state = lambda x: isinstance(x, MetaState)  # noqa: E731
    found = [x for x in jax.tree.leaves(state, is_leaf=is_state) if is_state(x)]
    return found[0] if found else None


def moved(
    optimizer: optax.GradientTransformation, state: MetaState, grads: PyTree
) -> tuple[MetaState, Metrics]:
    """One step of the optimizer on meta-gradients [A, ...], and what is to be said of them.

    Metrics: `meta_grad_norm` of the mean over the population; `meta_grad_std`, the root of its
    summed variance over time, of which an average over the last hundred updates is kept;
    `meta_grad_snr`, the norm of that average over the same root (NaN at first); and, for every
    number in eta that stands alone, `eta/NAME` and `meta_grad/NAME`.
    """
    mean = jax.tree.map(lambda x: x.mean(axis=0), grads)
    steps, opt_state = optimizer.update(mean, state.optimizer, state.eta)
    eta = optax.apply_updates(state.eta, steps)
    blend = lambda old, new: MEMORY * old + (1 - MEMORY) * new  # noqa: E731
    moments = Moments(
        jax.tree.map(blend, state.moments.mean, mean),
        jax.tree.map(lambda m, g: blend(m, jnp.square(g)), state.moments.square, mean),
    )
    updates = state.updates + 1
    told = {"meta_grad_norm": optax.tree.norm(mean), **_noise(moments, updates)}
    for prefix, tree in (("eta", eta), ("meta_grad", mean)):
        told.update({f"{prefix}/{name}": x for name, x in lone_numbers(tree).items()})
    return MetaState(eta, opt_state, moments, updates), told


def summary(metrics: Metrics) -> Metrics:
    """Metrics [n] of several updates or learners as one number each.

    As `metarl.io.logging.summarise` makes rows: means, but `episodes` is summed, and what begins
    with `episode_` is averaged over episodes.
    """
    told = {k: jnp.mean(v) for k, v in metrics.items() if not k.startswith("episode")}
    if "episodes" in metrics:
        count = metrics["episodes"]
        told["episodes"] = jnp.sum(count)
        for name in ("episode_return", "episode_length"):
            total = jnp.sum(jnp.where(count > 0, metrics[name] * count, 0))
            told[name] = total / jnp.where(told["episodes"] > 0, told["episodes"], jnp.nan)
    return told


def lone_numbers(tree: PyTree) -> dict[str, jax.Array]:
    """The leaves of shape [] by their path, such as `discount` or `net.0.b`."""
    return {name: leaf for name, leaf in named(tree).items() if leaf.shape == ()}


def named(tree: PyTree) -> dict[str, jax.Array]:
    """The leaves by their path."""
    return {
        ".".join(map(_name, path)): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _noise(moments: Moments, updates: jax.Array) -> Metrics:
    """Standard deviation and signal-to-noise ratio of the recent meta-gradients."""
    seen = 1 - MEMORY ** updates.astype(jnp.float32)
    mean, square = jax.tree.map(lambda x: x / seen, (moments.mean, moments.square))
    spread = jax.tree.map(lambda m, s: jnp.sum(jnp.maximum(s - m * m, 0)), mean, square)
    std = jnp.sqrt(sum(jax.tree.leaves(spread), jnp.float32(0)))
    known = updates > 1  # one number has no spread
    snr = jnp.where(known, optax.tree.norm(mean) / jnp.maximum(std, 1e-30), jnp.nan)
    return {"meta_grad_std": std, "meta_grad_snr": snr}


def _name(entry: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)

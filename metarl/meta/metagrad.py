"""Meta-gradients: the derivative, in eta, of what became of a learner.

Meta-gradient reinforcement learning (Xu et al. 2018, https://arxiv.org/abs/1805.09801), over
several updates and with mixed outer losses (Bonnet et al. 2021, https://arxiv.org/abs/2111.00206;
the form of the mixture is a reconstruction from its abstract, not read in the paper).
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import optax

from metarl.inner import Gradient, act, check_gradient, live, turn_keys
from metarl.meta.common import Objective, descending, summary
from metarl.rollout import VectorEnv
from metarl.types import Agent, Eta, Key, Learner, MetaLearner, Metrics, UpdateRule


def first(updates: int) -> tuple[float, ...]:
    """Weights of the one-step meta-gradient: the outer loss after the first update alone."""
    return (1.0, *[0.0] * (updates - 1))


def last(updates: int) -> tuple[float, ...]:
    """Weights of the n-step meta-gradient: the outer loss after the last update alone."""
    return (*[0.0] * (updates - 1), 1.0)


def mixed(updates: int, ratio: float = 1.0) -> tuple[float, ...]:
    """Weights proportional to `ratio ** i` that sum to one; ratio 1 is the uniform mixture."""
    powers = [ratio**i for i in range(updates)]
    return tuple(power / sum(powers) for power in powers)


def metagrad(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    weights: Sequence[float] = (1.0,),
    length: int,
    gradient: Gradient = "checkpointed",
    eligibility: float = 1.0,
    window: int | None = None,
) -> MetaLearner:
    """Builds the outer loop.

    At each meta-update every learner makes as many updates as there are `weights`. After update i
    the objective is taken on experience that is new to the learner, and weighted by `weights[i]`.
    That experience is the learner's next: it is learned from in its turn, at the next meta-update
    too, so none is collected for the outer loss alone.

    Args:
      agent, rule, venv: the parts of the inner loop.
      objective: `(params, rollout [N, T, ...]) -> loss`, see `metarl.meta.objectives`; no
        derivative in eta passes but through `params`.
      optimizer: of eta.
      weights: of the outer losses; `first`, `last` and `mixed` make the usual ones.
      length: T, steps between updates.
      gradient: how derivatives pass through the updates (`metarl.inner.live`).
      eligibility: factor on derivatives from one update to the one before it: the decay of Xu et
        al.'s trace. At 0 every update counts as if the params it started from were given.
      window: only so many updates, the last ones, are differentiated (`metarl.meta.truncated`).

    Raises:
      ValueError: no weights, all zero, or a window that is not within them.
    """
    check_weights(weights)
    check_gradient(gradient)
    if window is not None and not 1 <= window <= len(weights):
        raise ValueError(f"window must lie in 1..{len(weights)}, the updates; got {window}")

    def loss(eta: Eta, learner: Learner, key: Key):
        losses, learner, metrics = outer_losses(
            agent, rule, venv, objective, eta, learner, key,
            weights=weights, length=length, gradient=gradient, eligibility=eligibility,
            window=window,
        )  # fmt: skip
        return jnp.dot(jnp.array(weights, losses.dtype), losses), (learner, metrics)

    return descending(loss, rule, optimizer)


def outer_losses(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    objective: Objective,
    eta: Eta,
    learner: Learner,
    key: Key,
    *,
    weights: Sequence[float],
    length: int,
    gradient: Gradient = "unrolled",
    eligibility: float = 1.0,
    window: int | None = None,
) -> tuple[jax.Array, Learner, Metrics]:
    """The objective after each update of one learner, [n]; zero where the weight is zero.

    Args: as `metagrad`, for one learner; `key` is that of its life.

    Returns:
      The losses, the learner after the updates, and the means of its metrics.
    """
    updates = len(weights)
    free = updates - (window or updates)  # updates that no derivative passes
    scored = any(weight != 0 for weight in weights[:-1])
    score = objective if scored else None
    go = partial(live, agent, rule, venv, length=length, score=score)
    parts = []
    if free:
        learner, metrics = go(eta, learner, key, updates=free)
        learner = jax.lax.stop_gradient(learner)  # what came before the window is given
        parts.append(metrics)
    learner, metrics = go(
        eta, learner, key, updates=updates - free, gradient=gradient, eligibility=eligibility
    )
    parts.append(metrics)
    metrics = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
    # What the learner will collect next, seen in advance: the same keys make the same rollout.
    rollout, _ = act(agent, venv, learner, turn_keys(key, learner)[0], length=length)
    final = objective(learner.params, rollout)
    scores = metrics.pop("score", jnp.zeros(updates, final.dtype))
    return jnp.append(scores[1:], final), learner, summary(metrics)


def check_weights(weights: Sequence[float]) -> None:
    """Raises ValueError where no outer loss counts."""
    if not len(weights) or not any(weights):
        raise ValueError(f"one of the weights of the outer losses must not be zero, got {weights}")

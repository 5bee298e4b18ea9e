"""What a level is worth to a curriculum, from how a life went on it.

Value losses and MaxMC look at experience of the life; regrets compare its return with what is
possible on the level. An episode of which the experience shows only a part counts with that part:
lives are watched for fewer steps than an episode may last.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from metarl.envs.lpg.grid import LPGGrid
from metarl.envs.lpg.optimal import optimal_return
from metarl.inner import act
from metarl.ops.returns import gae
from metarl.rollout import VectorEnv, replay
from metarl.types import Agent, Key, Learner, Params, PyTree

Reference = Callable[[PyTree, Key], jax.Array]  # of a level, a number that hangs on it alone
Return = Callable[[Params, PyTree, Key], jax.Array]  # mean return of params on a level


class Scoring(NamedTuple):
    """How ended lives score their levels: `score = reference(level) + outcome`.

    The outcome is computed for every life that ends, the reference once for every level: it
    must hang on nothing but the level and chance, so it is kept as long as the level is. `None`
    is a reference of 0.
    """

    # (what is known of the life, its level, the level's best return so far, key)
    #  -> (outcome, the best return now)
    outcome: Callable[[PyTree, PyTree, jax.Array, Key], tuple[jax.Array, jax.Array]]
    reference: Reference | None = None


class Seen(struct.PyTreeNode):
    """Experience of one life, `N` streams of `T` steps."""

    adv: jax.Array  # [N, T]
    value: jax.Array  # [N, T]
    last: jax.Array  # [N, T] bool, the episode ended with this step
    best: jax.Array  # [] float32, the highest return of a whole episode; -inf: none is known


def value_loss(seen: Callable[[PyTree, Key], Seen], *, positive: bool = False) -> Scoring:
    """L1 value loss of PLR, or the positive value loss: the mean of |adv|, or of adv above 0.

    Jiang et al. 2021 (https://arxiv.org/abs/2010.03934, and 2110.02439 for the positive one).

    Args:
      seen: `(life, key) -> Seen`: `watched`, or whatever the outer loop has seen already.
      positive: only where returns were higher than expected.
    """
    loss = positive_value_loss if positive else l1_value_loss

    def outcome(life: PyTree, level: PyTree, best: jax.Array, key: Key):
        x = seen(life, key)
        return loss(x.adv, x.last), jnp.maximum(best, x.best)

    return Scoring(outcome)


def max_mc(seen: Callable[[PyTree, Key], Seen]) -> Scoring:
    """MaxMC: the highest return that any life had on the level, less the values the last one saw.

    Jiang et al. 2021 (https://arxiv.org/abs/2110.02439). The return is undiscounted, as in the
    authors' code; -inf where no episode was ever seen to end, which is no score.

    Args:
      seen: as `value_loss` takes it.
    """

    def outcome(life: PyTree, level: PyTree, best: jax.Array, key: Key):
        x = seen(life, key)
        best = jnp.maximum(best, x.best)
        return maximum_monte_carlo(x.value, x.last, best), best

    return Scoring(outcome)


def regret(
    ret: Return, reference: Reference, params: Callable[[PyTree], Params] = lambda life: life.params
) -> Scoring:
    """What the reference earns on the level less what the life's agent does, signed.

    With `metarl.curriculum.antagonist` it is GROOVE's algorithmic regret (Jackson et al. 2023,
    https://arxiv.org/abs/2310.02782), with `optimum` its optimal-policy regret. An antagonist
    starts from nothing and learns by a rule of its own, so its return is a draw that hangs on
    the level alone, not on eta, nor on when it is trained. A later draw would be no better than the
    first: keeping it leaves every score unbiased. Its error stays with the level, though: levels
    with a lucky antagonist are replayed more often, the less so the more episodes `ret` plays.

    Args:
      ret: `(params, level, key) -> mean return`, for agents at the end of their lives.
      reference: `(level, key) -> mean return`.
      params: of the agent, from what is known of the life.
    """

    def outcome(life: PyTree, level: PyTree, best: jax.Array, key: Key):
        return -ret(params(life), level, key), best

    return Scoring(outcome, reference)


def optimum(
    env: LPGGrid, env_params: Callable[[PyTree], PyTree] = lambda level: level
) -> Reference:
    """The best expected return on a level of a tabular LPG grid, exactly: no antagonist at all.

    Args:
      env: tabular.
      env_params: from a level to its params.
    """
    return lambda level, key: optimal_return(env, env_params(level))


def watched(
    agent: Agent,
    venv: VectorEnv,
    *,
    length: int,
    discount: float = 0.99,
    lambda_: float = 0.95,
) -> Callable[[Learner, Key], Seen]:
    """A look at a life whose agent has a head `value`: `length` more steps, from where it stands.

    For an agent without one, hand `value_loss` and `max_mc` a function of your own that knows the
    critic: they take any pytree for the life.
    """

    def seen(learner: Learner, key: Key) -> Seen:
        rollout, _ = act(agent, venv, learner, key, length=length)
        now, after = jax.vmap(partial(replay, agent, learner.params))(rollout)
        value, flags = now["value"][..., 0], (rollout.terminated, rollout.truncated)
        adv = jax.vmap(partial(gae, discount=discount, lambda_=lambda_))(
            rollout.reward, *flags, value, after["value"][..., 0]
        )
        best = highest_return(rollout.reward, rollout.last, learner.episode.ret)
        return Seen(adv, value, rollout.last, best)

    return seen


def l1_value_loss(adv: jax.Array, last: jax.Array) -> jax.Array:
    """[] the mean over episodes of their mean |adv|, from [N, T]."""
    return episode_mean(jnp.abs(adv), last)


def positive_value_loss(adv: jax.Array, last: jax.Array) -> jax.Array:
    """[] the mean over episodes of their mean max(adv, 0), from [N, T]."""
    return episode_mean(jnp.maximum(adv, 0), last)


def maximum_monte_carlo(value: jax.Array, last: jax.Array, best: jax.Array) -> jax.Array:
    """[] the mean over episodes of their mean of `best - value`, from [N, T]."""
    return best - episode_mean(value, last)


def episode_mean(x: jax.Array, last: jax.Array) -> jax.Array:
    """[] the mean over all episodes of the means [N, T] over their steps, parts among them."""

    def pieces(x: jax.Array, last: jax.Array) -> tuple[jax.Array, jax.Array]:  # [T] -> [], []
        which = jnp.cumsum(last) - last  # [T] episodes that ended before
        length = jnp.zeros(len(x)).at[which].add(1)
        total = jnp.zeros(len(x)).at[which].add(x)
        return jnp.sum(total / jnp.maximum(length, 1)), jnp.sum(length > 0)

    means, counts = jax.vmap(pieces)(x, last)
    return jnp.sum(means) / jnp.sum(counts)


def highest_return(reward: jax.Array, last: jax.Array, before: Any = 0.0) -> jax.Array:
    """[] the highest undiscounted return of the episodes that end in [N, T]; -inf if none does.

    Args:
      reward: [N, T].
      last: [N, T] bool.
      before: [N], the return of each first episode before the first step.
    """

    def step(ret: jax.Array, x: tuple[jax.Array, jax.Array]):
        ret = ret + x[0]
        return jnp.where(x[1], 0, ret), jnp.where(x[1], ret, -jnp.inf)

    start = jnp.broadcast_to(jnp.asarray(before, reward.dtype), reward.shape[:1])
    return jnp.max(jax.lax.scan(step, start, (reward.T, last.T))[1])

"""Q(lambda) with an epsilon-greedy policy (Watkins 1989; Sutton and Barto 2018, section 12.10).

The trace is cut before every action that is not the best: Watkins's variant, over rollouts instead
of online. Epsilon is one of the agent's params, which each update sets to `eta.epsilon`, so that an
outer loop can learn it without differentiating anything else.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnasium.spaces import Discrete
from jax.typing import ArrayLike

from metarl.nets.heads import with_epsilon
from metarl.ops.distributions import policy
from metarl.ops.returns import gae
from metarl.rollout import replay
from metarl.rules.common import adam, check_heads, from_loss
from metarl.types import (
    Agent,
    Environment,
    Key,
    Metrics,
    Params,
    PyTree,
    Rollout,
    UpdateRule,
)


class Hypers(struct.PyTreeNode):
    """The eta of Q(lambda): batch it with `vmap`, or let an outer loop learn it."""

    discount: jax.Array
    lambda_: jax.Array
    epsilon: jax.Array  # probability of a random action
    learning_rate: jax.Array  # factor on the optimizer's steps


def hypers(
    discount: float = 0.99,
    lambda_: float = 0.9,
    epsilon: float = 0.1,
    learning_rate: float = 1e-3,
) -> Hypers:
    """Eta from plain numbers; each may be an array to be mapped over."""
    values = (discount, lambda_, epsilon, learning_rate)
    return Hypers(*(jnp.asarray(v, jnp.float32) for v in values))


def heads(env: Environment) -> dict[str, int]:
    """A value for each action, and one probability of exploring.

    Raises:
      TypeError: the actions are not discrete.
    """
    space = env.action_space
    if not isinstance(space, Discrete):
        raise TypeError(f"Q(lambda) needs Discrete actions, got {space}")
    return {"q": int(space.n), "epsilon": 1}


def q_lambda(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Hypers | None = None,
) -> UpdateRule:
    """Builds the rule: one gradient step per rollout, without a target network.

    Args:
      agent: whose `params` are learned; until the first update it acts at random.
      heads: as declared by `heads(env)`.
      optimizer: defaults to clipped Adam of rate one, which `eta.learning_rate` scales. With an
        optimizer of your own the default `eta.learning_rate` is 1.
      eta: what `init_eta` returns; defaults to `hypers()`.
    """
    if eta is None:
        eta = hypers() if optimizer is None else hypers(learning_rate=1.0)

    def loss(eta: Hypers, params: Params, rollout: Rollout) -> tuple[jax.Array, Metrics]:
        return q_lambda_loss(agent, heads, eta, params, rollout)

    learner = from_loss(loss, optimizer or adam(), heads=heads, init_eta=lambda key: eta)

    def update(eta: Hypers, params: Params, state: PyTree, rollout: Rollout, key: Key):
        params, state, metrics = learner.update(eta, params, state, rollout, key)
        return with_epsilon(params, eta.epsilon), state, metrics

    return learner._replace(update=update, update_lives=None)


def q_lambda_loss(
    agent: Agent, needed: Mapping[str, int], eta: Hypers, params: Params, rollout: Rollout
) -> tuple[jax.Array, Metrics]:
    """Half the squared error of the values of the actions taken, over one stream [T].

    Gradients in `params` flow through those values alone, gradients in `eta` through the targets.
    """
    now, after = replay(agent, params, rollout)
    check_heads(now, needed, "q_lambda")
    q = jnp.take_along_axis(now["q"], rollout.action[:, None], axis=-1)[:, 0]  # [T]
    constants = jax.lax.stop_gradient((now["q"], after["q"]))  # semi-gradient
    target = targets(*constants, rollout, discount=eta.discount, lambda_=eta.lambda_)
    error = jnp.mean(jnp.square(q - target)) / 2
    entropy = jnp.mean(policy(now).entropy())
    return error, {"entropy": entropy, "q": jnp.mean(q), "epsilon": jnp.mean(now["epsilon"])}


def targets(
    q: jax.Array, next_q: jax.Array, rollout: Rollout, *, discount: ArrayLike, lambda_: ArrayLike
) -> jax.Array:
    """[T] Watkins's lambda-returns.

    A step's target mixes the best value of its successor with the target of the next step, as long
    as the next action is the best one there; an exploring action, the end of an episode or that of
    the rollout leave the best value alone.

    Args:
      q: [T, A] values where the actions were taken.
      next_q: [T, A] values of the true successors.
      rollout: leaves [T, ...].
      discount: of one step.
      lambda_: weight of the next step's target.
    """
    value, following = q.max(axis=-1), next_q.max(axis=-1)
    chosen = jnp.take_along_axis(q, rollout.action[:, None], axis=-1)[:, 0]
    goes_on = jnp.append(chosen[1:] == value[1:], False)  # [T] the next action is a best one
    flags = (rollout.terminated, rollout.truncated)
    trace = jnp.asarray(lambda_) * goes_on
    adv = gae(rollout.reward, *flags, value, following, discount=discount, lambda_=trace)
    return adv + value

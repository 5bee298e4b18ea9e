"""Learned policy optimisation (Lu et al. 2022, https://arxiv.org/abs/2210.05639): eta is a drift.

PPO's passes with another surrogate: the ratio times the advantage less a learned drift, a penalty
for leaving the old policy that is never negative, and zero around a ratio of 1 whatever eta is:
the conditions under which mirror learning improves. Meta-learned by evolution.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.nets.linear import lecun_init
from metarl.rules.common import actor_critic_heads, adam, check_heads
from metarl.rules.life import Clock, LifeState, ticked
from metarl.rules.proximal import Batch, less, passes, prepare, proximal_loss
from metarl.types import Agent, Eta, Key, Metrics, Params, Rollout, UpdateRule

FLAT = 1e-4  # the drift is exactly zero where the network says less than this
CLIP = 0.2  # of PPO, where the drift starts from PPO's

heads = actor_critic_heads
Tell = Callable[[jax.Array, Any], jax.Array]  # (the 8 inputs, clock) -> the network's own inputs


class Shape(NamedTuple):
    """What fixes the form of the network and of the passes."""

    hidden: int
    ppo_init: bool
    epochs: int
    minibatches: int


class Numbers(struct.PyTreeNode):
    """Of one life; they may differ between lives (`metarl.rules.life`)."""

    discount: jax.Array
    lambda_: jax.Array
    entropy_cost: jax.Array
    value_cost: jax.Array
    learning_rate: jax.Array  # factor on the optimizer's steps


def numbers(
    discount: float, lambda_: float, entropy_cost: float, value_cost: float, learning_rate: float
) -> Numbers:
    """Of one life, from plain numbers."""
    values = (discount, lambda_, entropy_cost, value_cost, learning_rate)
    return Numbers(*(jnp.asarray(v, jnp.float32) for v in values))


def hypers() -> None:
    """Nothing: eta is a network, which `init_eta` draws."""


def lpo(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Eta | None = None,
    hidden: int = 128,
    ppo_init: bool = False,
    epochs: int = 4,
    minibatches: int = 4,
    discount: float = 0.99,
    lambda_: float = 0.95,
    entropy_cost: float = 0.01,
    value_cost: float = 0.5,
    learning_rate: float = 3e-4,
) -> UpdateRule:
    """Builds the rule: `epochs` passes over the rollout in shuffled minibatches.

    Args:
      agent: whose `params` are learned.
      heads: as declared by `heads(env)`.
      optimizer: defaults to clipped Adam of rate one.
      eta: what `init_eta` returns; by default it draws a network. Zeros say no drift.
      hidden: width of the drift's network.
      ppo_init: what eta adds to is PPO's own drift, so that zeros are PPO, all but where its
        clipping costs less than 1e-4.
      epochs: passes over each rollout.
      minibatches: parts of each pass.
      discount, lambda_, entropy_cost, value_cost, learning_rate: the life's numbers at birth, see
        `Numbers`. The learning rate multiplies the optimizer's steps, also of one of your own.

    Raises:
      ValueError: in `update`, while tracing, if `minibatches` does not divide the rows.
    """
    own = numbers(discount, lambda_, entropy_cost, value_cost, learning_rate)
    shape = Shape(hidden, ppo_init, epochs, minibatches)
    return built("lpo", agent, heads, optimizer, eta, own, shape)


def built(
    name: str,
    agent: Agent,
    heads: Mapping[str, int],
    optimizer: optax.GradientTransformation | None,
    eta: Eta | None,
    own: Numbers,
    shape: Shape,
    *,
    clock: Clock | None = None,
    n_in: int = 8,
    tell: Tell = lambda x, clock: x,
) -> UpdateRule:
    """LPO whose network reads what `tell` makes of its inputs and the clock, `n_in` numbers."""
    used = optimizer or adam()

    def init_eta(key: Key) -> Eta:
        return drift_init(key, n_in, shape.hidden) if eta is None else eta

    def init(params: Params) -> LifeState:
        return LifeState(used.init(params), own, clock)

    def update(eta: Eta, params: Params, state: LifeState, rollout: Rollout, key: Key):
        check_heads(rollout.heads, heads, name)

        def drift(log_ratio: jax.Array, adv: jax.Array) -> jax.Array:
            x = tell(drift_inputs(log_ratio, adv), state.clock)
            base = ppo_drift(log_ratio, adv) if shape.ppo_init else 0
            return learned_drift(eta, x, base)

        params, opt_state, metrics = passes(
            lambda params, batch: lpo_loss(agent, state.numbers, drift, params, batch),
            used,
            state.numbers.learning_rate,
            (params, state.optimizer),
            prepare(agent, state.numbers, params, rollout),
            key,
            epochs=shape.epochs,
            minibatches=shape.minibatches,
        )
        return params, state.replace(optimizer=opt_state, clock=ticked(state.clock)), metrics

    return UpdateRule(heads, init_eta, init, update)


def lpo_loss(
    agent: Agent,
    numbers: Numbers,
    drift: Callable[[jax.Array, jax.Array], jax.Array],
    params: Params,
    batch: Batch,
) -> tuple[jax.Array, Metrics]:
    """Minus ratio times advantage less drift, squared value error, entropy bonus; rows [R] or more.

    Advantages are standardised over the minibatch.
    """
    return proximal_loss(agent, numbers, params, batch, less(drift))


def drift_init(key: Key, n_in: int, hidden: int) -> Eta:
    """Two layers without biases, so that the network says 0 of inputs 0. The key is consumed."""
    first, second = jax.random.split(key)
    layers = {"hidden": lecun_init(first, n_in, hidden), "out": lecun_init(second, hidden, 1)}
    return {name: layer["w"] for name, layer in layers.items()}


def drift_inputs(log_ratio: jax.Array, adv: jax.Array) -> jax.Array:
    """[..., 8], all zero where the ratio is 1."""
    d, e = log_ratio, 1 - jnp.exp(log_ratio)
    changes = [d, jnp.square(d), e, jnp.square(e)]
    return jnp.stack([*changes, *(adv * change for change in changes)], axis=-1)


def learned_drift(eta: Eta, x: jax.Array, base: jax.Array | float = 0) -> jax.Array:
    """[...] of inputs [..., n_in]: `relu(base + network - 1e-4)`.

    Where inputs and base are zero, so is the network; the rest is below zero then and in a
    neighbourhood, where the drift is exactly flat.
    """
    said = (jnp.tanh(x @ eta["hidden"]) @ eta["out"])[..., 0]
    return jax.nn.relu(base + said - FLAT)


def ppo_drift(log_ratio: jax.Array, adv: jax.Array) -> jax.Array:
    """What PPO's clipping takes off the ratio times the advantage; never negative."""
    ratio = jnp.exp(log_ratio)
    return jax.nn.relu((ratio - jnp.clip(ratio, 1 - CLIP, 1 + CLIP)) * adv)

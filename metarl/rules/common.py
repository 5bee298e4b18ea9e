"""What rules share: from a loss to an update, and the default optimizer."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metarl.ops.distributions import policy_heads
from metarl.ops.unroll import grad_by_forward_over_reverse
from metarl.types import Environment, Eta, Key, Metrics, Params, PyTree, Rollout, UpdateRule
from metarl.wrappers.attempts import attempt_ended


def adam(max_norm: float = 0.5) -> optax.GradientTransformation:
    """Adam of learning rate one behind a clip by global norm; eta's learning rate scales it.

    `eps_root` keeps the derivative of Adam finite where a gradient is zero, as meta-gradients need.
    """
    return optax.chain(
        optax.clip_by_global_norm(max_norm), optax.adam(1.0, eps=1e-5, eps_root=1e-12)
    )


def actor_critic_heads(env: Environment) -> dict[str, int]:
    """What an actor-critic must say: a policy and a value."""
    return {**policy_heads(env.action_space), "value": 1}


def descend(
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array,
    grads: PyTree,
    state: PyTree,
    params: Params,
    **extra: Any,
) -> tuple[Params, PyTree]:
    """One optimizer step times `learning_rate`: the new params and optimizer state.

    What the optimizer wants to know beyond gradients and params comes as `extra`.
    """
    steps, state = optimizer.update(grads, state, params, **extra)
    steps = jax.tree.map(lambda step: learning_rate * step, steps)
    return optax.apply_updates(params, steps), state


def from_loss(
    loss: Callable[[Eta, Params, Rollout], tuple[jax.Array, Metrics]],
    optimizer: optax.GradientTransformation,
    *,
    heads: Mapping[str, int],
    init_eta: Callable[[Key], Eta],
    forward_over_reverse: bool = False,
    eta_axes: Callable[[Eta], PyTree] = lambda eta: None,
) -> UpdateRule:
    """Turns `loss(eta, params, rollout) -> (scalar, metrics)` of one stream into a rule.

    The rule averages over the leading axis of the rollout; `eta.learning_rate` scales its step.

    Args:
      loss: of one stream.
      optimizer: of params.
      heads: name -> width, what the agent must say.
      init_eta: makes eta from a key.
      forward_over_reverse: how the update is differentiated in reverse: see
        `metarl.ops.unroll.grad_by_forward_over_reverse`. Metrics are constants then.
      eta_axes: from eta to the axes of it that run over streams, like `in_axes` of `vmap`; by
        default all streams share all of eta.
    """

    def mean_loss(params: Params, eta: Eta, rollout: Rollout) -> tuple[jax.Array, Metrics]:
        value, metrics = jax.vmap(loss, in_axes=(eta_axes(eta), None, 0))(eta, params, rollout)
        return value.mean(), jax.tree.map(jnp.mean, {"loss": value, **metrics})

    return from_batch_loss(
        mean_loss,
        optimizer,
        heads=heads,
        init_eta=init_eta,
        forward_over_reverse=forward_over_reverse,
    )


def from_batch_loss(
    loss: Callable[[Params, Eta, Rollout], tuple[jax.Array, Metrics]],
    optimizer: optax.GradientTransformation,
    *,
    heads: Mapping[str, int],
    init_eta: Callable[[Key], Eta],
    forward_over_reverse: bool = False,
) -> UpdateRule:
    """Turns `loss(params, eta, rollout [N, T, ...]) -> (scalar, metrics)` into a rule.

    For losses that are no mean over streams, as where advantages are standardised over a batch.

    Args: as `from_loss`, but for the loss.
    """
    mixed = grad_by_forward_over_reverse(loss)
    gradient = mixed if forward_over_reverse else jax.grad(loss, has_aux=True)

    def update(eta: Eta, params: Params, state: PyTree, rollout: Rollout, key: Key):
        grads, metrics = gradient(params, eta, rollout)
        metrics["grad_norm"] = optax.tree.norm(grads)
        params, state = descend(optimizer, eta.learning_rate, grads, state, params)
        return params, state, metrics

    return UpdateRule(heads, init_eta, optimizer.init, update)


def discounts(numbers: Any, rollout: Rollout) -> Any:
    """What a rule's returns multiply the future by after each step: its `discount`, or [T] numbers.

    In trials `attempt_discount` takes its place where one attempt gives way to the next, if the
    rule has such a number. With a critic, this is the chained form of `metarl.ops.trial_returns`.

    Args:
      numbers: the rule's, with `discount`.
      rollout: one stream [T].
    """
    ended = attempt_ended(rollout) if hasattr(numbers, "attempt_discount") else None
    if ended is None:
        return numbers.discount
    return jnp.where(ended, numbers.attempt_discount, numbers.discount)


def check_heads(heads: Mapping[str, jax.Array], needed: Mapping[str, int], rule: str) -> None:
    """Raises ValueError where an agent lacks a head that the rule reads; shapes are static."""
    for name, width in needed.items():
        if name not in heads:
            raise ValueError(
                f"{rule} needs the head {name!r} of width {width}, but the agent has "
                f"{sorted(heads)}; build the agent with heads={dict(needed)}"
            )
        if heads[name].shape[-1] != width:
            raise ValueError(
                f"{rule} needs the head {name!r} of width {width}, got {heads[name].shape[-1]}"
            )

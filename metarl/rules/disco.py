"""Disco103, a discovered rule (Oh et al. 2025, https://doi.org/10.1038/s41586-025-09761-x).

Eta is a network (`metarl.nets.disco`) that says what the policy and two predictions should become;
only the values of actions have a meaning that was chosen. Numbers are those of the authors' code,
from a specification of it. As there, of L steps of experience L - 1 are transitions, the last step
being what follows them, and time-outs count as terminations. Unlike there, the first step of an
episode is learned from too (its loss is masked out there by a flag of the episode before), and
illegal actions get no probability, in targets either.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnasium.spaces import Discrete

from metarl.nets.disco import Seen, Sizes, Targets, born, disco_init, disco_net
from metarl.ops.bins import decode, two_hot
from metarl.ops.clipped_adam import clipped_adam
from metarl.ops.distributions import MASKED, Categorical
from metarl.ops.moments import Moments, new_moments, normalised, observed
from metarl.ops.returns import retrace
from metarl.rollout import replay_streams
from metarl.rules.common import check_heads, descend
from metarl.rules.disco_weights import published
from metarl.types import (
    Agent,
    Environment,
    Eta,
    Heads,
    Key,
    Metrics,
    Params,
    PyTree,
    Rollout,
    UpdateRule,
)

DISCOUNT, TRACE = 0.997, 0.95  # of values
SLOW = 0.9  # how much of the target network stays at each update
COSTS = {"policy": 1.0, "y": 1.0, "z": 1.0, "aux": 1.0, "value": 0.2}


class DiscoState(struct.PyTreeNode):
    """What the rule keeps of a life."""

    optimizer: PyTree
    learning_rate: jax.Array  # [] factor on the optimizer's steps
    target: Params  # slow params
    memory: tuple[jax.Array, jax.Array]  # cell and hidden state of the LSTM along the life
    adv: Moments
    td: Moments  # what values missed; the published rule keeps it, and only shows what it says


class Said(NamedTuple):
    """An agent's heads, of [N, L] steps."""

    logits: jax.Array  # [N, L, A]
    y: jax.Array  # [N, L, Y]
    z: jax.Array  # [N, L, A, Y]
    aux_pi: jax.Array  # [N, L, A, A] for each action, the policy at the next step
    q_bins: jax.Array  # [N, L, A, K]


def heads(env: Environment, predictions: int = 600, bins: int = 601) -> dict[str, int]:
    """A policy, predictions `y` and `z` (of each action), the next policy and values in bins.

    What is said of each action is flat: `z` is [A * predictions].

    Raises:
      TypeError: the actions are not discrete.
      ValueError: `bins` is even or less than 3.
    """
    space = env.action_space
    if not isinstance(space, Discrete):
        raise TypeError(f"Disco103 reads probabilities of Discrete actions, got {space}")
    if bins < 3 or bins % 2 == 0:
        raise ValueError(f"bins must be odd, with zero in the middle, and at least 3; got {bins}")
    n = int(space.n)
    each = {"z": n * predictions, "aux_pi": n * n, "q_bins": n * bins}
    return {"logits": n, "y": predictions, **each}


def hypers() -> None:
    """Nothing: eta is a network, which `init_eta` draws or reads."""


def disco(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Eta | None = None,
    weights: str = "",
    learning_rate: float = 3e-4,
    hidden: int = 256,
    memory: int = 128,
) -> UpdateRule:
    """Builds the rule: one gradient step per rollout on losses against learned targets.

    Args:
      agent: whose `params` are learned; `metarl.agents.disco` is that of the published rule.
      heads: as declared by `heads(env)`.
      optimizer: defaults to `clipped_adam()`; the learning rate multiplies its steps.
      eta: what `init_eta` returns, instead of `weights`.
      weights: the published ones: the path of their file, or `disco103` for the file that the
        environment variable METARL_DISCO103 names. By default the network is drawn, and has to be
        meta-trained first.
      learning_rate: of agents at birth; 3e-4 in the settings of Disco103, 1e-2 where its authors
        evaluate it on Catch.
      hidden: width of the LSTM along a trajectory.
      memory: width of the LSTM along a life.

    Raises:
      ValueError: weights that are not the published ones, or not of these sizes.
    """
    sizes = Sizes(heads["y"], hidden, memory)
    used = optimizer or clipped_adam()
    if weights and eta is None:
        eta = published(weights, sizes)

    def init_eta(key: Key) -> Eta:
        return disco_init(key, sizes) if eta is None else jax.tree.map(jnp.asarray, eta)

    def init(params: Params) -> DiscoState:
        rate = jnp.asarray(learning_rate, jnp.float32)
        own = (used.init(params), rate, params, born(sizes))
        return DiscoState(*own, new_moments(), new_moments())

    def update(eta: Eta, params: Params, state: DiscoState, rollout: Rollout, key: Key):
        check_heads(rollout.heads, {"logits": heads["logits"]}, "disco")  # others are said anew
        if rollout.reward.shape[1] < 2:
            raise ValueError("disco needs rollouts of at least 2 steps: the last one only follows")

        def speak(params: Params) -> Heads:
            return replay_streams(agent, params, rollout)

        now, pull = jax.vjp(speak, params)
        check_heads(now, heads, "disco")
        on, slow = said(now), said(speak(state.target))
        seen, target, state, metrics = see(on, slow, rollout, state)
        targets, lived = disco_net(eta, state.memory, seen)
        metrics |= of_targets(targets, slow)
        targets = targets.replace(pi=legal(targets.pi, rollout))
        grads_of = jax.grad(
            lambda now: disco_loss(said(now), targets, target, rollout), has_aux=True
        )
        steps, losses = grads_of(now)
        (grads,) = pull(steps)
        metrics |= losses | {"grad_norm": optax.tree.norm(grads)}
        mix = jax.tree.map(lambda old, new: SLOW * old + (1 - SLOW) * new, state.target, params)
        params, opt_state = descend(used, state.learning_rate, grads, state.optimizer, params)
        return params, state.replace(optimizer=opt_state, target=mix, memory=lived), metrics

    return UpdateRule(heads, init_eta, init, update)


def said(heads: Heads) -> Said:
    """Heads [N, L, ...] with a row for each action where they are of actions."""
    actions = heads["logits"].shape[-1]
    of_actions = {
        name: heads[name].reshape(*heads[name].shape[:-1], actions, -1)
        for name in ("z", "aux_pi", "q_bins")
    }
    return Said(heads["logits"], heads["y"], **of_actions)


def see(
    on: Said, slow: Said, rollout: Rollout, state: DiscoState
) -> tuple[Seen, jax.Array, DiscoState, Metrics]:
    """What the network reads, the targets of values [N, T], and the state with its new moments.

    Args:
      on: what the agent says now.
      slow: what the target network says.
      rollout: leaves [N, T + 1, ...].
      state: before.
    """
    action = rollout.action[:, :-1]
    reward, ended = rollout.reward[:, :-1], rollout.last[:, :-1]
    pi, slow_pi, mu = (jax.nn.softmax(x) for x in (on.logits, slow.logits, rollout.heads["logits"]))
    q, slow_q = decode(on.q_bins), decode(slow.q_bins)  # [N, T + 1, A]
    value, slow_value = jnp.sum(pi * q, axis=-1), jnp.sum(pi * slow_q, axis=-1)
    ratio = taken(pi, action) / taken(mu, action)
    trace, on_ = TRACE * jnp.minimum(1, ratio), DISCOUNT * (1 - ended)
    given = (reward, on_, slow_value[:, 1:], taken(slow_q, action), trace)
    # Values have a meaning of their own: no meta-gradient passes through them.
    target, q, slow_value, slow_q = jax.lax.stop_gradient(
        (jax.vmap(retrace)(*given), q, slow_value, slow_q)
    )
    adv, q_adv = target - slow_value[:, :-1], slow_q - slow_value[..., None]
    td = target - taken(q, action)
    adv_moments, td_moments = observed(state.adv, adv), observed(state.td, td)
    unit_adv, unit_q_adv = (normalised(adv_moments, x) for x in (adv, q_adv))
    y, slow_y, z, slow_z = (jax.nn.softmax(x) for x in (on.y, slow.y, on.z, slow.z))
    seen = Seen(
        action, reward, ended, mu[:, :-1], pi, slow_pi[:, :-1],
        y, slow_y, z, slow_z, value, adv, unit_adv,
        slow_q[:, :-1], q_adv[:, :-1], unit_q_adv[:, :-1],
    )  # fmt: skip
    metrics = {
        "adv": jnp.mean(adv),
        "td": jnp.mean(jnp.abs(td)),
        "unit_td": jnp.mean(jnp.abs(normalised(td_moments, td, centre=False))),
    }
    return seen, target, state.replace(adv=adv_moments, td=td_moments), metrics


def disco_loss(
    now: Said, targets: Targets, value: jax.Array, rollout: Rollout
) -> tuple[jax.Array, Metrics]:
    """KL of each learned target to what the agent says, and the cross-entropy of its values.

    `aux_pi` follows the agent's own policy at the next step, except across endings.
    """
    action, goes_on = rollout.action[:, :-1], 1 - rollout.last[:, :-1]
    # What the agent will do is a target, not something to make easier to foresee.
    following = jax.lax.stop_gradient(now.logits[:, 1:])
    z, aux, bins = (taken(x, action) for x in (now.z, now.aux_pi, now.q_bins))
    wanted = two_hot(value, bins.shape[-1])
    each = {
        "policy": kl(targets.pi, now.logits[:, :-1]),
        "y": kl(targets.y, now.y[:, :-1]),
        "z": kl(targets.z, z),
        "aux": kl(following, aux) * goes_on,
        "value": -jnp.sum(wanted * jax.nn.log_softmax(bins), axis=-1),
    }
    means = {f"{name}_loss": jnp.mean(x) for name, x in each.items()}
    total = sum((COSTS[name] * means[f"{name}_loss"] for name in each), jnp.float32(0))
    entropy = jnp.mean(Categorical(now.logits).entropy())
    return total, {"loss": total, "entropy": entropy, **means}


def of_targets(targets: Targets, slow: Said) -> Metrics:
    """What a meta-objective may weigh, with derivatives in eta.

    `centre` are the squared means of all targets' logits, `slow_kl` the KL of the target network's
    policy to the policy's target.
    """
    square = lambda x: jnp.mean(jnp.square(x.mean(axis=-1)))  # noqa: E731
    slow_pi = jax.lax.stop_gradient(slow.logits[:, :-1])  # what the target should stay near
    centre = sum((square(x) for x in (targets.pi, targets.y, targets.z)), jnp.float32(0))
    return {"centre": centre, "slow_kl": jnp.mean(kl(slow_pi, targets.pi))}


def kl(target: jax.Array, logits: jax.Array) -> jax.Array:
    """[...], KL(target || logits) of logits on both sides."""
    return Categorical(target).kl(Categorical(logits))


def legal(logits: jax.Array, rollout: Rollout) -> jax.Array:
    """[N, T, A], with no probability for what the agent may not do."""
    mask = rollout.inputs.action_mask
    return logits if mask is None else jnp.where(mask[:, :-1], logits, MASKED)


def taken(x: jax.Array, action: jax.Array) -> jax.Array:
    """[N, T or more, A, ...] -> [N, T, ...], of the actions taken."""
    index = action.reshape(*action.shape, *(1,) * (x.ndim - 2))
    return jnp.take_along_axis(x[:, : action.shape[1]], index, axis=2)[:, :, 0]

"""Learned policy gradient (Oh et al. 2020, https://arxiv.org/abs/2007.08794): eta is the rule.

A network that reads experience backwards (`metarl.nets.lpg`) says how likely each action taken
should have become and what the agent should have predicted; what its predictions y mean is for the
network to decide. Sizes and rates are those of the code of GROOVE (Jackson et al. 2023,
https://arxiv.org/abs/2310.02782). Unlike that code, which descends where the paper ascends, a
positive `pi_hat` makes an action likelier; and where only the clock ran out, the prediction at the
true successor counts, as elsewhere here, instead of nothing.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnasium.spaces import Discrete

from metarl.nets.lpg import Seen, Sizes, Targets, check_core, lpg_init, lpg_net
from metarl.ops.distributions import Categorical, policy
from metarl.rollout import replay, replay_streams, without_truncation
from metarl.rules.common import check_heads
from metarl.rules.life import Clock, LifeState, ticked
from metarl.types import (
    Agent,
    Environment,
    Eta,
    Key,
    Metrics,
    Params,
    PyTree,
    Rollout,
    UpdateRule,
)


class Numbers(struct.PyTreeNode):
    """Of one life; they may differ between lives (`metarl.rules.life`)."""

    policy_rate: jax.Array  # factor on the optimizer's steps of all params but those of y
    y_rate: jax.Array  # the same of the params of y
    y_cost: jax.Array  # weight of the error of the predictions


def numbers(policy_rate: float, y_rate: float, y_cost: float) -> Numbers:
    """Of one life, from plain numbers."""
    return Numbers(*(jnp.asarray(v, jnp.float32) for v in (policy_rate, y_rate, y_cost)))


def heads(env: Environment, targets: int = 8) -> dict[str, int]:
    """A policy and `targets` logits of a prediction `y`; 8 in GROOVE's code, 30 in LPG's paper.

    Raises:
      TypeError: the actions are not discrete.
    """
    space = env.action_space
    if not isinstance(space, Discrete):
        raise TypeError(f"LPG reads probabilities of Discrete actions, got {space}")
    return {"logits": int(space.n), "y": targets}


def hypers() -> None:
    """Nothing: eta is a network, which `init_eta` draws."""


def lpg(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Eta | None = None,
    core: str = "gru",
    hidden: int = 256,
    embedding: int = 16,
    policy_rate: float = 40.0,
    y_rate: float = 4.0,
    y_cost: float = 0.5,
    adam: float = 0.0,
    time_outs_end: bool = False,
) -> UpdateRule:
    """Builds the rule: one gradient step per rollout on a learned loss.

    Args:
      agent: whose `params` are learned. What belongs to y is told by that name in their paths:
        layers that y shares with the policy count as the policy's.
      heads: as declared by `heads(env)`.
      optimizer: defaults to a clip of each part's gradient, by norm at 0.5, which the rates scale:
        gradient descent. With an optimizer of your own the rates multiply its steps, so set them.
      eta: what `init_eta` returns; by default it draws a network.
      core: `gru`, as in GROOVE's code, or `lstm`, as in the paper.
      hidden: width of the core.
      embedding: hidden width of the layers that read a prediction.
      policy_rate, y_rate, y_cost: the life's numbers at birth, see `Numbers`. The rates are for
        tables.
      adam: for networks: the learning rate of Adam, which then takes the place of the clipped
        descent and of both rates; 5e-4 in GROOVE's code. 0: none of it.
      time_outs_end: count time-outs as terminations, as GROOVE's code does.

    Raises:
      ValueError: no such core.
    """
    optimizer, own = descent(optimizer, adam, numbers(policy_rate, y_rate, y_cost))
    sizes = Sizes(core, hidden, embedding)
    return built("lpg", agent, heads, optimizer, eta, own, sizes, time_outs_end=time_outs_end)


def descent(
    optimizer: optax.GradientTransformation | None, adam: float, own: Numbers
) -> tuple[optax.GradientTransformation, Numbers]:
    """What params follow, and the numbers that go with it: see `lpg`.

    Raises:
      ValueError: a negative learning rate, or one beside an optimizer.
    """
    traced = isinstance(adam, jax.core.Tracer)  # one of several rates, all of them above 0
    if not traced and (adam < 0 or (adam and optimizer)):
        raise ValueError(f"adam={adam}: give a learning rate above 0, and no optimizer beside it")
    if not traced and not adam:
        return optimizer or clipped(), own
    one = jnp.ones_like(own.policy_rate)
    return optax.adam(adam, eps_root=1e-12), own.replace(policy_rate=one, y_rate=one)


def built(
    name: str,
    agent: Agent,
    heads: Mapping[str, int],
    optimizer: optax.GradientTransformation | None,
    eta: Eta | None,
    own: Numbers,
    sizes: Sizes,
    *,
    clock: Clock | None = None,
    extra: int = 0,
    tell: Callable[[Clock], jax.Array] | None = None,
    time_outs_end: bool = False,
) -> UpdateRule:
    """LPG whose network also reads what `tell` makes of the clock, [extra] numbers."""
    used = optimizer or clipped()
    check_core(sizes.core)
    endings = without_truncation if time_outs_end else lambda rollout: rollout

    def init_eta(key: Key) -> Eta:
        return lpg_init(key, heads["y"], sizes, extra=extra) if eta is None else eta

    def init(params: Params) -> LifeState:
        return LifeState(used.init(params), own, clock)

    def update(eta: Eta, params: Params, state: LifeState, rollout: Rollout, key: Key):
        check_heads(rollout.heads, heads, name)
        rollout = endings(rollout)
        told = tell(state.clock) if tell and state.clock else jnp.zeros(0)
        targets = lpg_net(eta, see(agent, params, rollout, told), core=sizes.core)
        params, state, metrics = follow(agent, used, params, state, rollout, targets)
        return params, state.replace(clock=ticked(state.clock)), metrics

    together = update_lives(agent, optimizer=used, core=sizes.core, tell=tell)

    def update_all(eta: Eta, params: Params, state: LifeState, rollouts: Rollout, keys: Key):
        check_heads(rollouts.heads, heads, name)
        return together(eta, params, state, endings(rollouts))

    return UpdateRule(heads, init_eta, init, update, update_all)


def update_lives(
    agent: Agent,
    *,
    optimizer: optax.GradientTransformation | None = None,
    core: str = "gru",
    tell: Callable[[Clock], jax.Array] | None = None,
) -> Callable[[Eta, Params, LifeState, Rollout], tuple[Params, LifeState, Metrics]]:
    """What `vmap` of the rule's update over lives computes, with one pass of the network over all.

    The function takes eta, and params, states and rollouts [A, ...] of A lives. `vmap` alone keeps
    the lives apart in every product, and the derivative in eta copies what it reads for that: a
    meta-gradient over 4 or 8 lives of 64 streams took 12 % or 20 % longer so (two CPU cores).

    Args:
      agent, optimizer, core: as of the rule.
      tell: what the network is told of the clock; `metarl.rules.ta_lpg.times` for TA-LPG.
    """
    used = optimizer or clipped()

    def update(eta: Eta, params: Params, state: LifeState, rollout: Rollout):
        lives, streams = rollout.reward.shape[:2]
        told = jax.vmap(tell)(state.clock) if tell and state.clock else jnp.zeros((lives, 0))
        seen = jax.vmap(lambda *x: see(agent, *x))(params, rollout, told)
        seen = jax.tree.map(lambda x: x.reshape(lives * streams, *x.shape[2:]), seen)
        targets = lpg_net(eta, seen, core=core)
        targets = jax.tree.map(lambda x: x.reshape(lives, streams, *x.shape[1:]), targets)
        follows = jax.vmap(lambda *x: follow(agent, used, *x))
        params, state, metrics = follows(params, state, rollout, targets)
        return params, state.replace(clock=ticked(state.clock)), metrics

    return update


def see(agent: Agent, params: Params, rollout: Rollout, extra: jax.Array) -> Seen:
    """What the network reads of experience [N, T, ...] and of the params that learn from it."""
    # The network is given what it reads: neither the gradient in params nor a meta-gradient passes
    # through its inputs, in the paper and in the code.
    params = jax.lax.stop_gradient(params)
    now, after = jax.vmap(lambda stream: replay(agent, params, stream))(rollout)
    prob = jnp.exp(policy(now).log_prob(rollout.action))
    y, next_y = (jax.nn.softmax(heads["y"]) for heads in (now, after))
    extra = jnp.broadcast_to(extra, (rollout.reward.shape[0], *extra.shape))
    return Seen(rollout.reward, rollout.terminated, rollout.last, prob, y, next_y, extra)


def follow(
    agent: Agent,
    optimizer: optax.GradientTransformation,
    params: Params,
    state: LifeState,
    rollout: Rollout,
    targets: Targets,
) -> tuple[Params, LifeState, Metrics]:
    """One step towards targets: the new params and state."""
    own = state.numbers
    grad = jax.grad(lpg_loss, argnums=1, has_aux=True)
    grads, metrics = grad(agent, params, rollout, targets, own.y_cost)
    steps, opt_state = optimizer.update(grads, state.optimizer, params)
    rates = {"policy": own.policy_rate, "y": own.y_rate}
    steps = jax.tree_util.tree_map_with_path(lambda path, x: rates[part_of(path)] * x, steps)
    for part, square in squares(jax.lax.stop_gradient(grads)).items():  # only to be shown
        metrics[f"{part}_grad_norm"] = jnp.sqrt(square)
    return optax.apply_updates(params, steps), state.replace(optimizer=opt_state), metrics


def lpg_loss(
    agent: Agent, params: Params, rollout: Rollout, targets: Targets, y_cost: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Minus log-probability times `pi_hat`, and KL(y || y_hat), over experience [N, T, ...].

    The metrics `pi_hat_square` and `y_hat_square` (a sum over M), which a meta-objective may
    weigh, have derivatives in eta like the loss.
    """
    now = replay_streams(agent, params, rollout)
    pi, y, y_hat = policy(now), Categorical(now["y"]), Categorical(targets.y_hat)
    policy_loss = -jnp.mean(pi.log_prob(rollout.action) * targets.pi_hat)
    y_loss = jnp.mean(y.kl(y_hat))
    total = policy_loss + y_cost * y_loss
    said = jax.nn.softmax(targets.y_hat)
    return total, {
        "loss": total,
        "policy_loss": policy_loss,
        "y_loss": y_loss,
        "entropy": jnp.mean(pi.entropy()),
        "y_entropy": jnp.mean(y.entropy()),
        "pi_hat": jnp.mean(targets.pi_hat),
        "pi_hat_square": jnp.mean(jnp.square(targets.pi_hat)),
        "y_hat_square": jnp.mean(jnp.sum(jnp.square(said), axis=-1)),
    }


def clipped(max_norm: float = 0.5) -> optax.GradientTransformation:
    """Minus the gradient, the policy's and y's part of it clipped apart, each by its norm.

    Its derivative is finite where a gradient is zero, as meta-gradients need.
    """

    def update(grads: PyTree, state: tuple, params: Params | None = None):
        limit = max_norm**2
        scales = {
            part: max_norm * jax.lax.rsqrt(jnp.maximum(square, limit))
            for part, square in squares(grads).items()
        }
        return jax.tree_util.tree_map_with_path(lambda p, g: -scales[part_of(p)] * g, grads), state

    return optax.GradientTransformation(lambda params: (), update)


def squares(tree: PyTree) -> dict[str, jax.Array]:
    """The squared norm of each part."""
    found = {"policy": jnp.zeros(()), "y": jnp.zeros(())}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        part = part_of(path)
        found[part] = found[part] + jnp.sum(jnp.square(leaf))
    return found


def part_of(path: tuple) -> str:
    """Whose rate and clip a leaf of params has: `y` where its path has that name, or `policy`."""
    return "y" if any(getattr(entry, "key", None) == "y" for entry in path) else "policy"

"""An actor with the true critic of the discounting chain, and the rule that moves it.

As in the official code of Bonnet et al. 2022 (https://arxiv.org/abs/2211.10550): the policy is a
linear softmax of the chain and the time; values are computed, not learned. What is not theirs: an
episode is known from its first action, so losses are sums over the five kinds of episodes, weighted
with how often each was seen, instead of means over all episodes. The numbers are the same.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl.envs.discounting_chain import CHAINS
from metarl.envs.discounting_chain import Params as Chain
from metarl.meta.common import Objective
from metarl.nets.linear import linear, linear_init
from metarl.rules import a2c
from metarl.rules.common import from_batch_loss
from metarl.types import (
    Agent,
    AgentInput,
    Eta,
    Heads,
    Key,
    Metrics,
    Params,
    PyTree,
    Rollout,
    UpdateRule,
)

WIDTHS = {"logits": CHAINS, "value": 1, "outer_value": 1}


class Problem(NamedTuple):
    """The chain, and how its states are valued.

    `late` is by how many steps rewards count as later than they are before the choice, and there
    alone. The official code has 1: its values of the first state are too small by a factor of the
    discount. 0 is exact.
    """

    chain: Chain
    late: int = 0
    normalise: bool = True  # advantages are standardised over the batch
    baseline: str = "value"  # the head that the outer loss uses


def true_value(
    problem: Problem, obs: jax.Array, probs: jax.Array, discount: jax.Array | float
) -> jax.Array:
    """[] the discounted reward that is still to come.

    Args:
      problem: of which `chain` and `late` count.
      obs: [2], the chain and the share of the episode that is over.
      probs: [5], the policy at `obs`; it matters before the choice alone.
      discount: one step's.
    """
    chain = problem.chain
    steps = (chain.reward_steps - 1).astype(jnp.float32)  # [5] between the choice and the reward
    first = probs @ (chain.rewards * jnp.power(discount, steps + problem.late))
    chosen = jnp.maximum(obs[0], 0).astype(jnp.int32)
    ahead = steps[chosen] - jnp.round(obs[1] * chain.length)
    later = chain.rewards[chosen] * jnp.power(discount, jnp.maximum(ahead, 0)) * (ahead >= 0)
    return jnp.where(obs[0] < 0, first, later)


def chain_agent(problem: Problem, discount: float) -> Agent:
    """Builds the agent, whose values are true.

    Its params hold, beside the policy's, the discount of the head `value`: whoever learns sets it,
    as if the critic were fitted at once. The discount of the head `outer_value` is 1.

    Args:
      problem: of which `chain` and `late` count.
      discount: the first one.
    """

    def init(key: Key) -> Params:
        return {"policy": linear_init(key, 2, CHAINS, 0.01), "discount": jnp.float32(discount)}

    def apply(params: Params, carry: tuple, inputs: AgentInput) -> tuple[Heads, tuple]:
        return chain_heads(problem, params, inputs.obs), carry

    return Agent(init, tuple, apply)


def chain_heads(problem: Problem, params: Params, obs: jax.Array) -> Heads:
    """What the agent says of an observation [2]."""
    logits = linear(params["policy"], obs)
    probs = jax.nn.softmax(logits)
    inner, outer = (true_value(problem, obs, probs, x)[None] for x in (params["discount"], 1.0))
    return {"logits": logits, "value": inner, "outer_value": outer}


def chain_loss(
    problem: Problem,
    params: Params,
    rollout: Rollout,
    *,
    discount: jax.Array | float,
    entropy_cost: jax.Array | float,
    baseline: str,
) -> tuple[jax.Array, Metrics]:
    """Policy gradient of one-step advantages, and an entropy bonus, over whole episodes [N, T].

    No derivative passes through values; it does through `discount`, in the targets.

    Args:
      problem: of which all but `baseline` counts.
      params: of the agent.
      rollout: one whole episode a stream; its actions say all.
      discount: of the targets.
      entropy_cost: factor on the bonus.
      baseline: the head that is subtracted, and bootstrapped from.

    Returns:
      The loss, and metrics: `entropy`, and `first_adv`, the mean over episodes of the advantage
      of the first action, before it is standardised.
    """
    length = rollout.action.shape[1]
    taken = jax.nn.one_hot(rollout.action, CHAINS)  # [N, T, 5]
    seen = jnp.einsum("nc,nta->cta", taken[:, 0], taken) / taken.shape[0]  # [5, T, 5] shares
    share = seen[:, 0].sum(axis=-1, keepdims=True)  # [5, 1] of the kinds of episodes
    obs, reward = episodes(problem.chain, length)
    heads = jax.vmap(jax.vmap(lambda one: chain_heads(problem, params, one)))(obs)
    value = jax.lax.stop_gradient(heads[baseline][..., 0])  # [5, T]; values are given
    after = jnp.pad(value[:, 1:], ((0, 0), (0, 1)))  # the end is worth nothing
    adv = reward + discount * after - value
    first_adv = jnp.sum(share[:, 0] * adv[:, 0])
    if problem.normalise:  # a unit, through which no derivative passes
        mean = jax.lax.stop_gradient(jnp.sum(share * adv) / length)
        variance = jax.lax.stop_gradient(jnp.sum(share * jnp.square(adv - mean)) / length)
        adv = (adv - mean) * jax.lax.rsqrt(variance + 1e-5)
    log_probs = jax.nn.log_softmax(heads["logits"])  # [5, T, 5]
    gain = jnp.sum(jnp.sum(seen * log_probs, axis=-1) * adv) / length
    entropy = -jnp.sum(share * jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)) / length
    total = -gain - entropy_cost * entropy
    return total, {"loss": total, "entropy": entropy, "first_adv": first_adv}


def episodes(chain: Chain, length: int) -> tuple[jax.Array, jax.Array]:
    """Observations [5, T, 2] and rewards [5, T] of an episode of each chain, of `length` steps."""
    time = jnp.arange(length)
    kind = jnp.arange(CHAINS)[:, None]
    kinds, over = jnp.broadcast_arrays(jnp.where(time == 0, -1, kind), time / chain.length)
    pays = time + 1 == chain.reward_steps[:, None]
    return jnp.stack([kinds.astype(jnp.float32), over], axis=-1), chain.rewards[:, None] * pays


def chain_objective(problem: Problem, entropy_cost: float) -> Objective:
    """The outer loss: `chain_loss` with discount 1 and the baseline of the problem."""
    how: Any = {"discount": 1.0, "entropy_cost": entropy_cost, "baseline": problem.baseline}
    return lambda params, rollout: chain_loss(problem, params, rollout, **how)[0]


def chain_rule(
    problem: Problem, eta: a2c.Hypers, optimizer: optax.GradientTransformation
) -> UpdateRule:
    """Builds the rule: one step along the gradient of `chain_loss` with eta's discount.

    Lambda is 0, whatever eta says. The critic is fitted before the step and after it. The metric
    `outer_adv` is the mean over episodes of the advantage of their first action in the outer
    problem, before the step: what the outer loss was taken on is learned from next.

    Args:
      problem: its `baseline` counts for the metric alone.
      eta: what `init_eta` returns.
      optimizer: of params.
    """

    def fitted(params: Params, eta: Eta) -> Params:
        # Eta is judged by the policy alone: the critic follows it without a derivative.
        return {**params, "discount": jax.lax.stop_gradient(eta.discount)}

    def loss(params: Params, eta: Eta, rollout: Rollout) -> tuple[jax.Array, Metrics]:
        how: Any = {"discount": eta.discount, "entropy_cost": eta.entropy_cost}
        return chain_loss(problem, fitted(params, eta), rollout, baseline="value", **how)

    rule = from_batch_loss(loss, optimizer, heads=WIDTHS, init_eta=lambda key: eta)

    def update(eta: Eta, params: Params, state: PyTree, rollout: Rollout, key: Key):
        how: Any = {"discount": 1.0, "entropy_cost": 0.0, "baseline": problem.baseline}
        _, outer = chain_loss(problem, params, rollout, **how)
        params, state, metrics = rule.update(eta, params, state, rollout, key)
        return fitted(params, eta), state, {**metrics, "outer_adv": outer["first_adv"]}

    return rule._replace(update=update, update_lives=None)

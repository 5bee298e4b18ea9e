"""What one update of a rule does to the probability of an action, whatever the rule is.

The agent is a table, each row of which is given: the probability of the action that was taken now
and when it was taken, and its reward. One public update by plain gradient descent on all rows says
how each of them is pushed.
"""

import inspect
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from gymnasium.spaces import Discrete

from metarl.agents.tabular import tabular
from metarl.config import Part, Value
from metarl.envs.spaces import Choices
from metarl.named_rules import rule_of
from metarl.rules.disco import DiscoState
from metarl.rules.life import LifeState
from metarl.types import Agent, AgentInput, Eta, Params, PyTree, Rollout, UpdateRule

# One whole step of gradient descent on all rows, so that a push is a gradient.
PLAIN: dict[str, Value] = {
    **{"learning_rate": 1.0, "policy_rate": 1.0, "y_rate": 1.0, "adam": 0.0},
    **{"epochs": 1, "minibatches": 1},
}
BEHAVIOUR = 0.25  # probability with which the action was taken, where ratios are varied
ARMS = 2
REACH = 20  # steps over which credit is followed
STREAMS = 64  # beside that with the reward
ETA = 0  # the seed of networks that are drawn, the same in all that is looked at


@dataclass(frozen=True)
class Rows(Choices):
    """Two actions in each of `states` states; only its spaces are used."""

    states: int = 2
    num_actions: int = ARMS

    @property
    def observation_space(self) -> Discrete:
        """The number of the state."""
        return Discrete(self.states)


class Probe(NamedTuple):
    """A rule on rows; the last row, where nothing happens, is `states - 1`."""

    agent: Agent
    rule: UpdateRule
    eta: Eta
    states: int
    blank: Params  # tables of zeros; compiled code takes them as an argument: XLA folds constants
    plain: bool  # whether it follows plain gradient descent, not an optimizer of its own


class Grid(NamedTuple):
    """Where the probe looks."""

    reward: np.ndarray  # [R]
    prob: np.ndarray  # [P] of the action taken, also when it was taken
    ratio: np.ndarray  # [P] of its probability now to `BEHAVIOUR`, that when it was taken


def grid(size: int = 19) -> Grid:
    """Rewards from -2 to 2, probabilities from 0.05 to 0.95, ratios from 0.4 to 2.4."""
    return Grid(
        np.linspace(-2, 2, size), np.linspace(0.05, 0.95, size), np.linspace(0.4, 2.4, size)
    )


def probe(part: Part, states: int) -> Probe:
    """Builds it.

    Args:
      part: the rule as `metarl.named_rules.rule_of` takes it.
      states: rows, the last one being idle.

    Raises:
      ValueError: a rule whose policy has no logits.
    """
    env: Any = Rows(states)
    fields = rule_of(part, env)[2].fields
    plainly = {name: value for name, value in PLAIN.items() if name in fields}
    builder, heads, _ = rule_of(Part(part.name, {**part.fields, **plainly}), env)
    if "logits" not in heads:
        raise ValueError(f"{part.name} has no logits, but {sorted(heads)}")
    agent = tabular(env, heads, start="zeros")
    known = inspect.signature(builder).parameters
    plain = "optimizer" in known or any(p.kind is p.VAR_KEYWORD for p in known.values())
    rule = builder(agent, heads, **({"optimizer": optax.sgd(1.0)} if plain else {}))
    eta, blank = rule.init_eta(jax.random.key(ETA)), agent.init(jax.random.key(0))
    return Probe(agent, rule, eta, states, blank, plain)


def born(probe: Probe, prob: jax.Array) -> Params:
    """Params of an agent that takes action 0 of each row with a probability [states - 1]."""
    prob = jnp.append(prob, 0.5)
    logits = jnp.stack([jnp.log(prob) - jnp.log1p(-prob), jnp.zeros_like(prob)], axis=-1)
    return {**probe.blank, "logits": logits}


def experience(probe: Probe, old: Params, rows: jax.Array, reward: jax.Array) -> Rollout:
    """Action 0 in rows [N, T], which paid [N, T]; episodes end before the idle row."""
    zeros = jnp.zeros(rows.shape, jnp.int32)
    never = jnp.zeros(rows.shape, bool)
    idle = jnp.full_like(rows[:, :1], probe.states - 1)
    after = jnp.concatenate([rows[:, 1:], idle], axis=1)
    inputs = AgentInput(rows, zeros, jnp.zeros(rows.shape), never)
    heads = jax.vmap(jax.vmap(lambda x: probe.agent.apply(old, (), x)[0]))(inputs)
    successors = AgentInput(after, zeros, reward, never)
    return Rollout(inputs, zeros, reward, after == idle[0], never, successors, heads, ())


def pushes(probe: Probe, params: Params, state: PyTree, rollout: Rollout, steps: int) -> jax.Array:
    """[states - 1] what the update adds to the logit of action 0, times `steps`.

    With the steps that its loss is a mean over, that is the gradient of one step's.
    """
    key = jax.random.key(0)
    later, _, _ = probe.rule.update(probe.eta, params, state, rollout, key)
    return (later["logits"] - params["logits"])[:-1, 0] * steps


def at_moment(state: PyTree, moment: PyTree | None) -> PyTree:
    """A newborn's state whose clock, or memory of its life, is that of a moment of another life."""
    if isinstance(state, LifeState) and isinstance(moment, LifeState):
        return state.replace(clock=moment.clock)
    if isinstance(state, DiscoState) and isinstance(moment, DiscoState):
        return state.replace(memory=moment.memory)
    return state


def singles(probe: Probe, now: jax.Array, then: jax.Array, reward: jax.Array) -> tuple:
    """Params, state and experience of one step in each row, all of them [states - 1].

    A rule that needs more steps gets an idle one behind each.
    """
    params, old = born(probe, now), born(probe, then)
    state = probe.rule.init(params)
    rows = jnp.arange(probe.states - 1)[:, None]
    once = experience(probe, old, rows, reward[:, None])
    try:
        jax.eval_shape(lambda: pushes(probe, params, state, once, 1))
        return params, state, once
    except ValueError:
        idle = jnp.full_like(rows, probe.states - 1)
        wide = jnp.concatenate([rows, idle], axis=1)
        paid = jnp.stack([reward, jnp.zeros_like(reward)], axis=1)
        return params, state, experience(probe, old, wide, paid)


def credit(probe: Probe, reward: jax.Array | float) -> tuple[Params, PyTree, Rollout]:
    """Params, state and experience, of which one stream pays `reward` at its `REACH`-th step."""
    params = born(probe, jnp.full(probe.states - 1, 0.5))
    rows = jnp.full((STREAMS + 1, REACH + 1), probe.states - 1).at[0, :-1].set(jnp.arange(REACH))
    paid = jnp.zeros(rows.shape).at[0, REACH - 1].set(reward)
    return params, probe.rule.init(params), experience(probe, params, rows, paid)

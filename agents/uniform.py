"""The random policy as an agent without parameters: every legal action alike."""

from collections.abc import Mapping

import jax.numpy as jnp

from metarl.nets.heads import in_units_of
from metarl.ops.distributions import masked
from metarl.types import Agent, AgentInput, Environment, Heads, Key


def uniform(env: Environment, heads: Mapping[str, int]) -> Agent:
    """Builds the agent; all its heads say zero.

    So a Gaussian policy is a normal around the middle of the box, half its width being one
    standard deviation.
    """

    def init(key: Key) -> dict:
        return {}

    def apply(params: dict, carry: tuple, inputs: AgentInput) -> tuple[Heads, tuple]:
        zeros = {name: jnp.zeros(width) for name, width in heads.items()}
        return masked(in_units_of(env.action_space, zeros), inputs.action_mask), carry

    return Agent(init, tuple, apply)

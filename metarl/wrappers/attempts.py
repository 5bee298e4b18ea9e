"""What rules and controls need to know of trials (`metarl.wrappers.trial`)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from metarl.types import Agent, AgentInput, Heads, Params, PyTree, Rollout


def attempt_ended(rollout: Rollout) -> jax.Array | None:
    """[..., T] bool, an attempt ended with this step; None where the rollout shows no trials.

    Whether it does is seen in the form of the observation, so outside of trials nothing is compiled
    that was not before. The end of a trial ends an attempt too.
    """
    obs = rollout.next_inputs.obs
    return obs["trial"][..., 2] > 0 if shows_trials(obs) else None


def shows_trials(obs: PyTree) -> bool:
    """Whether an observation is one of `trial`, judged by its form."""
    return isinstance(obs, Mapping) and "trial" in obs


def forgetful(agent: Agent) -> Agent:
    """The agent without memory from one attempt to the next: the control of what memory is for.

    To it every attempt begins like a trial: with `first`, no previous action and no reward. Of
    earlier attempts it knows how many there were, from the observation. It must forget at `first`,
    as agents with `reset_memory` do.
    """

    def apply(params: Params, carry: PyTree, inputs: AgentInput) -> tuple[Heads, PyTree]:
        return agent.apply(params, carry, _begun_anew(inputs))

    def unroll(params: Params, carry: PyTree, inputs: AgentInput) -> tuple[Heads, PyTree]:
        assert agent.unroll is not None
        return agent.unroll(params, carry, _begun_anew(inputs))

    return agent._replace(apply=apply, unroll=unroll if agent.unroll else None)


def _begun_anew(inputs: AgentInput) -> AgentInput:
    """Inputs [...] to which the beginning of an attempt looks like that of a trial."""
    if not shows_trials(inputs.obs):
        raise ValueError("only in trials can memory be reset between attempts; see `trial`")
    new = inputs.first | (inputs.obs["trial"][..., 2] > 0)

    def blank(x: jax.Array) -> jax.Array:
        where = new.reshape(new.shape + (1,) * (x.ndim - new.ndim))
        return jnp.where(where, jnp.zeros_like(x), x)

    action, reward = blank(inputs.prev_action), blank(inputs.prev_reward)
    return inputs.replace(first=new, prev_action=action, prev_reward=reward)

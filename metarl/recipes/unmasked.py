"""Agents that learn for themselves which actions are bad, as where a game tells no legal moves."""

from metarl.types import Agent, AgentInput, Heads, Params


def unmasked(agent: Agent) -> Agent:
    """The agent without knowledge of which actions are legal."""

    def apply(params: Params, carry: tuple, inputs: AgentInput) -> tuple[Heads, tuple]:
        return agent.apply(params, carry, inputs.replace(action_mask=None))

    return agent._replace(apply=apply)

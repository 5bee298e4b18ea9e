"""A feed-forward agent: flat observation, dense layers, linear heads."""

from collections.abc import Mapping, Sequence

import jax

from metarl.nets import linear
from metarl.nets.heads import apply_heads, heads_init
from metarl.nets.inputs import flat_size, flatten
from metarl.types import Agent, AgentInput, Environment, Heads, Key, Params


def mlp(
    env: Environment,
    heads: Mapping[str, int],
    *,
    hidden: Sequence[int] = (64, 64),
    free_log_std: bool = False,
) -> Agent:
    """Builds the agent for one environment's spaces.

    Args:
      env: whose observations it reads.
      heads: name -> width, as the update rule declares them.
      hidden: widths of the tanh layers; `()` makes a linear agent.
      free_log_std: of continuous actions: one learned spread, whatever is observed.
    """
    space = env.observation_space
    sizes = (flat_size(space), *hidden)

    def init(key: Key) -> Params:
        torso_key, head_key = jax.random.split(key)
        torso = linear.mlp_init(torso_key, sizes)
        last = heads_init(head_key, sizes[-1], heads, free_log_std=free_log_std)
        return {"torso": torso, "heads": last}

    def apply(params: Params, carry: tuple, inputs: AgentInput) -> tuple[Heads, tuple]:
        x = linear.mlp(params["torso"], flatten(space, inputs.obs))
        return apply_heads(params["heads"], x, env.action_space, inputs.action_mask), carry

    return Agent(init, tuple, apply)

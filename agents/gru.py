"""A recurrent agent: a dense layer, a GRU over the steps of a life, linear heads.

It sees its previous action and reward, so that with `reset_memory=False` it can learn within its
life (RL^2: Duan et al. 2016, https://arxiv.org/abs/1611.02779; Wang et al. 2016,
https://arxiv.org/abs/1611.05763).
"""

from collections.abc import Mapping

from metarl.agents.memory import memory
from metarl.types import Agent, Environment


def gru(
    env: Environment,
    heads: Mapping[str, int],
    *,
    hidden: int = 64,
    reset_memory: bool = True,
    free_log_std: bool = False,
) -> Agent:
    """Builds the agent for one environment's spaces: `memory` around a bare GRU.

    Args:
      env: whose observations and actions it reads.
      heads: name -> width, as the update rule declares them.
      hidden: width of the dense layer and of the memory.
      reset_memory: forget at the first step of every episode.
      free_log_std: of continuous actions: one learned spread, whatever is observed.
    """
    return memory(
        env,
        heads,
        core="gru",
        hidden=hidden,
        layers=0,
        reset_memory=reset_memory,
        free_log_std=free_log_std,
    )

"""A recurrent agent: a dense layer, a GRU over the steps of a life, linear heads.

It sees its previous action and reward, so that with `reset_memory=False` it can learn within its
life (RL^2: Duan et al. 2016, https://arxiv.org/abs/1611.02779; Wang et al. 2016,
https://arxiv.org/abs/1611.05763).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from metarl.nets.gru import gru as apply_gru
from metarl.nets.gru import gru_init
from metarl.nets.heads import apply_heads, heads_init
from metarl.nets.inputs import context, context_size, flat_size, flatten
from metarl.nets.linear import linear, linear_init
from metarl.types import Agent, AgentInput, Environment, Heads, Key, Params


def gru(
    env: Environment,
    heads: Mapping[str, int],
    *,
    hidden: int = 64,
    reset_memory: bool = True,
    free_log_std: bool = False,
) -> Agent:
    """Builds the agent for one environment's spaces.

    Args:
      env: whose observations and actions it reads.
      heads: name -> width, as the update rule declares them.
      hidden: width of the dense layer and of the memory.
      reset_memory: forget at the first step of every episode.
      free_log_std: of continuous actions: one learned spread, whatever is observed.
    """
    space, actions = env.observation_space, env.action_space
    n_in = flat_size(space) + context_size(actions)

    def init(key: Key) -> Params:
        in_key, gru_key, head_key = jax.random.split(key, 3)
        return {
            "in": linear_init(in_key, n_in, hidden),
            "gru": gru_init(gru_key, hidden, hidden),
            "heads": heads_init(head_key, hidden, heads, free_log_std=free_log_std),
        }

    def carry() -> jax.Array:
        return jnp.zeros(hidden)

    def apply(params: Params, h: jax.Array, inputs: AgentInput) -> tuple[Heads, jax.Array]:
        x = jnp.concatenate([flatten(space, inputs.obs), context(actions, inputs)])
        x = jnp.tanh(linear(params["in"], x))
        if reset_memory:
            h = jnp.where(inputs.first, 0.0, h)
        h = apply_gru(params["gru"], h, x)
        return apply_heads(params["heads"], h, actions, inputs.action_mask), h

    return Agent(init, carry, apply)

"""A table: a row of numbers for every state, found by its index.

What a linear agent on one-hot observations computes, without the observations: a step reads one row
of each head, and its derivative writes one.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from gymnasium.spaces import Discrete

from metarl.nets.heads import in_units_of
from metarl.ops.distributions import masked
from metarl.registry import did_you_mean
from metarl.types import Agent, AgentInput, Environment, Heads, Key, Params, PyTree

STARTS = ("lecun", "zeros")


def tabular(env: Environment, heads: Mapping[str, int], *, start: str = "lecun") -> Agent:
    """Builds the agent for one environment's states.

    Its params are a table [states, width] for each head.

    Args:
      env: whose observations are numbers (`Discrete`), or which numbers them: `num_states`, and
        `index(obs)` below it.
      heads: name -> width, as the update rule declares them.
      start: `zeros`, or `lecun`: as a layer on one-hot observations would start, with a standard
        deviation of `states ** -0.5`.

    Raises:
      ValueError: the environment has no such numbers, or a start of another name.
    """
    if start not in STARTS:
        raise ValueError(
            f"no start {start!r}{did_you_mean(start, STARTS)} known: {', '.join(STARTS)}"
        )
    states, index = numbered(env)

    def table(key: Key, width: int) -> jax.Array:
        if start == "zeros":
            return jnp.zeros((states, width))
        return jax.nn.initializers.lecun_normal()(key, (states, width))

    def init(key: Key) -> Params:
        keys = jax.random.split(key, len(heads))
        return {name: table(k, heads[name]) for k, name in zip(keys, heads, strict=True)}

    def apply(params: Params, carry: tuple, inputs: AgentInput) -> tuple[Heads, tuple]:
        row = index(inputs.obs)
        said = {name: jnp.take(x, row, axis=0, mode="clip") for name, x in params.items()}
        return masked(in_units_of(env.action_space, said), inputs.action_mask), carry

    return Agent(init, tuple, apply)


def numbered(env: Any) -> tuple[int, Callable[[PyTree], jax.Array]]:
    """How many states an environment has, and the number of the one that an observation is.

    Raises:
      ValueError: its observations are not numbers of states.
    """
    space = env.observation_space
    if isinstance(space, Discrete):
        return int(space.n), lambda obs: obs - int(space.start)
    if hasattr(env, "index") and hasattr(env, "num_states"):
        jax.eval_shape(env.index, space.sample())  # raises where the observations do not tell
        return int(env.num_states), env.index
    raise ValueError(
        f"the tabular agent needs states with numbers, but {env} shows {space}: a Discrete "
        "observation, or `num_states` and `index(obs)`; use mlp or conv"
    )

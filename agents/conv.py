"""A convolutional agent for planes `[C, H, W]`: small kernels, one dense layer, linear heads."""

from collections.abc import Mapping, Sequence

import jax
from gymnasium.spaces import Box, MultiBinary

from metarl.nets.conv import behind_convolutions, conv_init
from metarl.nets.conv import conv as apply_conv
from metarl.nets.heads import heads_init
from metarl.nets.linear import linear_init
from metarl.types import Agent, Environment, Key, Params


def conv(
    env: Environment,
    heads: Mapping[str, int],
    *,
    channels: Sequence[int] = (16, 16),
    hidden: int = 128,
    free_log_std: bool = False,
) -> Agent:
    """Builds the agent for one environment's spaces.

    Args:
      env: whose observations are planes, channels first.
      heads: name -> width, as the update rule declares them.
      channels: of the 3x3 layers; sides keep their length.
      hidden: width of the dense layer behind them.
      free_log_std: of continuous actions: one learned spread, whatever is observed.

    Raises:
      ValueError: the observation is not three-dimensional.
    """
    space = env.observation_space
    shape = space.shape or ()
    if not isinstance(space, Box | MultiBinary) or len(shape) != 3:
        raise ValueError(
            f"the conv agent needs planes [C, H, W], but observations are {space}; use mlp or gru"
        )
    planes, height, width = shape

    def init(key: Key) -> Params:
        conv_key, dense_key, head_key = jax.random.split(key, 3)
        return {
            "conv": conv_init(conv_key, (planes, *channels)),
            "dense": linear_init(dense_key, height * width * channels[-1], hidden),
            "heads": heads_init(head_key, hidden, heads, free_log_std=free_log_std),
        }

    return behind_convolutions(env, init, apply_conv)

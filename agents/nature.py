"""The Nature DQN's network for pictures (Mnih et al. 2015), with the heads that a rule asks for."""

from collections.abc import Mapping, Sequence

import jax
from gymnasium.spaces import Box

from metarl.nets.conv import behind_convolutions, windows
from metarl.nets.heads import heads_init
from metarl.nets.linear import linear, linear_init
from metarl.types import Agent, Environment, Key, Params

KERNELS = (8, 4, 3)  # sides of the layers' filters
STRIDES = (4, 2, 1)
LEAST = 36  # pixels of a side: below, the last layer sees nothing


def nature(
    env: Environment,
    heads: Mapping[str, int],
    *,
    channels: Sequence[int] = (32, 64, 64),
    hidden: int = 512,
    free_log_std: bool = False,
) -> Agent:
    """Builds the agent for one environment's spaces: three strided layers, a dense one, heads.

    Pictures of 84 by 84 leave 7 by 7 cells before the dense layer. Weights start orthogonal, as of
    our other agents, not as in the paper.

    Args:
      env: whose observations are planes [C, H, W], such as Atari's grey frames in a stack.
      heads: name -> width, as the update rule declares them.
      channels: of the three layers.
      hidden: width of the dense layer.
      free_log_std: of continuous actions: one learned spread, whatever is observed.

    Raises:
      ValueError: the observation is not three-dimensional or too small, or other than three layers.
    """
    space = env.observation_space
    shape = space.shape or ()
    if not isinstance(space, Box) or len(shape) != 3 or min(shape[1:]) < LEAST:
        raise ValueError(
            f"the nature agent needs planes [C, H, W] of at least {LEAST} by {LEAST}, but "
            f"observations are {space}; use conv or mlp"
        )
    if len(channels) != len(KERNELS):
        raise ValueError(f"nature: channels are those of {len(KERNELS)} layers, got {channels}")
    planes, height, width = shape
    sides = [_behind(side) for side in (height, width)]
    sizes = (planes, *channels)

    def init(key: Key) -> Params:
        *keys, dense_key, head_key = jax.random.split(key, len(KERNELS) + 2)
        pairs = zip(keys, KERNELS, sizes[:-1], sizes[1:], strict=True)
        return {
            "conv": [linear_init(k, side * side * a, b) for k, side, a, b in pairs],
            "dense": linear_init(dense_key, sides[0] * sides[1] * channels[-1], hidden),
            "heads": heads_init(head_key, hidden, heads, free_log_std=free_log_std),
        }

    def convolved(layers: list[Params], x: jax.Array) -> jax.Array:
        for layer, side, stride in zip(layers, KERNELS, STRIDES, strict=True):
            x = jax.nn.relu(linear(layer, windows(x, side, stride)))
        return x

    return behind_convolutions(env, init, convolved)


def _behind(side: int) -> int:
    """Cells of a side behind all layers."""
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        side = (side - kernel) // stride + 1
    return side

"""An agent that remembers in every cell of a board, with the same weights in each.

What was seen in a cell, and what was done to it, is remembered there; convolutions over the
memories then weigh cells against their neighbours. Where there is one action for each cell, its
logit is read there too. The memory of ConvLSTMs (Shi et al. 2015,
https://arxiv.org/abs/1506.04214; as an agent: Guez et al. 2019, https://arxiv.org/abs/1901.03559),
but any core will do, since cells remember apart from each other.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary

from metarl.nets.conv import patches, rings
from metarl.nets.core import block, cleared, core_of
from metarl.nets.heads import apply_heads, heads_init
from metarl.nets.inputs import context, context_size, flat_size, flatten, scale
from metarl.nets.linear import linear, linear_init
from metarl.ops.control import in_turn
from metarl.ops.distributions import masked
from metarl.types import Agent, AgentInput, Environment, Heads, Key, Params, PyTree

FEW = 16  # values of an integer that are told apart, as one-hot


def cellular(
    env: Environment,
    heads: Mapping[str, int],
    *,
    core: str = "gru",
    width: int = 24,
    layers: int = 3,
    hidden: int = 64,
    symmetric: bool = False,
    reset_memory: bool = True,
) -> Agent:
    """Builds the agent for one environment's spaces.

    Args:
      env: whose observations are planes [C, H, W], or a `Dict` with one such part, as in a trial.
      heads: name -> width, as the update rule declares them.
      core: of every cell, as of `metarl.agents.memory.memory`; `none` remembers nothing.
      width: of a cell's memory, and channels of the convolutions.
      layers: residual 3x3 layers behind the memory.
      hidden: width of the dense layer behind all cells, which other heads read.
      symmetric: the 3x3 layers have the same weights for all four sides, and for all four corners,
        so that a board turned or mirrored has its logits turned or mirrored.
      reset_memory: forget at the first step of every episode; of a trial, that is its beginning.

    Raises:
      ValueError: there is not exactly one part of planes; or a core that does not exist.
    """
    board = _Board(env, heads, symmetric)
    inner = block(core_of(core, width, width))
    remembers = bool(jax.tree.leaves(jax.eval_shape(inner.carry)))

    def init(key: Key) -> Params:
        core_key, key = jax.random.split(key)
        return {"core": inner.init(core_key), **board.init(key, (width, layers, hidden))}

    def carry() -> PyTree:
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (board.count, *x.shape)), inner.carry())

    def apply(params: Params, memory: PyTree, inputs: AgentInput) -> tuple[Heads, PyTree]:
        own = memory if remembers else carry()
        own = cleared(carry(), inputs.first, own) if reset_memory else own
        step = jax.vmap(inner.step, in_axes=(None, 0, 0))
        own, x = step(params["core"], own, board.seen(params, inputs))
        heads = board.said(params, board.weighed(params, x), inputs)
        return heads, own if remembers else memory

    def unroll(params: Params, memory: PyTree, inputs: AgentInput) -> tuple[Heads, PyTree]:
        x = jax.vmap(board.seen, in_axes=(None, 0))(params, inputs)  # [T, cells, width]
        first = inputs.first if reset_memory else None
        along = jax.vmap(inner.unroll, in_axes=(None, 0, 1, None), out_axes=(0, 1))
        own, x = along(params["core"], memory if remembers else carry(), x, first)
        x = in_turn(partial(board.weighed, params), x)
        heads = jax.vmap(board.said, in_axes=(None, 0, 0))(params, x, inputs)
        return heads, own if remembers else memory

    return Agent(init, carry if remembers else tuple, apply, unroll)


class _Board:
    """What a cell is told of an agent's input, and what is said of all cells."""

    def __init__(self, env: Environment, heads: Mapping[str, int], symmetric: bool):
        self.actions, self.heads = env.action_space, dict(heads)
        self.around = rings if symmetric else patches
        space: Any = env.observation_space
        self.parts: dict[str, Any] = dict(space.items()) if isinstance(space, Dict) else {"": space}
        planes = [
            name
            for name, part in self.parts.items()
            if isinstance(part, Box | MultiBinary) and len(part.shape) == 3
        ]
        if len(planes) != 1:
            raise ValueError(
                f"the cellular agent needs one part of planes [C, H, W], but observations are "
                f"{space}; use memory or mlp"
            )
        self.planes = planes[0]
        self.channels, self.height, self.width = self.parts[self.planes].shape
        self.count = self.height * self.width
        self.values = _values(self.parts[self.planes])
        # One action for each cell: its logit is read there, and every other head behind them all.
        self.local = isinstance(self.actions, Discrete) and self.count == heads.get("logits")
        if self.local:
            del self.heads["logits"]

    def init(self, key: Key, sizes: tuple[int, int, int]) -> Params:
        """Parameters of all but the memory, for a width, a number of layers and a dense width."""
        width, layers, hidden = sizes
        in_key, cell_key, dense_key, head_key, conv_key = jax.random.split(key, 5)
        rest = sum(flat_size(part) for name, part in self.parts.items() if name != self.planes)
        around = jax.eval_shape(self.around, jnp.zeros((self.height, self.width, width))).shape[-1]
        told = sum(self.values) + rest + (3 if self.local else context_size(self.actions))
        pooled = 2 * width if self.local else self.count * width
        keys = jax.random.split(conv_key, max(layers, 1))[:layers]
        params = {
            "in": linear_init(in_key, told, width),
            "conv": [linear_init(k, around, width, 1.0) for k in keys],
            "dense": linear_init(dense_key, pooled, hidden),
            "heads": heads_init(head_key, hidden, self.heads),
        }
        return params | ({"cell": linear_init(cell_key, width, 1, 0.01)} if self.local else {})

    def seen(self, params: Params, inputs: AgentInput) -> jax.Array:
        """[cells, width]: a cell's planes, whether it was acted on, and what all cells are told."""
        obs = inputs.obs if isinstance(inputs.obs, Mapping) else {"": inputs.obs}
        cells = [self._cells(obs[self.planes])]
        told = [flatten(p, obs[name]) for name, p in self.parts.items() if name != self.planes]
        recent = context(self.actions, inputs)
        if self.local:
            cells.append(recent[: self.count, None])
            recent = recent[self.count :]
        shared = jnp.concatenate([*told, recent])
        shared = jnp.broadcast_to(shared, (self.count, len(shared)))
        return jnp.tanh(linear(params["in"], jnp.concatenate([*cells, shared], axis=-1)))

    def _cells(self, planes: jax.Array) -> jax.Array:
        """[cells, sum of values] numbers of unit scale."""
        scaled = scale(self.parts[self.planes], planes)
        found = [
            jax.nn.one_hot(raw.ravel(), n) if n > 1 else x.reshape(-1, 1)
            for raw, x, n in zip(planes, scaled, self.values, strict=True)
        ]
        return jnp.concatenate(found, axis=-1)

    def weighed(self, params: Params, x: jax.Array) -> jax.Array:
        """[H, W, width] what all cells remember, [cells, width], against their neighbours."""
        x = x.reshape(self.height, self.width, -1)
        for layer in params["conv"]:
            x = x + jax.nn.relu(linear(layer, self.around(x)))
        return x

    def said(self, params: Params, x: jax.Array, inputs: AgentInput) -> Heads:
        """The heads, of what the convolutions found [H, W, width]."""
        both = [x.mean(axis=(0, 1)), x.max(axis=(0, 1))]
        pooled = jnp.concatenate(both) if self.local else x.ravel()
        dense = jax.nn.relu(linear(params["dense"], pooled))
        found = apply_heads(params["heads"], dense, self.actions, inputs.action_mask)
        if not self.local:
            return found
        logits = {"logits": linear(params["cell"], x).ravel()}
        return {**found, **masked(logits, inputs.action_mask)}


def _values(planes: Any) -> tuple[int, ...]:
    """Of each plane, how many values it has where they are few integers and not two, else 1."""
    if not isinstance(planes, Box) or not np.issubdtype(planes.dtype, np.integer):
        return (1,) * planes.shape[0]
    high, low = (x.reshape(planes.shape[0], -1) for x in (planes.high, planes.low))
    few = (low.min(axis=1) == 0) & (high.max(axis=1) > 1) & (high.max(axis=1) < FEW)
    return tuple(int(n) + 1 if yes else 1 for n, yes in zip(high.max(axis=1), few, strict=True))

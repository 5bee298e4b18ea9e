"""The agent of Disco103's code: a model of one step says what it predicts of each action.

Oh et al. 2025, https://doi.org/10.1038/s41586-025-09761-x. Heads of the names in `OF_ACTIONS` come
from the model, an LSTM that is asked about every action in turn; others from the torso.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from gymnasium.spaces import Discrete

from metarl.nets.disco import truncated_init
from metarl.nets.inputs import flat_size, flatten
from metarl.nets.linear import linear
from metarl.nets.lstm import lstm, truncated_lstm_init
from metarl.ops.distributions import masked
from metarl.types import Agent, AgentInput, Environment, Heads, Key, Params

OF_ACTIONS = ("aux_pi", "q_bins", "z")  # heads [A * width], a row for each action


def disco(
    env: Environment,
    heads: Mapping[str, int],
    *,
    hidden: Sequence[int] = (512, 512),
    model: int = 128,
) -> Agent:
    """Builds the agent for one environment's spaces; it has no memory.

    Args:
      env: whose observations it reads.
      heads: name -> width, as the update rule declares them.
      hidden: widths of the torso, at least one; no activation follows the last.
      model: width of the model's LSTM, and of the layer before each of its heads.

    Raises:
      ValueError: no layer, heads of actions where there are no numbered ones, or a width that is
        not a row for each action.
    """
    space = env.observation_space
    sizes = (flat_size(space), *hidden)
    if not hidden:
        raise ValueError("the disco agent needs a layer: give hidden at least one width")
    flat = {name: width for name, width in heads.items() if name not in OF_ACTIONS}
    rows = {name: heads[name] for name in heads if name in OF_ACTIONS}
    actions = _count(env, rows) if rows else 0

    def init(key: Key) -> Params:
        torso_key, head_key, model_key = jax.random.split(key, 3)
        keys = jax.random.split(torso_key, len(hidden))
        torso = [truncated_init(*x) for x in zip(keys, sizes[:-1], sizes[1:], strict=True)]
        pairs = zip(jax.random.split(head_key, len(flat)), flat.items(), strict=True)
        said = {name: truncated_init(k, sizes[-1], width, 0.01) for k, (name, width) in pairs}
        params = {"torso": torso, "heads": said}
        if rows:
            widths = {name: width // actions for name, width in rows.items()}
            params["model"] = _model_init(model_key, sizes[-1], model, actions, widths)
        return params

    def apply(params: Params, carry: tuple, inputs: AgentInput) -> tuple[Heads, tuple]:
        *before, last = params["torso"]
        x = flatten(space, inputs.obs)
        for layer in before:
            x = jax.nn.relu(linear(layer, x))
        x = linear(last, x)
        said = {name: linear(layer, x) for name, layer in params["heads"].items()}
        if rows:
            said |= _foreseen(params["model"], x, actions)
        return masked(said, inputs.action_mask), carry

    return Agent(init, tuple, apply)


def _count(env: Environment, rows: Mapping[str, int]) -> int:
    """How many actions there are; raises as `disco`."""
    space = env.action_space
    if not isinstance(space, Discrete):
        raise ValueError(f"the heads {sorted(rows)} need Discrete actions, got {space}")
    for name, width in rows.items():
        if width % int(space.n):
            raise ValueError(f"{name} of width {width} has no row for each of {space.n} actions")
    return int(space.n)


def _model_init(
    key: Key, width: int, hidden: int, actions: int, heads: Mapping[str, int]
) -> Params:
    root_key, core_key, *keys = jax.random.split(key, 2 + len(heads))
    params = {
        "root": truncated_init(root_key, width, hidden),
        "core": truncated_lstm_init(core_key, actions, hidden),
    }
    for k, (name, size) in zip(keys, heads.items(), strict=True):
        first, second = jax.random.split(k)
        params[name] = [truncated_init(first, hidden, hidden), truncated_init(second, hidden, size)]
    return params


def _foreseen(params: Params, x: jax.Array, actions: int) -> Heads:
    """Heads [A * width], after one step of the model for each action."""
    cell = linear(params["root"], x)[None]  # the same before each action
    _, h = lstm(params["core"], (cell, jnp.tanh(cell)), jnp.eye(actions))  # [A, H]
    layers = {name: params[name] for name in OF_ACTIONS if name in params}
    return {
        name: linear(last, jax.nn.relu(linear(first, h))).ravel()
        for name, (first, last) in layers.items()
    }

"""An agent around any memory core, so that memories can be compared under the same rule.

It sees its previous action and reward, so that within a trial it can learn from them (RL^2: Duan
et al. 2016, https://arxiv.org/abs/1611.02779; Wang et al. 2016, https://arxiv.org/abs/1611.05763).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from metarl.nets.core import block, cleared, core_of, stack
from metarl.nets.heads import apply_heads, heads_init
from metarl.nets.inputs import context, context_size
from metarl.nets.linear import layer_norm, layer_norm_init
from metarl.nets.torso import torso
from metarl.types import Agent, AgentInput, Environment, Heads, Key, Metrics, Params, PyTree


def memory(
    env: Environment,
    heads: Mapping[str, int],
    *,
    core: str = "gru",
    hidden: int = 64,
    layers: int = 1,
    feed_forward: int = 0,
    channels: Sequence[int] = (),
    reset_memory: bool = True,
    free_log_std: bool = False,
) -> Agent:
    """Builds the agent for one environment's spaces: a torso, memory, linear heads.

    Args:
      env: whose observations and actions it reads.
      heads: name -> width, as the update rule declares them.
      core: name of the memory core, and settings of it: `srwm`, `srwm/heads=8/decay=0.01`; `none`
        is the feed-forward control.
      hidden: width of the torso and of the memory.
      layers: residual blocks with a core each, normalised before and at the end; 0: a bare core.
      feed_forward: width of the dense layers of each block; 0: none.
      channels: of 3x3 layers over planes [C, H, W]; none: planes are flattened.
      reset_memory: forget at the first step of every episode; of a trial, that is its beginning.
      free_log_std: of continuous actions: one learned spread, whatever is observed.

    Raises:
      ValueError: no such core, or a setting that it refuses.
    """
    space, actions = env.observation_space, env.action_space
    begin, read = torso(space, context_size(actions), hidden, channels)
    bare = core_of(core, hidden, hidden)
    inner = stack([block(bare, hidden=feed_forward)] * layers) if layers else bare
    remembers = bool(jax.tree.leaves(jax.eval_shape(inner.carry)))

    def init(key: Key) -> Params:
        in_key, core_key, head_key = jax.random.split(key, 3)
        params = {
            "in": begin(in_key),
            "core": inner.init(core_key),
            "heads": heads_init(head_key, hidden, heads, free_log_std=free_log_std),
        }
        return params | ({"norm": layer_norm_init(hidden)} if layers else {})

    def seen(params: Params, inputs: AgentInput) -> jax.Array:
        return read(params["in"], inputs.obs, context(actions, inputs))

    def said(params: Params, x: jax.Array, inputs: AgentInput) -> Heads:
        x = layer_norm(params["norm"], x) if layers else x
        return apply_heads(params["heads"], x, actions, inputs.action_mask)

    def apply(params: Params, carry: PyTree, inputs: AgentInput) -> tuple[Heads, PyTree]:
        own = carry if remembers else inner.carry()
        if reset_memory:
            own = cleared(inner.carry(), inputs.first, own)
        own, x = inner.step(params["core"], own, seen(params, inputs))
        return said(params, x, inputs), own if remembers else carry

    def unroll(params: Params, carry: PyTree, inputs: AgentInput) -> tuple[Heads, PyTree]:
        x = jax.vmap(seen, in_axes=(None, 0))(params, inputs)
        first = inputs.first if reset_memory else None
        own, x = inner.unroll(params["core"], carry if remembers else inner.carry(), x, first)
        heads = jax.vmap(said, in_axes=(None, 0, 0))(params, x, inputs)
        return heads, own if remembers else carry

    return Agent(init, inner.carry if remembers else tuple, apply, unroll, _largest)


def _largest(carry: Any) -> Metrics:
    """The largest number in memory: of an SRWM how far it has drifted from its slow weights."""
    floats = [x for x in jax.tree.leaves(carry) if jnp.issubdtype(x.dtype, jnp.floating)]
    return {"memory_max": jnp.stack([jnp.abs(x).max() for x in floats]).max()} if floats else {}

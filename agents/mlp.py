"""A feed-forward agent: flat observation, dense layers, linear heads."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from metarl import registry
from metarl.nets import linear
from metarl.nets.heads import POLICY_HEADS, apply_heads, heads_init, raw_heads
from metarl.nets.inputs import flat_size, flatten
from metarl.types import Agent, AgentInput, Environment, Heads, Key, Params


def mlp(
    env: Environment,
    heads: Mapping[str, int],
    *,
    hidden: Sequence[int] = (64, 64),
    free_log_std: bool = False,
    activation: str = "tanh",
    separate: bool = False,
) -> Agent:
    """Builds the agent for one environment's spaces.

    Args:
      env: whose observations it reads.
      heads: name -> width, as the update rule declares them.
      hidden: widths of the layers; `()` makes a linear agent.
      free_log_std: of continuous actions: one learned spread, whatever is observed.
      activation: behind every layer, `tanh` or `relu`.
      separate: the policy's heads have layers of their own, and so has every other head.

    Raises:
      ValueError: an activation of another name.
    """
    space = env.observation_space
    sizes = (flat_size(space), *hidden)
    if activation not in linear.ACTIVATIONS:
        known = sorted(linear.ACTIVATIONS)
        hint = registry.did_you_mean(activation, known)
        raise ValueError(f"no activation {activation!r}{hint} known: {', '.join(known)}")
    torsos = sorted({torso_of(name) for name in heads})

    def init(key: Key) -> Params:
        torso_key, head_key = jax.random.split(key)
        last = heads_init(head_key, sizes[-1], heads, free_log_std=free_log_std)
        if not separate:
            return {"torso": linear.mlp_init(torso_key, sizes), "heads": last}
        keys = jax.random.split(torso_key, len(torsos))
        pairs = zip(torsos, keys, strict=True)
        return {"torso": {t: linear.mlp_init(k, sizes) for t, k in pairs}, "heads": last}

    def behind_layers(params: Params, inputs: AgentInput) -> Any:
        """Activations of every layer, of each torso if they are separate."""
        x, act = flatten(space, inputs.obs), linear.ACTIVATIONS[activation]
        if separate:
            return {t: [x, *linear.activations(params["torso"][t], x, act)] for t in torsos}
        return [x, *linear.activations(params["torso"], x, act)]

    def read_by_heads(seen: Any) -> dict[str, jax.Array]:
        return {name: (seen[torso_of(name)] if separate else seen)[-1] for name in heads}

    def apply(params: Params, carry: tuple, inputs: AgentInput) -> tuple[Heads, tuple]:
        each = read_by_heads(behind_layers(params, inputs))
        return apply_heads(params["heads"], each, env.action_space, inputs.action_mask), carry

    def units(params: Params, inputs: AgentInput) -> Params:
        seen = behind_layers(params, inputs)
        torso = {t: layers[1:] for t, layers in seen.items()} if separate else seen[1:]
        active = {"torso": torso, "heads": raw_heads(params["heads"], read_by_heads(seen))}
        is_layer = lambda x: isinstance(x, dict) and "b" in x  # noqa: E731
        both = lambda layer, x: dict.fromkeys(layer, x)  # noqa: E731
        return jax.tree.map(both, params, active, is_leaf=is_layer)

    return Agent(init, tuple, apply, units=units)


def torso_of(head: str) -> str:
    """Whose layers a head reads where they are separate."""
    return "policy" if head in POLICY_HEADS else head

"""Hyperparameters that a small network chooses from how the agent fares.

As in the two-colours experiments of bootstrapped meta-gradients (Flennerhag et al. 2022,
https://arxiv.org/abs/2109.04504): the context is the mean reward of each of the last ten rollouts,
or the reward of each of the last hundred steps, and no derivative passes through it.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct

from metarl.meta.bijections import Bijection
from metarl.meta.tune import check_names, told
from metarl.nets import linear
from metarl.types import Eta, Key, Params, PyTree, Rollout, UpdateRule


class ContextState(struct.PyTreeNode):
    """The rule's own state, and what the network sees."""

    rule: PyTree
    rewards: jax.Array  # [W] mean rewards of rollouts or of steps, newest last; zeros at birth


def contextual(
    rule: UpdateRule,
    *,
    hidden: Sequence[int] = (32,),
    window: int = 10,
    per_step: bool = False,
    **how: Bijection,
) -> UpdateRule:
    """The rule with hyperparameters that a network of its recent rewards chooses at each update.

    Its eta is that network: dense layers with ReLU and one output for each hyperparameter, which
    starts at the rule's own value (the last layer's weights are small, its bias is the value's
    inverse). The activation and that start are our choice; the published text names sizes alone.

    Args:
      rule: whose eta is a dataclass, as `Hypers` are.
      hidden: widths of the network.
      window: W, how many rollouts it sees.
      per_step: it sees the last W steps instead, each a mean over the streams.
      **how: entry of eta -> bijection from the network's output.

    Raises:
      ValueError: nothing to choose, or an entry that eta lacks.
    """
    base = rule.init_eta(jax.random.key(0))
    check_names(base, how)

    def init_eta(key: Key) -> Eta:
        torso_key, out_key = jax.random.split(key)
        torso = linear.mlp_init(torso_key, (window, *hidden))
        out = linear.linear_init(out_key, [window, *hidden][-1], len(how), 0.01)
        bias = [b.inverse(getattr(base, name)) for name, b in how.items()]
        return {"torso": torso, "out": {**out, "b": jnp.stack(bias)}}

    def init(params: Params) -> ContextState:
        return ContextState(rule.init(params), jnp.zeros(window))

    def update(eta: Eta, params: Params, state: ContextState, rollout: Rollout, key: Key):
        reward = jax.lax.stop_gradient(rollout.reward)  # [N, T]; context is data
        new = reward.mean(axis=0) if per_step else reward.mean()[None]
        rewards = jnp.concatenate([state.rewards, new])[-window:]
        outputs = network(eta, rewards)
        used = {name: b.forward(x) for (name, b), x in zip(how.items(), outputs, strict=True)}
        full = base.replace(**used)
        params, inner, metrics = rule.update(full, params, state.rule, rollout, key)
        return params, ContextState(inner, rewards), {**metrics, **told(used)}

    return rule._replace(init_eta=init_eta, init=init, update=update, update_lives=None)


def network(eta: Eta, rewards: jax.Array) -> jax.Array:
    """[W] recent rewards -> one unbounded number for each hyperparameter."""
    return linear.linear(eta["out"], linear.mlp(eta["torso"], rewards, jax.nn.relu))

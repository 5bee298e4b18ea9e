"""Meta-gradients in forward mode: for few meta-parameters, over a whole life, without unrolling.

Beside a learner this keeps the derivative of its params and rule state in every number of eta, the
trace of Xu et al. 2018 (https://arxiv.org/abs/1805.09801): at each update it is multiplied by the
derivative of the update in params and by a decay, and the derivative in eta is added. One update
costs about one more forward pass for each number in eta, whatever the age, and no step of the past
is kept. Decay 1 is the exact derivative of a whole life; 0 that of a single update.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.flatten_util import ravel_pytree

from metarl.inner import act, collect, learn, turn_keys
from metarl.meta.common import MetaState, Objective, life_keys, moved, started, summary
from metarl.rollout import VectorEnv
from metarl.types import Agent, Eta, Key, Learner, MetaLearner, PyTree, Rollout, UpdateRule


class ForwardState(struct.PyTreeNode):
    """The outer loop's state, and the derivative of every learner."""

    meta: MetaState
    trace: PyTree  # [A, E, ...] like the floats of params and rule state


def forward(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    length: int,
    decay: float = 1.0,
) -> MetaLearner:
    """Builds the outer loop: one update of each learner at each meta-update.

    The objective is taken after it on the learner's next experience, seen in advance. While eta
    moves, the derivative mixes those of the etas on the way, as real-time recurrent learning does.

    Args:
      agent, rule, venv, objective, optimizer, length: as `metarl.meta.metagrad.metagrad`. The rule
        must allow forward mode: not `forward_over_reverse`, nor LPG with a GRU.
      decay: of the trace, from 0 to 1.
    """

    def init(key: Key, learners: Learner) -> ForwardState:
        meta = started(rule, optimizer, key)
        size = ravel_pytree(meta.eta)[0].size
        zeros = lambda x: jnp.zeros((x.shape[0], size, *x.shape[1:]), x.dtype)  # noqa: E731
        return ForwardState(meta, jax.tree.map(zeros, _floats(learners)))

    def one(eta: Eta, trace: PyTree, learner: Learner, key: Key):
        rollout, learner, counts, update_key = collect(agent, venv, learner, key, length=length)
        kept = decay * (learner.age > 0)  # a newborn depends on no eta of a life before
        trace = jax.tree.map(lambda z: kept * z, trace)
        learner, trace, metrics = _carried(rule, eta, trace, learner, rollout, update_key)
        ahead, _ = act(agent, venv, learner, turn_keys(key, learner)[0], length=length)
        value, slope = jax.value_and_grad(objective)(learner.params, ahead)
        grad = _along(slope, trace, len(jax.tree.leaves(learner.params)))  # [E]
        row = jax.tree.map(lambda x: x[None], {**metrics, **counts})
        return grad, trace, learner, {**summary(row), "meta_loss": value}

    def update(state: ForwardState, learners: Learner, key: Key):
        eta = state.meta.eta
        grads, trace, learners, metrics = jax.vmap(one, in_axes=(None, 0, 0, 0))(
            eta, state.trace, learners, life_keys(key, learners)
        )
        unravel = ravel_pytree(eta)[1]
        meta, told = moved(optimizer, state.meta, jax.vmap(unravel)(grads))
        return ForwardState(meta, trace), learners, {**summary(metrics), **told}

    return MetaLearner(init, update)


def _carried(
    rule: UpdateRule, eta: Eta, trace: PyTree, learner: Learner, rollout: Rollout, key: Key
) -> tuple[Learner, PyTree, Any]:
    """The learner after an update, and its derivative in every number of eta, [E, ...]."""
    flat, unravel = ravel_pytree(eta)
    floats = _floats(learner)

    def update(flat: jax.Array, floats: list[jax.Array]) -> tuple[list[jax.Array], Any]:
        new, metrics = learn(rule, unravel(flat), _with_floats(learner, floats), rollout, key)
        return _floats(new), (new, metrics)

    def push(direction: jax.Array, along: list[jax.Array]):
        _, moved, aux = jax.jvp(update, (flat, floats), (direction, along), has_aux=True)
        return moved, aux

    basis = jnp.eye(flat.size, dtype=flat.dtype)
    trace, (new, metrics) = jax.vmap(push, out_axes=(0, None))(basis, trace)
    return new, trace, metrics


def _floats(learner: Learner) -> list[jax.Array]:
    """The leaves of params, then of rule state, that have derivatives."""
    leaves = jax.tree.leaves((learner.params, learner.rule_state))
    return [x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]


def _with_floats(learner: Learner, floats: list[jax.Array]) -> Learner:
    """The learner with other values for those leaves."""
    leaves, form = jax.tree.flatten((learner.params, learner.rule_state))
    given = iter(floats)
    filled = [next(given) if jnp.issubdtype(x.dtype, jnp.floating) else x for x in leaves]
    params, state = jax.tree.unflatten(form, filled)
    return learner.replace(params=params, rule_state=state)


def _along(slope: PyTree, trace: list[jax.Array], count: int) -> jax.Array:
    """[E] the derivative of the objective, from that in params and theirs in eta."""
    parts = [
        jnp.tensordot(z.reshape(z.shape[0], -1), s.ravel(), 1)
        for z, s in zip(trace[:count], jax.tree.leaves(slope), strict=True)
    ]
    return sum(parts[1:], parts[0])

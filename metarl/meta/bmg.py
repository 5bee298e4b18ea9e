"""Bootstrapped meta-gradients (Flennerhag et al. 2022, https://arxiv.org/abs/2109.04504).

The paper was not read in full: this is the algorithm on which summaries of it, a replication, and
the text of Luketina et al. 2022 agree.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from metarl.inner import Gradient, act, check_gradient, live, turn_keys
from metarl.meta.common import Objective, descending, summary
from metarl.meta.matching import Matching
from metarl.rollout import VectorEnv
from metarl.types import Agent, Eta, Key, Learner, MetaLearner, Params, PyTree, Rollout, UpdateRule

Step = Callable[[Params, PyTree, Rollout], Params]  # params, rule state and experience


def bmg(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    matching: Matching,
    step: Step,
    optimizer: optax.GradientTransformation,
    *,
    updates: int = 1,
    bootstrap: int = 1,
    length: int,
    gradient: Gradient = "checkpointed",
) -> MetaLearner:
    """Builds the outer loop.

    A learner makes K updates, through which derivatives pass, then L - 1 more, through which none
    does, and from there one step on the objective alone. Eta moves so that the params after K
    updates become more like that target. The learner goes on from where it was before that last
    step, K + L - 1 updates later; the target is discarded. The experience of the last step and of
    the comparison is the learner's next, seen in advance.

    Args:
      agent, rule, venv: the parts of the inner loop.
      matching: how unlike target and learner are (`metarl.meta.matching`).
      step: the target's last step, `(params, rule state, rollout [N, T, ...]) -> params`; see
        `objective_step`.
      optimizer: of eta.
      updates: K, the updates that are differentiated.
      bootstrap: L; at 1 the target is one step on the objective away from the learner.
      length: T, steps between updates.
      gradient: how derivatives pass through the K updates (`metarl.inner.live`).

    Raises:
      ValueError: K or L below one.
    """
    check_gradient(gradient)
    if updates < 1 or bootstrap < 1:
        raise ValueError(f"updates and bootstrap must be at least 1, got {updates} and {bootstrap}")

    def loss(eta: Eta, learner: Learner, key: Key):
        go = partial(live, agent, rule, venv, length=length)
        learner, metrics = go(eta, learner, key, updates=updates, gradient=gradient)
        ahead = jax.lax.stop_gradient(learner)  # the target is a constant
        if bootstrap > 1:
            ahead, more = go(eta, ahead, key, updates=bootstrap - 1)
            metrics = jax.tree.map(lambda *x: jnp.concatenate(x), metrics, more)
        rollout, _ = act(agent, venv, ahead, turn_keys(key, ahead)[0], length=length)
        target = jax.lax.stop_gradient(step(ahead.params, ahead.rule_state, rollout))
        match = jax.vmap(matching, in_axes=(None, None, 0))(target, learner.params, rollout)
        return jnp.mean(match), (ahead, summary(metrics))

    return descending(loss, rule, optimizer)


def objective_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    learning_rate: float = 1.0,
    borrow: Callable[[PyTree], PyTree] | None = None,
) -> Step:
    """The target's last step: one of an optimizer, along the gradient of an objective.

    Args:
      objective: `(params, rollout [N, T, ...]) -> loss`.
      optimizer: such as the rule's own.
      learning_rate: factor on its step.
      borrow: from the rule's state to the optimizer's, to step with the learner's own momenta and
        scales; by default the optimizer starts anew.
    """

    def step(params: Params, rule_state: PyTree, rollout: Rollout) -> Params:
        grads = jax.grad(objective)(params, rollout)
        state = borrow(rule_state) if borrow else optimizer.init(params)
        steps, _ = optimizer.update(grads, state, params)
        return optax.apply_updates(params, jax.tree.map(lambda x: learning_rate * x, steps))

    return step

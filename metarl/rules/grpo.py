"""Group-relative policy optimisation (Shao et al. 2024, https://arxiv.org/abs/2402.03300).

There is no critic: a trial is good if it went better than the others of its group, which play the
same task (`metarl.grouped`). Steps are judged by trial, and beside it as in GiGPO (Feng et al.
2025, https://arxiv.org/abs/2505.10978) against all steps of the group that saw the same. Returns
reach over attempts as in LaMer (Jiang et al. 2025, https://arxiv.org/abs/2512.16848), whose numbers
are the defaults, the learning rate apart. There is no penalty for leaving a reference policy.

None of the papers was read in full: this follows summaries of them.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metarl.ops.distributions import policy, policy_heads
from metarl.ops.groups import fingerprint, group_moments, members
from metarl.ops.trial_returns import trial_returns, whole
from metarl.rollout import replay_streams
from metarl.rules.common import adam, check_heads
from metarl.rules.proximal import clipped, passes
from metarl.types import Agent, Environment, Key, Metrics, Params, PyTree, Rollout, UpdateRule
from metarl.wrappers.attempts import attempt_ended, shows_trials


def heads(env: Environment) -> dict[str, int]:
    """What the rule needs an agent to say: a policy."""
    return policy_heads(env.action_space)


class Hypers(struct.PyTreeNode):
    """Its eta: batch it with `vmap`, or let an outer loop learn it."""

    discount: jax.Array  # of a step within an attempt
    attempt_discount: jax.Array  # from one attempt of a trial to the next
    step_weight: jax.Array  # factor on what compares steps that saw the same
    clip: jax.Array  # the probability ratio is held within 1 +- clip
    entropy_cost: jax.Array
    learning_rate: jax.Array  # factor on the optimizer's steps


class Compared(struct.PyTreeNode):
    """Streams of experience with what an update holds constant, [N, T]."""

    rollout: Rollout
    log_prob: jax.Array  # of the behaviour policy
    adv: jax.Array
    counts: jax.Array  # bool, of a trial that began and ended within the rollout


def hypers(
    discount: float = 0.95,
    attempt_discount: float = 0.6,
    step_weight: float = 1.0,
    clip: float = 0.2,
    entropy_cost: float = 0.001,
    learning_rate: float = 1e-3,
) -> Hypers:
    """Eta from plain numbers; each may be an array to be mapped over."""
    values = (discount, attempt_discount, step_weight, clip, entropy_cost, learning_rate)
    return Hypers(*(jnp.asarray(v, jnp.float32) for v in values))


def grpo(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    eta: Hypers | None = None,
    epochs: int = 1,
    minibatches: int = 4,
    divide: bool = False,
    chained: bool = False,
) -> UpdateRule:
    """Builds the rule: `epochs` passes over the streams of a rollout in shuffled minibatches.

    Only trials that began and ended within the rollout count, so it should be long enough for
    several; the metric `whole` is the share of steps in them, `group_size` how many of a group's
    trials are compared on average. Alone in its group a trial teaches nothing.

    Args:
      agent: whose `params` are learned.
      heads: as declared by `heads(env)`.
      optimizer: defaults to clipped Adam of rate one, which `eta.learning_rate` scales. With an
        optimizer of your own the default `eta.learning_rate` is 1.
      eta: what `init_eta` returns; defaults to `hypers()`.
      epochs: passes over each rollout.
      minibatches: parts of each pass; must divide the number of environments.
      divide: advantages are divided by the standard deviation within their group, as GRPO's are.
      chained: returns as LaMer's code has them (`metarl.ops.trial_returns`).

    Raises:
      ValueError: in `update`, while tracing, if `minibatches` does not divide the streams.
    """
    chosen = eta or (hypers() if optimizer is None else hypers(learning_rate=1.0))
    used = optimizer or adam()

    def update(eta: Hypers, params: Params, state: PyTree, rollout: Rollout, key: Key):
        check_heads(rollout.heads, heads, "grpo")
        batch, told = compared(eta, rollout, divide=divide, chained=chained)
        params, state, metrics = passes(
            lambda params, batch: grpo_loss(agent, eta, params, batch),
            used,
            eta.learning_rate,
            (params, state),
            batch,
            key,
            epochs=epochs,
            minibatches=minibatches,
        )
        return params, state, {**metrics, **told}

    return UpdateRule(heads, lambda key: chosen, used.init, update)


def compared(
    eta: Hypers, rollout: Rollout, *, divide: bool = False, chained: bool = False
) -> tuple[Compared, Metrics]:
    """The experience with its advantages, 0 where it does not count, and what there was to compare.

    Args:
      eta: the numbers.
      rollout: leaves [N, T, ...]. Where observations name no `task`, all trials are one group.
      divide, chained: as `grpo` takes them.
    """
    first, last, obs = rollout.inputs.first, rollout.last, rollout.inputs.obs
    ended = attempt_ended(rollout)
    counts = jax.vmap(whole)(first, last)
    shares = {"discount": eta.discount, "attempt_discount": eta.attempt_discount}
    ret = jax.vmap(lambda *x: trial_returns(*x, **shares, chained=chained))(
        rollout.reward, last if ended is None else ended, last
    )
    steps = jnp.arange(last.shape[1])
    begun = jax.lax.cummax(jnp.where(first, steps, 0), axis=1)  # where the trial of a step began
    score = jnp.take_along_axis(ret, begun, axis=1)  # of the trial

    task, seen = _task_and_seen(obs, last.size)
    trials = group_moments(score.ravel(), members(task), (first & counts).ravel())
    same = group_moments(ret.ravel(), members(task, *seen), counts.ravel())
    adv = _relative(score.ravel(), *trials[:2], divide)
    adv = adv + eta.step_weight * _relative(ret.ravel(), *same[:2], divide)

    heads = jax.lax.stop_gradient(rollout.heads)  # of the policy that acted
    log_prob = policy(heads).log_prob(rollout.action)
    adv = jnp.where(counts, adv.reshape(counts.shape), 0)
    told = {"whole": jnp.mean(counts), "group_size": _mean(trials[2], (first & counts).ravel())}
    return Compared(rollout, log_prob, adv, counts), told


def grpo_loss(
    agent: Agent, eta: Hypers, params: Params, batch: Compared
) -> tuple[jax.Array, Metrics]:
    """The clipped surrogate and entropy bonus, averaged over the steps that count of [R, T]."""
    now = replay_streams(agent, params, batch.rollout)
    pi = policy(now)
    log_ratio = pi.log_prob(batch.rollout.action) - batch.log_prob
    gain, metrics = clipped(eta.clip)(log_ratio, batch.adv)
    policy_loss = -_mean(gain, batch.counts)
    entropy = _mean(pi.entropy(), batch.counts)
    total = policy_loss - eta.entropy_cost * entropy
    return total, {
        "loss": total,
        "policy_loss": policy_loss,
        "entropy": entropy,
        "kl": jnp.mean(jnp.exp(log_ratio) - 1 - log_ratio),
        **metrics,
    }


def _relative(x: jax.Array, mean: jax.Array, variance: jax.Array, divide: bool) -> jax.Array:
    return (x - mean) * (jax.lax.rsqrt(variance + 1e-8) if divide else 1)


def _mean(x: jax.Array, counts: jax.Array) -> jax.Array:
    """Over what counts; 0 where nothing does."""
    return jnp.sum(jnp.where(counts, x, 0)) / jnp.maximum(jnp.sum(counts), 1)


def _task_and_seen(obs: Any, rows: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Names [rows] of the task of each step, and of what was seen there, whatever the attempt."""
    task = jnp.zeros(rows, jnp.int32)
    if not shows_trials(obs):
        return task, fingerprint(obs, rows)
    return obs["task"].ravel() if "task" in obs else task, fingerprint(obs["obs"], rows)

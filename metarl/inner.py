"""The inner loop: an agent is born, acts, and learns. Plain functions, so `jax.grad` goes through.

Acting makes data: no derivative passes through it, neither through actions nor through memory. The
key of an update is `fold_in(key, learner.age)`: a life may be lived in pieces of any length,
with one key and no key stored, and comes out the same to the bit.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from metarl.ops import keys
from metarl.ops.distributions import policy
from metarl.ops.statistics import episodes
from metarl.ops.unroll import scale_gradient, unroll
from metarl.rollout import Experience, VectorEnv, apply_all, successor, where
from metarl.types import (
    Agent,
    EpisodeStats,
    Eta,
    Key,
    Learner,
    Metrics,
    Params,
    PyTree,
    Rollout,
    UpdateRule,
)

Gradient = Literal["none", "unrolled", "checkpointed"] | int  # a number: levels of checkpoints
Score = Callable[[Params, Rollout], jax.Array]  # of a batch [N, T, ...]


def birth(agent: Agent, rule: UpdateRule, venv: VectorEnv, env_params: PyTree, key: Key) -> Learner:
    """A new-born learner in fresh environments. The key is consumed."""
    params_key, env_key = jax.random.split(key)
    params = agent.init(params_key)
    env_state = venv.init(env_key, env_params)
    num_envs = env_state.inputs.first.shape[0]
    carry = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_envs, *x.shape)), agent.carry())
    episode = EpisodeStats(jnp.zeros(num_envs), jnp.zeros(num_envs, jnp.int32))
    zero = jnp.int32(0)
    return Learner(params, rule.init(params), env_params, env_state, carry, episode, zero, zero)


def renew(
    learners: Learner, ended: jax.Array, key: Key, births: Callable[[Key], Learner]
) -> Learner:
    """The population [A, ...] with new lives where old ones `ended` [A]. The key is consumed.

    `births` makes a whole population of newborns from [A] keys.
    """
    places = jax.random.split(key, ended.shape[0])
    keys = jax.vmap(lambda k, n: jax.random.fold_in(k, n + 1))(places, learners.life)
    return where(ended, births(keys).replace(life=learners.life + 1), learners)


def act(
    agent: Agent, venv: VectorEnv, learner: Learner, key: Key, *, length: int
) -> tuple[Rollout, Learner]:
    """Collects experience without learning. No derivative passes. The key is consumed.

    Returns:
      A rollout with leaves [N, T, ...] (carry [N, ...]), and the learner `length` steps later.
    """
    # Experience is data, also where actions are reparametrised or memory is differentiable.
    constant = jax.lax.stop_gradient(learner)

    def step(loop: tuple, pair: tuple[Key, Key]):
        env_state, carry = loop
        act_key, step_key = pair
        inputs = env_state.inputs
        heads, carry = apply_all(agent, constant.params, carry, inputs)
        sample = jax.vmap(lambda heads, key: policy(heads).sample(key))
        action = sample(heads, keys.spread(act_key, inputs.first.shape[0]))
        env_state, ts = venv.step(step_key, env_state, action, constant.env_params)
        flags = (ts.terminated, ts.truncated)
        after = successor(ts, action)
        return (env_state, carry), Experience(inputs, action, ts.reward, *flags, after, heads)

    loop = (constant.env_state, constant.carry)
    pairs = tuple(jnp.swapaxes(jax.vmap(keys.split)(keys.split(key, length)), 0, 1))
    (env_state, carry), steps = jax.lax.scan(step, loop, pairs)
    steps = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), steps)  # [N, T, ...]
    return Rollout(**vars(steps), carry=constant.carry), learner.replace(
        env_state=env_state, carry=carry
    )


def learn(
    rule: UpdateRule, eta: Eta, learner: Learner, rollout: Rollout, key: Key
) -> tuple[Learner, Metrics]:
    """The learner one update later, and the rule's metrics. The key is consumed."""
    params, state, metrics = rule.update(eta, learner.params, learner.rule_state, rollout, key)
    return learner.replace(params=params, rule_state=state, age=learner.age + 1), metrics


def learn_lives(
    rule: UpdateRule, eta: Eta, learners: Learner, rollouts: Rollout, keys: Key
) -> tuple[Learner, Metrics]:
    """`learn` for lives [A] at once, whose rollouts are [A, N, T, ...]. The keys are consumed."""
    if rule.update_lives is None:
        return jax.vmap(partial(learn, rule, eta))(learners, rollouts, keys)
    own = (learners.params, learners.rule_state)
    params, state, metrics = rule.update_lives(eta, *own, rollouts, keys)
    return learners.replace(params=params, rule_state=state, age=learners.age + 1), metrics


def turn_keys(key: Key, learner: Learner) -> tuple[Key, Key]:
    """For acting and for learning at the learner's age; `key` is that of the whole life."""
    act_key, update_key = keys.split(keys.fold_in(key, learner.age))
    return act_key, update_key


def collect(
    agent: Agent, venv: VectorEnv, learner: Learner, key: Key, *, length: int
) -> tuple[Rollout, Learner, Metrics, Key]:
    """The first half of a turn: what the learner acts out at its age, before it learns from it.

    Returns:
      The rollout as of `act`, the learner after it, its episodes (`ops.statistics.episodes`) and
      what the agent lets watch of its memory, and the key to learn with; `key` is that of the life.
    """
    act_key, update_key = turn_keys(key, learner)
    rollout, learner = act(agent, venv, learner, act_key, length=length)
    episode, counts = episodes(learner.episode, rollout.reward, rollout.last)
    if agent.watch is not None:
        counts = {**counts, **agent.watch(learner.carry)}
    return rollout, learner.replace(episode=episode), counts, update_key


def live(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    eta: Eta,
    learner: Learner,
    key: Key,
    *,
    updates: int,
    length: int,
    gradient: Gradient = "none",
    eligibility: float = 1.0,
    score: Score | None = None,
) -> tuple[Learner, Metrics]:
    """`updates` times: act for `length` steps, then learn. Differentiable in `eta`.

    Calling it again with the same key and the learner it returned goes on with new randomness.

    Args:
      agent, rule, venv: the parts.
      eta: the rule's meta-parameters.
      learner: the life in progress.
      key: of the whole life.
      updates: how many.
      length: T, steps per update and environment.
      gradient: how derivatives pass: `"unrolled"` keeps every intermediate; `"checkpointed"` keeps
        params, rule state and experience of each update and computes the rest again; a number
        keeps them in a tree of so many levels (`metarl.ops.unroll`); `"none"` lets none pass.
      eligibility: factor on derivatives that pass from one update to the one before it.
      score: `(params, rollout) -> scalar` on each rollout before it is learned from; its values
        are the metric `score`.

    Returns:
      The learner, and metrics [updates]: the rule's own, and those of `ops.statistics.episodes`.
    """
    check_gradient(gradient)

    def improve(eta: Eta, learner: Learner, rollout: Rollout, key: Key):
        scored = {} if score is None else {"score": score(learner.params, rollout)}
        learner, metrics = learn(rule, eta, learner, rollout, key)
        return learner, {**metrics, **scored}

    if gradient not in ("none", "unrolled"):
        improve = partial(jax.checkpoint, prevent_cse=False)(improve)

    def step(learner: Learner) -> tuple[Learner, Metrics]:
        rollout, learner, counts, update_key = collect(agent, venv, learner, key, length=length)
        if eligibility != 1:
            params, state = scale_gradient((learner.params, learner.rule_state), eligibility)
            learner = learner.replace(params=params, rule_state=state)
        learner, metrics = improve(eta, learner, rollout, update_key)
        return learner, {**metrics, **counts}

    if gradient == "none":
        eta, learner = jax.lax.stop_gradient((eta, learner))  # asked for by the caller
    return unroll(step, learner, updates, levels=gradient if isinstance(gradient, int) else 1)


def check_gradient(gradient: Any) -> None:
    """Raises ValueError where `gradient` is no way for derivatives to pass."""
    number = type(gradient) is int and gradient >= 1
    if not number and gradient not in ("none", "unrolled", "checkpointed"):
        raise ValueError(
            "gradient is 'none', 'unrolled', 'checkpointed' or a number of levels of checkpoints, "
            f"at least 1; got {gradient!r}"
        )

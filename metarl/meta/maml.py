"""MAML: an initialisation from which few updates suffice (Finn et al. 2017, 1703.03400).

Model-agnostic meta-learning, https://arxiv.org/abs/1703.03400, with the estimators of its gradient
through sampling. Experience is data (`metarl.inner.act`): what the distribution of the experience
to adapt to contributes to the meta-gradient comes from the rule's surrogate alone
(`metarl.rules.reinforce`, `metarl.ops.surrogates`), or from E-MAML's term (`score`). Which of them
is unbiased for what: see there, and `metarl.meta.exact`.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import optax

from metarl.inner import Gradient, act, birth, check_gradient, learn, turn_keys
from metarl.meta.common import MetaState, Objective, moved, started
from metarl.ops.distributions import policy
from metarl.ops.surrogates import score as score_term
from metarl.ops.unroll import unroll
from metarl.rollout import VectorEnv, replay_streams
from metarl.types import (
    Agent,
    Eta,
    Key,
    Learner,
    MetaLearner,
    Metrics,
    Params,
    PyTree,
    Rollout,
    UpdateRule,
)

Tasks = Callable[[Key], PyTree]  # env_params from a key
TASKS = "tasks"  # the name of the axis of learners


def maml(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    tasks: Tasks,
    updates: int = 1,
    length: int,
    gradient: Gradient = "checkpointed",
    score: float = 0.0,
    learn_rule: bool = False,
) -> MetaLearner:
    """Builds the outer loop.

    At each meta-update every learner is born anew with the params of eta in a new task, adapts by
    so many updates, and is judged on fresh experience. Every rollout starts at the start of an
    episode. Eta is `{"params": ...}`, and with `learn_rule` also `"rule"`, the rule's own eta:
    with `metarl.meta.tune` for instance a learned step size.

    Args:
      agent, rule, venv: the parts of the inner loop.
      objective: `(params, rollout [N, T, ...]) -> loss`.
      optimizer: of eta.
      tasks: draws `env_params` from a key, such as `env.sample_params`.
      updates: n; with none it is an ordinary agent trained on all tasks at once.
      length: T, at least the length of an episode.
      gradient: how derivatives pass through the updates (`metarl.inner.live`); with `"none"` the
        updates are constants that are added to the params: first-order MAML.
      score: weight of E-MAML's term, 1 or 0. It multiplies the mean reward of a step after
        adapting, less that of the other tasks: the unit of an objective which is a mean over steps
        of undiscounted returns, in episodes as long as the rollout.
      learn_rule: whether the rule's eta is learned too.

    Raises:
      ValueError: `gradient` is no way to pass.
    """
    check_gradient(gradient)
    parts = (agent, rule, venv)

    def init_eta(key: Key) -> Eta:
        params_key, rule_key = jax.random.split(key)
        eta = {"params": agent.init(params_key)}
        return {**eta, "rule": rule.init_eta(rule_key)} if learn_rule else eta

    def loss(eta: Eta, learner: Learner, key: Key):
        adapt_key, judge_key = jax.random.split(key)
        learner = learner.replace(params=eta["params"], rule_state=rule.init(eta["params"]))
        used = eta["rule"] if learn_rule else rule.init_eta(key)
        go = partial(adapted, *parts, updates=updates, length=length, gradient=gradient)
        learner, metrics = go(used, learner, adapt_key, scored=score != 0)
        rollout = episodes_of(*parts, learner, judge_key, length=length)
        value = objective(learner.params, rollout)
        if score and updates:
            outcome = rollout.reward.mean()
            seen = metrics.pop("log_prob")
            value -= score * score_term(seen, outcome - of_the_others(outcome))
        return value, (learner, _told(metrics, rollout))

    def update(state: MetaState, learners: Learner, key: Key):
        count = learners.age.shape[0]
        task_keys, birth_keys, life_keys = (
            jax.random.split(k, count) for k in jax.random.split(_turn(key, state), 3)
        )
        born = lambda task, key: birth(*parts, tasks(task), key)  # noqa: E731
        learners = jax.vmap(born)(task_keys, birth_keys)
        grad = jax.value_and_grad(loss, has_aux=True)
        (value, (learners, metrics)), grads = jax.vmap(grad, in_axes=(None, 0, 0), axis_name=TASKS)(
            state.eta, learners, life_keys
        )
        state, told = moved(optimizer, state, grads)
        metrics = jax.tree.map(jnp.mean, {**metrics, "meta_loss": value})
        return state, jax.lax.stop_gradient(learners), {**metrics, **told}

    pseudo = rule._replace(init_eta=init_eta)
    return MetaLearner(lambda key, learners: started(pseudo, optimizer, key), update)


def adapted(
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
    scored: bool = False,
) -> tuple[Learner, Metrics]:
    """The learner after so many updates, each from new episodes. The key is consumed.

    Returns:
      The learner; and metrics [updates]: the rule's own, `return` (mean of the first episodes,
      before the update) and, if `scored`, `log_prob`, the sum over the experience.
    """

    def improve(eta: Eta, learner: Learner, rollout: Rollout, key: Key):
        new, metrics = learn(rule, eta, learner, rollout, key)
        if scored:
            metrics = {**metrics, "log_prob": log_prob(agent, learner.params, rollout)}
        return new, metrics

    if gradient not in ("none", "unrolled"):
        improve = partial(jax.checkpoint, prevent_cse=False)(improve)

    def step(learner: Learner) -> tuple[Learner, Metrics]:
        act_key, update_key = turn_keys(key, learner)
        rollout = episodes_of(agent, rule, venv, learner, act_key, length=length)
        new, metrics = improve(eta, learner, rollout, update_key)
        if gradient == "none":  # the step is a constant
            step = jax.tree.map(jnp.subtract, new.params, learner.params)
            step = jax.lax.stop_gradient(step)
            new = new.replace(params=jax.tree.map(jnp.add, learner.params, step))
        return new, {**metrics, "return": first_returns(rollout).mean()}

    levels = gradient if isinstance(gradient, int) else 1
    return unroll(step, learner, updates, levels=levels)


def returns_by_update(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    eta: Eta,
    params: Params,
    env_params: PyTree,
    key: Key,
    *,
    factors: Sequence[float] = (1.0, 0.5, 0.5),
    length: int,
) -> jax.Array:
    """[n + 1] the mean return in one task after 0..n updates from `params`. The key is consumed.

    Args:
      agent, rule, venv, eta: who adapts, how, in how many environments.
      params: at the start.
      env_params: the task; `vmap` over it and the key for several.
      key: of births, acting and learning.
      factors: of each step. By default the published test: halved after the first one.
      length: T.
    """
    born = birth(agent, rule, venv, env_params, key)
    learner = born.replace(params=params, rule_state=rule.init(params))

    def step(learner: Learner, factor: jax.Array):
        act_key, update_key = jax.random.split(jax.random.fold_in(key, learner.age + 1))
        rollout = episodes_of(agent, rule, venv, learner, act_key, length=length)
        new, _ = learn(rule, eta, learner, rollout, update_key)
        part = jax.tree.map(lambda a, b: a + factor * (b - a), learner.params, new.params)
        return new.replace(params=part), first_returns(rollout).mean()

    return jax.lax.scan(step, learner, jnp.array([*factors, 0.0]))[1]


def episodes_of(
    agent: Agent, rule: UpdateRule, venv: VectorEnv, learner: Learner, key: Key, *, length: int
) -> Rollout:
    """Experience [N, T, ...] that starts with an episode. No derivative. The key is consumed."""
    birth_key, act_key = jax.random.split(key)
    born = birth(agent, rule, venv, learner.env_params, birth_key)
    return act(agent, venv, born.replace(params=learner.params), act_key, length=length)[0]


def first_returns(rollout: Rollout) -> jax.Array:
    """[N] the undiscounted return of the first episode of each stream, as far as it got."""
    ended = jnp.cumsum(rollout.last, axis=1) - rollout.last  # before this step
    return jnp.sum(jnp.where(ended == 0, rollout.reward, 0), axis=1)


def log_prob(agent: Agent, params: Params, rollout: Rollout) -> jax.Array:
    """[] of all actions of a batch, under `params`."""
    now = replay_streams(agent, params, rollout)
    return jnp.sum(policy(now).log_prob(rollout.action))


def of_the_others(outcome: jax.Array) -> jax.Array:
    """[] the mean outcome of all other tasks of the population, which is independent; 0 if none."""
    count = jax.lax.axis_size(TASKS)
    return (jax.lax.psum(outcome, TASKS) - outcome) / max(count - 1, 1)


def _told(metrics: Metrics, rollout: Rollout) -> Metrics:
    """Means over the updates, and the return before the first and after the last of them."""
    returns = metrics.pop("return")  # [n]
    told = {k: v.mean() for k, v in metrics.items()} if returns.size else {}
    before = returns[0] if returns.size else jnp.float32(jnp.nan)
    return {**told, "return_before": before, "return_after": first_returns(rollout).mean()}


def _turn(key: Key, state: MetaState) -> Key:
    return jax.random.fold_in(key, state.updates)

"""Returns over the attempts of trials: the worked example, plain loops, and rules that use them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from metarl.agents.gru import gru
from metarl.agents.memory import memory
from metarl.agents.mlp import mlp
from metarl.inner import act, birth
from metarl.ops.trial_returns import trial_returns, whole
from metarl.rollout import next_values, replay, vectorize
from metarl.rules import a2c, common, ppo, proximal
from metarl.wrappers import attempt_ended, forgetful, trial

N, T = 3, 12


def test_the_worked_example():
    """Rewards 0, 0 | 0, 10; discounts .95 and .6."""
    reward = jnp.array([0.0, 0.0, 0.0, 10.0])
    ended = jnp.array([False, True, False, True])
    run = partial(trial_returns, reward, ended, discount=0.95, attempt_discount=0.6)
    end = jnp.arange(4) == 3
    np.testing.assert_allclose(run(end), np.array([5.7, 5.7, 9.5, 10]), rtol=1e-6)
    chain = run(end, chained=True)
    np.testing.assert_allclose(chain, np.array([5.415, 5.7, 9.5, 10]), rtol=1e-6)
    np.testing.assert_allclose(run(ended)[:2], 0)  # two trials of one attempt each


def episodes(seed):
    """Rewards of several trials in a row, as [trial][attempt][step]."""
    rng = np.random.default_rng(seed)
    return [
        [rng.normal(size=rng.integers(1, 5)) for _ in range(rng.integers(1, 4))] for _ in range(5)
    ]


def flat(trials):
    reward: list[float] = []
    ended: list[bool] = []
    last: list[bool] = []
    for attempts in trials:
        for n, rewards in enumerate(attempts):
            for t, r in enumerate(rewards):
                reward.append(r)
                ended.append(t == len(rewards) - 1)
                last.append(ended[-1] and n == len(attempts) - 1)
    return tuple(jnp.asarray(x) for x in (np.array(reward, np.float32), ended, last))


def own(rewards, discount):
    return sum(discount**i * r for i, r in enumerate(rewards))


@pytest.mark.parametrize("seed", range(3))
def test_both_forms_equal_plain_loops(seed):
    trials, (step, attempt) = episodes(seed), (0.9, 0.7)
    sums, chains = [], []
    for attempts in trials:
        for n, rewards in enumerate(attempts):
            for t in range(len(rewards)):
                later = [own(a, step) for a in attempts[n + 1 :]]
                total = own(rewards[t:], step)
                total += sum(attempt ** (i + 1) * g for i, g in enumerate(later))
                sums.append(total)
                weight, chain = 1.0, 0.0
                for m, more in enumerate([rewards[t:], *attempts[n + 1 :]]):
                    weight *= attempt if m else 1
                    for i, r in enumerate(more):
                        weight *= step if i else 1
                        chain += weight * r
                chains.append(chain)
    run = partial(trial_returns, *flat(trials), discount=step, attempt_discount=attempt)
    np.testing.assert_allclose(run(), sums, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(run(chained=True), chains, rtol=1e-4, atol=1e-6)


def test_without_attempts_both_are_the_discounted_return():
    reward = jnp.asarray(np.random.default_rng(0).normal(size=6), jnp.float32)
    no = jnp.zeros(6, bool)
    for chained in (False, True):
        ret = trial_returns(reward, no, no, discount=0.9, chained=chained)
        np.testing.assert_allclose(ret[0], own(np.asarray(reward), 0.9), rtol=1e-5)


def test_whole_are_the_steps_of_episodes_that_begin_and_end_within():
    first = jnp.array([0, 0, 1, 0, 1, 1, 0], bool)
    last = jnp.array([0, 1, 0, 1, 1, 0, 0], bool)
    assert whole(first, last).tolist() == [False, False, True, True, True, False, False]


@pytest.fixture(scope="module")
def parts(reveal):
    """Rollouts of three guesses a trial, of agents with and without memory."""
    env = trial(reveal(), 3, stop_on_success=False)
    params = env.default_params()
    venv = vectorize(env, N)
    agents = {
        "mlp": mlp(env, a2c.heads(env), hidden=(4,)),
        "gru": gru(env, a2c.heads(env), hidden=4),
    }

    def collect(agent):
        learner = birth(agent, a2c.a2c(agent, a2c.heads(env)), venv, params, jax.random.key(0))
        return learner.params, act(agent, venv, learner, jax.random.key(1), length=T)[0]

    collected = jax.jit(lambda: {name: collect(agent) for name, agent in agents.items()})()
    return env, {name: (agents[name], *collected[name]) for name in agents}


def test_attempts_end_where_an_attempt_of_the_rollout_did(parts):
    _, of = parts
    rollout = of["mlp"][2]
    ended = np.asarray(attempt_ended(rollout))
    assert ended.shape == (N, T) and ended.sum() > np.asarray(rollout.last).sum() > 0
    second = np.asarray(rollout.inputs.obs["obs"][..., 0]) > 0
    np.testing.assert_array_equal(ended, (np.asarray(rollout.reward) == 1) | second)
    bare = rollout.replace(next_inputs=rollout.next_inputs.replace(obs=jnp.zeros((N, T, 2))))
    assert attempt_ended(bare) is None
    assert common.discounts(ppo.hypers(), bare) == jnp.float32(0.99)


def chained(rollout, value, after, discount, lambda_, attempt_discount):
    """Advantages by a plain loop."""
    ended, adv = np.asarray(attempt_ended(rollout)), np.zeros((N, T + 1))
    for t in reversed(range(T)):
        on = np.where(ended[:, t], attempt_discount, discount) * ~np.asarray(rollout.last[:, t])
        adv[:, t] = rollout.reward[:, t] + on * after[:, t] - value[:, t]
        adv[:, t] += on * lambda_ * adv[:, t + 1]
    return adv[:, :T]


@pytest.mark.parametrize("name", ["mlp", "gru"])
def test_ppo_discounts_between_attempts(parts, name):
    agent, params, rollout = parts[1][name]
    eta = ppo.hypers(0.9, 0.8, attempt_discount=0.5)

    @jax.jit
    def run(params):
        value = rollout.heads["value"][..., 0]
        batch = proximal.prepare(agent, eta, params, rollout)
        return batch.adv.reshape(N, T), value, next_values(agent, params, rollout, value)

    adv, *values = run(params)
    value, after = map(np.asarray, values)
    expected = chained(rollout, value, after, 0.9, 0.8, 0.5)
    np.testing.assert_allclose(adv, expected, rtol=1e-4, atol=1e-5)


def test_a2c_discounts_between_attempts(parts):
    env, of = parts
    agent, params, rollout = of["mlp"]
    needed = a2c.heads(env)

    @jax.jit
    def run(params, attempt_discount):
        eta = a2c.hypers(0.9, 0.8, attempt_discount=attempt_discount)
        one = partial(a2c.a2c_loss, agent, needed, eta, params)
        loss = lambda d: jax.vmap(  # noqa: E731
            lambda r: a2c.a2c_loss(agent, needed, eta.replace(attempt_discount=d), params, r)[0]
        )(rollout).mean()
        now, after = jax.vmap(partial(replay, agent, params))(rollout)
        said = now["value"][..., 0], after["value"][..., 0]
        return jax.vmap(one)(rollout)[1], said, jax.grad(loss)(attempt_discount)

    metrics, (value, after), slope = run(params, 0.5)
    adv = chained(rollout, np.asarray(value), np.asarray(after), 0.9, 0.8, 0.5)
    np.testing.assert_allclose(metrics["value_loss"], (adv**2).mean(1) / 2, rtol=1e-4)
    assert abs(slope) > 1e-4  # so that an outer loop can learn it


def test_an_attempt_discount_changes_nothing_outside_of_trials(parts, reveal):
    """Not to the bit, and its derivative is zero."""
    rollout = parts[1]["mlp"][2]
    env, params = reveal(), reveal().default_params()
    agent = mlp(env, a2c.heads(env), hidden=(4,))
    rule = ppo.ppo(agent, a2c.heads(env), optimizer=optax.sgd(1.0), epochs=1, minibatches=1)

    @jax.jit
    def run(attempt_discount):
        learner = birth(agent, rule, vectorize(env, N), params, jax.random.key(0))
        rollout, _ = act(agent, vectorize(env, N), learner, jax.random.key(1), length=T)
        eta = ppo.hypers(attempt_discount=attempt_discount)
        new = rule.update(eta, learner.params, learner.rule_state, rollout, jax.random.key(2))[0]
        return ravel_pytree(new)[0]

    np.testing.assert_array_equal(run(1.0), run(0.1))
    assert attempt_ended(rollout) is not None


def test_a_forgetful_agent_begins_every_attempt_anew(parts):
    """At the start of an attempt it is as one that was just born; the agent itself is not."""
    agent, params, rollout = parts[1]["gru"]
    stream = jax.tree.map(lambda x: x[0], rollout.inputs)
    new = stream.first | (stream.obs["trial"][:, 2] > 0)

    def said(agent):
        def step(carry, x):
            heads, carry = agent.apply(params, carry, x)
            nothing = x.replace(
                first=jnp.bool_(True), prev_action=jnp.int32(0), prev_reward=jnp.float32(0)
            )
            born = agent.apply(params, agent.carry(), nothing)[0]
            return carry, (heads["logits"], born["logits"])

        return jax.lax.scan(step, agent.carry(), stream)[1]

    logits, born = jax.jit(partial(said, forgetful(agent)))()
    kept, _ = jax.jit(partial(said, agent))()
    again = np.asarray(new & ~stream.first)
    assert again.sum() > 1
    np.testing.assert_array_equal(logits[new], born[new])
    assert not np.isclose(logits[~new], born[~new], atol=1e-5).all(axis=1).any()
    assert not np.isclose(kept[again], born[again], atol=1e-5).all(axis=1).any()


def test_a_forgetful_agent_unrolls_as_it_acts(parts):
    env, of = parts
    agent = forgetful(memory(env, a2c.heads(env), core="mingru", hidden=4))
    stream = jax.tree.map(lambda x: x[0], of["gru"][2].inputs)
    assert agent.unroll is not None

    def step(carry, x):
        heads, carry = agent.apply(params, carry, x)
        return carry, heads

    params = agent.init(jax.random.key(0))
    one = jax.jit(lambda: jax.lax.scan(step, agent.carry(), stream)[1])()
    whole_stream = jax.jit(agent.unroll)(params, agent.carry(), stream)[0]
    for name in one:
        np.testing.assert_allclose(whole_stream[name], one[name], rtol=1e-4, atol=1e-5)


def test_only_trials_have_attempts_to_forget(parts):
    agent, params, rollout = parts[1]["gru"]
    bare = jax.tree.map(lambda x: x[0, 0], rollout.inputs).replace(obs=jnp.zeros(3))
    with pytest.raises(ValueError, match="only in trials"):
        forgetful(agent).apply(params, agent.carry(), bare)

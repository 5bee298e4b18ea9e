"""Groups that play the same tasks, and what is compared within them."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gymnasium.spaces import Box, Discrete

from metarl.agents.gru import gru
from metarl.grouped import grouped
from metarl.inner import act, birth
from metarl.ops.groups import fingerprint, group_moments, members
from metarl.ops.trial_returns import trial_returns, whole
from metarl.rules import grpo
from metarl.types import AgentInput, Rollout, TimeStep
from metarl.wrappers import attempt_ended, trial

N, SIZE, T = 6, 3, 24


@dataclass(frozen=True)
class Lottery:
    """Shows a number drawn at the start; each step ends the episode with probability 1/3."""

    observation_space = Box(0, 1, (1,), np.float32)
    action_space = Discrete(2)
    num_actions = 2

    def default_params(self):
        return ()

    def reset(self, key, params):
        number, no = jax.random.uniform(key, (1,)), jnp.bool_(False)
        return number, TimeStep(number, jnp.float32(0), no, no)

    def step(self, key, state, action, params):
        reward_key, end_key = jax.random.split(key)
        end = jax.random.uniform(end_key) < 1 / 3
        return state, TimeStep(state, jax.random.normal(reward_key), end, jnp.bool_(False))


def test_the_trials_of_a_group_are_the_same_and_of_no_other():
    env = trial(Lottery(), 2, stop_on_success=False)
    venv = grouped(env, N, SIZE)

    def step(state, key):
        after, ts = venv.step(key, state, jnp.zeros(N, jnp.int32), ())
        return after, (state.inputs, state.starts.count, ts)

    @jax.jit
    def run():
        state = venv.init(jax.random.key(0), ())
        return jax.lax.scan(step, state, jax.random.split(jax.random.key(1), 60))[1]

    inputs, count, ts = run()
    number, task = np.asarray(inputs.obs["obs"][..., 0]), np.asarray(inputs.obs["task"])
    assert len({tuple(row) for row in np.asarray(count)}) > 3 and np.ptp(count[-1]) > 1
    start_of: dict[tuple[int, int], set[float]] = {}
    for n in range(N):
        for t in range(60):
            start_of.setdefault((n // SIZE, int(count[t, n])), set()).add(float(number[t, n]))
    assert all(len(starts) == 1 for starts in start_of.values())
    starts = [next(iter(s)) for s in start_of.values()]
    assert len(set(starts)) == len(starts) > 10
    named = {int(i): key for i, key in zip(task.T.ravel(), _owners(count), strict=True)}
    assert len(named) == len(start_of) and set(named.values()) == set(start_of)
    # A step is still of the task that it began in, and the next begins a trial where it ended.
    np.testing.assert_array_equal(ts.obs["task"], task)
    np.testing.assert_array_equal(inputs.first[1:], ts.last[:-1])
    assert (np.asarray(inputs.obs["trial"])[np.asarray(inputs.first)] == 0).all()
    rewards = np.asarray(ts.reward)
    assert len(np.unique(rewards)) == rewards.size  # what happens is each stream's own


def _owners(count):
    for n in range(N):
        yield from ((n // SIZE, int(k)) for k in np.asarray(count)[:, n])


@pytest.mark.parametrize(
    "env, size, message",
    [(Lottery(), 3, "trial\\(env, 1\\)"), (trial(Lottery(), 1), 4, "groups of 4 do not divide 6")],
)
def test_groups_that_cannot_be_are_refused(env, size, message):
    with pytest.raises(ValueError, match=message):
        grouped(env, N, size)


def test_members_and_moments_equal_plain_loops():
    rng = np.random.default_rng(0)
    a, b, x = rng.integers(0, 3, 40), rng.integers(0, 3, 40), rng.normal(size=40)
    counts = rng.random(40) < 0.6
    counts[(a == 0) & (b == 0)] = False
    group = members(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_array_equal(group[:, None] == group, (a[:, None] == a) & (b[:, None] == b))
    mean, variance, size = group_moments(jnp.asarray(x), group, jnp.asarray(counts))
    for i in range(40):
        same = (a == a[i]) & (b == b[i]) & counts
        assert size[i] == same.sum()
        np.testing.assert_allclose(mean[i], x[same].mean() if same.any() else 0, atol=1e-6)
        np.testing.assert_allclose(variance[i], x[same].var() if same.any() else 0, atol=1e-6)


def test_fingerprints_tell_rows_apart():
    """One number, its place, its sign, and its type's range; equal rows are equal."""
    x = jnp.zeros((64, 33)).at[jnp.arange(33), jnp.arange(33)].set(1)
    x = x.at[40:50, 0].set(jnp.arange(10) - 5.0).at[60, 2].set(-0.0)
    words = np.stack(fingerprint({"a": x, "b": jnp.ones((64, 1), bool)}, 64))
    equal = (words[:, :, None] == words[:, None]).all(0)
    np.testing.assert_array_equal(equal, (np.asarray(x)[:, None] == np.asarray(x)).all(-1))


def inputs_of(obs, first):
    zero = jnp.zeros(first.shape)
    return AgentInput(obs, zero.astype(jnp.int32), zero, first)


def test_advantages_by_hand():
    """Two trials of one task; two attempts of two steps each, and one attempt of two.

    Discounts 1/2 and 1/4. The first: rewards 0 2 | 4 0, returns 1 + 4/4 = 2, 2 + 1 = 3, 4, 0. The
    second: 0 4, returns 2 and 4, then a trial that is cut off. All see 0 at the first step of an
    attempt, and 1 or 2 at the second.
    """
    reward = jnp.array([[0, 2, 4, 0.0], [0, 4, 100, 0]])
    first = jnp.array([[1, 0, 0, 0], [1, 0, 1, 0]], bool)
    ended = jnp.array([[0, 1, 0, 1], [0, 1, 0, 0]])
    last = jnp.array([[0, 0, 0, 1], [0, 1, 0, 0]], bool)
    seen = jnp.array([[0, 1, 0, 2], [0, 2, 0, 1.0]])
    trials = jnp.zeros((2, 4, 3)).at[..., 2].set(ended)
    obs = {"obs": seen[..., None], "trial": jnp.zeros((2, 4, 3)), "task": jnp.full((2, 4), 7)}
    heads = {"logits": jnp.zeros((2, 4, 2))}
    after = inputs_of({**obs, "trial": trials}, first)
    action = jnp.zeros((2, 4), jnp.int32)
    flags = (last, jnp.zeros_like(last))
    rollout = Rollout(inputs_of(obs, first), action, reward, *flags, after, heads, ())
    eta = grpo.hypers(0.5, 0.25, step_weight=10.0)
    batch, told = grpo.compared(eta, rollout)
    # The trials' scores are 2 and 2. Seen 0: 2, 4, 2. Seen 1: 3 alone. Seen 2: 0, 4.
    step = np.array([[2 - 8 / 3, 0, 4 - 8 / 3, -2], [2 - 8 / 3, 2, 0, 0]])
    np.testing.assert_allclose(batch.adv, 10 * step, rtol=1e-5, atol=1e-5)
    assert batch.counts.tolist() == [[True] * 4, [True, True, False, False]]
    assert told["whole"] == 0.75 and told["group_size"] == 2
    # With the attempts discounted by 1/2 the first is worth 1 + 4/2: half of 3 - 2 more.
    trials_only = grpo.hypers(0.5, 0.5, step_weight=0.0)
    adv = grpo.compared(trials_only, rollout)[0].adv
    np.testing.assert_allclose(adv, [[0.5] * 4, [-0.5, -0.5, 0, 0]], atol=1e-6)
    divided = grpo.compared(trials_only, rollout, divide=True)[0].adv
    np.testing.assert_allclose(divided, np.sign(adv), atol=1e-5)
    # Chained, the first is worth (2 + 4/2) / 2.
    chained = grpo.compared(trials_only, rollout, chained=True)[0].adv
    np.testing.assert_allclose(chained, 0, atol=1e-6)


@pytest.fixture(scope="module")
def parts(reveal):
    """A rollout of groups that are out of step, by an agent with memory; rewards are noise."""
    env = trial(reveal(), 2, sample_task=True)
    agent = gru(env, grpo.heads(env), hidden=3)
    venv = grouped(env, N, SIZE)

    @jax.jit
    def run():
        rule = grpo.grpo(agent, grpo.heads(env))
        learner = birth(agent, rule, venv, env.default_params(), jax.random.key(0))
        for key in jax.random.split(jax.random.key(1), 2):  # so that streams are out of step
            rollout, learner = act(agent, venv, learner, key, length=T)
        return learner, rollout

    learner, rollout = run()
    reward = jax.random.normal(jax.random.key(2), (N, T))
    return env, agent, learner, rollout.replace(reward=reward)


def test_advantages_equal_plain_loops(parts):
    _, _, _, rollout = parts
    eta = grpo.hypers(0.9, 0.7, step_weight=0.5)
    batch, told = jax.jit(grpo.compared)(eta, rollout)
    counts = np.asarray(jax.vmap(whole)(rollout.inputs.first, rollout.last))
    of = partial(trial_returns, discount=0.9, attempt_discount=0.7)
    ended: Any = attempt_ended(rollout)
    ret = np.asarray(jax.vmap(of)(rollout.reward, ended, rollout.last))
    task, seen = np.asarray(rollout.inputs.obs["task"]), np.asarray(rollout.inputs.obs["obs"])
    first = np.asarray(rollout.inputs.first)
    assert 0.3 < counts.mean() < 1 and told["group_size"] > 1.5
    for n, t in np.ndindex(N, T):
        if not counts[n, t]:
            assert batch.adv[n, t] == 0
            continue
        begun = max(s for s in range(t + 1) if first[n, s])
        others = (task == task[n, t]) & first & counts
        alike = (task == task[n, t]) & (seen == seen[n, t]).all(-1) & counts
        adv = ret[n, begun] - ret[others].mean() + 0.5 * (ret[n, t] - ret[alike].mean())
        np.testing.assert_allclose(batch.adv[n, t], adv, rtol=1e-3, atol=1e-4)


def wide(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def test_gradients_equal_finite_differences(parts):
    """Of params, through memory, and of eta, with experience frozen; some ratios are clipped."""
    env, agent, learner, rollout = parts
    noise = lambda x: x + 0.15 * jax.random.normal(jax.random.key(x.size), x.shape)  # noqa: E731
    params = jax.tree.map(noise, learner.params)
    way = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size)).reshape(x.shape), params)
    with jax.enable_x64(True):
        params, way, rollout = wide(params), wide(way), wide(rollout)
        eta = wide(grpo.hypers(entropy_cost=0.1))

        @jax.jit
        def run(step, shift):
            numbers = jax.tree.map(lambda x, s: x + s, eta, shift)
            at = jax.tree.map(lambda x, w: x + step * w, params, way)
            batch, _ = grpo.compared(numbers, rollout)
            return grpo.grpo_loss(agent, numbers, at, batch)

        zero = jax.tree.map(jnp.zeros_like, eta)
        loss = lambda *x: run(*x)[0]  # noqa: E731
        grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(jnp.float64(0), zero)
        assert 0.05 < run(0.0, zero)[1]["clipped"] < 0.95
        small = 1e-6
        expected = (loss(small, zero) - loss(-small, zero)) / (2 * small)
        np.testing.assert_allclose(grads[0], expected, rtol=1e-5)
        assert abs(expected) > 1e-3
        for name in ("discount", "attempt_discount", "step_weight", "clip", "entropy_cost"):
            shifts = [zero.replace(**{name: jnp.float64(s)}) for s in (small, -small)]
            up, down = (loss(0.0, shift) for shift in shifts)
            slope = (up - down) / (2 * small)
            assert abs(slope) > 1e-6, name
            np.testing.assert_allclose(getattr(grads[1], name), slope, rtol=1e-4, err_msg=name)


def test_what_does_not_count_teaches_nothing(parts):
    """Rewards of trials that are cut off change no parameter."""
    env, agent, learner, rollout = parts
    rule = grpo.grpo(agent, grpo.heads(env), optimizer=optax.sgd(1.0), minibatches=2, epochs=2)

    @jax.jit
    def run(rollout):
        args = (learner.params, learner.rule_state, rollout, jax.random.key(0))
        return rule.update(grpo.hypers(learning_rate=1.0), args[0], rule.init(args[0]), *args[2:])

    counts = jax.vmap(whole)(rollout.inputs.first, rollout.last)
    assert not counts.all()
    other = rollout.replace(reward=jnp.where(counts, rollout.reward, 50.0))
    (one, _, told), (two, _, _) = run(rollout), run(other)
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert told["grad_norm"] > 0 and "group_size" in told

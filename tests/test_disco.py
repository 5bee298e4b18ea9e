"""Disco103's rule against its specification in plain numpy, step by step and action by action."""

import hashlib
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import metarl.rules.disco_weights as disco_weights
from metarl.agents import disco as disco_agent
from metarl.agents.tabular import tabular
from metarl.nets.disco import Sizes, disco_init
from metarl.ops.bins import decode, squash, two_hot, unsquash
from metarl.ops.clipped_adam import AdamState, clipped_adam
from metarl.ops.moments import new_moments, normalised, observed
from metarl.ops.returns import retrace
from metarl.rules import disco as rule_module
from metarl.rules.disco import COSTS, disco, heads
from metarl.rules.disco_weights import LAYERS, converted, published, shapes
from metarl.types import AgentInput, Rollout

N, L, A, Y, K = 2, 5, 3, 4, 9
SIZES = Sizes(Y, hidden=6, memory=5)
T = L - 1
ENV = SimpleNamespace(observation_space=Discrete(N * L), action_space=Discrete(A))
HEADS = heads(ENV, predictions=Y, bins=K)
AGENT = tabular(ENV, HEADS)  # a row of params is what is said at one step
close = partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def slog(x):
    return np.sign(x) * np.log(1 + np.abs(x))


def plain_decode(q):
    k = q.shape[-1]
    x = (softmax(q) * np.linspace(-(k // 2), k // 2, k)).sum(-1)
    e = 0.001
    s = np.sqrt(1 + 4 * e * (e + 1 + np.abs(x))) / (2 * e) - 1 / (2 * e)
    return np.sign(x) * (s**2 - 1)


class Plain:
    """One life under the rule, from the arrays of a file, in loops."""

    def __init__(self, file, params):
        self.file = {k: v.astype(np.float64) for k, v in file.items()}
        self.params = {k: np.asarray(v, np.float64) for k, v in params.items()}
        self.target = dict(self.params)
        self.h, self.c = np.zeros(SIZES.memory), np.zeros(SIZES.memory)
        self.moments = {"adv": (0.0, 0.0, 1.0), "td": (0.0, 0.0, 1.0)}
        self.m = {k: np.zeros_like(v) for k, v in self.params.items()}
        self.v = {k: np.zeros_like(v) for k, v in self.params.items()}
        self.count = 0

    def dense(self, name, x):
        w = self.file[name + "/w"]
        return x @ (w[0] if w.ndim == 3 else w) + self.file[name + "/b"]

    def lstm(self, name, x, h, c):
        i, g, f, o = np.split(self.dense(name, np.concatenate([x, h])), 4)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    def number(self, name, p):
        hidden = relu(self.dense(f"{name}/~/linear_0", p))
        return self.dense(f"{name}/~/linear_1", hidden)[0]

    def mixer(self, name, rows):  # [A, F]
        mean = rows.mean(axis=0)
        return np.stack([relu(self.dense(name, np.concatenate([row, mean]))) for row in rows])

    def said(self, params, n, t):
        row = {k: v[n * L + t] for k, v in params.items()}
        wide = {"z": (A, Y), "aux_pi": (A, A), "q_bins": (A, K)}
        return {k: v.reshape(wide[k]) if k in wide else v for k, v in row.items()}

    def normal(self, name, x, centre=True):
        m1, m2, p = self.moments[name]
        mean = m1 / (1 - p)
        variance = max(0, m2 / (1 - p) - mean**2)
        return (x - mean if centre else x) / (np.sqrt(variance + 1e-12) + 1e-6)

    def observe(self, name, x):
        m1, m2, p = self.moments[name]
        m1, m2 = 0.99 * m1 + 0.01 * np.mean(x), 0.99 * m2 + 0.01 * np.mean(np.square(x))
        self.moments[name] = (m1, m2, 0.99 * p)

    def returns(self, on, slow, data):
        a, r, end, mu = data
        q = [[plain_decode(on[n][t]["q_bins"]) for t in range(L)] for n in range(N)]
        q2 = [[plain_decode(slow[n][t]["q_bins"]) for t in range(L)] for n in range(N)]
        pi = [[softmax(on[n][t]["logits"]) for t in range(L)] for n in range(N)]
        v = np.array([[pi[n][t] @ q[n][t] for t in range(L)] for n in range(N)])
        v2 = np.array([[pi[n][t] @ q2[n][t] for t in range(L)] for n in range(N)])
        target = np.zeros((N, T))
        for n in range(N):
            for t in reversed(range(T)):
                ahead = v2[n, t + 1]
                if t + 1 < T:
                    b = a[n, t + 1]
                    rho = pi[n][t + 1][b] / softmax(mu[n, t + 1])[b]
                    ahead += 0.95 * min(1, rho) * (target[n, t + 1] - q2[n][t + 1][b])
                target[n, t] = r[n, t] + 0.997 * (1 - end[n, t]) * ahead
        td = np.array([[target[n, t] - q[n][t][a[n, t]] for t in range(T)] for n in range(N)])
        self.observe("adv", target - v2[:, :T])
        self.observe("td", td)
        return np.array(pi), np.array(q2), v, v2, target, td

    def features(self, prefix, on, slow, data, values, n, t):
        a, r, end, mu = (x[n] for x in data)
        pi, q2, v, v2, target, _ = (x[n] for x in values)
        b = a[t]
        mu_t, slow_pi = softmax(mu[t]), softmax(slow[n][t]["logits"])
        ynet = lambda who, s: self.number(prefix + "mlp", softmax(who[n][s]["y"]))  # noqa: E731

        def znet(who, s):
            name = prefix + "mlp_1"
            return np.array([self.number(name, softmax(who[n][s]["z"][c])) for c in range(A)])

        adv, q_adv = target[t] - v2[t], q2[t] - v2[t]
        rows = np.stack(
            [
                np.array(
                    [
                        *(pi[t][c], mu_t[c], slow_pi[c], znet(on, t)[c], znet(slow, t)[c]),
                        *(slog(q2[t][c]), slog(q_adv[c]), self.normal("adv", q_adv[c]), c == b),
                    ]
                )
                for c in range(A)
            ]
        )
        mixed = self.mixer(prefix + "sequential/conv1_d", rows)
        e = self.mixer(prefix + "sequential/conv1_d_1", mixed)
        x = [pi[t][b], mu_t[b], slog(r[t]), 1 - end[t], slog(v[t]), slog(v[t + 1])]
        x += [slog(adv), self.normal("adv", adv), slow_pi[b]]
        x += [ynet(on, t), ynet(on, t + 1), ynet(slow, t), ynet(slow, t + 1)]
        for who in (on, slow):
            x += [znet(who, t)[b], *(pi[s] @ znet(who, s) for s in (t, t + 1))]
            x += [znet(who, s).max() for s in (t, t + 1)]
        return np.array([*x, *e.mean(axis=0), *e[b]]), e

    def targets(self, on, slow, data, values):
        life, gate = "lstm/~/meta_lstm/~unroll/", self.dense("lstm/linear", self.h)
        out, pooled = {}, []
        for n in range(N):
            h = c = np.zeros(SIZES.hidden)
            for t in reversed(range(T)):
                x, e = self.features("lstm/", on, slow, data, values, n, t)
                if data[2][n, t]:
                    h = c = np.zeros(SIZES.hidden)
                h, c = self.lstm("lstm/lstm/linear", x, h, c)
                u = h * gate
                y, z = self.dense("lstm/linear_2", u), self.dense("lstm/linear_3", u)
                rows = np.stack([np.concatenate([u, row]) for row in e])
                mixed = self.mixer("lstm/sequential_1/conv1_d", rows)
                out[n, t] = self.dense("lstm/linear_4", mixed)[:, 0], y, z
                x2, _ = self.features(life, on, slow, data, values, n, t)
                said = self.number(life + "mlp", softmax(y))
                x2 = np.concatenate([x2, self.dense("lstm/linear_1", u), [said]])
                pooled.append(self.dense(life + "mlp_2/~/linear_0", x2))
        mean = np.mean(pooled, axis=0)
        self.h, self.c = self.lstm(life + "lstm/linear", mean, self.h, self.c)
        return out

    def gradients(self, on, targets, data, target):
        """Of cross-entropies and divergences in logits: what is said less what is wanted."""
        grads = {k: np.zeros_like(v) for k, v in self.params.items()}
        loss = dict.fromkeys(("policy", "y", "z", "aux", "value"), 0.0)

        def towards(name, cost, place, wanted, logits, index=..., negentropy=True):
            row = grads[place[0]][place[1]].reshape(-1, logits.shape[-1])
            row[index] += cost * (softmax(logits) - wanted) / (N * T)
            log = np.log(np.where(wanted > 0, wanted, 1)) if negentropy else 0
            loss[name] += (wanted * (log - np.log(softmax(logits)))).sum() / (N * T)

        for n in range(N):
            for t in range(T):
                b, row = data[0][n, t], n * L + t
                pi, y, z = targets[n, t]
                now = on[n][t]
                towards("policy", 1, ("logits", row), softmax(pi), now["logits"][None])
                towards("y", 1, ("y", row), softmax(y), now["y"][None])
                towards("z", 1, ("z", row), softmax(z), now["z"][b], b)
                if not data[2][n, t]:
                    wanted = softmax(on[n][t + 1]["logits"])
                    towards("aux", 1, ("aux_pi", row), wanted, now["aux_pi"][b], b)
                x = target[n, t]
                w = np.sign(x) * (np.sqrt(abs(x) + 1) - 1) + 0.001 * x
                w = min(max(w, -(K // 2)), K // 2) + K // 2
                low, high = int(np.floor(w)), int(np.ceil(w))
                share = (high - w) / (high - low + 1e-5)
                hot = np.zeros(K)
                hot[low] += share
                hot[high] += 1 - share
                place = ("q_bins", row)
                towards("value", 0.2, place, hot, now["q_bins"][b], b, negentropy=False)
        return grads, loss

    def update(self, data, rate):
        on, slow = (
            [[self.said(p, n, t) for t in range(L)] for n in range(N)]
            for p in (self.params, self.target)
        )
        values = self.returns(on, slow, data)
        targets = self.targets(on, slow, data, values)
        grads, loss = self.gradients(on, targets, data, values[4])
        self.target = {k: 0.9 * v + 0.1 * self.params[k] for k, v in self.target.items()}
        self.count += 1
        for k, g in grads.items():
            self.m[k] = 0.9 * self.m[k] + 0.1 * g
            self.v[k] = 0.999 * self.v[k] + 0.001 * g**2
            m, v = self.m[k] / (1 - 0.9**self.count), self.v[k] / (1 - 0.999**self.count)
            self.params[k] = self.params[k] - rate * np.clip(m / (np.sqrt(v) + 1e-8), -1, 1)
        return loss


def drawn_file(sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    spread = lambda shape: 0.5 if len(shape) == 1 else (2 / shape[-2]) ** 0.5  # noqa: E731
    return {
        name: (rng.normal(size=shape) * spread(shape)).astype(np.float32)
        for name, shape in shapes(sizes).items()
    }


def drawn_data(seed):
    rng = np.random.default_rng(seed)
    end = np.zeros((N, L), bool)
    end[0, 1] = end[1, 3] = end[1, 4] = True
    action = rng.integers(0, A, (N, L))
    return action, 2 * rng.normal(size=(N, L)), end, rng.normal(size=(N, L, A))


def as_rollout(data, truncated=False):
    action, reward, end, mu = (jnp.asarray(x) for x in data)
    obs = jnp.arange(N * L).reshape(N, L)
    inputs = AgentInput(obs, action, jnp.zeros((N, L)), jnp.zeros((N, L), bool))
    said = {name: jnp.zeros((N, L, width)) for name, width in HEADS.items()}
    said["logits"] = mu.astype(jnp.float32)
    flags = (end & False, end) if truncated else (end, end & False)
    after = inputs.replace(obs=obs * 0)
    reward = reward.astype(jnp.float32)
    return Rollout(inputs, action.astype(jnp.int32), reward, *flags, after, said, ())


@pytest.fixture(scope="module")
def life():
    """The rule compiled, its eta, and what agents with large numbers in their table say."""
    file = drawn_file()
    eta = converted(file, SIZES)
    rule = disco(AGENT, HEADS, eta=eta, learning_rate=0.1, hidden=6, memory=5)
    rng = np.random.default_rng(5)
    params = {k: jnp.float32(rng.normal(size=(N * L, width))) for k, width in HEADS.items()}
    eta = rule.init_eta(jax.random.key(0))
    return SimpleNamespace(file=file, eta=eta, rule=rule, params=params, go=jax.jit(rule.update))


def test_three_updates_are_those_of_the_specification(life, compilations):
    """Targets, losses, gradients, Adam, target network, moments and memory, with mixed endings."""
    plain = Plain(life.file, life.params)
    params, state = life.params, life.rule.init(life.params)
    for seed in range(3):
        data = drawn_data(seed)
        loss = plain.update(data, 0.1)
        rollout = as_rollout(data, truncated=seed == 1)  # either ending counts alike
        key = jax.random.key(0)
        with compilations() as found:
            params, state, metrics = life.go(life.eta, params, state, rollout, key)
        assert seed == 0 or not found
        for name, value in loss.items():
            close(metrics[f"{name}_loss"], value)
        close(metrics["loss"], sum(COSTS[k] * v for k, v in loss.items()))
        for name in HEADS:
            close(params[name], plain.params[name], atol=2e-4)  # Adam's first step is a sign
            close(state.target[name], plain.target[name], atol=2e-4)
        close(state.memory[0], plain.c, atol=1e-4)
        close(state.memory[1], plain.h, atol=1e-4)
        for name, moments in plain.moments.items():
            close(list(vars(getattr(state, name)).values()), moments, rtol=1e-3)


def test_derivatives_reach_all_of_eta_but_through_values_none(life):
    """The life's LSTM moves what comes after the first update, so two are differentiated."""
    data = [as_rollout(drawn_data(seed)) for seed in (0, 1)]
    born = life.rule.init(life.params)
    born = born.replace(memory=(jnp.ones(SIZES.memory), jnp.ones(SIZES.memory) / 2))

    def after(eta):
        params, state = life.params, born
        for rollout in data:
            params, state, _ = life.rule.update(eta, params, state, rollout, jax.random.key(0))
        return params

    @jax.jit
    def pulled(eta):
        params, pull = jax.vjp(after, eta)
        weight = lambda names: {k: jnp.sin(9 * x) * (k in names) for k, x in params.items()}  # noqa: E731
        return [pull(weight(names))[0] for names in (("logits", "y", "z"), ("q_bins",))]

    own, other = pulled(life.eta)
    assert jnp.abs(own["policy"][1].pop("b")).max() < 1e-6  # shifts all logits alike
    for path, grad in jax.tree_util.tree_leaves_with_path(own):
        assert jnp.isfinite(grad).all() and jnp.any(grad != 0), jax.tree_util.keystr(path)
    assert all((grad == 0).all() for grad in jax.tree.leaves(other))


def test_illegal_actions_are_no_target(life):
    rollout = as_rollout(drawn_data(0))
    mask = jnp.ones((N, L, A), bool).at[..., 0].set(False)
    action = jnp.maximum(rollout.action, 1)
    rollout = rollout.replace(inputs=rollout.inputs.replace(action_mask=mask), action=action)
    state = life.rule.init(life.params)
    params, _, metrics = jax.jit(life.rule.update)(
        life.eta, life.params, state, rollout, jax.random.key(0)
    )
    assert jnp.isfinite(metrics["loss"]) and metrics["policy_loss"] < 10
    assert (params["logits"][:, 0] == life.params["logits"][:, 0]).all()
    assert (params["logits"][0, 1:] != life.params["logits"][0, 1:]).all()


def test_values_in_bins():
    x = jnp.array([-250.0, -3.0, -0.5, 0.0, 1.0, 8.0, 1e4])
    close(squash(jnp.array([3.0, -8.0])), [1.003, -2.008], rtol=1e-6)
    np.testing.assert_allclose(unsquash(squash(x)), x, rtol=2e-3, atol=1e-4)
    hot = two_hot(jnp.array([0.0, 3.0, 1e6, -1e6]), 7)
    close(hot[0], np.eye(7)[3])
    close(hot[1], [0, 0, 0, 0, 0.997, 0.003, 0], atol=1e-5)
    close(hot[2:], np.eye(7)[[6, 0]], atol=1e-5)
    logits = jnp.log(jnp.array([0.0, 0.0, 0.25, 0.25, 0.5]) + 1e-20)  # mean bin 1.25 of -2 .. 2
    close(decode(logits), unsquash(jnp.float32(1.25)), rtol=1e-5)


def test_retrace_by_hand():
    """Two steps back from 10: c cuts at half, and the task ends after the second step."""
    target = retrace(
        jnp.array([1.0, 2.0, 3.0]),
        jnp.array([0.5, 0.0, 0.5]),
        jnp.array([4.0, 7.0, 10.0]),
        jnp.array([9.0, 6.0, 5.0]),
        jnp.array([9.0, 0.5, 0.25]),
    )
    # 3 + .5 * 10 = 8;  2 + 0;  1 + .5 * (4 + .5 * (2 - 6)) = 2
    close(target, [2.0, 2.0, 8.0])


def test_moments_by_hand():
    """Of 1 and 3 alone: mean 2, mean square 5, variance 1, whatever the zeros of the start were."""
    moments = observed(new_moments(), jnp.array([1.0, 3.0]))
    close(list(vars(moments).values()), [0.02, 0.05, 0.99])
    close(normalised(moments, jnp.array([4.0])), [2.0], rtol=1e-3)
    close(normalised(moments, jnp.array([4.0]), centre=False), [4.0], rtol=1e-3)
    constant = observed(new_moments(), jnp.array([2.0, 2.0]))
    assert jnp.isfinite(normalised(constant, jnp.array([2.0]))).all()


def test_clipped_adam_clips_and_has_derivatives_at_zero():
    adam = clipped_adam()
    start = jnp.zeros(3)
    state = adam.init(start)
    small = jnp.array([1e-3, -1e-3, 0.0])
    step, state = adam.update(small, state)
    close(step, [-1.0, 1.0, 0.0], atol=1e-4)
    old = AdamState(jnp.int32(100_000), small, jnp.square(small))
    step, _ = adam.update(1e3 * small, old)  # 0.1009 / sqrt(0.001): above one
    close(step, [-1.0, 1.0, 0.0], atol=1e-4)
    slope = jax.grad(lambda g: adam.update(g, adam.init(start))[0].sum())(jnp.zeros(3))
    assert jnp.isfinite(slope).all()


def test_the_agent_has_the_published_sizes_and_asks_its_model_of_each_action():
    env = SimpleNamespace(observation_space=Box(0, 1, (8, 8)), action_space=Discrete(3))
    form = jax.eval_shape(disco_agent.disco(env, heads(env)).init, jax.random.key(0))
    assert sum(int(np.prod(x.shape)) for x in jax.tree.leaves(form)) == 943_375

    agent = disco_agent.disco(env, HEADS, hidden=(4, 3), model=2)
    params = agent.init(jax.random.key(1))
    noise = lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape)  # noqa: E731
    params = jax.tree.map(noise, params)
    obs = jax.random.normal(jax.random.key(2), (8, 8))
    inputs = AgentInput(obs, jnp.int32(0), jnp.float32(0), jnp.bool_(True))
    said, carry = agent.apply(params, agent.carry(), inputs)
    assert carry == ()
    p = jax.tree.map(np.asarray, params)
    dense = lambda layer, x: x @ layer["w"] + layer["b"]  # noqa: E731
    x = dense(p["torso"][1], relu(dense(p["torso"][0], np.asarray(obs).ravel())))
    close(said["logits"], dense(p["heads"]["logits"], x), rtol=1e-4, atol=1e-5)
    cell = dense(p["model"]["root"], x)
    for a in range(3):
        core = p["model"]["core"]
        gates = core["in"]["w"][a] + core["in"]["b"] + np.tanh(cell) @ core["rec"]["w"]
        i, f, g, o = np.split(gates, 4)
        h = sigmoid(o) * np.tanh(sigmoid(f) * cell + sigmoid(i) * np.tanh(g))
        for name, width in (("z", Y), ("aux_pi", A), ("q_bins", K)):
            first, last = p["model"][name]
            row = said[name][a * width : (a + 1) * width]
            close(row, dense(last, relu(dense(first, h))), rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused_in_words(life, tmp_path, monkeypatch):
    env = SimpleNamespace(observation_space=Box(0, 1, (2,)), action_space=Box(-1, 1, (2,)))
    with pytest.raises(TypeError, match="Discrete actions"):
        heads(env)
    with pytest.raises(ValueError, match="bins must be odd"):
        heads(ENV, bins=8)
    with pytest.raises(ValueError, match="need Discrete actions"):
        disco_agent.disco(env, {"z": 4})
    with pytest.raises(ValueError, match="no row for each of 3"):
        disco_agent.disco(ENV, {"z": 4})
    with pytest.raises(ValueError, match="at least one width"):
        disco_agent.disco(ENV, HEADS, hidden=())
    one = jax.tree.map(lambda x: x[:, :1], as_rollout(drawn_data(0)).replace(carry=()))
    with pytest.raises(ValueError, match="at least 2 steps"):
        life.rule.update(life.eta, life.params, life.rule.init(life.params), one, None)
    monkeypatch.delenv("METARL_DISCO103", raising=False)
    with pytest.raises(ValueError, match="METARL_DISCO103"):
        published("disco103", SIZES)
    with pytest.raises(ValueError, match="no file"):
        published(str(tmp_path / "none.npz"), SIZES)


def test_weights_of_another_form_or_content_are_refused_by_the_leaf(life, tmp_path):
    path = tmp_path / "disco_103.npz"
    path.write_bytes(b"PK half a file")
    with pytest.raises(ValueError, match="cut short"):
        published(str(path), SIZES)
    np.savez(path, **life.file)
    with pytest.raises(ValueError, match=r"lstm/mlp/~/linear_0/w is float32\[4, 16\].*\[7, 16\]"):
        published(str(path), Sizes(7, 6, 5))
    with pytest.raises(ValueError, match="is not that file: its sha256"):
        published(str(path), SIZES)
    with pytest.raises(ValueError, match="lacks lstm/linear_1/b"):
        converted({k: v for k, v in life.file.items() if k != "lstm/linear_1/b"}, SIZES)
    with pytest.raises(ValueError, match="has other/w"):
        converted({**life.file, "other/w": np.zeros(1)}, SIZES)
    with pytest.raises(ValueError, match="float64"):
        converted({**life.file, "lstm/linear_1/b": np.zeros(1)}, SIZES)


def test_a_file_with_the_right_sum_is_read_by_its_path_and_by_the_variable(
    life, tmp_path, monkeypatch
):
    path = tmp_path / "weights"
    with path.open("wb") as file:
        np.savez(file, **life.file)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(disco_weights, "SHA256", digest)
    monkeypatch.setenv("METARL_DISCO103", str(path))
    for name in ("disco103", str(path)):
        rule = disco(AGENT, HEADS, weights=name, hidden=6, memory=5)
        jax.tree.map(np.testing.assert_array_equal, rule.init_eta(jax.random.key(0)), life.eta)


def test_a_drawn_network_has_the_form_of_the_published_one():
    form = jax.eval_shape(lambda: disco_init(jax.random.key(0), Sizes()))
    assert sum(int(np.prod(x.shape)) for x in jax.tree.leaves(form)) == 754_778
    assert len(shapes(Sizes())) == 42 == 2 * len(LAYERS)
    drawn = disco(AGENT, HEADS, hidden=6, memory=5).init_eta(jax.random.key(0))
    same = lambda a, b: a.shape == b.shape and a.dtype == b.dtype  # noqa: E731
    assert jax.tree.all(jax.tree.map(same, drawn, converted(drawn_file(), SIZES)))


def test_the_published_weights_are_those_of_the_paper():
    file = Path(os.environ.get("METARL_DATA", "data")) / "disco103" / "disco_103.npz"
    if not file.is_file():
        pytest.skip("no weights; name the folder that holds disco103/ in METARL_DATA")
    eta = published(str(file), Sizes())
    assert sum(x.size for x in jax.tree.leaves(eta)) == 754_778
    assert abs(eta["gate"]["b"].std() - 0.036) < 5e-4  # at birth the gate is its bias
    with pytest.raises(ValueError, match=r"lstm/mlp/~/linear_0/w is float32\[600, 16\]"):
        rule_module.disco(AGENT, HEADS, weights=str(file))

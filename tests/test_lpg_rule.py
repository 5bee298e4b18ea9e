"""LPG's update against numpy, finite differences, flax's cells, REINFORCE and A2C."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import metarl
from metarl.agents.mlp import mlp
from metarl.agents.tabular import tabular
from metarl.nets.gru import gru
from metarl.nets.lpg import Seen, Sizes, lpg_init, lpg_net
from metarl.nets.lstm import lstm
from metarl.rules import a2c, lpg, reinforce, ta_lpg
from metarl.rules.life import Clock, LifeState, with_lifetime
from metarl.types import Agent, AgentInput, Rollout

N, T, S, A, M = 3, 6, 5, 3, 4
ENV = metarl.make("TabularMDP-v0", states=S, num_actions=A)
HEADS = {"logits": A, "y": M}
AGENT = tabular(ENV, HEADS)
KEY = jax.random.key(0)


def experience(seed=0, terminate=0.25, truncate=0.2):
    """Made up: states, actions and rewards at random, with endings of both kinds."""
    rng: Any = np.random.default_rng(seed)
    shape = (N, T)
    terminated = rng.random(shape) < terminate
    truncated = ~terminated & (rng.random(shape) < truncate)
    obs, after = rng.integers(S, size=(2, *shape), dtype=np.int32)
    action = rng.integers(A, size=shape, dtype=np.int32)
    reward = rng.normal(size=shape).astype(np.float32)
    seen = lambda obs: AgentInput(obs, action, reward, terminated)  # noqa: E731
    heads: Any = {name: np.zeros((*shape, width), np.float32) for name, width in HEADS.items()}
    flags = (terminated, truncated)
    rollout = Rollout(seen(obs), action, reward, *flags, seen(after), heads, ())
    return jax.tree.map(jnp.asarray, rollout)


def tables(seed=0, width=M):
    rng = np.random.default_rng(seed)
    sizes = {"logits": A, "y": width}
    return {k: jnp.asarray(rng.normal(size=(S, w)), jnp.float32) for k, w in sizes.items()}


def drawn(init, seed=1, scale=0.5):
    """An eta in the form that `init` gives it; drawn with numpy, which compiles nothing."""
    rng = np.random.default_rng(seed)
    draw = lambda x: jnp.asarray(scale * rng.normal(size=x.shape), jnp.float32)  # noqa: E731
    return jax.tree.map(draw, jax.eval_shape(init, KEY))


def wide(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def np_gru(p, h, x):
    (a, b), (w, u) = (p["in"]["w"], p["in"]["b"]), (p["rec"]["w"], p["rec"]["b"])
    i, r = x @ a + b, h @ w + u
    n = len(h)
    z, reset = sigmoid(i[:n] + r[:n]), sigmoid(i[n : 2 * n] + r[n : 2 * n])
    return (1 - z) * np.tanh(i[2 * n :] + reset * r[2 * n :]) + z * h, None


def np_lstm(p, h, x, cell):
    gates = x @ p["in"]["w"] + p["in"]["b"] + h @ p["rec"]["w"]
    i, f, g, o = np.split(gates, 4)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(cell), cell


def np_net(eta, core, rollout, prob, y, next_y):
    """Targets, one stream and one step at a time."""
    e1, e2 = eta["embed"]
    number = lambda v: float((np.maximum(v @ e1["w"] + e1["b"], 0) @ e2["w"] + e2["b"])[0])  # noqa: E731
    hidden = eta["pi"]["w"].shape[0]
    pi_hat, y_hat = np.zeros((N, T)), np.zeros((N, T, M))
    for n in range(N):
        h = cell = np.zeros(hidden)
        for t in reversed(range(T)):
            ended = bool(rollout.terminated[n, t])
            if ended or rollout.truncated[n, t]:
                h = cell = np.zeros(hidden)
            after = 0.0 if ended else number(next_y[n, t])
            now = [rollout.reward[n, t], ended, prob[n, t], number(y[n, t]), after]
            x = np.array(now, np.float64)
            h, new = np_gru(eta["core"], h, x) if core == "gru" else np_lstm(
                eta["core"], h, x, cell
            )  # fmt: skip
            cell = new if core == "lstm" else cell
            out = np.maximum(h, 0)
            pi_hat[n, t] = (out @ eta["pi"]["w"] + eta["pi"]["b"])[0]
            y_hat[n, t] = softmax(out @ eta["y"]["w"] + eta["y"]["b"])
    return pi_hat, y_hat


@pytest.mark.parametrize("core", ["gru", "lstm"])
def test_a_step_equals_numpy(core):
    """Recursion, endings of both kinds, loss, the clip of each part, the rate of each part."""
    numbers: Any = {"policy_rate": 7.0, "y_rate": 3.0, "y_cost": 0.3}
    optimizer = lpg.clipped(0.01)
    rule = lpg.lpg(AGENT, HEADS, core=core, hidden=5, embedding=3, optimizer=optimizer, **numbers)
    eta = drawn(rule.init_eta)
    params, rollout = tables(), jax.device_get(experience())
    new, _, metrics = jax.jit(rule.update)(eta, params, rule.init(params), rollout, KEY)

    logits, tops = (np.asarray(params[k], np.float64) for k in ("logits", "y"))
    obs, action = rollout.inputs.obs, rollout.action
    pi, y = softmax(logits[obs]), softmax(tops[obs])
    prob = np.take_along_axis(pi, action[..., None], -1)[..., 0]
    next_y = softmax(tops[rollout.next_inputs.obs])
    wide_eta = jax.tree.map(lambda x: np.asarray(x, np.float64), eta)
    pi_hat, y_hat = np_net(wide_eta, core, rollout, prob, y, next_y)
    kl = (y * np.log(y / y_hat)).sum(-1)
    np.testing.assert_allclose(metrics["policy_loss"], -(np.log(prob) * pi_hat).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["y_loss"], kl.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["pi_hat_square"], (pi_hat**2).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["y_hat_square"], (y_hat**2).sum(-1).mean(), rtol=1e-4)

    grads = {"logits": np.zeros_like(logits), "y": np.zeros_like(tops)}
    push = -(np.eye(A)[action] - pi) * pi_hat[..., None] / (N * T)
    np.add.at(grads["logits"], obs, push)
    pull = y * (np.log(y / y_hat) - kl[..., None]) * 0.3 / (N * T)
    np.add.at(grads["y"], obs, pull)
    for name, rate in (("logits", 7.0), ("y", 3.0)):
        norm = np.linalg.norm(grads[name])
        assert norm > 0.01  # so that both clips are seen
        step = -rate * grads[name] * 0.01 / norm
        np.testing.assert_allclose(new[name] - params[name], step, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("build", [lpg.lpg, ta_lpg.ta_lpg])
def test_time_outs_count_as_terminations_where_that_is_asked_for(build):
    """On experience in which they are terminations the rule itself does the same."""
    small: Any = {"hidden": 4, "embedding": 3}
    plain, blind = (build(AGENT, HEADS, **small, time_outs_end=x) for x in (False, True))
    eta, params, rollout = drawn(plain.init_eta), tables(), experience()
    assert rollout.truncated.any() and rollout.terminated.any()
    ended = rollout.replace(terminated=rollout.last, truncated=rollout.last & False)
    stack = lambda tree: jax.tree.map(lambda x: x[None], tree)  # noqa: E731
    states = plain.init(params)

    def both(rule, rollout):
        new = jax.jit(rule.update)(eta, params, states, rollout, KEY)
        all_new = jax.jit(rule.update_lives)(eta, *map(stack, (params, states, rollout)), KEY)
        return new[0], jax.tree.map(lambda x: x[0], all_new[0])

    found, expected, other = both(blind, rollout), both(plain, ended), both(plain, rollout)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert not np.allclose(found[0]["logits"], other[0]["logits"], atol=1e-5)


def test_gradients_below_the_limit_are_not_clipped():
    grads = {"logits": jnp.array([0.3, 0.0]), "y": jnp.array([3.0, 4.0])}
    steps, _ = lpg.clipped(0.5).update(grads, ())
    np.testing.assert_allclose(steps["logits"], [-0.3, 0], rtol=1e-6)
    np.testing.assert_allclose(steps["y"], [-0.3, -0.4], rtol=1e-6)


@pytest.mark.parametrize("updates", [1, 3])
def test_meta_gradients_equal_finite_differences(updates):
    """In float64, experience frozen, and with it what the network reads: that it is told.

    So after several updates the derivative is that through the targets alone, which is the
    paper's; of a single update it is all there is.
    """
    with jax.enable_x64(True):
        rule = lpg.lpg(AGENT, HEADS, hidden=4, embedding=3, policy_rate=2.0, y_rate=1.0)
        eta = wide(drawn(rule.init_eta))
        params = wide(tables())
        state = wide(rule.init(params))
        rollouts = [wide(experience(k)) for k in range(updates)]
        rollouts = jax.tree.map(lambda *x: jnp.stack(x), *rollouts)
        rng = np.random.default_rng(7)
        weights, along = (
            jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), tree)
            for tree in (params, eta)
        )

        def dot(a: Any, b: Any) -> Any:
            return sum(map(jnp.vdot, jax.tree.leaves(a), jax.tree.leaves(b)))

        def outcome(eta: Any) -> Any:
            """Where the life ends, and what the network read at each update."""

            def step(loop: Any, rollout: Any) -> Any:
                seen = lpg.see(AGENT, loop[0], rollout, jnp.zeros(0))
                return rule.update(eta, loop[0], loop[1], rollout, KEY)[:2], seen

            (now, _), seen = jax.lax.scan(step, (params, state), rollouts)
            return dot(now, weights), seen

        @jax.jit
        def reference(eta, seen):
            def step(loop: Any, given: Any) -> Any:
                rollout, seen = given
                targets = lpg_net(eta, seen, core="gru")
                new = lpg.follow(AGENT, lpg.clipped(), loop[0], loop[1], rollout, targets)
                return new[:2], ()

            return dot(jax.lax.scan(step, (params, state), (rollouts, seen))[0][0], weights)

        run = jax.jit(jax.value_and_grad(outcome, has_aux=True))
        (value, seen), grads = run(eta)
        assert all(jnp.any(grad != 0) for grad in jax.tree.leaves(grads))
        shift = lambda size: jax.tree.map(lambda x, d: x + size * d, eta, along)  # noqa: E731
        slope = lambda loss: (loss(shift(1e-6)) - loss(shift(-1e-6))) / 2e-6  # noqa: E731
        found = dot(grads, along)
        assert abs(found) > 1e-3
        if updates == 1:
            np.testing.assert_allclose(found, slope(lambda eta: run(eta)[0][0]), rtol=1e-6)
        else:
            np.testing.assert_allclose(value, reference(eta, seen), rtol=1e-12)
            np.testing.assert_allclose(found, slope(lambda eta: reference(eta, seen)), rtol=1e-6)


def test_the_meta_gradient_is_finite_where_nothing_is_learned():
    """Eta of zeros, as evolution starts from: the policy's gradient is zero, and clipped."""
    rule = lpg.lpg(AGENT, HEADS, hidden=4, embedding=3)
    eta = drawn(rule.init_eta, scale=0)
    params = tables()

    def total(eta):
        new, _, metrics = rule.update(eta, params, rule.init(params), experience(), KEY)
        return jnp.sum(new["logits"]) + jnp.sum(new["logits"] ** 2) + 0 * sum(metrics.values())

    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(jax.jit(jax.grad(total))(eta)))


TINY = 1e-6  # the slope at which tanh is a line, in float64


def blank(targets, hidden, embedding=1):
    sizes = Sizes(hidden=hidden, embedding=embedding)
    return wide(drawn(lambda key: lpg_init(key, targets, sizes), scale=0))


def written(eta, unit, *, keep, **inputs):
    """Unit `unit` and its mirror `unit + 1`: `h' = keep h + (1 - keep) TINY inputs`."""
    names = ("reward", "ended", "prob", "y", "next_y")
    hidden = eta["pi"]["w"].shape[0]
    core = eta["core"]["in"]
    for place, sign in ((unit, 1.0), (unit + 1, -1.0)):
        core["b"] = core["b"].at[place].set(jnp.log(keep / (1 - keep)))
        for name, weight in inputs.items():
            at = names.index(name), 2 * hidden + place
            core["w"] = core["w"].at[at].set(sign * TINY * weight)


def read(layer, column, unit, weight):
    """`weight` times what the unit holds: its positive half less its mirror's."""
    for place, sign in ((unit, 1.0), (unit + 1, -1.0)):
        layer["w"] = layer["w"].at[place, column].set(sign * weight)


def policy_step(eta, params, rollout):
    """How LPG moves the policy, unclipped, and its targets."""
    descent = optax.sgd(1.0)
    state = LifeState(descent.init(params), wide(lpg.numbers(1.0, 1.0, 1.0)))

    @jax.jit
    def run(eta):
        targets = lpg_net(eta, lpg.see(AGENT, params, rollout, jnp.zeros(0)), core="gru")
        return lpg.follow(AGENT, descent, params, state, rollout, targets)[0], targets

    new, targets = run(eta)
    return new["logits"] - params["logits"], targets


def test_a_hand_written_network_is_reinforce():
    """One GRU unit and its mirror sum discounted rewards: `pi_hat` is the return to come.

    Shown for discounts below 1, up to the curvature of tanh, and for the policy; y is not used.
    """
    with jax.enable_x64(True):
        own = wide(reinforce.hypers(discount=0.9, entropy_cost=0.0))
        discount, eta = own.discount, blank(M, 2)
        written(eta, 0, keep=discount, reward=1.0)
        read(eta["pi"], 0, 0, 1 / ((1 - discount) * TINY))
        params, rollout = wide(tables()), wide(experience())
        step, _ = policy_step(eta, params, rollout)
        loss = lambda params: reinforce.reinforce_loss(  # noqa: E731
            AGENT, {"logits": A}, own, params, rollout, baseline="none", normalise=False
        )[0]
        expected = -jax.jit(jax.grad(loss))(params)["logits"]
        assert jnp.linalg.norm(expected) > 0.1
        np.testing.assert_allclose(step, expected, rtol=1e-6, atol=1e-9)


def test_a_hand_written_network_is_the_actor_of_a2c():
    """Where y is a distribution over the values 1 and -1, `pi_hat` is A2C's advantage.

    The embedding reads the value of y, a GRU unit sums temporal differences, another holds the
    value of now. The policy's step is A2C's own, generalised advantages and bootstraps included.
    The critic's is not: `y_hat` is the distribution of value tanh(target), so the predictions are
    drawn to the same targets, squashed into what two values can say, by KL and not by squares.
    """
    with jax.enable_x64(True):
        own = wide(a2c.hypers(0.9, 0.8, entropy_cost=0.0, value_cost=0.0))
        discount, keep, eta = own.discount, own.discount * own.lambda_, blank(2, 4)
        eta["embed"] = wide([
            {"w": jnp.array([[1.0], [-1.0]]), "b": jnp.array([2.0])},  # above zero, before the ReLU
            {"w": jnp.array([[1.0]]), "b": jnp.array([-2.0])},
        ])  # fmt: skip
        written(eta, 0, keep=keep, reward=1.0, next_y=discount, y=-1.0)
        written(eta, 2, keep=1e-15, y=1.0)
        adv = 1 / ((1 - keep) * TINY)
        read(eta["pi"], 0, 0, adv)
        for column, sign in ((0, 1.0), (1, -1.0)):
            read(eta["y"], column, 0, sign * adv)
            read(eta["y"], column, 2, sign / TINY)
        params, rollout = wide(tables(width=2)), wide(experience())
        step, targets = policy_step(eta, params, rollout)

        def valued(params, carry, inputs):
            said, carry = AGENT.apply(params, carry, inputs)
            value = jax.nn.softmax(said["y"]) @ jnp.array([1.0, -1.0])
            return {**said, "value": value[None]}, carry

        agent = Agent(AGENT.init, tuple, valued)
        needed = {"logits": A, "value": 1}
        one = lambda params, r: a2c.a2c_loss(agent, needed, own, params, r)[0]  # noqa: E731
        loss = lambda params: jax.vmap(one, in_axes=(None, 0))(params, rollout).mean()  # noqa: E731
        expected = -jax.jit(jax.grad(loss))(params)["logits"]
        assert jnp.linalg.norm(expected) > 0.1
        np.testing.assert_allclose(step, expected, rtol=1e-6, atol=1e-9)

        now = jax.nn.softmax(params["y"])[rollout.inputs.obs] @ jnp.array([1.0, -1.0])
        target = np.tanh(targets.pi_hat + now)
        said = jax.nn.softmax(targets.y_hat) @ jnp.array([1.0, -1.0])
        np.testing.assert_allclose(said, target, rtol=1e-5, atol=1e-8)


def test_cells_equal_those_of_flax():
    rng = np.random.default_rng(0)
    h, cell, x = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in (4, 4, 3))
    carry = {"gru": h, "lstm": (cell, h)}
    flax = {"gru": linen.GRUCell(4), "lstm": linen.OptimizedLSTMCell(4)}
    order = {"gru": "zrn", "lstm": "ifgo"}
    for core, theirs in flax.items():
        eta = drawn(partial(lpg_init, targets=M, sizes=Sizes(core, 4, 3), extra=-2))["core"]
        if core == "gru":  # flax has a bias there for the candidate alone
            eta["rec"]["b"] = eta["rec"]["b"].at[:8].set(0)
        gates = len(order[core])
        w, b, u = (
            np.split(a, gates, axis=-1) for a in (eta["in"]["w"], eta["in"]["b"], eta["rec"]["w"])
        )
        params = {f"i{g}": {"kernel": w[k], "bias": b[k]} for k, g in enumerate(order[core])}
        params |= {f"h{g}": {"kernel": u[k]} for k, g in enumerate(order[core])}
        if core == "gru":
            params["hn"]["bias"] = eta["rec"]["b"][8:]
        else:  # flax has these biases at the recurrent weights
            params = {k: {"kernel": p["kernel"]} for k, p in params.items()}
            for k, g in enumerate(order[core]):
                params[f"h{g}"]["bias"] = b[k]
        expected, _ = theirs.apply({"params": params}, carry[core], x)
        ours = gru(eta, h, x) if core == "gru" else lstm(eta, (cell, h), x)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("extra", "published"), [(0, 203_946), (2, 205_482)])
def test_the_network_has_the_published_size(extra, published):
    """But for two gates' recurrent biases, which double those of the inputs."""
    sizes = jax.eval_shape(lambda key: lpg_init(key, 8, Sizes(), extra=extra), KEY)
    assert sum(x.size for x in jax.tree.leaves(sizes)) == published + 2 * 256


def test_rates_are_of_the_part_and_of_the_life():
    env = metarl.make("Catch-v0")
    heads = lpg.heads(env, 5)
    assert heads == {"logits": 3, "y": 5}
    agent = mlp(env, heads, hidden=(4,), separate=True)
    params = jax.eval_shape(agent.init, KEY)
    parts = {lpg.part_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    assert parts == {"policy", "y"}
    rule = lpg.lpg(AGENT, HEADS, hidden=4, embedding=3)
    params, rollout, eta = tables(), experience(), drawn(rule.init_eta)
    own = [(1.0, 0.0), (0.0, 1.0), (2.0, 0.5)]
    states = [
        rule.init(params).replace(numbers=lpg.numbers(policy, y, 0.5)) for policy, y in own
    ]  # fmt: skip
    lives = jax.tree.map(lambda *x: jnp.stack(x), *states)
    run = jax.jit(jax.vmap(rule.update, in_axes=(None, None, 0, None, None)))
    new, kept, _ = run(eta, params, lives, rollout, KEY)
    np.testing.assert_allclose(kept.numbers.policy_rate, [1, 0, 2])
    moved = {name: np.linalg.norm(new[name] - params[name], axis=(1, 2)) for name in params}
    for name, expected in (("logits", [1, 0, 2]), ("y", [0, 1, 0.5])):
        one = moved[name].max() / max(expected)
        assert one > 0
        np.testing.assert_allclose(moved[name], one * np.array(expected), rtol=1e-4)


@pytest.mark.parametrize("timed", [False, True])
def test_lives_learn_together_as_they_do_apart(timed):
    """Three lives, of TA-LPG at different times: params, state, metrics and the meta-gradient."""
    sizes: Any = {"hidden": 4, "embedding": 3}
    rule = (ta_lpg.ta_lpg if timed else lpg.lpg)(AGENT, HEADS, **sizes)
    stack = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)  # noqa: E731
    params, rollout = (stack([make(k) for k in range(3)]) for make in (tables, experience))
    state = stack([rule.init(tables())] * 3)
    if timed:
        state = state.replace(clock=Clock(jnp.array([0, 3, 8]), jnp.array([9, 30, 9])))
    apart, keys = jax.vmap(rule.update, in_axes=(None, 0, 0, 0, 0)), jax.random.split(KEY, 3)

    def total(eta, update):
        out = update(eta, params, state, rollout, keys)
        return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(out[0])), out

    run = jax.jit(jax.grad(total, has_aux=True), static_argnums=1)
    found, expected = (run(drawn(rule.init_eta), f) for f in (rule.update_lives, apart))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_time_is_read_as_a_share_and_a_logarithm():
    clock = Clock(jnp.int32(25), jnp.int32(100))
    np.testing.assert_allclose(ta_lpg.times(clock), [0.25, np.log(100)], rtol=1e-6)
    np.testing.assert_allclose(ta_lpg.raw_times(clock), [25, 100])
    late = clock.replace(age=jnp.int32(130))
    assert late.relative == 1


@pytest.mark.parametrize("as_released", [False, True])
def test_ta_lpg_is_lpg_told_the_time(as_released):
    """The clock counts updates, and what the network is told is what moves the learner."""
    small: Any = {"hidden": 4, "embedding": 3}
    rule = ta_lpg.ta_lpg(AGENT, HEADS, lifetime=8, as_released=as_released, **small)
    eta, params, rollout = drawn(rule.init_eta), tables(), experience()
    state = rule.init(params)
    update = jax.jit(rule.update)
    _, later, _ = update(eta, params, state, rollout, KEY)
    assert (later.clock.age, later.clock.lifetime) == (1, 8)
    told = {False: [2 / 8, np.log(8)], True: [2, 8]}[as_released]
    _, later, _ = update(eta, params, later, rollout, KEY)

    @jax.jit
    def reference(told):
        targets = lpg_net(eta, lpg.see(AGENT, params, rollout, told), core="gru")
        return lpg.follow(AGENT, lpg.clipped(), params, state, rollout, targets)[0]

    expected = reference(jnp.array(told, jnp.float32))
    new, *_ = update(eta, params, later, rollout, KEY)
    for name in params:
        np.testing.assert_allclose(new[name], expected[name], rtol=1e-5, atol=1e-6)
    other, *_ = update(eta, params, with_lifetime(later, jnp.int32(500)), rollout, KEY)
    assert not np.allclose(other["logits"], new["logits"])


def test_without_its_weights_for_the_time_ta_lpg_is_lpg():
    timed = drawn(ta_lpg.ta_lpg(AGENT, HEADS, hidden=4, embedding=3).init_eta)
    ways = timed["core"]["in"]
    own, extra = ways["w"][:5], ways["w"][5:]
    blind = {"w": jnp.concatenate([own, 0 * extra]), "b": ways["b"]}
    plain = {"w": own, "b": ways["b"]}
    rollout = experience()
    y = jax.nn.softmax(tables()["y"])
    both = []
    for weights, told in ((blind, jnp.array([0.3, 5.0])), (plain, jnp.zeros(0))):
        eta = {**timed, "core": {**timed["core"], "in": weights}}
        flags = (rollout.terminated, rollout.last)
        seen = Seen(rollout.reward, *flags, 0.5 + 0 * rollout.reward, y[rollout.inputs.obs],
                    y[rollout.next_inputs.obs], jnp.broadcast_to(told, (N, len(told))))  # fmt: skip
        with jax.enable_x64(True):  # products of other widths round differently
            both.append(lpg_net(wide(eta), wide(seen), core="gru"))
    for a, b in zip(jax.tree.leaves(both[0]), jax.tree.leaves(both[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    state = LifeState((), lpg.numbers(1.0, 1.0, 1.0))
    assert with_lifetime(state, jnp.int32(3)) is state


def test_mistakes_are_explained():
    with pytest.raises(ValueError, match="no core 'gur'; did you mean gru"):
        lpg.lpg(AGENT, HEADS, core="gur")
    with pytest.raises(ValueError, match="at least 1 update, got 0"):
        ta_lpg.ta_lpg(AGENT, HEADS, lifetime=0)
    with pytest.raises(TypeError, match="Discrete actions"):
        lpg.heads(metarl.make("Pendulum-v0"))
    rule = lpg.lpg(AGENT, {"logits": A, "y": 9}, hidden=4)
    params = tables()
    with pytest.raises(ValueError, match="lpg needs the head 'y' of width 9, got 4"):
        rule.update(drawn(rule.init_eta), params, rule.init(params), experience(), KEY)

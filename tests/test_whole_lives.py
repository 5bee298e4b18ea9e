"""Evolution over whole lives: closed forms, numbers by hand, and what a pair shares."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl
from metarl.agents.tabular import tabular
from metarl.inner import live
from metarl.meta.bijections import sigmoid
from metarl.meta.first_returns import first_returns
from metarl.meta.shaping import (
    advantage,
    centred,
    pair_ranks,
    pair_ranks_as_released,
    raw,
    standardised,
)
from metarl.meta.tune import tune
from metarl.meta.whole_lives import (
    annealed_adam,
    drawn_pairs,
    estimate,
    lived,
    log_uniform,
    newborn,
    perturbation,
    whole_life,
    whole_lives,
)
from metarl.rollout import VectorEnv, vectorize
from metarl.rules import a2c, ta_lpg, ta_lpo
from metarl.rules.life import LifeState, new_clock
from metarl.types import Agent, AgentInput, TimeStep, UpdateRule, VectorState

KEY = jax.random.key(0)
STD, GOAL = 0.1, 0.5
MDP = metarl.make("TabularMDP-v0", states=4, num_actions=2)


def toy(length=8) -> tuple[Agent, UpdateRule, VectorEnv]:
    """Lives that walk from a random start, and note their actions and their age.

    A step is eta / N by the clock, so that a whole life walks eta, however long it is.
    """
    env = metarl.make("ProbeAction-v0")
    heads = {"logits": int(env.action_space.n)}
    logits = jnp.zeros(heads["logits"])

    def init(key):
        start = jax.random.normal(key)
        return {"start": start, "x": start, "acted": jnp.zeros((2, length)), "age": jnp.int32(0)}

    agent = Agent(init, lambda: (), lambda params, carry, x: ({"logits": logits}, ()))

    def update(eta, params, state, rollout, key):
        clock = state.clock
        params = {
            "start": params["start"],
            "x": params["x"] + eta["step"] / clock.lifetime,
            "acted": 2 * params["acted"] + rollout.action,
            "age": params["age"] + 1,
        }
        metrics = {"relative": clock.relative}
        return params, state.replace(clock=clock.replace(age=clock.age + 1)), metrics

    start = lambda params: LifeState((), (), new_clock(7))  # noqa: E731
    rule = UpdateRule(heads, lambda key: {"step": jnp.float32(3 * GOAL)}, start, update)
    return agent, rule, vectorize(env, 2)


def levels(key):
    """What a level pays, over many orders of magnitude."""
    return jnp.exp(4 * jax.random.normal(key))


def near_goal(params, level, key):
    return -level * jnp.square(params["x"] - params["start"] - GOAL)


def toy_lives(optimizer, **settings):
    given: dict[str, Any] = {
        "pairs": 16,
        "length": 1,
        "lifetime": log_uniform(1, 6),
        "std": STD,
        **settings,
    }
    nothing = lambda level: ()  # noqa: E731
    return whole_lives(*toy(1), optimizer, near_goal, levels, env_params=nothing, **given)


def searching(chunk):
    return toy_lives(annealed_adam(0.05, decay=0.97, b1=0.9), chunk=chunk)


@pytest.fixture(scope="module")
def searched():
    """The state after 150 generations, eight pairs at a time, and metrics."""
    outer = searching(chunk=8)

    @jax.jit
    def run(key):
        step = lambda state, _: outer.update(state, key)  # noqa: E731
        return jax.lax.scan(step, outer.init(key), None, length=150)

    return run(KEY)


def test_the_known_optimum_is_found(searched):
    """Whatever levels pay, and however long lives are: at eta = GOAL.

    Of the square of a distance a pair's ranks say the side for certain, so that the search ends
    within a few of its last steps, of 0.05 * 0.97 ** 150.
    """
    state, metrics = searched
    assert abs(state.eta["step"] - GOAL) < 0.01
    assert {"meta_grad_norm", "meta_grad_snr", "fitness_std", "episodes", "eta/step"} <= set(
        metrics
    )
    assert 1 < metrics["lifetime"].mean() < 6 and state.updates == 150
    np.testing.assert_array_equal(metrics["ties"][:20], 0)


def test_chunks_find_the_same_as_all_at_once(searched):
    outer = searching(chunk=None)
    _, metrics = jax.jit(outer.update)(outer.init(KEY), KEY)
    first = {name: x[0] for name, x in searched[1].items()}
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), metrics, first)
    assert metrics["fitness_std"] > 0 and abs(metrics["meta_grad_norm"]) > 0.1


def test_the_search_starts_where_the_rule_says_or_at_zero():
    for from_zero, start in ((False, 3 * GOAL), (True, 0)):
        assert toy_lives(optax.sgd(1.0), from_zero=from_zero).init(KEY).eta["step"] == start


def test_ranks_within_pairs_by_hand():
    fitness = jnp.array([[3.0, 1.0], [1.0, 700.0], [2.0, 2.0], [jnp.nan, 0.0]])
    np.testing.assert_array_equal(pair_ranks(fitness)[:3], [[1, 0], [0, 1], [0.5, 0.5]])
    np.testing.assert_array_equal(pair_ranks_as_released(fitness)[:3], [[1, 0], [0, 1], [0, 1]])
    np.testing.assert_array_equal(advantage(pair_ranks, fitness), [1, -1, 0, 0])
    np.testing.assert_array_equal(advantage(pair_ranks_as_released, fitness), [1, -1, -1, 0])
    np.testing.assert_array_equal(advantage(raw, fitness), [2, -699, 0, 0])
    np.testing.assert_allclose(advantage(centred, fitness[:2]), [1 / 2, -5 / 6], rtol=1e-6)


def test_standard_scores_by_hand():
    """Of 1, 3, 5 the mean is 3 and the variance 8/3; what is not known counts for nothing."""
    fitness = jnp.array([[1.0, 3.0], [5.0, jnp.nan]])
    found = standardised(fitness)
    scores = np.array([-2, 0, 2]) / np.sqrt(8 / 3)
    np.testing.assert_allclose(found.ravel()[:3], scores, rtol=1e-6)
    np.testing.assert_allclose(advantage(standardised, fitness), [scores[0], 0], rtol=1e-6)
    np.testing.assert_array_equal(standardised(jnp.full((2, 2), 7.0)), 0)


@pytest.mark.parametrize("common", [False, True])
def test_pairs_that_are_alike_differ_in_their_noise_alone(common):
    draw = partial(drawn_pairs, levels, log_uniform(1, 10**6), KEY, 4, common=common)
    alike, apart = draw(alike=True), draw()
    assert len(jnp.unique(apart.level)) == 4
    same = lambda x: bool((jax.random.key_data(x) == jax.random.key_data(x[:1])).all())  # noqa: E731
    assert (alike.level == alike.level[0]).all() and (alike.lifetime == alike.lifetime[0]).all()
    assert same(alike.agent) and same(alike.chance) and not same(alike.noise)
    assert bool((alike.chance[:, 0] == alike.chance[:, 1]).all()) == common


@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_the_estimate_is_the_published_sum(chunk):
    """1 / (2 P std) times the sum over all 2 P etas of rank times signed noise."""
    eta = {"a": jnp.zeros((3, 2)), "b": jnp.float32(1)}
    keys = jax.random.split(KEY, 4)
    fitness = jnp.array([[3.0, 1.0], [1.0, 7.0], [2.0, 2.0], [5.0, 0.0]])
    found = estimate(eta, keys, advantage(pair_ranks, fitness), STD, chunk)
    expected = jax.tree.map(lambda x: np.zeros(x.shape, np.float64), eta)
    for key, ranks in zip(keys, [(1, 0), (0, 1), (0.5, 0.5), (1, 0)], strict=True):
        noise = jax.tree.map(lambda x: np.asarray(x[0]), perturbation(key[None], eta))
        for rank, sign in zip(ranks, (1, -1), strict=True):
            add = lambda total, e: total + rank * sign * e / (8 * STD)  # noqa: B023, E731
            expected = jax.tree.map(add, expected, noise)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found, expected)


def test_ranks_of_a_linear_return_give_its_direction():
    """Its length is E|e| / (2 std) for normal e, which is sqrt(2 / pi) / (2 std)."""
    slope, keys = np.array([3.0, -4.0]), jax.random.split(KEY, 20_000)
    eta = jnp.zeros(2)
    noise = np.asarray(perturbation(keys, eta))
    fitness = 100 + STD * np.stack([noise @ slope, -noise @ slope], axis=1)
    found = estimate(eta, keys, advantage(pair_ranks, jnp.asarray(fitness)), STD, 5000)
    expected = slope / 5 * np.sqrt(2 / np.pi) / (2 * STD)
    error = noise.std() / (2 * STD) / np.sqrt(len(keys))
    np.testing.assert_allclose(found, expected, atol=4 * error)


@pytest.fixture(scope="module")
def lives_of_pairs():
    """The pairs, and [P, 2] of each life: params at its end, level, a number of its own chance."""

    def told(params, level, key):
        return {"params": params, "level": level, "chance": jax.random.uniform(key)}

    eta = {"step": jnp.float32(GOAL)}
    settings = (log_uniform(1, 6), 8, eta, STD)
    live_pair = partial(lived, toy(), told, lambda level: (), *settings)  # type: ignore[arg-type]
    run = jax.jit(jax.vmap(live_pair))
    found = {}
    for common in (False, True):
        pairs = drawn_pairs(levels, log_uniform(1, 6), KEY, 6, common=common)
        found[common] = pairs, jax.device_get(run(pairs))
    return found


@pytest.mark.parametrize("common", [False, True])
def test_both_of_a_pair_share_level_agent_and_lifetime(lives_of_pairs, common):
    pairs, (told, metrics) = lives_of_pairs[common]
    params = told["params"]
    for shared in (told["level"], params["start"], params["age"]):
        np.testing.assert_array_equal(shared[:, 0], shared[:, 1])
        assert len(np.unique(shared)) > 2  # but pairs differ
    np.testing.assert_array_equal(params["age"][:, 0], pairs.lifetime)
    walked = params["x"] - params["start"]
    noise = perturbation(pairs.noise, {"step": jnp.float32(0)})["step"]
    expected = GOAL + STD * np.asarray(noise)[:, None] * [1, -1]
    np.testing.assert_allclose(walked, expected, atol=1e-5)
    for chance in (told["chance"], params["acted"].sum(axis=(-1, -2))):
        assert ((chance[:, 0] == chance[:, 1]) == common).all()


def test_short_lives_come_first(lives_of_pairs):
    pairs, _ = lives_of_pairs[False]
    assert (np.diff(pairs.lifetime) >= 0).all() and len(np.unique(pairs.lifetime)) > 2


def test_a_life_ends_with_its_lifetime_and_the_clock_goes_from_0_to_1(lives_of_pairs):
    """Side by side with longer ones, lives end as alone; later updates do not count."""
    parts, eta = toy(), {"step": jnp.float32(GOAL)}
    pairs = lives_of_pairs[False][0].replace(lifetime=jnp.array([1, 2, 2, 3, 5, 6]))
    keys = jax.random.split(KEY, 6)

    @jax.jit
    @jax.vmap
    def run(pair, key):
        born = newborn(parts, (), pair, key)
        ended = whole_life(parts, eta, born, key, pair.lifetime, 8)
        return *ended, live(*parts, eta, born, key, updates=6, length=8)[1]

    older = jax.jit(lambda pair, key: live(*parts, eta, newborn(parts, (), pair, key), key,
                                           updates=2, length=8)[0])  # fmt: skip
    ended, last, metrics = run(pairs, keys)
    clock = ended.rule_state.clock
    np.testing.assert_array_equal(ended.age, pairs.lifetime)
    np.testing.assert_array_equal(clock.lifetime, pairs.lifetime)
    np.testing.assert_array_equal(clock.relative, 1)
    for i, n in enumerate(np.asarray(pairs.lifetime)):
        expected = np.arange(n, dtype=np.float32) / np.float32(n)
        np.testing.assert_array_equal(metrics["relative"][i][:n], expected)
        np.testing.assert_array_equal(last["relative"][i], expected[-1])
    alone = older(jax.tree.map(lambda x: x[1], pairs), keys[1])
    for name, x in alone.params.items():
        np.testing.assert_allclose(ended.params[name][1], x, rtol=1e-6)


def on_mdp(agent, rule, venv, **settings):
    ret = first_returns(agent, venv, max_steps=8, piece=4)
    given: dict[str, Any] = {"pairs": 4, "length": 4, "lifetime": log_uniform(1, 4), **settings}
    return whole_lives(agent, rule, venv, optax.sgd(1.0), ret, MDP.sample_params, **given)


@pytest.mark.parametrize("name", ["ta_lpg", "ta_lpo", "a2c"])
def test_any_rule_can_be_evolved(name):
    """Only traced: what is computed is the same for all."""
    module = {"ta_lpg": ta_lpg, "ta_lpo": ta_lpo, "a2c": a2c}[name]
    needed = module.heads(MDP)
    agent = tabular(MDP, needed)
    rule = getattr(module, name)(agent, needed)
    rule = tune(rule, entropy_cost=sigmoid()) if name == "a2c" else rule
    outer = on_mdp(agent, rule, vectorize(MDP, 2), chunk=2)
    state = jax.eval_shape(outer.init, KEY)
    after, metrics = jax.eval_shape(outer.update, state, KEY)
    jax.tree.map(lambda a, b: None, after, state)  # raises where their forms differ
    assert all(x.shape == () for x in metrics.values())


@pytest.mark.parametrize("piece", [1, 4, 20])
def test_only_first_episodes_count(piece):
    """Episodes of 2, 5, 9 and endless steps, cut off at 7, that pay 1, 2, 4, 8, ... each time."""
    ends, zeros = jnp.array([2, 5, 9, 1000]), jnp.zeros(4)

    def state(time):
        return VectorState(time, AgentInput(zeros, zeros, zeros, time == 0), ())

    def step(key, old, action, params):
        last = (old.env + 1) % ends == 0
        return state(old.env + 1), TimeStep(zeros, params * 2.0**old.env, last, ~last & last)

    venv = VectorEnv(lambda key, params: state(jnp.zeros(4, jnp.int32)), step)
    logits = jnp.zeros(1)
    agent = Agent(lambda key: (), lambda: (), lambda params, carry, x: ({"logits": logits}, ()))
    ret = first_returns(agent, venv, max_steps=7, piece=piece, env_params=lambda level: 3 * level)
    found = jax.jit(ret)((), jnp.float32(1), KEY)
    assert found == 3 * np.mean([2**2 - 1, 2**5 - 1, 2**7 - 1, 2**7 - 1])


def test_the_published_optimizer_decays_to_its_floor():
    """Of a gradient that never changes Adam's steps are its rate."""
    optimizer = annealed_adam()

    def step(loop, _):
        steps, state = optimizer.update(jnp.float32(2), loop, jnp.float32(0))
        return state, -steps

    _, steps = jax.lax.scan(step, optimizer.init(jnp.float32(0)), None, length=8000)
    expected = np.maximum(1e-2 * 0.999 ** np.arange(8000), 1e-5)
    np.testing.assert_allclose(steps, expected, rtol=2e-3)


def test_lifetimes_are_log_uniform():
    draw = log_uniform(10, 250)
    drawn = np.asarray(jax.vmap(partial(draw, ()))(jax.random.split(KEY, 20_000)))
    assert drawn.min() == 10 and drawn.max() == 250
    assert abs((drawn < 50).mean() - np.log(49.5 / 10) / np.log(25)) < 0.015


def test_mistakes_are_named():
    adam = annealed_adam()
    for settings, words in (
        ({"pairs": 0}, "pairs must be at least 1"),
        ({"chunk": 3}, "divisor of the 16 pairs, got 3"),
        ({"lifetime": 0}, "lifetime must be at least 1"),
        ({"std": 0.0}, "std must be above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            toy_lives(adam, **settings)
    with pytest.raises(ValueError, match="1 <= low <= high"):
        log_uniform(0, 3)
    with pytest.raises(ValueError, match="at least 1, got 0 and 20"):
        first_returns(*toy()[::2], max_steps=0)

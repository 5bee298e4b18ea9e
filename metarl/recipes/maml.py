"""What the recipes of MAML share: its parts, its arms, and its published test."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metarl.agents.mlp import mlp
from metarl.inner import birth
from metarl.meta.common import meta_adam
from metarl.meta.maml import Tasks, maml, returns_by_update
from metarl.recipes.common import Arm, Claim, Line, Outcome, Panel, Results, ahead, interval, told
from metarl.rollout import Reset, VectorEnv, vectorize
from metarl.rules import reinforce
from metarl.types import Agent, Key, MetaLearner, Metrics, PyTree, UpdateRule

PAPER = "MAML (Finn et al. 2017, https://arxiv.org/abs/1703.03400)"
STEPS = 3  # updates in the published test, halved after the first


@dataclass(frozen=True)
class Sizes:
    """Numbers of a comparison of initialisations."""

    seeds: int
    meta_updates: int
    tests: int  # how often it is tested on the way
    tasks: int  # of each meta-update
    horizon: int
    outer_rate: float  # of Adam
    trajectories: int = 20  # of a task, before and again after the update
    hidden: tuple[int, ...] = (100, 100)
    inner_rate: float = 0.5
    test_tasks: int = 40
    test_rates: tuple[float, ...] = (0.1, 0.5)  # every init is tested at each of them
    surrogate: str = "plain"  # of the inner update, as in the published code


class Problem(NamedTuple):
    """An environment and its distribution of tasks."""

    env: Any
    reset: Reset
    train: str | None  # the split of tasks to learn from
    test: str | None


class Method(NamedTuple):
    """How an arm learns its initialisation."""

    updates: int  # inner updates while it is learned
    tasks: int = 1  # factor on the number of tasks, so that all who learn see as many steps
    learns: bool = True


METHODS = {
    "maml": Method(updates=1),
    "pretrained": Method(updates=0, tasks=2),  # the policy gradient averaged over all tasks
    "random": Method(updates=0, learns=False),
}


class State(NamedTuple):
    """Of all seeds, between two tests."""

    meta: PyTree  # [S, ...]
    keys: Key  # [S], of the whole runs
    turn: jax.Array  # [] int32


def make_arms(problem: Problem, sizes: Sizes) -> list[Arm]:
    """One arm for each method, cut at the tests; the first test comes before any learning."""
    return [
        Arm(
            name,
            partial(_start, problem, sizes, method),
            partial(_advance, problem, sizes, method),
            chunks=sizes.tests + 1 if method.learns else 1,
        )
        for name, method in METHODS.items()
    ]


def _start(problem: Problem, sizes: Sizes, method: Method) -> State:
    init = _outer_loop(problem, sizes, method).init
    keys = jax.random.split(jax.random.key(0), sizes.seeds)
    anyone: Any = None  # the outer loop makes its own learners
    return State(jax.jit(jax.vmap(lambda key: init(key, anyone)))(keys), keys, jnp.int32(0))


def _advance(problem: Problem, sizes: Sizes, method: Method, state: State) -> tuple[State, Metrics]:
    learn, test = (partial(f, problem, sizes, method) for f in (_learned, _tested))

    def one(x: tuple[PyTree, Key]) -> tuple[PyTree, Metrics]:
        meta, key = x
        learn_key, test_key = jax.random.split(key)
        if method.learns:
            meta = jax.lax.cond(state.turn > 0, learn, lambda meta, _: meta, meta, learn_key)
        return meta, {"return": test(meta.eta["params"], test_key)[None]}

    meta, metrics = jax.lax.map(one, (state.meta, state.keys))
    return State(meta, state.keys, state.turn + 1), metrics


def _learned(problem: Problem, sizes: Sizes, method: Method, meta: PyTree, key: Key) -> PyTree:
    """The outer loop's state at the next test."""
    loop = _outer_loop(problem, sizes, method)
    tasks = tasks_of(problem, sizes, problem.train)
    count = sizes.tasks * method.tasks
    born = lambda k: birth(*parts(problem, sizes), tasks(k), k)  # noqa: E731
    places = jax.vmap(born)(jax.random.split(key, count))  # their number alone matters

    def step(meta: PyTree, _: None) -> tuple[PyTree, None]:
        return loop.update(meta, places, key)[0], None

    return jax.lax.scan(step, meta, None, length=sizes.meta_updates // sizes.tests)[0]


def _tested(problem: Problem, sizes: Sizes, method: Method, params: PyTree, key: Key) -> jax.Array:
    """[R, 4] the mean return after 0..3 updates at each test rate. The same tasks at every test."""
    del method
    tasks = tasks_of(problem, sizes, problem.test)
    agent, rule, venv = parts(problem, sizes)
    run = partial(returns_by_update, agent, rule, venv, length=sizes.horizon)

    def one(rate: jax.Array, key: Key) -> jax.Array:
        task_key, life_key = jax.random.split(key)
        eta = reinforce.hypers(0.99, 0.0).replace(learning_rate=rate)
        return run(eta, params, tasks(task_key), life_key)

    keys = jax.random.split(key, sizes.test_tasks)
    by_rate = lambda rate: jax.vmap(partial(one, rate))(keys).mean(axis=0)  # noqa: E731
    return jax.lax.map(by_rate, jnp.array(sizes.test_rates))


def parts(problem: Problem, sizes: Sizes) -> tuple[Agent, UpdateRule, VectorEnv]:
    """Agent, rule and environments of one task."""
    env = problem.env
    heads = reinforce.heads(env)
    agent = mlp(env, heads, hidden=sizes.hidden, free_log_std=True)
    eta = reinforce.hypers(0.99, 0.0, sizes.inner_rate)
    sgd = optax.sgd(1.0)
    rule = reinforce.reinforce(agent, heads, optimizer=sgd, eta=eta, surrogate=sizes.surrogate)
    return agent, rule, vectorize(env, sizes.trajectories, problem.reset)


def tasks_of(problem: Problem, sizes: Sizes, split: str | None) -> Tasks:
    """Tasks of a split, of the horizon of the comparison."""
    limit = jnp.int32(sizes.horizon)
    return lambda key: problem.env.sample_params(key, split).replace(max_steps=limit)


def _outer_loop(problem: Problem, sizes: Sizes, method: Method) -> MetaLearner:
    """MAML; without inner updates it is the policy gradient on all tasks at once."""
    agent, rule, venv = parts(problem, sizes)
    eta = reinforce.hypers(0.99, 0.0)
    judged = partial(reinforce.reinforce_loss, agent, rule.heads, eta)
    return maml(
        agent, rule, venv, lambda params, rollout: judged(params, rollout)[0],
        meta_adam(sizes.outer_rate, max_norm=1.0), tasks=tasks_of(problem, sizes, problem.train),
        updates=method.updates, length=sizes.horizon,
    )  # fmt: skip


def compare(
    sizes: Sizes, results: Results, *, published: tuple[float, ...], least_gain: float
) -> Outcome:
    """Returns after 0..3 updates of every init, each at the test rate that suits it best."""
    best, curves = {}, {}
    for name in METHODS:
        found = results[name]["return"]  # [S, tests, R, 4]
        rate = int(found[:, -1, :, 1:].mean(axis=(0, 2)).argmax())
        best[name], curves[name] = found[:, -1, rate], found[:, :, rate, 1]
    after = np.arange(STEPS + 1)
    numbers: dict[str, Any] = {
        name: {
            f"rate {rate}": {int(k): interval(results[name]["return"][:, -1, i, k]) for k in after}
            for i, rate in enumerate(sizes.test_rates)
        }
        for name in METHODS
    }
    numbers["published"] = dict(zip(after.tolist(), published, strict=True))
    steps = 2 * sizes.meta_updates * sizes.tasks * sizes.trajectories * sizes.horizon
    at = np.linspace(0, steps / 1e6, sizes.tests + 1)
    panels = [
        Panel(
            "return of the last init in new tasks",
            "updates",
            "return",
            [
                *(Line(name, after, values) for name, values in best.items()),
                Line("published", after, np.array([published])),
            ],
        ),
        Panel(
            "return after one update",
            "million steps of experience",
            "return",
            [Line(n, at, c) for n, c in curves.items() if METHODS[n].learns],
        ),
    ]
    return Outcome(_claims(best, published, least_gain), panels, numbers, _notes(sizes))


def _claims(best: dict, published: tuple[float, ...], least_gain: float) -> list[Claim]:
    gain = best["maml"][:, 1] - best["maml"][:, 0]
    ours = " / ".join(f"{x:.2f}" for x in best["maml"].mean(axis=0))
    claims = [
        Claim(
            f"one update from MAML's init raises the return by at least {least_gain:g}",
            " / ".join(f"{x:.2f}" for x in published) + f" after 0..{STEPS} updates (from memory)",
            f"{ours} after 0..{STEPS}; by {told(gain)}",
            interval(gain)["low"] >= least_gain,
        )
    ]
    for count, when in ((1, "one update"), (STEPS, f"{STEPS} updates")):
        after = {name: values[:, count] for name, values in best.items()}
        means = "; ".join(f"{name} {told(values)}" for name, values in after.items())
        more, held = ahead(after["maml"], {k: v for k, v in after.items() if k != "maml"})
        claims.append(
            Claim(
                f"after {when} MAML's init is better than a pretrained and a random one",
                "in all of its figures",
                f"{means}; {more}",
                held,
            )
        )
    return claims


def _notes(sizes: Sizes) -> tuple[str, ...]:
    return (
        f"Adam with clipped meta-gradients, one step for each batch, {sizes.meta_updates} of them, "
        "in place of the paper's TRPO; tanh layers in place of ReLU; the published numbers are "
        "from memory.",
        "Pretrained is the same outer loop without inner update and with twice the tasks, so that "
        "both see as many steps. Every init is tested in the same tasks at each of the test rates, "
        "halved after the first update, and shown at the rate that suits it best there.",
        "A claim holds where the 95 % interval over seeds says so.",
    )

"""What recipes on trials share: an agent that learns by PPO and is tested again and again."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from metarl.evaluate import evaluate
from metarl.inner import birth, live
from metarl.ops.statistics import mean_interval
from metarl.recipes.common import PERCENT, Arm, Bar, Line, Panel, interval, told
from metarl.rollout import VectorEnv
from metarl.rules import ppo
from metarl.types import Agent, Environment, Key, Learner, Metrics, Params, PyTree, UpdateRule
from metarl.wrappers import forgetful, pass_at

FORGETFUL = "forgetful"
Test = Callable[[Params, Key], Metrics]  # of an agent's params


class Student(NamedTuple):
    """All that learns."""

    agent: Agent
    rule: UpdateRule
    venv: VectorEnv
    env_params: PyTree
    eta: Any  # PPO's


class Budget(NamedTuple):
    """How long, and how often it is tested."""

    seeds: int
    steps: int  # of each seed
    num_envs: int
    length: int
    chunks: int

    @property
    def updates(self) -> int:
        """In a chunk."""
        return max(1, round(self.steps / (self.num_envs * self.length * self.chunks)))

    @property
    def x(self) -> np.ndarray:
        """[chunks] environment steps of a seed at the end of each chunk."""
        return np.arange(1, self.chunks + 1) * self.updates * self.num_envs * self.length


def budget(settings: Any, length: int) -> Budget:
    """From settings with those names."""
    shape = (settings.num_envs, length, settings.chunks)
    return Budget(settings.seeds, settings.steps, *shape)


def numbers(settings: Any) -> dict[str, float]:
    """Of `ppo.hypers`, from settings with those names."""
    names = ("discount", "attempt_discount", "learning_rate", "entropy_cost")
    return {name: getattr(settings, name) for name in names if hasattr(settings, name)}


def remembering(core: str, build: Callable[[str], Agent]) -> Agent:
    """`build(core)`; the core `FORGETFUL` is the control, a GRU cleared after each attempt."""
    return forgetful(build("gru")) if core == FORGETFUL else build(core)


def student(
    env: Environment, agent: Agent, venv: VectorEnv, env_params: PyTree, **numbers: float
) -> Student:
    """An agent with PPO: two passes in four minibatches; `numbers` are those of `ppo.hypers`."""
    rule = ppo.ppo(agent, ppo.heads(env), epochs=2, minibatches=4)
    return Student(agent, rule, venv, env_params, ppo.hypers(**numbers))


def arm(name: str, student: Student, budget: Budget, test: Test, *, calm: bool = False) -> Arm:
    """An arm of all seeds side by side; its learning rate falls to zero along a line.

    Metrics [S, 1, ...] of a chunk: what `test` says of the params at its end, and the losses.

    Args:
      name: of the arm.
      student: what learns.
      budget: for how long.
      test: of its params.
      calm: the entropy cost falls with the learning rate, so that in the end nothing is played for
        the sake of chance.
    """
    keys = jax.random.split(jax.random.key(0), budget.seeds)
    total = budget.updates * budget.chunks

    def start() -> Learner:
        born = partial(birth, student.agent, student.rule, student.venv, student.env_params)
        return jax.jit(jax.vmap(born))(keys)

    def one(learner: Learner, key: Key) -> tuple[Learner, Metrics]:
        live_key, test_key = jax.random.split(jax.random.fold_in(key, 1))
        left = 1 - (learner.age + (budget.updates - 1) / 2) / total
        falling = ("learning_rate", "entropy_cost") if calm else ("learning_rate",)
        eta = student.eta.replace(**{x: getattr(student.eta, x) * left for x in falling})
        parts = (student.agent, student.rule, student.venv, eta, learner, live_key)
        learner, metrics = live(*parts, updates=budget.updates, length=budget.length)
        tested = test(learner.params, jax.random.fold_in(test_key, learner.age))
        losses = {name: metrics[name].mean() for name in ("loss", "entropy")}
        return learner, jax.tree.map(lambda x: x[None], {**tested, **losses})

    def advance(learner: Learner) -> tuple[Learner, Metrics]:
        return jax.vmap(one)(learner, keys)

    return Arm(name, start, advance, chunks=budget.chunks)


def tested(
    agent: Agent, env: Environment, env_params: PyTree, *, episodes: int, max_steps: int
) -> Test:
    """Plays whole trials: the mean return, and `pass_at` [n]."""

    def test(params: Params, key: Key) -> Metrics:
        play = partial(evaluate, agent, env, params, env_params, key)
        scores = play(episodes=episodes, max_steps=max_steps)
        passed = pass_at(scores.attempt_success).mean(axis=0)
        return {"return": scores.ret.mean(), "pass_at": passed}

    return test


def at_end(values: np.ndarray) -> np.ndarray:
    """[S, ...] of the last test of each seed, from [S, chunks, ...]."""
    return np.asarray(values)[:, -1]


def passed(values: np.ndarray, attempt: int) -> np.ndarray:
    """[S] percent of trials won within so many attempts, at the end; `values` [S, chunks, n]."""
    return 100 * at_end(values)[:, attempt - 1]


def pass_numbers(values: np.ndarray) -> dict[str, Any]:
    """pass@1 to pass@n at the end, in percent."""
    count = np.shape(values)[-1]
    return {f"pass@{k}": interval(passed(values, k), within=PERCENT) for k in range(1, count + 1)}


def pass_told(values: np.ndarray, attempt: int) -> str:
    """`pass@1 86.1 [85, 87.2], 3 seeds`."""
    return f"pass@{attempt} {told(passed(values, attempt), within=PERCENT)}"


def pass_panel(
    title: str, x: np.ndarray, results: Mapping[str, np.ndarray], levels: Mapping[str, float]
) -> Panel:
    """pass@1 and pass@n of every arm while it learns, on held-out tasks."""
    lines = []
    for name, values in results.items():
        count = np.shape(values)[-1]
        for k in sorted({1, count}):
            lines.append(Line(f"{name}, pass@{k}", x, 100 * np.asarray(values)[..., k - 1]))
    return Panel(title, "environment steps", "% of trials won", lines=lines, levels=levels)


def attempt_panel(title: str, results: Mapping[str, np.ndarray], attempts: Sequence[int]) -> Panel:
    """Of each name its pass@k at the end as bars beside each other, for every k of `attempts`."""
    bars = []
    for name, values in results.items():
        for k in attempts:
            bars.append(Bar(f"{name}, pass@{k}", *mean_interval(passed(values, k), within=PERCENT)))
    return Panel(title, ylabel="% of trials won", bars=bars)

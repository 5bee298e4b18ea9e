"""Utility-based perturbed gradient descent on a stream whose labels are permuted (UPGD)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metarl.nets import linear
from metarl.ops.statistics import mean_interval
from metarl.ops.upgd import upgd
from metarl.recipes.common import (
    SHARES,
    Arm,
    Bar,
    Claim,
    Line,
    Outcome,
    Panel,
    Results,
    above,
    ahead,
    interval,
    told,
)
from metarl.types import Key, Metrics, Params, PyTree

PAPER = "Utility-based perturbed gradient descent (Elsayed and Mahmood 2024, 2404.00781)"
CLAIM = "UPGD's accuracy keeps rising from task to task where that of Adam and SGD falls"


@dataclass(frozen=True)
class Settings:
    """Sizes of the stream and of the network; much smaller than the paper's."""

    tune_seeds: int = 2  # which choose each arm's setting
    seeds: int = 5  # others, on which the chosen ones are compared
    tasks: int = 200
    samples: int = 1000  # of a task; one a step
    classes: int = 10
    clusters: int = 4  # of a class: no linear function tells classes apart
    inputs: int = 20
    spread: float = 0.5  # standard deviation within a cluster; that of the centres is 1
    hidden: tuple[int, ...] = (64, 32)
    tasks_per_chunk: int = 5


QUICK = Settings(tune_seeds=1, seeds=4, tasks=60, samples=500)

# Twelve settings an arm: learning rate, weight decay, and standard deviation of the noise.
RATES = (1e-2, 3e-2, 1e-1)
PLAIN = tuple((rate, decay, 0.0) for rate in RATES for decay in (0.0, 1e-3, 3e-3, 1e-2))
ADAM = tuple((rate / 10, decay, 0.0) for rate in RATES for decay in (0.0, 1e-2, 1e-1, 1.0))
NOISY = tuple(
    (rate, decay, noise)
    for rate in RATES
    for decay, noise in ((0.0, 1e-3), (0.0, 1e-2), (0.0, 1e-1), (1e-3, 1e-2))
)
Build = Callable[[jax.Array], optax.GradientTransformationExtraArgs]  # of one setting


def sgd(setting: jax.Array) -> optax.GradientTransformationExtraArgs:
    """Gradient descent with decoupled weight decay."""
    rate, decay, _ = setting
    return optax.with_extra_args_support(
        optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate))
    )


def adam(setting: jax.Array) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled weight decay and the paper's momenta, 0 and 0.99."""
    rate, decay, _ = setting
    return optax.with_extra_args_support(optax.adamw(rate, b1=0.0, b2=0.99, weight_decay=decay))


def perturbed(setting: jax.Array, *, protecting: bool) -> optax.GradientTransformationExtraArgs:
    """UPGD."""
    rate, decay, noise = setting
    return upgd(rate, decay=0.999, noise=noise, weight_decay=decay, protecting=protecting)


OPTIMIZERS: dict[str, tuple[Build, tuple[tuple[float, float, float], ...]]] = {
    "SGD": (sgd, PLAIN),
    "Adam": (adam, ADAM),
    "UPGD": (partial(perturbed, protecting=True), NOISY),
    "UPGD, non-protecting": (partial(perturbed, protecting=False), NOISY),
}


class State(NamedTuple):
    """All seeds and settings between two tasks."""

    params: Params  # [S, settings, ...]
    optimizer: PyTree  # [S, settings, ...]
    task: jax.Array  # [] int32


def arms(settings: Settings) -> list[Arm]:
    """One arm an optimizer, with all of its settings on the same streams."""
    if settings.tasks % settings.tasks_per_chunk:
        raise ValueError(
            f"tasks must be a multiple of tasks_per_chunk, {settings.tasks_per_chunk}; "
            f"got {settings.tasks}"
        )
    return [_arm(settings, name, *part) for name, part in OPTIMIZERS.items()]


def _arm(settings: Settings, name: str, build: Build, grid: tuple) -> Arm:
    keys = jax.random.split(jax.random.key(0), settings.tune_seeds + settings.seeds)

    def start() -> State:
        def one(key: Key, setting: jax.Array) -> tuple[Params, PyTree]:
            sizes = (settings.inputs, *settings.hidden, settings.classes)
            params = linear.mlp_init(jax.random.fold_in(key, 0), sizes)
            return params, build(setting).init(params)

        born = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))
        params, optimizer = jax.jit(born)(keys, jnp.array(grid))
        return State(params, optimizer, jnp.int32(0))

    def one(key: Key, params: Params, optimizer: PyTree, first: jax.Array):
        numbers = first + jnp.arange(settings.tasks_per_chunk)
        step = partial(_task, settings, build, jnp.array(grid), key)
        return jax.lax.scan(step, (params, optimizer), numbers)

    def advance(state: State) -> tuple[State, Metrics]:
        (params, optimizer), accuracy = jax.vmap(one, in_axes=(0, 0, 0, None))(
            keys, state.params, state.optimizer, state.task
        )
        task = state.task + settings.tasks_per_chunk
        return State(params, optimizer, task), {"accuracy": accuracy}  # [S, tasks, settings]

    return Arm(name, start, advance, chunks=settings.tasks // settings.tasks_per_chunk)


def _task(
    settings: Settings, build: Build, grid: jax.Array, key: Key, loop: tuple, number: jax.Array
) -> tuple[tuple, jax.Array]:
    """One task of one seed for all settings: learners afterwards, online accuracy [settings]."""
    centre_key, task_key = jax.random.split(jax.random.fold_in(key, 1))
    permute_key, stream_key = jax.random.split(jax.random.fold_in(task_key, number))
    count = settings.classes * settings.clusters
    centres = jax.random.normal(centre_key, (count, settings.inputs))
    permutation = jax.random.permutation(permute_key, settings.classes)

    def step(loop: tuple, key: Key):
        cluster_key, input_key, noise_key = jax.random.split(key, 3)
        cluster = jax.random.randint(cluster_key, (), 0, count)
        noise = settings.spread * jax.random.normal(input_key, (settings.inputs,))
        label = permutation[cluster % settings.classes]
        learn = partial(_learn, build, centres[cluster] + noise, label, noise_key)
        params, state, hit = jax.vmap(learn)(grid, *loop)
        return (params, state), hit

    loop, hits = jax.lax.scan(step, loop, jax.random.split(stream_key, settings.samples))
    return loop, hits.mean(axis=0)


def _learn(
    build: Build,
    x: jax.Array,
    label: jax.Array,
    key: Key,
    setting: jax.Array,
    params: Params,
    state: PyTree,
) -> tuple[Params, PyTree, jax.Array]:
    """One step on one sample, and whether the label was known before it."""

    def loss(params: Params) -> tuple[jax.Array, jax.Array]:
        hidden = linear.mlp(params[:-1], x, jax.nn.relu)
        logits = linear.linear(params[-1], hidden)
        return optax.softmax_cross_entropy_with_integer_labels(logits, label), logits

    grads, logits = jax.grad(loss, has_aux=True)(params)
    steps, state = build(setting).update(grads, state, params, key=key)
    hit = (jnp.argmax(logits) == label).astype(jnp.float32)
    return optax.apply_updates(params, steps), state, hit


def conclude(settings: Settings, results: Results) -> Outcome:
    """Each arm's best setting on the tuning seeds, compared on the others."""
    best = {name: _chosen(settings, name, results) for name in OPTIMIZERS}
    bare = {name: _chosen(settings, name, results, bare=True) for name in OPTIMIZERS}
    gains, bare_gains = ({k: _gain(y) for k, (_, y) in x.items()} for x in (best, bare))
    means = {name: y.mean(axis=1) for name, (_, y) in best.items()}
    plain = ("SGD", "Adam")
    parts = (("", gains), (" where weights do not decay", bare_gains))
    claims = [
        Claim(
            f"UPGD's accuracy rises over the tasks{where}, that of SGD and of Adam falls",
            "yes",
            _list(found) + " (last fifth of the tasks less first)",
            above(found["UPGD"]) and all(interval(found[name])["high"] < 0 for name in plain),
        )
        for where, found in parts
    ]
    text = "UPGD's online accuracy is above that of SGD and of Adam"
    more, held = ahead(means["UPGD"], {name: means[name] for name in plain})
    claims.append(Claim(text, "yes", f"{_list(means)}; UPGD {more}", held))
    numbers: dict[str, Any] = {
        f"{name}{where}": {
            "learning rate, weight decay, noise": setting,
            "accuracy": interval(y.mean(axis=1), within=SHARES),
            "last fifth less first": interval(_gain(y)),
        }
        for where, found in (("", best), (", no weight decay", bare))
        for name, (setting, y) in found.items()
    }
    for name, (_, grid) in OPTIMIZERS.items():
        tuned = _tuned(settings, name, results)
        numbers[f"{name}, tuning"] = [[*x, float(y)] for x, y in zip(grid, tuned, strict=True)]
    return Outcome(claims, _panels(settings, best, bare), numbers, NOTES)


def _tuned(settings: Settings, name: str, results: Results) -> np.ndarray:
    """[settings] mean online accuracy on the tuning seeds."""
    return results[name]["accuracy"][: settings.tune_seeds].mean(axis=(0, 1))


def _chosen(settings: Settings, name: str, results: Results, bare: bool = False) -> Any:
    """The best setting, and its accuracy on the other seeds; `bare`: of those without decay."""
    grid = OPTIMIZERS[name][1]
    allowed = [not bare or setting[1] == 0 for setting in grid]
    best = int(np.where(allowed, _tuned(settings, name, results), -1).argmax())
    return grid[best], results[name]["accuracy"][settings.tune_seeds :, :, best]


def _list(values: dict[str, np.ndarray]) -> str:
    return "; ".join(f"{name} {told(x)}" for name, x in values.items())


NOTES = (
    "No data set is shipped: the stream is a mixture of Gaussians, a few clusters a class, whose "
    "labels are permuted anew for each task. The paper has EMNIST, CIFAR-10 and miniImageNet, and "
    "a network of 300 and 150 units.",
    "Every arm chooses among twelve settings by its mean online accuracy on the tuning seeds; "
    "results are those of other seeds. A claim holds where the 95 % intervals over seeds say so, "
    "of two optimizers that of the difference.",
)


def _gain(accuracy: np.ndarray) -> np.ndarray:
    """[S] mean accuracy of the last fifth of the tasks less that of the first."""
    part = max(1, accuracy.shape[1] // 5)
    return accuracy[:, -part:].mean(axis=1) - accuracy[:, :part].mean(axis=1)


def _panels(settings: Settings, best: Any, bare: Any) -> list[Panel]:
    width = max(1, settings.tasks // 30)

    def line(name: str, setting: tuple[float, ...], y: np.ndarray) -> Line:
        count = y.shape[1] // width
        smooth = y.mean(axis=0)[: count * width].reshape(count, width).mean(axis=1)
        rate, decay, noise = setting
        label = f"{name}: rate {rate:g}, decay {decay:g}" + (f", noise {noise:g}" if noise else "")
        return Line(label, width * (0.5 + np.arange(count)), smooth[None])

    gains = {name: _gain(y) for name, (_, y) in best.items()}
    bars = [Bar(name, *mean_interval(x)) for name, x in gains.items()]
    curves = [
        Panel(
            title,
            "task",
            "online accuracy, mean of seeds",
            lines=[line(k, *x) for k, x in found.items()],
        )
        for title, found in (("best setting", best), ("best without weight decay", bare))
    ]
    return [*curves, Panel("best setting: last fifth less first", ylabel="accuracy", bars=bars)]

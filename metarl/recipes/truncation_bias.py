"""What is lost where only the last K updates are differentiated (Shaban et al. 2019, K-RMD)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metarl.nets import linear
from metarl.ops.unroll import unroll
from metarl.recipes.common import Arm, Claim, Line, Outcome, Panel, Results, interval, told
from metarl.types import Eta, Key, Metrics, Params, PyTree

PAPER = "Truncated back-propagation for bilevel optimization (Shaban et al. 2019, 1810.10667)"
CLAIM = "the bias of the last K updates' derivative decays like (1 - rate x convexity) ** K"
TOLERANCE = 0.02  # of a slope of log bias against K


@dataclass(frozen=True)
class Settings:
    """Both problems' sizes; those of the network are smaller than the paper's."""

    seeds: int = 8
    updates: int = 100  # of the quadratic
    windows: tuple[int, ...] = (1, 2, 5, 10, 15, 20, 25, 30, 35, 40)
    size: int = 20
    convexity: float = 0.2  # times a smoothness of one, and a rate of one
    net_updates: int = 32
    net_windows: tuple[int, ...] = (1, 2, 4, 8, 16, 24)
    width: int = 64
    layers: int = 4
    examples: int = 256
    net_rate: float = 0.1


QUICK = Settings(seeds=4)

Inner = Callable[[Eta, Params], Params]  # one update
Outer = Callable[[Params], jax.Array]


def arms(settings: Settings) -> list[Arm]:
    """The quadratic of the theory, and a network whose examples are weighted."""

    def arm(name: str, one: Callable[[Settings, Key], Metrics]) -> Arm:
        def advance(state: PyTree) -> tuple[PyTree, Metrics]:
            keys = jax.random.split(jax.random.key(0), settings.seeds)
            return state, jax.vmap(partial(one, settings))(keys)

        return Arm(name, lambda: (), advance)

    return [arm("quadratic", quadratic), arm("network", network)]


def truncated_gradient(
    inner: Inner, outer: Outer, eta: Eta, params: Params, *, updates: int, window: int
) -> Eta:
    """The derivative of the outer loss in eta through the last `window` of the updates."""

    def loss(eta: Eta) -> jax.Array:
        step = lambda params: (inner(eta, params), ())  # noqa: E731
        start, _ = unroll(step, params, updates - window)
        start = jax.lax.stop_gradient(start)  # what came before the window is given
        return outer(unroll(step, start, window, levels=2)[0])

    return jax.grad(loss)(eta)


def compared(
    inner: Inner, outer: Outer, eta: Eta, params: Params, *, updates: int, windows: Sequence[int]
) -> Metrics:
    """Relative bias and cosine of the truncated derivative for every window, [windows]."""
    gradient = partial(truncated_gradient, inner, outer, eta, params, updates=updates)
    exact = ravel_pytree(gradient(window=updates))[0]
    found = jnp.stack([ravel_pytree(gradient(window=k))[0] for k in windows])
    norm = jnp.linalg.norm(exact)
    cosine = found @ exact / (jnp.linalg.norm(found, axis=1) * norm)
    return {"bias": jnp.linalg.norm(found - exact, axis=1) / norm, "cosine": cosine}


def quadratic(settings: Settings, key: Key) -> Metrics:
    """Inner loss `(w - C eta)' H (w - C eta) / 2`, rate 1, H's values from the convexity to 1.

    The outer loss is half the squared distance to a point. `bound` is the theory's, relative to
    the exact derivative: `(1 - r a) ** K / (r a)` times the norms of the outer gradient and of the
    derivative of one update in eta.
    """
    basis_key, map_key, goal_key, eta_key = jax.random.split(key, 4)
    size, convexity = settings.size, settings.convexity
    basis = linear.orthogonal(basis_key, size, size)
    hessian = basis @ (jnp.linspace(convexity, 1.0, size)[:, None] * basis.T)
    mapping = linear.orthogonal(map_key, size, size)
    goal = jax.random.normal(goal_key, (size,))
    eta = jax.random.normal(eta_key, (size,))

    def inner(eta: Eta, w: jax.Array) -> jax.Array:
        return w - hessian @ (w - mapping @ eta)

    outer = lambda w: jnp.sum(jnp.square(w - goal)) / 2  # noqa: E731
    start, windows = jnp.zeros(size), settings.windows
    found = compared(inner, outer, eta, start, updates=settings.updates, windows=windows)
    last, _ = unroll(lambda w: (inner(eta, w), ()), start, settings.updates)
    exact = truncated_gradient(
        inner, outer, eta, start, updates=settings.updates, window=settings.updates
    )
    largest = 1.0  # the norm of `hessian @ mapping`, whose greatest value is the smoothness
    scale = largest * jnp.linalg.norm(last - goal) / convexity / jnp.linalg.norm(exact)
    return {**found, "bound": scale * (1 - convexity) ** jnp.array(windows)}


def network(settings: Settings, key: Key) -> Metrics:
    """A tanh network learns from examples of which half are wrong; eta weighs each of them.

    The outer loss is the error on as many right examples.
    """
    teacher_key, net_key, data_key, noise_key, eta_key = jax.random.split(key, 5)
    inputs, count = 8, settings.examples
    teacher = linear.mlp_init(teacher_key, (inputs, 16, 1))
    x = jax.random.normal(data_key, (2, count, inputs))
    y = linear.mlp(teacher, x)[..., 0]
    wrong = jnp.where(jnp.arange(count) % 2 == 0, jax.random.normal(noise_key, (count,)), y[0])
    params = linear.mlp_init(net_key, (inputs, *(settings.width,) * settings.layers, 1))
    eta = 0.1 * jax.random.normal(eta_key, (count,))

    def error(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        out = linear.linear(params[-1], linear.mlp(params[:-1], x))[..., 0]
        return jnp.square(out - y) / 2

    def loss(params: Params, eta: Eta) -> jax.Array:
        return jnp.mean(jax.nn.sigmoid(eta) * error(params, x[0], wrong))

    def inner(eta: Eta, params: Params) -> Params:
        slope = jax.grad(loss)(params, eta)
        return jax.tree.map(lambda p, g: p - settings.net_rate * g, params, slope)

    outer = lambda params: jnp.mean(error(params, x[1], y[1]))  # noqa: E731
    sizes: Any = {"updates": settings.net_updates, "windows": settings.net_windows}
    return compared(inner, outer, eta, params, **sizes)


def conclude(settings: Settings, results: Results) -> Outcome:
    """Slopes of the logarithm of the bias, the bound, and cosines, per seed."""
    exact, net = results["quadratic"], results["network"]
    windows = np.array(settings.windows)
    slope = np.polyfit(windows, np.log(exact["bias"]).T, 1)[0]  # [S]
    theory = np.log(1 - settings.convexity)
    below = exact["bias"] <= exact["bound"]
    cosines = {"quadratic": exact["cosine"], "network": net["cosine"]}
    claims = [
        Claim(
            "on a quadratic the bias decays geometrically in K",
            f"log bias falls by {-theory:.4f} per update or faster",
            f"slope {told(slope, 4)}",
            bool((slope <= theory + TOLERANCE).all()),
        ),
        Claim(
            "the bias stays below the theory's bound at every K",
            "(1 - r a) ** K / (r a) x |outer gradient| x max |B|",
            f"largest share of it {float((exact['bias'] / exact['bound']).max()):.3g}",
            bool(below.all()),
        ),
        Claim(
            "the truncated derivative points uphill where the exact one does",
            "cosine above 0",
            "; ".join(f"{name}: smallest {x.min():.3f}" for name, x in cosines.items()),
            bool(min(x.min() for x in cosines.values()) > 0),
        ),
    ]
    numbers = {
        "slope of log bias": interval(slope),
        "theory's slope": theory,
        **_table("quadratic", settings.windows, exact),
        **_table("network", settings.net_windows, net),
    }
    return Outcome(claims, _panels(settings, exact, net), numbers, NOTES)


NOTES = (
    "The theory asks for a strongly convex inner loss and a rate of at most one over its "
    "smoothness; the network has neither, and only its cosine is claimed. The constants of the "
    "bound were not read in the paper.",
)


def _table(name: str, windows: Sequence[int], found: Any) -> dict[str, Any]:
    return {
        f"{name}, K = {k}": {x: interval(found[x][:, i]) for x in ("bias", "cosine")}
        for i, k in enumerate(windows)
    }


def _panels(settings: Settings, exact: Any, net: Any) -> list[Panel]:
    windows, net_windows = np.array(settings.windows), np.array(settings.net_windows)
    rate = (1 - settings.convexity) ** windows
    bias = [
        Line("measured", windows, exact["bias"]),
        Line(f"(1 - {settings.convexity:g}) ** K", windows, rate[None]),
        Line("bound", windows, exact["bound"]),
    ]
    cosine = [
        Line("quadratic", windows, exact["cosine"]),
        Line(f"network, {settings.net_updates} updates", net_windows, net["cosine"]),
    ]
    return [
        Panel("quadratic", "K", "relative bias", lines=bias, logarithmic=True),
        Panel("direction", "K", "cosine to the exact derivative", lines=cosine),
        Panel(
            "network", "K", "relative bias", lines=[Line("measured", net_windows, net["bias"])],
            logarithmic=True,
        ),
    ]  # fmt: skip

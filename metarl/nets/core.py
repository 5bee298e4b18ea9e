"""Memory cores: one interface for everything that carries something from step to step.

A core is four pure functions of one stream. `unroll` is what repeated `step`s compute, with the
memory cleared where an episode or a trial begins; each core has its own fast way.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl import registry
from metarl.nets.linear import layer_norm, layer_norm_init, linear, linear_init
from metarl.types import Key, Params, PyTree


class Core(NamedTuple):
    """A memory for streams of vectors.

    `init(key) -> params`; the key is consumed.
    `carry() -> memory` at birth, and after every reset; `()` for a core without memory.
    `step(params, memory, x [F]) -> (memory, y [D])`.
    `unroll(params, memory, x [T, F], first [T] bool or None) -> (memory, y [T, D])`: the memory is
    that of birth before a step where `first` is true; None: nowhere.
    """

    init: Callable[[Key], Params]
    carry: Callable[[], PyTree]
    step: Callable[[Params, PyTree, jax.Array], tuple[PyTree, jax.Array]]
    unroll: Callable[[Params, PyTree, jax.Array, jax.Array | None], tuple[PyTree, jax.Array]]
    n_in: int
    n_out: int


def core(name: str, n_in: int, width: int, **settings: Any) -> Core:
    """The core called `name` (`metarl parts` lists them), or the one at `"module:function"`.

    Args:
      name: of the core.
      n_in: F.
      width: D.
      **settings: of that core.

    Raises:
      ValueError: no such core, or a setting that it refuses.
    """
    return registry.core_builder(name)(n_in, width, **settings)


def core_of(text: str, n_in: int, width: int) -> Core:
    """The core of a name with settings behind it: `srwm`, `srwm/heads=8/detach=true`.

    Raises:
      ValueError: no such core or setting, or a value of another kind.
    """
    name, *settings = text.split("/")
    builder = registry.core_builder(name)
    known = {
        p.name: p.default
        for p in inspect.signature(builder).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }
    return builder(n_in, width, **dict(_setting(name, told, known) for told in settings))


def _setting(core: str, told: str, known: dict[str, Any]) -> tuple[str, Any]:
    """`heads=8` as a name and a value of the kind of its default."""
    name, _, value = told.partition("=")
    if name not in known:
        hint = registry.did_you_mean(name, [*known])
        raise ValueError(f"the core {core} has no setting {name!r}{hint} it has {[*known]}")
    kind = type(known[name])
    try:
        return name, {"true": True, "false": False}[value] if kind is bool else kind(value)
    except (KeyError, ValueError):
        what = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise ValueError(f"the core {core}: {name} should be {what}, got {value!r}") from None


def cleared(carry: PyTree, first: jax.Array, memory: PyTree) -> Any:
    """`carry` where `first` [], else `memory`."""
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), carry, memory)


def stepped(
    step: Callable[[Params, PyTree, jax.Array], tuple[PyTree, jax.Array]],
    carry: Callable[[], PyTree],
) -> Callable[..., tuple[PyTree, jax.Array]]:
    """The `unroll` that repeats `step` in a scan."""

    def unroll(params: Params, memory: PyTree, x: jax.Array, first: jax.Array | None):
        def body(memory: PyTree, now: tuple[jax.Array, jax.Array | None]):
            x, first = now
            if first is not None:
                memory = cleared(carry(), first, memory)
            return step(params, memory, x)

        return jax.lax.scan(body, memory, (x, first))

    return unroll


def memoryless(n_in: int, width: int) -> Core:
    """No memory: a dense layer with a ReLU, the feed-forward control."""

    def step(params: Params, memory: tuple, x: jax.Array) -> tuple[tuple, jax.Array]:
        return memory, jax.nn.relu(linear(params, x))

    def unroll(params: Params, memory: tuple, x: jax.Array, first: jax.Array | None):
        return step(params, memory, x)

    return Core(lambda key: linear_init(key, n_in, width), tuple, step, unroll, n_in, width)


def block(inner: Core, *, hidden: int = 0, pre_norm: bool = True) -> Core:
    """A residual block around a core, and behind it one of two dense layers.

    `h = x + core(norm(x))`, then `h + down(relu(up(norm(h))))`: the pre-norm form of transformers
    (Xiong et al. 2020, https://arxiv.org/abs/2002.04745), which cores with unbounded outputs need.

    Args:
      inner: whose input and output have one width D.
      hidden: width of the dense layers; 0 leaves them out.
      pre_norm: normalise what the core and the dense layers read.

    Raises:
      ValueError: the core changes the width.
    """
    width = inner.n_out
    if inner.n_in != width:
        raise ValueError(f"a residual block needs a core of one width, got {inner.n_in} to {width}")

    def init(key: Key) -> Params:
        core_key, up_key, down_key = jax.random.split(key, 3)
        params = {"core": inner.init(core_key)}
        if pre_norm:
            params["norm"] = layer_norm_init(width)
        if hidden:
            params["up"] = linear_init(up_key, width, hidden)
            params["down"] = linear_init(down_key, hidden, width, 1.0)
            if pre_norm:
                params["norm_up"] = layer_norm_init(width)
        return params

    def behind(params: Params, h: jax.Array) -> jax.Array:
        if not hidden:
            return h
        x = layer_norm(params["norm_up"], h) if pre_norm else h
        return h + linear(params["down"], jax.nn.relu(linear(params["up"], x)))

    def step(params: Params, memory: PyTree, x: jax.Array) -> tuple[PyTree, jax.Array]:
        read = layer_norm(params["norm"], x) if pre_norm else x
        memory, y = inner.step(params["core"], memory, read)
        return memory, behind(params, x + y)

    def unroll(params: Params, memory: PyTree, x: jax.Array, first: jax.Array | None):
        read = layer_norm(params["norm"], x) if pre_norm else x
        memory, y = inner.unroll(params["core"], memory, read, first)
        return memory, behind(params, x + y)

    return Core(init, inner.carry, step, unroll, width, width)


def stack(cores: Sequence[Core]) -> Core:
    """Cores one behind the other.

    Raises:
      ValueError: none, or widths that do not follow on each other.
    """
    widths = [(core.n_in, core.n_out) for core in cores]
    if not cores or any(a[1] != b[0] for a, b in zip(widths[:-1], widths[1:], strict=True)):
        raise ValueError(f"cores must follow on each other's widths, got {widths}")

    def init(key: Key) -> Params:
        keys = jax.random.split(key, len(cores))
        return [core.init(k) for core, k in zip(cores, keys, strict=True)]

    def carry() -> PyTree:
        return tuple(core.carry() for core in cores)

    def step(params: Params, memory: PyTree, x: jax.Array) -> tuple[PyTree, jax.Array]:
        after = []
        for core, own, m in zip(cores, params, memory, strict=True):
            m, x = core.step(own, m, x)
            after.append(m)
        return tuple(after), x

    def unroll(params: Params, memory: PyTree, x: jax.Array, first: jax.Array | None):
        after = []
        for core, own, m in zip(cores, params, memory, strict=True):
            m, x = core.unroll(own, m, x, first)
            after.append(m)
        return tuple(after), x

    return Core(init, carry, step, unroll, cores[0].n_in, cores[-1].n_out)

"""The gated transformer (Parisotto et al. 2020, https://arxiv.org/abs/1910.06764) with a memory.

Of each step the keys and values are kept, and a step attends to the last `window`, itself among
them. Where the paper has the relative positions of Transformer-XL, this learns a number for each
head and distance; and the memory holds keys and values, not the inputs they are made from, so that
a step costs one row of products.
"""

import jax
import jax.numpy as jnp

from metarl.nets.core import Core
from metarl.nets.linear import layer_norm, layer_norm_init, linear, linear_init
from metarl.types import Key, Params

Memory = dict[str, jax.Array]  # k and v [window, D], the latest last; age [] int32, how many count


def gtrxl(
    n_in: int, width: int, *, heads: int = 4, window: int = 64, hidden: int = 0, gate: float = 2.0
) -> Core:
    """One layer: gated attention over the last steps, then a gated dense layer.

    The gates are GRUs, which start near the identity: the layer begins as no layer at all.

    Args:
      n_in: F; where it is not `width` a linear map stands in front.
      width: D.
      heads: H, dividing the width.
      window: steps that are remembered, the present one among them.
      hidden: width of the dense layer; 0 for twice the width.
      gate: bias of the gates towards the identity.

    Raises:
      ValueError: heads that do not divide the width, or an empty window.
    """
    if heads < 1 or width % heads:
        raise ValueError(f"gtrxl: {heads} heads do not divide the width {width}")
    if window < 1:
        raise ValueError(f"gtrxl: window must be at least 1, got {window}")

    def init(key: Key) -> Params:
        keys = jax.random.split(key, 7)
        params = {
            "norm": layer_norm_init(width),
            "qkv": linear_init(keys[0], width, 3 * width, 1.0),
            "out": linear_init(keys[1], width, width, 1.0),
            "distance": jnp.zeros((heads, window)),
            "gate": _gate_init(keys[2], width, gate),
            "norm_up": layer_norm_init(width),
            "up": linear_init(keys[3], width, hidden or 2 * width),
            "down": linear_init(keys[4], hidden or 2 * width, width, 1.0),
            "gate_up": _gate_init(keys[5], width, gate),
        }
        return params | ({} if n_in == width else {"in": linear_init(keys[6], n_in, width, 1.0)})

    def carry() -> Memory:
        empty = jnp.zeros((window, width))
        return {"k": empty, "v": empty, "age": jnp.int32(0)}

    def unroll(params: Params, memory: Memory, x: jax.Array, first: jax.Array | None):
        x = linear(params["in"], x) if "in" in params else x
        q, k, v = jnp.split(linear(params["qkv"], layer_norm(params["norm"], x)), 3, axis=-1)
        since = _since(memory["age"], len(x), first)  # [T]
        memory, seen = _attended(params["distance"], memory, (q, k, v), since)
        x = _gated(params["gate"], x, jax.nn.relu(linear(params["out"], seen)))
        up = jax.nn.relu(linear(params["up"], layer_norm(params["norm_up"], x)))
        x = _gated(params["gate_up"], x, jax.nn.relu(linear(params["down"], up)))
        return {**memory, "age": jnp.minimum(since[-1], window)}, x

    def step(params: Params, memory: Memory, x: jax.Array) -> tuple[Memory, jax.Array]:
        memory, y = unroll(params, memory, x[None], None)
        return memory, y[0]

    return Core(init, carry, step, unroll, n_in, width)


def _since(age: jax.Array, length: int, first: jax.Array | None) -> jax.Array:
    """[T] int32, how many steps a step may attend to, itself among them, back to the last reset."""
    step = jnp.arange(length, dtype=jnp.int32)
    if first is None:
        return age + step + 1
    latest = jax.lax.cummax(jnp.where(first, step, -1))
    return jnp.where(latest < 0, age + step + 1, step - latest + 1)


def _attended(
    bias: jax.Array, memory: Memory, qkv: tuple[jax.Array, ...], since: jax.Array
) -> tuple[Memory, jax.Array]:
    """The keys and values at the end, and what each step sees [T, D], a window of steps at a time.

    Args:
      bias: [H, window], by distance.
      memory: before the first step.
      qkv: [T, D] each.
      since: [T], how many steps may be seen.
    """
    window, length = bias.shape[1], len(since)
    size = min(window, length)
    missing = -length % size

    def cut(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, ((0, missing), *((0, 0),) * (x.ndim - 1)))
        return padded.reshape(-1, size, *x.shape[1:])

    def part(before: tuple[jax.Array, jax.Array], now: tuple):
        q, k, v, since = now
        k, v = jnp.concatenate([before[0], k]), jnp.concatenate([before[1], v])
        return (k[size:], v[size:]), _attention(bias, q, k, v, since)

    q, k, v = qkv
    before = memory["k"], memory["v"]
    _, seen = jax.lax.scan(part, before, (*map(cut, qkv), cut(since)))
    counts = jnp.arange(window)[::-1, None] < since[-1]  # what lies before a reset is blank
    kept = [
        jnp.where(counts, jnp.concatenate([a, b])[-window:], 0)
        for a, b in zip(before, (k, v), strict=True)
    ]
    return {**memory, "k": kept[0], "v": kept[1]}, seen.reshape(-1, q.shape[1])[:length]


def _attention(
    bias: jax.Array, q: jax.Array, k: jax.Array, v: jax.Array, since: jax.Array
) -> jax.Array:
    """[C, D] of queries [C, D] over keys and values [window + C, D] that end with their own."""
    heads, window = bias.shape
    count, total = len(q), len(k)
    q, k, v = (x.reshape(len(x), heads, -1) for x in (q, k, v))
    distance = jnp.arange(count)[:, None] + total - count - jnp.arange(total)  # [C, window + C]
    legal = (distance >= 0) & (distance < jnp.minimum(since[:, None], window))
    score = jnp.einsum("chd,khd->hck", q, k) * q.shape[-1] ** -0.5
    score = score + jnp.take(bias, jnp.clip(distance, 0, window - 1), axis=1)
    share = jax.nn.softmax(jnp.where(legal, score, -1e9))
    return jnp.einsum("hck,khd->chd", share, v).reshape(count, -1)


def _gate_init(key: Key, width: int, bias: float) -> Params:
    y_key, x_key, new_key = jax.random.split(key, 3)
    return {
        "y": linear_init(y_key, width, 3 * width, 1.0)["w"],
        "x": linear_init(x_key, width, 2 * width, 1.0)["w"],
        "new": linear_init(new_key, width, width, 1.0)["w"],
        "bias": jnp.full(width, bias),
    }


def _gated(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    """The paper's GRU-type gate: x where it is shut, more of y where it opens."""
    yr, yz, yn = jnp.split(y @ params["y"], 3, axis=-1)
    xr, xz = jnp.split(x @ params["x"], 2, axis=-1)
    r, z = jax.nn.sigmoid(yr + xr), jax.nn.sigmoid(yz + xz - params["bias"])
    new = jnp.tanh(yn + (r * x) @ params["new"])
    return (1 - z) * x + z * new

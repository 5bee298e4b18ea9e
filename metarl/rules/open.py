"""OPEN, a learned optimizer for PPO (Goldie et al. 2024, https://arxiv.org/abs/2407.07082).

Seven of them are published (https://github.com/AlexGoldie/rl-learned-optimization, Apache 2.0) as
`NAME_OPEN.npy`; they do not come with this package. The equations are those of a specification of
the authors' code. What it leaves open is chosen here: the training proportion is that of rollouts,
layer norm has Flax's epsilon, what heads say counts as their units' activation, and where nobody
tells how active units are, all are alike.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metarl.nets.linear import linear
from metarl.ops.upgd import normals
from metarl.types import Key, Params, PyTree

DECAYS = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
INPUTS = 1 + 2 * len(DECAYS) + 2 + 4
SIZES = {1211: (8, 16), 3571: (16, 32)}  # numbers in a file -> widths of the GRU, the layers
CRITIC = "value"  # in the path of its params


class OpenState(NamedTuple):
    """What is kept of each weight."""

    steps: jax.Array  # [] int32, taken so far
    momenta: PyTree  # like params, each [6, ...]
    memory: PyTree  # like params, each [..., H]


def read_open(path: str | pathlib.Path) -> Params:
    """The weights of an optimizer from its authors' file.

    Raises:
      ValueError: no such file, or something else in it.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"no file {path}: it should be one of OPEN's, such as ant_OPEN.npy")
    try:
        flat = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: cut short, or no array ({error})") from error
    try:
        return unflattened(flat)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def unflattened(flat: np.ndarray) -> Params:
    """The weights [1211] or [3571] by layer, {"w", "b"} each.

    Raises:
      ValueError: another shape or dtype, or numbers that are not finite.
    """
    if flat.dtype != np.float32 or flat.ndim != 1 or flat.size not in SIZES:
        raise ValueError(
            f"OPEN's weights are float32 of length {' or '.join(map(str, SIZES))}, "
            f"not {flat.dtype}{list(flat.shape)}"
        )
    if not np.isfinite(flat).all():
        raise ValueError("OPEN's weights are not finite")
    units, width = SIZES[flat.size]
    form = {  # in the order of the file, biases first
        **{"hn": (units, units), "hr": (None, units, units), "hz": (None, units, units)},
        **{name: (INPUTS, units) for name in ("in", "ir", "iz")},
        **{"layer_0": (units, width), "norm_0": (width,)},
        **{"layer_1": (width, width), "norm_1": (width,), "out": (width, 3)},
    }
    found: Params = {}
    for name, shape in form.items():
        layer, biased = {}, shape[0] is not None
        sizes = tuple(n for n in shape if n is not None)
        if biased:
            layer["b"], flat = jnp.asarray(flat[: sizes[-1]]), flat[sizes[-1] :]
        size = int(np.prod(sizes))
        layer["w"], flat = jnp.asarray(flat[:size].reshape(sizes)), flat[size:]
        found[name] = layer
    return found


def open_optimizer(
    weights: Params | str | pathlib.Path,
    *,
    key: Key,
    updates: int | jax.Array,
    epochs: int = 4,
    minibatches: int = 4,
) -> optax.GradientTransformationExtraArgs:
    """Builds the optimizer, for `ppo(..., optimizer=...)` and its relatives.

    It was learned for an actor and a critic apart: the agent `mlp` with `separate=True`. What has
    `value` in its path is the critic's; layers in a list come one behind the other, all others
    behind them.

    Args:
      weights: as `read_open` reads them, or the path of a file.
      key: of the noise of all steps, which is a function of it and of the count.
      updates: rollouts of the whole training; may be traced.
      epochs, minibatches: of each rollout, as of the rule.

    Returns:
      A transformation whose `update` needs params. It takes `dormancy`, a tree like params of what
      broadcasts to each: how active the unit is that a weight leads to, 1 being the mean of its
      layer.

    Raises:
      ValueError: weights of another form, or an `updates`, `epochs` or `minibatches` below 1; in
        `update`, no params.
    """
    known = [epochs, minibatches, *([] if isinstance(updates, jax.core.Tracer) else [updates])]
    if min(known) < 1:
        raise ValueError(
            f"updates, epochs and minibatches must be at least 1, got {updates}, {epochs}, "
            f"{minibatches}"
        )
    net = read_open(weights) if isinstance(weights, str | pathlib.Path) else weights
    units = net["hn"]["w"].shape[0]

    def init(params: Params) -> OpenState:
        momenta = jax.tree.map(lambda p: jnp.zeros((len(DECAYS), *p.shape), p.dtype), params)
        memory = jax.tree.map(lambda p: jnp.zeros((*p.shape, units), p.dtype), params)
        return OpenState(jnp.int32(0), momenta, memory)

    def update(
        grads: PyTree,
        state: OpenState,
        params: Params | None = None,
        *,
        dormancy: PyTree | None = None,
        **unused: Any,
    ) -> tuple[PyTree, OpenState]:
        if params is None:
            raise ValueError("OPEN needs the params: call update(grads, state, params)")
        if dormancy is None:
            dormancy = jax.tree.map(lambda p: jnp.ones((), p.dtype), params)
        grads = clipped(grads)
        momenta = jax.tree.map(moved, state.momenta, grads)
        told = times(state.steps, updates, epochs, minibatches)
        noise = normals(jax.random.fold_in(key, state.steps), params)
        trees = (params, grads, momenta, state.memory, dormancy, noise)
        steps, memory = unlevelled(net, told, *trees)
        total = sum(x.sum() for x in jax.tree.leaves(steps))
        mean = total / sum(x.size for x in jax.tree.leaves(steps))
        steps = jax.tree.map(lambda u: mean - u, steps)
        return steps, OpenState(state.steps + 1, momenta, memory)

    return optax.GradientTransformationExtraArgs(init, update)


def unlevelled(net: Params, told: tuple[Any, Any], *trees: PyTree) -> tuple[PyTree, PyTree]:
    """What is to be taken from params, before its mean is, and the new memory; like params.

    Args:
      net: the weights.
      told: as `times` says them.
      *trees: params, gradients, momenta, memory, dormancy and noise.
    """
    deepest = max((depth(path) or 0) + 1 for path, _ in _with_paths(trees[0]))

    def step(path: tuple, p: jax.Array, g: jax.Array, *rest: jax.Array):
        m, memory, dormant, xi = rest
        level = depth(path)
        place = 1.0 if level is None else level / deepest
        x = inputs(p, g, m, (told[0], place, told[1], dormant))
        memory, (o0, o1, o2) = forward(net, memory, x)
        moves = 1e-3 * o0 * jnp.exp(1e-3 * o1)
        return (moves if of_critic(path) else moves + 1e-3 * o2 * xi), memory

    both = jax.tree_util.tree_map_with_path(step, *trees)
    form = jax.tree.structure(trees[0])
    return jax.tree.transpose(form, jax.tree.structure((0, 0)), both)


def inputs(p: jax.Array, g: jax.Array, m: jax.Array, told: Sequence[Any]) -> jax.Array:
    """[..., 19] what the network is told of each weight of a tensor.

    Args:
      p: [...] the weights.
      g: [...] their gradients.
      m: [6, ...] their momenta.
      told: proportions of the training, of the layers and of the epochs, and dormancy.
    """
    size = lambda x: jnp.log(jnp.abs(x) + 1e-13)  # noqa: E731
    own = [p, *jnp.sign(m), *size(m), jnp.sign(g), size(g)]
    own = [x * jax.lax.rsqrt(1e-5 + jnp.mean(jnp.square(x))) for x in own]
    return jnp.stack([*own, *(jnp.broadcast_to(x, p.shape) for x in told)], axis=-1)


def dormancy(activations: jax.Array) -> jax.Array:
    """[width] how active each unit of a layer is on a batch [R, width]: 1 is the layer's mean."""
    size = jnp.abs(activations).mean(axis=0) + 1e-11
    return size / size.mean()


def forward(net: Params, h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The next memory [..., H], and three numbers [3, ...], of memories and inputs [..., 19]."""
    reset = jax.nn.sigmoid(linear(net["ir"], x) + h @ net["hr"]["w"])
    keep = jax.nn.sigmoid(linear(net["iz"], x) + h @ net["hz"]["w"])
    new = jnp.tanh(linear(net["in"], x) + reset * linear(net["hn"], h))
    h = (1 - keep) * new + keep * h
    y = h
    for i in (0, 1):
        y = jax.nn.relu(_norm(net[f"norm_{i}"], linear(net[f"layer_{i}"], y)))
    return h, jnp.moveaxis(linear(net["out"], y), -1, 0)


def times(
    steps: jax.Array, updates: int | jax.Array, epochs: int, minibatches: int
) -> tuple[Any, Any]:
    """The share of the training that is over, and that of the epochs over one rollout."""
    epoch = steps // minibatches
    return epoch // epochs / updates, epoch % epochs / max(epochs - 1, 1)


def moved(momenta: jax.Array, grad: jax.Array) -> jax.Array:
    """[6, ...] averages with one more gradient [...]."""
    decay = jnp.asarray(DECAYS, grad.dtype).reshape(-1, *(1,) * grad.ndim)
    return decay * momenta + (1 - decay) * grad


def clipped(grads: PyTree, limit: float = 0.5) -> PyTree:
    """The gradients of actor and critic, each within a norm."""
    scales = {}
    for critic in (False, True):
        own = [g for path, g in _with_paths(grads) if of_critic(path) == critic]
        norm = jnp.sqrt(sum((jnp.sum(jnp.square(g)) for g in own), jnp.zeros(())))
        scales[critic] = limit / jnp.maximum(norm, limit)
    return jax.tree_util.tree_map_with_path(lambda path, g: scales[of_critic(path)] * g, grads)


def of_critic(path: tuple) -> bool:
    """Whose a leaf of params is."""
    return any(getattr(entry, "key", None) == CRITIC for entry in path)


def depth(path: tuple) -> int | None:
    """How many layers come before that of a leaf; None: all that there are."""
    return next((entry.idx for entry in path if hasattr(entry, "idx")), None)


def _norm(layer: Params, x: jax.Array) -> jax.Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return layer["w"] * centred * jax.lax.rsqrt(variance + 1e-6) + layer["b"]


def _with_paths(tree: PyTree) -> list[tuple[tuple, jax.Array]]:
    return jax.tree_util.tree_leaves_with_path(tree)

"""The backward network of LPG (Oh et al. 2020, https://arxiv.org/abs/2007.08794).

From the end of a rollout to its start, a recurrent core sees what happened at each step and what
the agent predicted there, and says how the policy and the predictions should change. The paper's
core is an LSTM; the code of GROOVE (Jackson et al. 2023, https://arxiv.org/abs/2310.02782), whose
other sizes are the defaults here, has a GRU. The paper also feeds the discount, a constant that a
bias can stand for; that code does not, nor does this.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from metarl.nets.gru_pass import gru_backwards
from metarl.nets.linear import lecun_init, linear, orthogonal
from metarl.nets.lstm import lstm_backwards, lstm_init
from metarl.registry import did_you_mean
from metarl.types import Eta, Key, Params

CORES = ("gru", "lstm")


class Sizes(NamedTuple):
    """What fixes the form of the network."""

    core: str = "gru"  # or "lstm"
    hidden: int = 256  # width of the core
    embedding: int = 16  # of the hidden layer through which a prediction becomes one number


class Seen(struct.PyTreeNode):
    """What the network reads of N streams, of one life or of many; leaves [N, T, ...].

    Only `extra` is [N, F].
    """

    reward: jax.Array
    terminated: jax.Array  # bool; the prediction of what follows then counts as nothing
    last: jax.Array  # bool; nothing that comes later is known at this step
    prob: jax.Array  # of the action taken
    y: jax.Array  # [N, T, M] the predictions, as probabilities
    next_y: jax.Array  # [N, T, M] those at the true successor
    extra: jax.Array  # [N, F] the same at every step; [N, 0] for LPG itself


class Targets(struct.PyTreeNode):
    """What the network says, leaves [N, T, ...]."""

    pi_hat: jax.Array  # how much likelier the action taken should become; any number
    y_hat: jax.Array  # [N, T, M] logits of what should have been predicted


def lpg_init(key: Key, targets: int, sizes: Sizes, *, extra: int = 0) -> Eta:
    """Weights as the released code draws them. The key is consumed.

    Args:
      key: consumed.
      targets: M, the width of the predictions.
      sizes: of the network.
      extra: F, inputs that are the same at every step.

    Raises:
      ValueError: no such core.
    """
    check_core(sizes.core)
    hidden, width = sizes.hidden, sizes.embedding
    first, second, core_key, pi_key, y_key = jax.random.split(key, 5)
    init = lstm_init if sizes.core == "lstm" else _gru_init
    return {
        "embed": [lecun_init(first, targets, width), lecun_init(second, width, 1)],
        "core": init(core_key, 5 + extra, hidden),
        "pi": lecun_init(pi_key, hidden, 1),
        "y": lecun_init(y_key, hidden, targets),
    }


def lpg_net(eta: Eta, seen: Seen, *, core: str) -> Targets:
    """All targets of a batch of streams, in one pass over time with N rows a product.

    Reverse mode passes once through a GRU, forward mode does not (`metarl.nets.gru_pass`).
    """
    return targets_of(eta, features(eta["embed"], seen), seen.last, core=core)


def targets_of(eta: Eta, x: jax.Array, last: jax.Array, *, core: str) -> Targets:
    """The same from what the core reads of each step, [N, T, 5 + F]."""
    x = jnp.moveaxis(x, 1, 0)
    both = [eta["pi"], eta["y"]]
    read = {k: jnp.concatenate([layer[k] for layer in both], axis=-1) for k in ("w", "b")}

    run = lstm_backwards if core == "lstm" else gru_backwards
    out = linear(read, jax.nn.relu(run(eta["core"], x, last.swapaxes(0, 1))))
    out = jnp.moveaxis(out, 0, 1)  # [N, T, 1 + M]
    return Targets(out[..., 0], out[..., 1:])


def features(embed: list[Params], seen: Seen) -> jax.Array:
    """[N, T, 5 + F]: reward, ending, probability, and each prediction as one number."""

    def number(y: jax.Array) -> jax.Array:  # [N, T, M] -> [N, T]
        return linear(embed[1], jax.nn.relu(linear(embed[0], y)))[..., 0]

    after = jnp.where(seen.terminated, 0, number(seen.next_y))
    ended = seen.terminated.astype(seen.reward.dtype)
    own = jnp.stack([seen.reward, ended, seen.prob, number(seen.y), after], axis=-1)
    extra = jnp.broadcast_to(seen.extra[:, None], (*own.shape[:-1], seen.extra.shape[-1]))
    return jnp.concatenate([own, extra.astype(own.dtype)], axis=-1)


def check_core(core: str) -> None:
    """Raises ValueError where there is no such core."""
    if core not in CORES:
        raise ValueError(f"no core {core!r}{did_you_mean(core, CORES)} known: {', '.join(CORES)}")


def _gru_init(key: Key, n_in: int, hidden: int) -> Params:
    """Orthogonal recurrent weights of each gate, as for `metarl.nets.gru.gru`."""
    in_key, rec_key = jax.random.split(key)
    gates = [orthogonal(k, hidden, hidden) for k in jax.random.split(rec_key, 3)]
    rec = {"w": jnp.concatenate(gates, axis=1), "b": jnp.zeros(3 * hidden)}
    return {"in": lecun_init(in_key, n_in, 3 * hidden), "rec": rec}

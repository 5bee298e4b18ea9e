"""The network of the rule Disco103 (Oh et al. 2025, https://doi.org/10.1038/s41586-025-09761-x).

From the end of a trajectory to its start, an LSTM sees what happened and what the agent and its
target network predicted, and says what policy and predictions should become. A second LSTM, which
moves once per update, remembers the agent's life and gates what the first one says. For all numbers
of actions alike: actions share weights and meet in their means.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from metarl.nets.linear import linear
from metarl.nets.lstm import lstm, lstm_backwards, truncated_lstm_init
from metarl.types import Eta, Key, Params

NAMES = (  # of what the LSTM reads of a step
    *("probability", "old probability", "log reward", "goes on", "value", "next value"),
    *("advantage", "unit advantage", "slow probability", "y", "next y", "slow y", "next slow y"),
    *("z", "mean z", "next mean z", "best z", "next best z"),
    *("slow z", "slow mean z", "next slow mean z", "slow best z", "next slow best z"),
    *("mean mix 1", "mean mix 2", "mix 1", "mix 2"),
)
SEEN, PER_ACTION = len(NAMES), 9  # widths of that, and of what the mixers read of an action


class Sizes(NamedTuple):
    """What fixes the form of the network."""

    predictions: int = 600  # width of y, and of z
    hidden: int = 256  # of the LSTM along a trajectory
    memory: int = 128  # of the LSTM along a life
    embedding: int = 16  # of all layers between


class Seen(struct.PyTreeNode):
    """What the network reads of N trajectories of T transitions, leaves [N, T, ...].

    Those with T + 1 entries also have one of the state behind the last transition.
    """

    action: jax.Array  # int32
    reward: jax.Array
    terminated: jax.Array  # bool
    mu: jax.Array  # [N, T, A] probabilities of the policy that acted
    pi: jax.Array  # [N, T + 1, A] those of the policy now
    target_pi: jax.Array  # [N, T, A] those of the target network
    y: jax.Array  # [N, T + 1, Y] prediction of a state, as probabilities
    target_y: jax.Array  # [N, T + 1, Y]
    z: jax.Array  # [N, T + 1, A, Y] predictions of actions
    target_z: jax.Array  # [N, T + 1, A, Y]
    value: jax.Array  # [N, T + 1]
    adv: jax.Array
    unit_adv: jax.Array  # normalised
    q: jax.Array  # [N, T, A] values of actions, of the target network
    q_adv: jax.Array  # [N, T, A] the same less their mean under pi
    unit_q_adv: jax.Array  # [N, T, A] normalised


class Targets(struct.PyTreeNode):
    """Logits of what should have been said, leaves [N, T, ...]."""

    pi: jax.Array  # [N, T, A]
    y: jax.Array  # [N, T, Y]
    z: jax.Array  # [N, T, Y] of the action taken


def disco_init(key: Key, sizes: Sizes) -> Eta:
    """Weights to begin meta-training with. The key is consumed."""
    first, second, core, gate, summary, y, z, mix, out, read, life = jax.random.split(key, 11)
    width, hidden = sizes.embedding, sizes.hidden
    return {
        "embed": _embed_init(first, sizes),
        "core": truncated_lstm_init(core, SEEN, hidden),
        "gate": truncated_init(gate, sizes.memory, hidden, 1.0),
        "summary": truncated_init(summary, hidden, 1, 0.3),
        "y": truncated_init(y, hidden, sizes.predictions, 0.3),
        "z": truncated_init(z, hidden, sizes.predictions, 0.3),
        "policy": [
            truncated_init(mix, 2 * (hidden + 2), width),
            truncated_init(out, width, 1, 0.3),
        ],
        "life": {
            "embed": _embed_init(second, sizes),
            "in": truncated_init(read, SEEN + 2, width),
            "core": truncated_lstm_init(life, width, sizes.memory),
        },
    }


def born(sizes: Sizes) -> tuple[jax.Array, jax.Array]:
    """The memory of a life that begins: cell and hidden state."""
    return jnp.zeros(sizes.memory), jnp.zeros(sizes.memory)


def disco_net(
    eta: Eta, memory: tuple[jax.Array, jax.Array], seen: Seen
) -> tuple[Targets, tuple[jax.Array, jax.Array]]:
    """All targets of a batch of trajectories, and the memory of the life after it.

    The targets are gated by the memory from before this update.
    """
    targets, gated = targets_of(eta, memory, *features(eta["embed"], seen), seen.terminated)
    life = eta["life"]
    x, _ = features(life["embed"], seen)
    said = embedded(life["embed"]["y"], jax.nn.softmax(targets.y))[..., None]
    x = jnp.concatenate([x, linear(eta["summary"], gated), said], axis=-1)  # [N, T, 29]
    lived = lstm(life["core"], memory, linear(life["in"], x).mean(axis=(0, 1)))
    return targets, lived


def targets_of(
    eta: Eta,
    memory: tuple[jax.Array, jax.Array],
    x: jax.Array,
    actions: jax.Array,
    ended: jax.Array,
) -> tuple[Targets, jax.Array]:
    """The targets, and what they are read from [N, T, H], of features [N, T, 27], [N, T, A, 2]."""
    steps = (x.swapaxes(0, 1), ended.swapaxes(0, 1))
    hidden = lstm_backwards(eta["core"], *steps).swapaxes(0, 1)
    gated = hidden * linear(eta["gate"], memory[1])
    wide = jnp.broadcast_to(gated[:, :, None], (*actions.shape[:-1], gated.shape[-1]))
    mixed = mixer(eta["policy"][0], jnp.concatenate([wide, actions], axis=-1))
    pi = linear(eta["policy"][1], mixed)[..., 0]  # [N, T, A]
    return Targets(pi, linear(eta["y"], gated), linear(eta["z"], gated)), gated


def features(embed: Params, seen: Seen) -> tuple[jax.Array, jax.Array]:
    """What is read of each step, [N, T, 27], and of each action, [N, T, A, 2].

    Derivatives pass through the predictions y and z alone; everything else counts as given.
    """
    given = jax.lax.stop_gradient(seen)  # as in the published rule
    z, target_z = (embedded(embed["z"], p) for p in (seen.z, seen.target_z))  # [N, T + 1, A]
    taken = lambda x: _taken(x, seen.action)  # noqa: E731
    mean = lambda x: jnp.sum(given.pi * x, axis=-1)  # noqa: E731, for the target too
    each = _per_action(embed["mix"], given, z[:, :-1], target_z[:, :-1])
    columns = [
        *(taken(given.pi), taken(given.mu), slog(given.reward), 1.0 - given.terminated),
        *(_pair(slog(given.value)), slog(given.adv), given.unit_adv, taken(given.target_pi)),
        *(_pair(embedded(embed["y"], seen.y)), _pair(embedded(embed["y"], seen.target_y))),
        *(taken(z), _pair(mean(z)), _pair(z.max(axis=-1))),
        *(taken(target_z), _pair(mean(target_z)), _pair(target_z.max(axis=-1))),
        *(each.mean(axis=2), jnp.take_along_axis(each, seen.action[..., None, None], 2)[:, :, 0]),
    ]
    columns = [x if x.ndim == 3 else x[..., None] for x in columns]
    return jnp.concatenate(columns, axis=-1), each


def embedded(layers: Sequence[Params], probs: jax.Array) -> jax.Array:
    """[..., Y] -> [...], a prediction as one number."""
    return linear(layers[1], jax.nn.relu(linear(layers[0], probs)))[..., 0]


def mixer(layer: Params, x: jax.Array) -> jax.Array:
    """[..., A, F] -> [..., A, G], of each action's numbers and their mean over actions."""
    mean = jnp.broadcast_to(x.mean(axis=-2, keepdims=True), x.shape)
    return jax.nn.relu(linear(layer, jnp.concatenate([x, mean], axis=-1)))


def slog(x: jax.Array) -> jax.Array:
    """sign(x) log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def truncated_init(key: Key, n_in: int, n_out: int, std: float | None = None) -> Params:
    """Normal weights cut off at 2 `std`, by default `n_in ** -0.5`; zero bias. The key is consumed.

    What Haiku draws by default.
    """
    init = jax.nn.initializers.truncated_normal(n_in**-0.5 if std is None else std)
    return {"w": init(key, (n_in, n_out)), "b": jnp.zeros(n_out)}


def _per_action(mix: Sequence[Params], given: Seen, z: jax.Array, target_z: jax.Array):
    """[N, T, A, 2] of what each action is, through two mixers."""
    hot = jax.nn.one_hot(given.action, given.mu.shape[-1])
    x = [given.pi[:, :-1], given.mu, given.target_pi, z, target_z]
    x += [slog(given.q), slog(given.q_adv), given.unit_q_adv, hot]
    return mixer(mix[1], mixer(mix[0], jnp.stack(x, axis=-1)))


def _embed_init(key: Key, sizes: Sizes) -> Params:
    keys = jax.random.split(key, 6)
    width = sizes.embedding
    into, out = sizes.predictions, 1
    return {
        "y": [truncated_init(keys[0], into, width), truncated_init(keys[1], width, out)],
        "z": [truncated_init(keys[2], into, width), truncated_init(keys[3], width, out)],
        "mix": [
            truncated_init(keys[4], 2 * PER_ACTION, width),
            truncated_init(keys[5], 2 * width, 2),
        ],
    }


def _pair(x: jax.Array) -> jax.Array:
    """[N, T + 1] -> [N, T, 2], of each step and the next."""
    return jnp.stack([x[:, :-1], x[:, 1:]], axis=-1)


def _taken(x: jax.Array, action: jax.Array) -> jax.Array:
    """[N, T or more, A] -> [N, T], of the actions taken."""
    rows = x[:, : action.shape[1]]
    return jnp.take_along_axis(rows, action[..., None], axis=-1)[..., 0]

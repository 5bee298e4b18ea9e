"""Policies as distributions over actions, built from an agent's heads.

A discrete policy is the head `logits` [A], or the heads `q` [A] and `epsilon` [1]; a continuous one
the heads `mean` and `log_std` [D].
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnasium.spaces import Box, Discrete, Space

from metarl.ops import keys
from metarl.types import Heads, Key

MASKED = -1e9  # the logit of an illegal action: probability zero, and finite in every product


class Categorical(struct.PyTreeNode):
    """Over `A` actions."""

    logits: jax.Array  # [..., A]

    def sample(self, key: Key) -> jax.Array:
        """[...] int32, by inverting the distribution function at one 24-bit number.

        An action of probability zero is never drawn. The key is consumed.
        """
        return drawn(key, jnp.exp(self._log_probs()))

    def log_prob(self, action: jax.Array) -> jax.Array:
        """[...], of `action` [...] int32."""
        return jnp.take_along_axis(self._log_probs(), action[..., None], axis=-1)[..., 0]

    def entropy(self) -> jax.Array:
        """[...] nats."""
        log_probs = self._log_probs()
        return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)

    def kl(self, other: "Categorical") -> jax.Array:
        """KL(self || other), [...] nats."""
        mine, theirs = self._log_probs(), other._log_probs()
        return jnp.sum(jnp.exp(mine) * (mine - theirs), axis=-1)

    def mode(self) -> jax.Array:
        """The likeliest action, [...] int32."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def _log_probs(self) -> jax.Array:
        return jax.nn.log_softmax(self.logits)


class EpsilonGreedy(struct.PyTreeNode):
    """The best of `A` actions, or with probability `epsilon` any legal one, the best among them.

    Nothing but `epsilon` has a derivative: which action is best does not change smoothly.
    """

    q: jax.Array  # [..., A] values; an illegal action's is `MASKED`
    epsilon: jax.Array  # [..., 1] from 0 to 1

    @property
    def probs(self) -> jax.Array:
        """[..., A]; the first of equally good actions is the best."""
        legal = (self.q > MASKED / 2).astype(self.epsilon.dtype)
        best = jax.nn.one_hot(self.mode(), self.q.shape[-1], dtype=self.epsilon.dtype)
        any_of_them = legal / jnp.sum(legal, axis=-1, keepdims=True)
        return (1 - self.epsilon) * best + self.epsilon * any_of_them

    def sample(self, key: Key) -> jax.Array:
        """[...] int32, as `Categorical` does it. The key is consumed."""
        return drawn(key, self.probs)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """[...], of `action` [...] int32."""
        return jnp.log(jnp.take_along_axis(self.probs, action[..., None], axis=-1)[..., 0])

    def entropy(self) -> jax.Array:
        """[...] nats."""
        probs = self.probs
        return -jnp.sum(probs * jnp.log(jnp.where(probs > 0, probs, 1)), axis=-1)

    def kl(self, other: "EpsilonGreedy") -> jax.Array:
        """KL(self || other), [...] nats; infinite where only the other never explores."""
        mine = self.probs  # where it is zero, neither the value nor the derivative counts
        logs = [jnp.log(jnp.where(mine > 0, probs, 1)) for probs in (mine, other.probs)]
        return jnp.sum(mine * (logs[0] - logs[1]), axis=-1)

    def mode(self) -> jax.Array:
        """The best action, [...] int32."""
        return jnp.argmax(self.q, axis=-1).astype(jnp.int32)


class Gaussian(struct.PyTreeNode):
    """Independent normals over `D` numbers; samples are never clipped: environments do that."""

    mean: jax.Array  # [..., D]
    log_std: jax.Array  # [..., D]

    def sample(self, key: Key) -> jax.Array:
        """[..., D]. The key is consumed."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_std) * noise

    def log_prob(self, action: jax.Array) -> jax.Array:
        """[...], the log-density of `action` [..., D]."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -jnp.sum(z**2 / 2 + self.log_std + jnp.log(2 * jnp.pi) / 2, axis=-1)

    def entropy(self) -> jax.Array:
        """[...] nats, differential."""
        return jnp.sum(self.log_std + (1 + jnp.log(2 * jnp.pi)) / 2, axis=-1)

    def kl(self, other: "Gaussian") -> jax.Array:
        """KL(self || other), [...] nats."""
        ratio = jnp.exp(2 * (self.log_std - other.log_std))
        shift = ((self.mean - other.mean) * jnp.exp(-other.log_std)) ** 2
        return jnp.sum((ratio + shift - 1) / 2 - self.log_std + other.log_std, axis=-1)

    def mode(self) -> jax.Array:
        """The mean, [..., D]."""
        return self.mean


def drawn(key: Key, probs: jax.Array) -> jax.Array:
    """[...] int32, a number of [..., A] that need not sum to one. The key is consumed."""
    cumulative = jnp.cumsum(probs, axis=-1)
    shape = cumulative.shape[:-1]
    words = keys.words(key, 1)[0] if not shape else jax.random.bits(key, shape)
    uniform = (words >> 8).astype(jnp.float32) / 2**24
    below = cumulative <= (uniform * cumulative[..., -1])[..., None]
    return jnp.sum(below, axis=-1, dtype=jnp.int32)


def policy(heads: Mapping[str, Any]) -> Categorical | EpsilonGreedy | Gaussian:
    """The distribution that an agent's heads describe."""
    if "logits" in heads:
        return Categorical(heads["logits"])
    if "q" in heads:
        return EpsilonGreedy(heads["q"], heads["epsilon"])
    return Gaussian(heads["mean"], heads["log_std"])


def policy_heads(space: Space) -> dict[str, int]:
    """Widths of the heads that a policy over `space` needs.

    Raises:
      TypeError: neither `Discrete` nor a one-dimensional `Box`.
    """
    if isinstance(space, Discrete):
        return {"logits": int(space.n)}
    if isinstance(space, Box) and len(space.shape) == 1:
        return {"mean": space.shape[0], "log_std": space.shape[0]}
    raise TypeError(f"policies need a Discrete or one-dimensional Box action space, got {space}")


def masked(heads: Heads, mask: jax.Array | None) -> Heads:
    """Gives illegal actions no probability; `mask` [A] is true where an action is legal."""
    if mask is None:
        return heads
    names = [name for name in ("logits", "q") if name in heads]
    return {**heads, **{name: jnp.where(mask, heads[name], MASKED) for name in names}}

"""The meta-training of all seeds as one compiled function that makes any number of meta-updates."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from metarl.meta.common import meta_state, named
from metarl.meta.lives import staggered
from metarl.outer import MetaParts
from metarl.programme import Compiled, kept, lower_rate, strong
from metarl.types import Key, Learner, Metrics, PyTree


class MetaRun(struct.PyTreeNode):
    """What a run of an outer loop keeps: its own state, and the population."""

    outer: PyTree  # [S, ...]
    learners: Learner  # [S, A, ...] without `env_params`


class MetaProgramme(Compiled):
    """The outer loop over all seeds.

    Seed `s` is `metarl.train.meta_train` with a key split from `jax.random.key(s)`, of which the
    other half made the population.
    """

    def __init__(self, parts: MetaParts):
        """Traces the programme.

        Raises:
          ValueError: parts that do not fit together, found while tracing.
        """
        self.parts = parts
        birth_keys, run_keys = meta_keys(parts)
        live_keys = jax.vmap(jax.random.split)(run_keys)[:, 1]
        self._start = birth_keys, run_keys, parts.env_params
        row, like = parts.config.updates_per_row, meta_shapes(parts)
        super().__init__(row, like, live_keys, parts.env_params, self._step, self._learned)

    @property
    def advice(self) -> str:
        """What to do about a run that diverged."""
        config = self.parts.config
        return (
            f"If eta moved too far: a smaller --meta-learning-rate (now "
            f"{config.meta_learning_rate}), a smaller --meta-max-norm (now "
            f"{config.meta_max_norm}) to clip the meta-gradient, or a larger --meta-eps-root (now "
            f"{config.meta_eps_root}). If the meta-gradient is NaN with an optimizer of your own: "
            "give the rule's Adam an eps_root, whose derivative at a zero gradient is NaN without "
            f"one. {lower_rate(config)}"
        )

    def born(self) -> MetaRun:
        """The outer loop and the populations of all seeds at the beginning."""
        return jax.jit(_beginning(self.parts))(*self._start)

    def watched(self, state: MetaRun) -> dict[str, jax.Array]:
        """Arrays [S, ...] of which histograms are kept."""
        return watched(state.outer)

    def _step(self, key: Key, state: MetaRun, env_params: PyTree) -> tuple[MetaRun, Metrics]:
        learners = state.learners.replace(env_params=_each(env_params, self.parts.config.learners))
        outer, learners, metrics = self.parts.meta.update(state.outer, learners, key)
        return MetaRun(strong(outer), kept(learners)), metrics

    def _learned(self, state: MetaRun) -> PyTree:
        meta = meta_state(state.outer)
        return state.learners.params, () if meta is None else meta.eta


def watched(outer: PyTree) -> dict[str, jax.Array]:
    """Arrays [S, ...] of eta and of the recent mean meta-gradient; lone numbers are metrics.

    Args:
      outer: the state of an outer loop, [S, ...].
    """
    meta = meta_state(outer)
    if meta is None:
        return {}
    trees: dict[str, Any] = {"eta": meta.eta, "meta_grad_mean": meta.moments.mean}
    return {
        f"{prefix}/{name}": leaf
        for prefix, tree in trees.items()
        for name, leaf in named(tree).items()
        if leaf.ndim > 1
    }


def meta_keys(parts: MetaParts) -> tuple[Key, Key]:
    """Keys of the population's birth, and of `metarl.train.meta_train`, for each seed."""
    keys = jnp.stack([jax.random.key(seed) for seed in parts.config.seeds])
    split = jax.vmap(jax.random.split)(keys)
    return split[:, 0], split[:, 1]


def meta_shapes(parts: MetaParts) -> MetaRun:
    """Shapes and dtypes of the state of all seeds, [S, ...], which checkpoints are held to."""
    return jax.eval_shape(_beginning(parts), *meta_keys(parts), parts.env_params)


def population(parts: MetaParts, env_params: PyTree, key: Key) -> Learner:
    """[A, ...] learners, of staggered ages where lives end. The key is consumed."""
    count, lifetime = parts.config.learners, parts.config.lifetime
    born = lambda key: parts.born(env_params, key)  # noqa: E731
    if lifetime:
        return staggered(born, key, learners=count, lifetime=lifetime)
    return jax.vmap(born)(jax.random.split(key, count))


def _beginning(parts: MetaParts) -> Any:
    def one(birth_key: Key, run_key: Key, env_params: PyTree) -> MetaRun:
        learners = population(parts, env_params, birth_key)
        outer = parts.meta.init(jax.random.split(run_key)[0], learners)
        return MetaRun(strong(outer), kept(learners))

    return jax.vmap(one, in_axes=(0, 0, None))


def _each(tree: PyTree, count: int) -> PyTree:
    """The same for every learner, [A, ...]."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x))), tree)

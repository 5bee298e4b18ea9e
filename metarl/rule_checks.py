"""What is wrong with an update rule, in words that name the leaf."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metarl import host
from metarl.build import Parts
from metarl.inner import act, birth, learn
from metarl.rules.weights import named
from metarl.types import Key, Learner, PyTree, Rollout, UpdateRule


def check_update(parts: Parts, level: PyTree) -> None:
    """Refuses a rule whose update cannot be repeated, before anything is compiled.

    Args:
      parts: of the run.
      level: params of the environment.

    Raises:
      ValueError: it reads a head that it did not ask for, does not return `(params, state,
        metrics)`, or returns other leaves than it was given; the leaf is named.
    """

    def lived(key: Key) -> tuple[Rollout, Learner]:
        learner = birth(parts.agent, parts.rule, parts.venv, level, key)
        return act(parts.agent, parts.venv, learner, key, length=parts.config.length)

    _check_learning(parts.config.rule.name, parts.rule, lived)


def check_hosted_update(parts: Parts) -> None:
    """As `check_update`, where environments are stepped on the host."""
    assert isinstance(parts.env, host.HostEnv)
    envs = parts.env.vector(parts.config.num_envs)
    learner = host.birth(parts.agent, parts.rule, jax.random.key(0))
    rollout = host.Collector(envs, parts.agent).blank(learner.params, parts.config.length)
    rollout = jax.tree.map(jnp.asarray, rollout)
    envs.close()
    _check_learning(parts.config.rule.name, parts.rule, lambda key: (rollout, learner))


def _check_learning(
    name: str, rule: UpdateRule, lived: Callable[[Key], tuple[Rollout, Learner]]
) -> None:
    def once(key: Key) -> tuple[Learner, Any]:
        rollout, learner = lived(key)
        try:
            later = learn(rule, rule.init_eta(key), learner, rollout, key)[0]
        except KeyError as error:
            raise ValueError(
                f"the rule {name} looks for {error}, which is not there; agents only say what its "
                f"heads(env) asks for: {dict(rule.heads)}"
            ) from error
        except (TypeError, ValueError) as error:
            if "unpack" not in str(error):
                raise
            raise ValueError(
                f"the update of the rule {name} should return (params, state, metrics): {error}"
            ) from error
        return learner, later

    learner, later = jax.eval_shape(once, jax.random.key(0))
    for what in ("params", "rule_state"):
        _check_same(name, what, getattr(learner, what), getattr(later, what))


def not_finite(finite: PyTree) -> str:
    """The path of the first leaf of a pytree of bools [S] that is false anywhere; empty if none."""
    return next((path for path, x in named(finite).items() if not x.all()), "")


def are_finite(tree: PyTree) -> PyTree:
    """[] bool of each leaf, whether it is all numbers."""
    return jax.tree.map(lambda x: jnp.all(jnp.isfinite(x)), tree)


def _check_same(name: str, what: str, before: PyTree, after: PyTree) -> None:
    old, new = named(before), named(after)
    for words, paths in (("lacks", old.keys() - new), ("adds", new.keys() - old)):
        if paths:
            raise ValueError(f"the rule {name} {words} {what}/{sorted(paths)[0]} in its update")
    for path, x in old.items():
        y = new[path]
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            raise ValueError(
                f"the rule {name} was given {what}/{path} as {x.dtype}{list(x.shape)} and returns "
                f"{y.dtype}{list(y.shape)}"
            )

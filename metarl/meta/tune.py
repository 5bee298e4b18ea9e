"""Which of a rule's hyperparameters an outer loop learns, and within which bounds.

`tune(rule, discount=sigmoid())` is a rule like any other, whose eta is a dictionary of unbounded
numbers, one for each tuned entry of the eta of `rule`; all others stay as they were.
"""

from typing import Any

import jax
import numpy as np

from metarl.meta.bijections import Bijection
from metarl.registry import did_you_mean
from metarl.types import Eta, Key, Metrics, Params, PyTree, Rollout, UpdateRule


def tune(rule: UpdateRule, **how: Bijection) -> UpdateRule:
    """The rule with only some of its eta to learn.

    Its metrics gain `tuned/NAME`, the hyperparameter in use; where one is an array, its mean.

    Args:
      rule: whose eta is a dataclass, as `Hypers` are; one that does not depend on the key.
      **how: entry of eta -> bijection from an unbounded number.

    Raises:
      ValueError: nothing to tune, an entry that eta lacks, or a value outside of its bounds.
    """
    base = rule.init_eta(jax.random.key(0))
    check_names(base, how)
    for name, bijection in how.items():
        check_bounds(name, getattr(base, name), bijection)

    def init_eta(key: Key) -> Eta:
        return {name: b.inverse(getattr(base, name)) for name, b in how.items()}

    def update(eta: Eta, params: Params, state: PyTree, rollout: Rollout, key: Key):
        used = {name: b.forward(eta[name]) for name, b in how.items()}
        full = base.replace(**used)
        params, state, metrics = rule.update(full, params, state, rollout, key)
        return params, state, {**metrics, **told(used)}

    return rule._replace(init_eta=init_eta, update=update, update_lives=None)


def told(used: dict[str, jax.Array]) -> Metrics:
    """The hyperparameters in use, as metrics."""
    return {f"tuned/{name}": value.mean() for name, value in used.items()}


def check_names(base: Any, names: Any) -> None:
    """Raises ValueError where eta has no entry of that name, or where none is named."""
    known = list(getattr(base, "__dataclass_fields__", ()))
    if not names:
        raise ValueError(f"name what is to be tuned; this rule has {known}")
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"this rule's eta has no {name!r}{hint} it has {known}")


def check_bounds(name: str, value: Any, bijection: Bijection) -> None:
    """Raises ValueError where a value that is known already has no finite inverse."""
    if isinstance(value, jax.core.Tracer):
        return
    value = np.asarray(value)
    if not ((value > bijection.low) & (value < bijection.high)).all():
        raise ValueError(
            f"{name} starts at {value}, which must lie between {bijection.low} and "
            f"{bijection.high}, and on neither, for this bijection"
        )

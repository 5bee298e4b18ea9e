"""Truncated back-propagation through a life (Shaban et al. 2019, https://arxiv.org/abs/1810.10667).

K-RMD: of `updates` updates only the last `window` are differentiated; the params before them count
as given. Where the inner loss is strongly convex the bias shrinks geometrically with the window.
"""

from typing import Any

import optax

from metarl.meta.common import Objective
from metarl.meta.metagrad import last, metagrad
from metarl.rollout import VectorEnv
from metarl.types import Agent, MetaLearner, UpdateRule


def truncated(
    agent: Agent,
    rule: UpdateRule,
    venv: VectorEnv,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    updates: int,
    window: int,
    length: int,
    **how: Any,
) -> MetaLearner:
    """The outer loop: `updates` updates, of which the last `window` carry the derivative.

    Args:
      agent, rule, venv, objective, optimizer, length: as `metarl.meta.metagrad.metagrad`.
      updates: of each learner at each meta-update.
      window: K.
      **how: `gradient` and `eligibility`, as there.

    Raises:
      ValueError: the window is not within the updates.
    """
    parts = (agent, rule, venv, objective, optimizer)
    return metagrad(*parts, weights=last(updates), window=window, length=length, **how)

"""What a meta-training is made of.

A meta-training is a module of this package with

  `PAPER`: its citation, and `CLAIM`: what is learned, in a sentence;
  `Settings`: a frozen dataclass of numbers whose defaults are the published scale, for a GPU; its
    field `updates` is the number of meta-updates;
  `QUICK`: settings that show learning within ten minutes on two cores, and `LAPTOP`, with which a
    useful rule is learned there in an hour or two;
  `training(settings) -> Training`.

`metarl meta-train NAME` runs it, keeps checkpoints, resumes it, and tests what it learned where it
never was; `metarl.rules.load` reads the weights that come out.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from metarl.meta.common import meta_state
from metarl.types import Eta, Key, Metrics, PyTree


class Test(NamedTuple):
    """A rule's agents at the end of their lives, where no training has been.

    Both functions give returns [L], of the same places where the keys are equal: levels that
    training never draws, or other games and seeds. They are to be jitted.
    """

    returns: Callable[[Eta, Key], jax.Array]  # of agents that live by eta
    references: Callable[[Key], dict[str, jax.Array]]  # name -> what others earn there
    groups: Mapping[str, int]  # name -> how many of the places, in their order; L in all


class Training(NamedTuple):
    """A whole meta-training as functions to be compiled.

    `begin(key) -> state`, which holds a `metarl.meta.common.MetaState`; `update(state, key) ->
    (state, metrics [])` is one meta-update, with the key of the whole run.
    """

    rule: str  # by its name in the registry
    fields: Mapping[str, Any]  # of the rule, what its weights are for
    heads: Mapping[str, Any]  # settings of its `heads(env)`
    steps_per_update: int  # environment steps that agents learn from
    begin: Callable[[Key], PyTree]
    update: Callable[[PyTree, Key], tuple[PyTree, Metrics]]
    test: Test


def eta_of(state: PyTree) -> Eta:
    """What a training's state has learned so far."""
    meta = meta_state(state)
    assert meta is not None, "the state of a training holds a MetaState"
    return meta.eta

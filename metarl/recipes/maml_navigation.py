"""An initialisation for walking to unseen points of the plane (Finn et al. 2017)."""

from dataclasses import dataclass

import metarl
from metarl.recipes import maml
from metarl.recipes.common import Arm, Outcome, Results
from metarl.rollout import fresh

PAPER = maml.PAPER
CLAIM = "a policy meta-learned on 2-D navigation adapts to a new goal in one gradient step"


@dataclass(frozen=True)
class Settings(maml.Sizes):
    """Sizes of the public code and the paper, but for the number of meta-updates and the seeds."""

    seeds: int = 5
    meta_updates: int = 100
    tests: int = 5
    tasks: int = 20
    horizon: int = 100
    outer_rate: float = 3e-3


QUICK = Settings(seeds=3, meta_updates=20, tests=2, tasks=10, test_tasks=20)
LONG = Settings(meta_updates=500, tests=10, tasks=40)


def arms(settings: Settings) -> list[Arm]:
    """MAML, the policy gradient on all tasks, and no learning at all."""
    problem = maml.Problem(metarl.make("Navigation-v0"), fresh, "train", "heldout")
    return maml.make_arms(problem, settings)


def conclude(settings: Settings, results: Results) -> Outcome:
    """Returns after 0..3 updates beside the published ones."""
    published = (-40.41, -11.68, -3.33, -3.23)
    return maml.compare(settings, results, published=published, least_gain=15)

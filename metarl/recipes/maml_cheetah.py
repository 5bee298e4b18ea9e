"""An initialisation for a half-cheetah that may have to run either way (Finn et al. 2017)."""

from dataclasses import dataclass, replace

import metarl
from metarl.recipes import maml
from metarl.recipes.common import Arm, Outcome, Results
from metarl.rollout import none

PAPER = maml.PAPER
CLAIM = "one gradient step makes a meta-learned policy run forwards or backwards, as the task wants"


@dataclass(frozen=True)
class Settings(maml.Sizes):
    """A thousandth of the published experience: enough to see that it runs."""

    seeds: int = 1
    meta_updates: int = 20
    tests: int = 2
    tasks: int = 8
    horizon: int = 100
    outer_rate: float = 3e-3
    trajectories: int = 8
    test_tasks: int = 8


QUICK = Settings(
    meta_updates=1, tests=1, tasks=2, trajectories=2, horizon=3, test_tasks=2, test_rates=(0.1,)
)
LONG = Settings(
    seeds=3, meta_updates=800, tests=10, tasks=40, trajectories=20, horizon=200,
    outer_rate=1e-3, test_tasks=40,
)  # fmt: skip


def arms(settings: Settings) -> list[Arm]:
    """MAML, the policy gradient on all tasks, and no learning at all.

    Raises:
      ImportError: Brax is not installed.
    """
    env = metarl.make("brax/halfcheetah-direction")
    problem = maml.Problem(env, none, None, None)  # two directions are all the tasks there are
    return maml.make_arms(problem, settings)


def conclude(settings: Settings, results: Results) -> Outcome:
    """Returns after 0..3 updates beside the published ones, which are of MuJoCo's half-cheetah."""
    published = (-50.69, 293.19, 313.48, 315.65)
    outcome = maml.compare(settings, results, published=published, least_gain=150)
    notes = (
        "Brax's half-cheetah, not MuJoCo's: returns do not compare. Both directions are in the "
        "test, as they are in training.",
        *outcome.notes,
    )
    return replace(outcome, notes=notes)

"""GROOVE: LPG whose lives get the levels that it is worst at, by algorithmic regret."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from metarl.curriculum.prioritised import Priority, rank, top
from metarl.curriculum.released import Released, released_replay
from metarl.curriculum.replay import Curriculum, level_replay
from metarl.curriculum.replay import Settings as Replay
from metarl.curriculum.scores import Scoring, Seen, highest_return, max_mc, optimum, regret
from metarl.curriculum.scores import value_loss as value_score
from metarl.inner import act
from metarl.meta.critics import Critic, CriticState, DiscoveryState
from metarl.meta.discovery import estimates
from metarl.registry import did_you_mean
from metarl.trainings import lpg_grid
from metarl.trainings.common import Training
from metarl.trainings.grid import (
    Grid,
    GridSettings,
    a2c_reference,
    critic_of,
    grid_training,
    training_levels,
)
from metarl.types import Key, Learner

PAPER = "Jackson et al. 2023, https://arxiv.org/abs/2310.02782"
CLAIM = "LPG with a curriculum: levels on which A2C would have earned more come back"

SCORES = ("algorithmic_regret", "optimal_regret", "l1_value_loss", "positive_value_loss", "max_mc")


@dataclass(frozen=True)
class Settings(GridSettings):
    """Numbers of the meta-training, and of the buffer of levels."""

    score: str = "algorithmic_regret"  # or another of SCORES
    capacity: int = 4000  # levels in the buffer
    replay: float = 0.5  # how likely a new life gets a level of the buffer
    staleness: float = 0.1  # share of draws by how long ago a level was drawn
    temperature: float = 0.1  # of ranks; 0: the best `lives` levels alone, as in the released code
    edited: float = 0.0  # how likely a replayed level is changed first
    batch: int = 4  # antagonists that live at once, when so many levels wait for theirs

    def __post_init__(self):
        if self.score not in SCORES:
            hint = did_you_mean(self.score, SCORES)
            raise ValueError(f"groove has no score {self.score!r}{hint} known: {', '.join(SCORES)}")
        if not self.temperature >= 0:
            raise ValueError(f"groove temperature must not be negative, got {self.temperature}")

    @property
    def priority(self) -> Priority:
        """How levels are drawn by their scores."""
        return rank(self.temperature) if self.temperature else top(self.lives)


def _of(settings: GridSettings, **rest: Any) -> Settings:
    return Settings(**{**vars(settings), **rest})


QUICK = _of(lpg_grid.QUICK, capacity=512)
LAPTOP = _of(lpg_grid.LAPTOP, capacity=1024)


def training(settings: Settings) -> Training:
    """LPG on levels that the buffer chooses."""
    return grid_training(settings, partial(replayed, settings), known=with_critics)


def replayed(settings: Settings, parts: Grid) -> Curriculum:
    """Prioritised replay of levels; as released, from that code's buffer with its defects."""
    scoring = scoring_of(settings, parts)
    sample, edit = training_levels(parts.env), parts.env.mutate
    if settings.as_released:
        sizes: Any = {name: getattr(settings, name) for name in ("capacity", "replay", "batch")}
        released = Released(**sizes, forget_new=True, overflow=True)
        return released_replay(sample, scoring, settings.lives, settings=released)
    chosen = Replay(
        capacity=settings.capacity,
        replay=settings.replay,
        priority=settings.priority,
        staleness=settings.staleness,
        edited=settings.edited,
        batch=settings.batch,
        quorum=settings.batch,
    )
    return level_replay(sample, scoring, settings.lives, settings=chosen, edit=edit)


def scoring_of(settings: Settings, parts: Grid) -> Scoring:
    """How a life that ended scores its level."""
    if settings.score.endswith("regret"):
        sizes: Any = {name: getattr(settings, name) for name in ("workers", "lifetime", "length")}
        exact = settings.score == "optimal_regret"
        rival = a2c_reference(parts, **sizes, time_outs_end=settings.as_released)
        best = optimum(parts.env) if exact else rival
        return regret(parts.ret, best, lambda life: life[0].params)
    seen = seen_by_critic(parts, critic_of(settings, parts.env), length=settings.length)
    if settings.score == "max_mc":
        return max_mc(seen)
    return value_score(seen, positive=settings.score == "positive_value_loss")


def with_critics(outer: DiscoveryState, learners: Learner) -> tuple[Learner, CriticState]:
    """What scores may look at: the lives and their critics."""
    return learners, outer.critics


def seen_by_critic(
    parts: Grid, critic: Critic, *, length: int
) -> Callable[[tuple[Learner, CriticState], Key], Seen]:
    """A look at a life: `length` more steps from where it stands, valued by its critic."""

    def seen(life: tuple[Learner, CriticState], key: Key) -> Seen:
        learner, values = life
        rollout, _ = act(parts.agent, parts.venv, learner, key, length=length)
        adv, value = estimates(critic, values.params, rollout)
        best = highest_return(rollout.reward, rollout.last, learner.episode.ret)
        return Seen(adv, value, rollout.last, best)

    return seen

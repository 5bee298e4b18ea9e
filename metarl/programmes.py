"""Which programme trains what: a run compiled or on the host, with an outer loop of any kind."""

from typing import Any

import jax

from metarl.build import Parts
from metarl.evaluate import Scores, evaluate
from metarl.hosted_programme import HostedProgramme, hosted_shapes, is_hosted, play_hosted
from metarl.meta_programme import MetaProgramme, MetaRun, meta_shapes
from metarl.outer import MetaParts, eldest
from metarl.programme import Programme, shapes
from metarl.training import TrainingParts
from metarl.training_programme import TrainingProgramme, TrainingRun, training_shapes
from metarl.types import Agent, Key, Learner, Params, PyTree

AnyParts = Parts | MetaParts | TrainingParts
AnyProgramme = Programme | MetaProgramme | TrainingProgramme | HostedProgramme


def programme_of(parts: AnyParts) -> AnyProgramme:
    """The programme that trains these parts."""
    if isinstance(parts, TrainingParts):
        return TrainingProgramme(parts)
    if isinstance(parts, MetaParts):
        return MetaProgramme(parts)
    return HostedProgramme(parts) if is_hosted(parts) else Programme(parts)


def shapes_of(parts: AnyParts) -> PyTree:
    """Shapes and dtypes of the state of all seeds, [S, ...], which checkpoints are held to."""
    if isinstance(parts, TrainingParts):
        return training_shapes(parts)
    if isinstance(parts, MetaParts):
        return meta_shapes(parts)
    if not is_hosted(parts):
        return shapes(parts)
    return hosted_shapes(parts)


def learners_of(state: PyTree) -> Learner:
    """One learner a seed, [S, ...], from the state of a run; of a population the eldest."""
    return jax.vmap(eldest)(state.learners) if isinstance(state, MetaRun) else state


def outcome_of(state: PyTree) -> PyTree:
    """What a run has come to: the learners, or the whole of a meta-training."""
    return state if isinstance(state, TrainingRun) else learners_of(state)


def play(
    parts: Parts | MetaParts,
    agent: Agent,
    params: Params,
    keys: Key,
    *,
    episodes: int,
    max_steps: int,
    greedy: bool,
) -> Scores:
    """Outcomes [S, E] of one agent a seed, on the host or compiled. The keys are consumed.

    Args:
      parts: of the run.
      agent: with `params` [S, ...].
      keys: [S].
      episodes: E of each.
      max_steps: where an episode is cut off.
      greedy: take the likeliest action instead of sampling.
    """
    sizes: dict[str, Any] = {"episodes": episodes, "max_steps": max_steps, "greedy": greedy}
    if not is_hosted(parts):
        one = lambda p, k: evaluate(agent, parts.env, p, parts.env_params, k, **sizes)  # noqa: E731
        return jax.device_get(jax.vmap(one)(params, keys))
    return play_hosted(parts, agent, params, keys, **sizes)

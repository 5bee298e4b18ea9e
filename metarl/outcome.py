"""What a run has come to: scores against the random policy, the learning curve, an episode."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from metarl.agents.uniform import uniform
from metarl.attempts import attempt_summary, mean_of
from metarl.build import Parts
from metarl.config import Config, MetaConfig
from metarl.evaluate import Scores, pictures
from metarl.files import write_json
from metarl.io import checkpoint
from metarl.io.figures import Curve, learning_curves
from metarl.io.logging import read_metrics
from metarl.io.panels import draw
from metarl.io.runs import RunFolder, find_run
from metarl.io.video import write_gif
from metarl.outer import MetaParts, parts_of
from metarl.programmes import learners_of, play, shapes_of
from metarl.recipes.common import Line, Panel
from metarl.run import Reporter, read_config
from metarl.training import TrainingParts
from metarl.training_outcome import conclude
from metarl.training_programme import TrainingRun
from metarl.types import Key, Learner
from metarl.wrappers.trial import Trial

AgentParts = Parts | MetaParts

_EVALUATION, _PICTURES = 0x65766C, 0x706963  # folded into keys, apart from all that training draws


def load(path: pathlib.Path, report: Reporter) -> tuple[RunFolder, AgentParts, Learner]:
    """A run's parts and the learners [S, ...] of its newest whole checkpoint.

    Raises:
      ValueError: no run, no checkpoint yet, or one of another configuration.
    """
    folder = find_run(path)
    parts = parts_of(read_config(folder))
    if isinstance(parts, TrainingParts):
        raise ValueError(
            f"{path} holds a meta-training, which has no agent to look at; see {folder.evaluation}"
        )
    found = checkpoint.load_newest(folder.checkpoints, shapes_of(parts), report.line)
    if found is None:
        raise ValueError(f"{path} has no checkpoint yet; train it with `metarl resume {path}`")
    return folder, parts, learners_of(found[0])


def agent_index(config: Config, seed: int | None) -> int:
    """The place of a seed's agent among the learners; the first one for None.

    Raises:
      ValueError: the run has no such seed.
    """
    if seed is None:
        return 0
    if seed not in config.seeds:
        raise ValueError(f"this run has the seeds {config.seeds}, not {seed}")
    return config.seeds.index(seed)


def score(
    folder: RunFolder,
    parts: AgentParts,
    learner: Learner,
    *,
    episodes: int = 100,
    seed: int = 0,
    max_steps: int = 10_000,
    greedy: bool = False,
    split: str | None = None,
) -> dict[str, Any]:
    """Plays the agents of all seeds and the random policy, and saves the comparison as JSON.

    Args:
      folder: where `evaluation.json` goes.
      parts: of the run.
      learner: the agents, [S, ...].
      episodes: how many each agent plays.
      seed: of the evaluation; its randomness is never training's.
      max_steps: where an episode is cut off.
      greedy: take the likeliest action instead of sampling.
      split: of the tasks that trials draw, in place of the run's own.

    Raises:
      ValueError: sizes that are not positive, or a split where no trials draw tasks.
    """
    if episodes < 1 or max_steps < 1:
        raise ValueError(f"--episodes and --max-steps must be at least 1: {episodes}, {max_steps}")
    parts = parts if split is None else _on_split(parts, split)
    sizes = {"episodes": episodes, "max_steps": max_steps}
    agent_key, random_key = jax.random.split(_key(seed, _EVALUATION))
    keys = jax.random.split(agent_key, len(parts.config.seeds))
    scores = play(parts, parts.agent, learner.params, keys, greedy=greedy, **sizes)
    nobody = uniform(parts.env, parts.rule.heads)
    random = play(parts, nobody, {}, random_key[None], greedy=False, **sizes)
    result = {
        "env": str(parts.config.env),
        "updates": int(np.max(learner.age)),
        "steps": int(np.max(learner.age)) * parts.config.steps_per_rollout,
        "episodes": episodes,
        "evaluation_seed": seed,
        "greedy": greedy,
        **({} if split is None else {"split": split}),
        "trained": _summary(scores, parts.config.seeds),
        "random": _summary(random, (0,)),
    }
    write_json(folder.evaluation, result)
    return result


def sentence(result: dict[str, Any]) -> str:
    """An evaluation in one line."""
    trained, random = result["trained"], result["random"]
    over = f"{len(trained['returns'])} seeds" if len(trained["returns"]) > 1 else "episodes"
    said = (
        f"mean return {_figures(trained)} (95 % interval over {over}); "
        f"random policy {_figures(random)}; {result['episodes']} episodes each"
    )
    return said + "".join(f"; {name} {value}" for name, value in _passes(trained, random))


def draw_curve(folder: RunFolder, config: Config, level: float | None) -> pathlib.Path:
    """The learning curve, with the random policy's return as a dashed line."""
    label = f"{config.rule.title}, {config.agent.name}"
    curve = Curve.of(read_metrics(folder.metrics))
    return learning_curves({label: curve}, folder.curve, title=str(config.env), level=level)


def draw_schedules(folder: RunFolder, config: MetaConfig) -> pathlib.Path:
    """What the outer loop has made of each hyperparameter, against steps."""
    metrics = read_metrics(folder.metrics)
    panels = []
    for name in config.tune.fields:
        curve = Curve.of(metrics, f"tuned/{name}")
        line = Line(f"{len(curve.values)} seeds", curve.steps, curve.values)
        panels.append(Panel(name, "environment steps of each seed", lines=[line]))
    return draw(panels, folder.schedules, title=f"{config.env}, {config.outer.name}")


def film(
    parts: AgentParts,
    learner: Learner,
    out: pathlib.Path,
    *,
    index: int = 0,
    seed: int = 0,
    episodes: int = 3,
    steps: int = 400,
    fps: float = 12.5,
    side: int = 256,
) -> pathlib.Path:
    """Writes a few episodes of one seed's agent as a GIF.

    Args:
      parts: of the run.
      learner: the agents, [S, ...].
      out: the file.
      index: which seed's agent, by position.
      seed: of the episodes.
      episodes: how many, one after the other.
      steps: where the film ends at the latest.
      fps: steps shown a second.
      side: pixels of the longer side, at least.

    Raises:
      ValueError: the environment draws no pictures, or nothing is left to show.
    """
    if not hasattr(parts.env, "render"):
        raise ValueError(f"{parts.config.env.name} has no `render`, so there is nothing to film")
    if episodes < 1 or steps < 1:
        raise ValueError(f"--episodes and --steps must be at least 1: {episodes}, {steps}")
    params, env_params = jax.tree.map(lambda x: x[index], learner.params), parts.env_params
    own = (parts.agent, parts.env, params, env_params)
    shown: list[np.ndarray] = []
    for key in jax.random.split(_key(seed, _PICTURES), episodes):
        if len(shown) < steps:
            frames, length = jax.device_get(pictures(*own, key, steps=steps))
            shown.extend(frames[: int(length) + 1])
    return write_gif(np.stack(shown[: steps + 1]), out, fps=fps, side=side)


def finish(folder: RunFolder, came_of_it: Learner | TrainingRun, report: Reporter) -> None:
    """Evaluates a trained run, draws its curve, films an episode, and tells where they lie."""
    parts = parts_of(read_config(folder))
    if isinstance(parts, TrainingParts):
        assert isinstance(came_of_it, TrainingRun)
        conclude(folder, parts, came_of_it, report)
    else:
        assert isinstance(came_of_it, Learner)
        _finish_agents(folder, parts, came_of_it, report)


def _finish_agents(
    folder: RunFolder, parts: AgentParts, learner: Learner, report: Reporter
) -> None:
    result = score(folder, parts, learner)
    report.line(sentence(result))
    curve = draw_curve(folder, parts.config, result["random"]["mean"])
    report.line(f"learning curve: {curve}")
    if isinstance(parts.config, MetaConfig):
        report.line(f"what was learned: {draw_schedules(folder, parts.config)}")
    if hasattr(parts.env, "render"):
        report.line(f"an episode: {film(parts, learner, folder.gif)}")


def _summary(scores: Scores, seeds: Sequence[int]) -> dict[str, Any]:
    """Means and intervals: over seeds where there are several, else over episodes."""
    returns = np.atleast_2d(scores.ret)  # [S, E]
    return {
        **mean_of(returns),
        "returns": {str(s): float(r.mean()) for s, r in zip(seeds, returns, strict=True)},
        "length": float(np.mean(scores.length)),
        "terminated": float(np.mean(scores.terminated)),
        "cut_off": float(1 - np.mean(scores.finished)),
        **({} if scores.attempts is None else attempt_summary(scores)),
    }


def _passes(trained: dict[str, Any], random: dict[str, Any]) -> list[tuple[str, str]]:
    """pass@1 to pass@n in words, beside those of the random policy."""
    both = zip(trained.get("pass_at", ()), random.get("pass_at", ()), strict=True)
    return [
        (f"pass@{n}", f"{_figures(ours)} (random {theirs['mean']:.3g})")
        for n, (ours, theirs) in enumerate(both, 1)
    ]


def _on_split(parts: AgentParts, split: str) -> AgentParts:
    env: Any = parts.env
    if not (isinstance(env, Trial) and env.sample_task):
        raise ValueError(
            f"{parts.config.env} draws no tasks of a split; train it with trial.sample_task=true"
        )
    if split not in ("train", "heldout"):
        raise ValueError(f"the split is train or heldout, got {split!r}")
    return parts._replace(env=dataclasses.replace(env, split=split))


def _figures(summary: dict[str, Any]) -> str:
    ends = summary["interval"]
    return f"{summary['mean']:.3g}" + (f" [{ends[0]:.3g}, {ends[1]:.3g}]" if ends else "")


def _key(seed: int, use: int) -> Key:
    return jax.random.fold_in(jax.random.key(seed), use)

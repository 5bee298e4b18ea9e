"""What of an inspection is to be seen: panels by the name of their figure."""

from collections.abc import Iterator, Sequence

import numpy as np

from metarl.inspection import Inspection
from metarl.inspection.inputs import Inputs
from metarl.inspection.lives import Life
from metarl.inspection.probe import BEHAVIOUR
from metarl.inspection.push import Push
from metarl.recipes.common import Bar, Line, Map, Panel

PROB, REWARD = "probability of the action", "reward of its step"
RATIO, ADV = "probability ratio", "advantage"


def panels_of(found: Inspection) -> dict[str, list[Panel]]:
    """Figure -> panels; a figure of what the rule does not have is left out."""
    moments = found.moments
    figures = {"life": _life(found.life)}
    if found.push:
        figures["push"] = [*_pushes(found.push, moments)]
    if found.aims:
        where = (found.aims.reward, found.aims.prob, found.aims.target)
        figures["targets"] = [*_maps(found.aims.what, moments, where, REWARD, PROB)]
    if found.drift:
        drift, times = found.drift, _times(found.drift.time)
        for name, z in (("drift", drift.drift), ("push on the log-probability", drift.slope)):
            where = (drift.ratio, drift.adv, np.swapaxes(z, 1, 2))
            figures.setdefault("drift", []).extend(_maps(name, times, where, RATIO, ADV))
    if found.inputs:
        figures["inputs"] = [*_inputs(found.inputs)]
    return figures


def _maps(
    what: str,
    moments: Sequence[str],
    where: tuple[np.ndarray, np.ndarray, np.ndarray],
    xlabel: str,
    ylabel: str,
) -> Iterator[Panel]:
    """One panel a moment, all with the same colours."""
    x, y, each = where
    limit = float(np.abs(each).max()) or 1.0
    for moment, z in zip(moments, each, strict=True):
        title = f"{what} {moment}".strip(" ,")
        yield Panel(title, xlabel, ylabel, map=Map(x, y, z, limit))


def _pushes(push: Push, moments: Sequence[str]) -> Iterator[Panel]:
    grid, what = push.grid, "push on the logit"
    yield from _maps(what, moments, (grid.reward, grid.prob, push.by_prob), REWARD, PROB)
    given = (grid.reward, grid.ratio, push.by_ratio)
    old = f"{what}, taken at {BEHAVIOUR:g},"
    yield from _maps(old, moments, given, REWARD, "probability now / when it was taken")
    steps = np.arange(push.credit.shape[1])
    lines = [Line(m, steps, row[None]) for m, row in zip(moments, push.credit, strict=True)]
    title = "credit: push by a reward of 1 that comes later"
    yield Panel(title, "steps later", what, lines=lines, levels={"0": 0.0})


def _life(life: Life) -> list[Panel]:
    steps = "environment steps of each seed"
    whole = lambda y: [Line("", life.steps, y)]  # noqa: E731
    return [
        Panel("size of updates", steps, "norm of the change", lines=whole(life.size)),
        Panel("change of the policy", steps, "KL, nats", lines=whole(life.kl)),
        Panel("entropy of the policy", steps, "nats", lines=whole(life.entropy)),
        Panel("return of episodes", steps, "mean return", lines=whole(life.ret)),
    ]


def _inputs(inputs: Inputs) -> Iterator[Panel]:
    for output in inputs.derivative:
        nan = float("nan")  # no interval
        pairs = zip(inputs.names, inputs.scaled(output), strict=True)
        bars = [Bar(name, float(y), nan, nan) for name, y in pairs]
        title = f"what the {output} listens to"
        yield Panel(title, ylabel="|derivative| x standard deviation", bars=bars)


def _times(times: np.ndarray) -> list[str]:
    return [f"at n/N = {t:.2g}" for t in times] if len(times) > 1 else [""]

"""Runs a recipe: arms in chunks that can be interrupted, a JSON, a figure, and the claims."""

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import metarl
from metarl import registry
from metarl.config import Part
from metarl.files import write_json
from metarl.io import checkpoint
from metarl.io.panels import draw
from metarl.io.runs import RunFolder, claimed
from metarl.recipes.common import INTERVALS, Arm, Outcome
from metarl.run import Diverged, Reporter, Signals, Stopped
from metarl.settings import at_scale
from metarl.types import Metrics, PyTree

CHECKPOINT_SECONDS = 30.0


def reproduce(part: Part, path: pathlib.Path, report: Reporter, *, scale: str = "full") -> Outcome:
    """Runs a recipe to the end, or goes on with one that was interrupted.

    Args:
      part: name of the recipe, and settings that differ from those of the scale.
      path: folder for `result.json`, `figure.png` and the checkpoints; the same folder and settings
        continue an interrupted run, bit for bit.
      report: is told how it goes.
      scale: `quick`, `full` or `long`.

    Raises:
      ValueError: no such recipe, scale or setting; or the folder holds something else.
      Stopped: SIGINT or SIGTERM came; every chunk done is saved.
      Diverged: a loss, or what an outer loop has learned, is not finite; what was saved is kept.
    """
    recipe = recipe_of(part.name)
    settings = settings_of(recipe, part, scale)
    arms = recipe.arms(settings)
    config = {"recipe": part.name, "settings": dataclasses.asdict(settings)}
    folder = claimed(path, json.dumps(config, indent=2) + "\n")
    option = "" if scale == "full" else f" --{scale}"
    again = f"metarl reproduce {part}{option} --out"
    results, seconds = {}, {}
    with folder.locked(), Signals() as signals:
        for number, arm in enumerate(arms, 1):
            report.line(f"{part.name}, arm {number} of {len(arms)}: {arm.name}")
            lived = _Arm(arm, folder, report).lived(signals)
            if lived is None:
                raise Stopped(signals.caught, folder, again=again)
            results[arm.name], seconds[arm.name] = lived
        outcome = recipe.conclude(settings, results)
        _write(recipe, part.name, settings, outcome, seconds, folder)
    for claim in outcome.claims:
        verdict = "held" if claim.held else "did not hold"
        report.line(f"{verdict}: {claim.text}; published {claim.published}; {claim.measured}")
    report.line(f"{path / 'result.json'}, {path / 'figure.png'}")
    return outcome


def recipe_of(name: str) -> ModuleType:
    """The module of the recipe called `name`, or the module of that dotted path.

    Raises:
      ValueError: no such recipe, or a module that lacks a part of one.
    """
    recipe = registry.recipe_module(name)
    for needed in ("PAPER", "CLAIM", "Settings", "QUICK", "arms", "conclude"):
        if not hasattr(recipe, needed):
            raise ValueError(f"the module {recipe.__name__} is no recipe: it has no {needed!r}")
    return recipe


def settings_of(recipe: ModuleType, part: Part, scale: str) -> Any:
    """The settings of a scale with those of `part` in their place.

    Raises:
      ValueError: no such scale or setting.
    """
    scales = {"quick": recipe.QUICK, "full": recipe.Settings()}
    if hasattr(recipe, "LONG"):
        scales["long"] = recipe.LONG
    return at_scale(part, scales, scale)


class _Arm:
    """An arm on its way: its state, and the metrics [S, rows] of the chunks done."""

    def __init__(self, arm: Arm, folder: RunFolder, report: Reporter):
        self.arm, self.report = arm, report
        self.place = folder.path / "arms" / arm.name.replace("/", "-")
        start = lambda: _strong(arm.start())  # noqa: E731
        begun = checkpoint.listed(self.place)  # then the start is not worth its compilation
        self.state = jax.eval_shape(start) if begun else start()
        shapes = jax.eval_shape(arm.advance, self.state)[1]
        self.rows = {k: v.shape[1] for k, v in shapes.items()}
        self.kept = {
            k: np.zeros((v.shape[0], v.shape[1] * arm.chunks, *v.shape[2:]), v.dtype)
            for k, v in shapes.items()
        }
        self.done, self.seconds = 0, 0.0
        found = checkpoint.load_newest(self.place, (self.state, self.kept), report.line)
        if found:
            (self.state, kept), host = found
            self.kept = {k: np.array(v) for k, v in kept.items()}
            self.done, self.seconds = host["chunk"], host["seconds"]

    def lived(self, signals: Signals) -> tuple[dict[str, np.ndarray], float] | None:
        """All its metrics, and the seconds they took in all; None where a signal came before."""
        step = jax.jit(self.arm.advance)
        first, before = self.done, self.seconds
        start = saved = now = time.monotonic()
        while self.done < self.arm.chunks and not signals.caught:
            self._advance(step)
            now = time.monotonic()
            self.seconds = before + now - start
            rate = (self.done - first) / max(now - start, 1e-9)
            self.report.progress(self.done, self.arm.chunks, rate, math.nan, "chunks")
            if now - saved >= CHECKPOINT_SECONDS:
                self._save()
                saved = now
        if saved < now:
            self._save()
        return None if self.done < self.arm.chunks else (self.kept, self.seconds)

    def _advance(self, step: Callable[[PyTree], tuple[PyTree, Metrics]]) -> None:
        state, metrics = step(self.state)
        metrics = jax.device_get(metrics)
        _check(self.arm, self.done, metrics)
        for name, values in metrics.items():
            rows = self.rows[name]
            self.kept[name][:, self.done * rows : (self.done + 1) * rows] = values
        self.state = state
        self.done += 1

    def _save(self) -> None:
        host = {"chunk": self.done, "seconds": self.seconds}
        checkpoint.save(self.place, self.done, (self.state, self.kept), host, keep=1)


def _check(arm: Arm, chunk: int, metrics: dict[str, np.ndarray]) -> None:
    """Raises Diverged where a loss, or what an outer loop has learned, is not finite."""
    for name, values in metrics.items():
        learned = name.startswith(("eta", "tuned/", "meta_grad"))
        if ("loss" in name or learned) and not np.isfinite(values).all():
            seed, row = np.argwhere(~np.isfinite(values))[0][:2]
            raise Diverged(
                f"{name} is {values[seed, row]} in chunk {chunk + 1} of {arm.name}, seed {seed}, "
                f"row {row}. {HINT}"
            )


HINT = (
    "If it is the meta-gradient that breaks: give Adam an eps_root, whose derivative at a zero "
    "gradient is NaN without one; clip the meta-gradient by global norm; or lower a learning rate"
)


def _write(
    recipe: ModuleType, name: str, settings: Any, outcome: Outcome, seconds: Any, folder: RunFolder
) -> None:
    result = {
        "recipe": name,
        "paper": recipe.PAPER,
        "claim": recipe.CLAIM,
        "settings": dataclasses.asdict(settings),
        "claims": [dataclasses.asdict(claim) for claim in outcome.claims],
        "numbers": outcome.numbers,
        "intervals": INTERVALS,
        "notes": list(outcome.notes),
        "seconds": {arm: round(s, 1) for arm, s in seconds.items()},
        "device": jax.devices()[0].device_kind,
        "versions": {"metarl": metarl.__version__, "jax": jax.__version__},
    }
    write_json(folder.path / "result.json", result)
    draw(outcome.panels, folder.path / "figure.png", title=f"{name}: {recipe.PAPER}")


def _strong(tree: PyTree) -> PyTree:
    """Arrays without weak types, which a checkpoint would lose."""

    def one(x: Any) -> jax.Array:
        x = jnp.asarray(x)
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return x if is_key else jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(one, tree)

"""Runs a recipe: arms in chunks that can be interrupted, a JSON, a figure, and the claims."""

import dataclasses
import json
import math
import pathlib
import time
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import metarl
from metarl import registry
from metarl.build import settle
from metarl.config import Part
from metarl.io import checkpoint
from metarl.io.panels import draw
from metarl.io.runs import RunFolder, write_atomically
from metarl.recipes.common import Arm, Outcome
from metarl.run import Diverged, Reporter, Signals, Stopped
from metarl.types import PyTree

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
      Stopped: SIGINT or SIGTERM came; what was done is saved.
      Diverged: a loss is not finite.
    """
    recipe = registry.recipe_module(part.name)
    settings = settings_of(recipe, part, scale)
    folder = _claimed(path, part.name, settings)
    results, seconds = {}, {}
    with folder.locked():
        for arm in recipe.arms(settings):
            report.line(f"{part.name}: {arm.name}")
            results[arm.name], seconds[arm.name] = run_arm(arm, folder, report)
        outcome = recipe.conclude(settings, results)
        _write(recipe, part.name, settings, outcome, seconds, folder)
    for claim in outcome.claims:
        verdict = "held" if claim.held else "did not hold"
        report.line(f"{verdict}: {claim.text}; published {claim.published}; {claim.measured}")
    report.line(f"{path / 'result.json'}, {path / 'figure.png'}")
    return outcome


def settings_of(recipe: ModuleType, part: Part, scale: str) -> Any:
    """The settings of a scale with those of `part` in their place.

    Raises:
      ValueError: no such scale or setting.
    """
    scales = {"quick": recipe.QUICK, "full": recipe.Settings()}
    if hasattr(recipe, "LONG"):
        scales["long"] = recipe.LONG
    if scale not in scales:
        raise ValueError(f"{part.name} has no scale {scale!r}; it has {', '.join(scales)}")
    base = scales[scale]
    known = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)}
    return type(base)(**settle(part.name, part.fields, known))


def run_arm(arm: Arm, folder: RunFolder, report: Reporter) -> tuple[dict[str, np.ndarray], float]:
    """The metrics [S, rows] of an arm, computed or read, and the seconds that took in all."""
    place = folder.path / "arms" / arm.name.replace("/", "-")
    step = jax.jit(arm.advance)
    state = _strong(arm.start())
    shapes = jax.eval_shape(arm.advance, state)[1]
    rows = {k: v.shape[1] for k, v in shapes.items()}
    kept = {
        k: np.zeros((v.shape[0], v.shape[1] * arm.chunks, *v.shape[2:]), v.dtype)
        for k, v in shapes.items()
    }
    found = checkpoint.load_newest(place, (state, kept), report.line)
    done, spent = 0, 0.0
    if found:
        (state, kept), host = found
        kept = {k: np.array(v) for k, v in kept.items()}
        done, spent = host["chunk"], host["seconds"]
    start = saved = time.monotonic()
    save = lambda: checkpoint.save(  # noqa: E731
        place, done, (state, kept), {"chunk": done, "seconds": spent + time.monotonic() - start},
        keep=1,
    )  # fmt: skip
    with Signals() as signals:
        while done < arm.chunks:
            state, metrics = step(state)
            metrics = jax.device_get(metrics)
            _check(arm, done, metrics)
            for name, values in metrics.items():
                kept[name][:, done * rows[name] : (done + 1) * rows[name]] = values
            done += 1
            report.progress(done, arm.chunks, done / (time.monotonic() - start), math.nan)
            if done == arm.chunks or time.monotonic() - saved > CHECKPOINT_SECONDS:
                save()
                saved = time.monotonic()
            if signals.caught and done < arm.chunks:
                save()
                raise Stopped(signals.caught, folder, again="metarl reproduce ... --out")
    return kept, spent + time.monotonic() - start


def _check(arm: Arm, chunk: int, metrics: dict[str, np.ndarray]) -> None:
    """Raises Diverged where a loss is not finite."""
    for name, values in metrics.items():
        if "loss" in name and not np.isfinite(values).all():
            seed, row = np.argwhere(~np.isfinite(values))[0][:2]
            raise Diverged(
                f"{name} is {values[seed, row]} in chunk {chunk + 1} of {arm.name}, seed {seed}, "
                f"row {row}. {HINT}"
            )


HINT = (
    "If it is the meta-gradient that breaks: give Adam an eps_root, whose derivative at a zero "
    "gradient is NaN without one; clip the meta-gradient by global norm; or lower a learning rate"
)


def _claimed(path: pathlib.Path, name: str, settings: Any) -> RunFolder:
    """The folder, which from now on belongs to this recipe with these settings."""
    folder = RunFolder(path)
    text = json.dumps({"recipe": name, "settings": dataclasses.asdict(settings)}, indent=2) + "\n"
    if folder.config.exists() and folder.config.read_text() != text:
        raise ValueError(
            f"{path} holds another run, or other settings (see {folder.config}); choose another "
            "folder with --out"
        )
    if not folder.config.exists() and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} is not an empty folder; choose another with --out")
    write_atomically(folder.config, text.encode())
    return folder


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
        "notes": list(outcome.notes),
        "seconds": {arm: round(s, 1) for arm, s in seconds.items()},
        "device": jax.devices()[0].device_kind,
        "versions": {"metarl": metarl.__version__, "jax": jax.__version__},
    }
    text = json.dumps(result, indent=2, default=_plain) + "\n"
    write_atomically(folder.path / "result.json", text.encode())
    draw(outcome.panels, folder.path / "figure.png", title=f"{name}: {recipe.PAPER}")


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy as JSON has them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | jax.Array):
        return np.asarray(value).tolist()
    raise TypeError(f"{type(value).__name__} does not fit into JSON")


def _strong(tree: PyTree) -> PyTree:
    """Arrays without weak types, which a checkpoint would lose."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(jnp.asarray(x), x.dtype), tree)

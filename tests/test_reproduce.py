"""The driver of recipes, with a toy: scales, mistakes, interruptions, and what it writes."""

import json
import os
import signal
import subprocess

import pytest
from PIL import Image

from metarl import reproduce as driver
from metarl.config import Part
from metarl.io import checkpoint
from metarl.reproduce import reproduce
from metarl.run import Diverged, Stopped
from metarl.settings import settle

pytestmark = pytest.mark.usefixtures("compile_once")

RECIPE = """
import dataclasses
import jax
import jax.numpy as jnp
import numpy as np
from metarl.recipes.common import Arm, Bar, Claim, Line, Outcome, Panel, interval, told

PAPER = "Nobody (1999)"
CLAIM = "noise grows"


@dataclasses.dataclass(frozen=True)
class Settings:
    seeds: int = 3
    chunks: int = 6
    poison: int = -1  # the chunk of arm b whose loss is NaN
    sizes: tuple[float, ...] = (1.0, 2.0)


QUICK = Settings(seeds=2, chunks=3)
LONG = Settings(seeds=4)


def arms(settings):
    def start():
        return {"x": jnp.zeros(settings.seeds), "t": 0}  # weakly typed, as beginners write it

    def advance(size, poison, state):
        def row(x, i):
            key = jax.random.fold_in(jax.random.key(7), state["t"] * 2 + i)
            return x + size * jax.random.normal(key, x.shape), x

        x, rows = jax.lax.scan(row, state["x"], jnp.arange(2))
        loss = jnp.where(state["t"] == poison, jnp.nan, rows.T)
        wide = jnp.stack([rows.T, -rows.T], -1)
        return {"x": x, "t": state["t"] + 1}, {"loss": loss, "wide": wide}

    from functools import partial
    a, b = settings.sizes
    return [
        Arm("a/1", start, partial(advance, a, -1), settings.chunks),
        Arm("b", start, partial(advance, b, settings.poison), settings.chunks),
    ]


def conclude(settings, results):
    x = {name: found["loss"] for name, found in results.items()}
    assert x["b"].shape == (settings.seeds, 2 * settings.chunks)
    assert results["b"]["wide"].shape == (*x["b"].shape, 2)
    last = x["b"][:, -1]
    claim = Claim("noise grows", "2", told(last), bool(np.std(last) > 0))
    line = Line("b", np.arange(2 * settings.chunks), x["b"])
    panels = [Panel("x", lines=[line]), Panel("end", bars=[Bar("b", 1.0, 0.5, 2.0)])]
    return Outcome([claim], panels, {**x, "end": interval(last)}, ["a toy"])
"""


class Notes:
    """A reporter that remembers, and may do something when it is told of progress."""

    def __init__(self, act=lambda done: None):
        self.lines, self.told, self.act = [], [], act

    def line(self, text):
        self.lines.append(text)

    def progress(self, done, total, rate, episode_return, unit="steps"):
        assert rate > 0 and unit == "chunks"
        self.told.append((done, total))
        self.act(done)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder to work in where `lab.toy` is a recipe."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "lab").mkdir()
    (folder / "lab" / "toy.py").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def whole(lab):
    """The folder of the recipe run without interruption."""
    reproduce(Part("lab.toy"), lab / "whole", Notes())
    return lab / "whole"


def result_of(folder):
    """What must not depend on interruptions: all but the seconds."""
    result = json.loads((folder / "result.json").read_text())
    assert all(seconds >= 0 for seconds in result.pop("seconds").values())
    return result


def test_the_result_is_complete_and_can_be_read(whole):
    result = json.loads((whole / "result.json").read_text())
    assert result["recipe"] == "lab.toy" and result["notes"] == ["a toy"]
    assert result["paper"] == "Nobody (1999)" and result["claim"] == "noise grows"
    assert result["settings"] == {"seeds": 3, "chunks": 6, "poison": -1, "sizes": [1, 2]}
    (claim,) = result["claims"]
    assert claim["held"] is True and claim["published"] == "2" and "3 seeds" in claim["measured"]
    assert len(result["numbers"]["b"]) == 3 and len(result["numbers"]["b"][0]) == 12
    assert result["numbers"]["end"]["seeds"] == 3
    assert set(result["seconds"]) == {"a/1", "b"} and set(result["versions"]) == {"metarl", "jax"}
    with Image.open(whole / "figure.png") as image:
        assert image.size[0] > image.size[1]  # two panels side by side


@pytest.mark.parametrize("text, value", [("a", ("a",)), ("a,b", ("a", "b")), ("a,", ("a",))])
def test_words_with_commas_are_a_tuple_where_there_is_one(text, value):
    given = Part.parse(["x", f"names={text}"]).fields
    assert settle("x", given, {"names": ("c", "d")}) == {"names": value}
    with pytest.raises(ValueError, match="should be a number, got 'a'"):
        settle("x", given, {"names": (1.0,)})


def test_scales_and_settings(lab):
    notes = Notes()
    outcome = reproduce(Part("lab.toy", {"sizes": (1, 3)}), lab / "quick", notes, scale="quick")
    assert outcome.numbers["b"].shape == (2, 6)
    assert notes.told == 2 * [(1, 3), (2, 3), (3, 3)]
    assert any("arm 2 of 2: b" in line for line in notes.lines)
    assert any(line.startswith("held: noise grows; published 2;") for line in notes.lines)
    settings = driver.settings_of(driver.recipe_of("lab.toy"), Part("lab.toy"), "long")
    assert (settings.seeds, settings.chunks) == (4, 6)


@pytest.mark.parametrize(
    "part, scale, words",
    [
        (Part("snake_mixin"), "full", "no recipe 'snake_mixin'; did you mean snake_mixing?"),
        (Part("lab.toy", {"seed": 1}), "full", "no setting 'seed'; did you mean seeds?"),
        (Part("lab.toy", {"seeds": 1.5}), "full", "seeds should be a whole number"),
        (Part("lab.toy"), "quicker", "no scale 'quicker'; it has quick, full, long"),
        (Part("snake_mixing"), "long", "no scale 'long'; it has quick, full"),
        (Part("json.decoder"), "full", "json.decoder is no recipe: it has no 'PAPER'"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(lab, part, scale, words):
    with pytest.raises(ValueError, match=words):
        reproduce(part, lab / "mistake", Notes(), scale=scale)
    assert not (lab / "mistake").exists()


def test_a_folder_of_something_else_is_refused(lab, whole):
    with pytest.raises(ValueError, match="other settings.*choose another folder with --out"):
        reproduce(Part("lab.toy", {"seeds": 2}), whole, Notes())
    with pytest.raises(ValueError, match="not an empty folder"):
        reproduce(Part("lab.toy"), lab / "lab", Notes())
    with pytest.raises(ValueError, match="not an empty folder"):
        reproduce(Part("lab.toy"), lab / "lab" / "toy.py", Notes())


def test_nothing_is_run_again(whole):
    before = (whole / "result.json").read_bytes()
    notes = Notes()
    reproduce(Part("lab.toy"), whole, notes)
    assert not notes.told and (whole / "result.json").read_bytes() == before


@pytest.mark.parametrize("when, again", [(2, 4 + 6), (6, 6)])
def test_a_signal_saves_and_the_same_command_goes_on(lab, whole, when, again):
    """Within the first arm, and at its very end, where the second must not begin."""

    def stop(done):
        if done == when:
            os.kill(os.getpid(), signal.SIGINT)

    out = lab / f"stopped-{when}"
    with pytest.raises(Stopped, match=f"metarl reproduce lab.toy --out {out}") as stopped:
        reproduce(Part("lab.toy"), out, Notes(stop))
    assert stopped.value.number == signal.SIGINT and not (out / "result.json").exists()
    notes = Notes()
    reproduce(Part("lab.toy"), out, notes)
    assert len(notes.told) == again and result_of(out) == result_of(whole)


def test_a_killed_process_loses_one_chunk(lab, whole, mortal):
    """Killed once in arm a and once in arm b, each time between writing and renaming."""
    out = lab / "killed"
    for kill, chunks in ((4, {"a-1": 3}), (3 + 2, {"a-1": 6, "b": 1})):
        command = ("reproduce", "lab.toy", "--out", str(out))
        child = subprocess.run(mortal(kill, *command), timeout=300)
        assert child.returncode == -signal.SIGKILL
        kept = {p.name: checkpoint.listed(p)[-1].stem for p in (out / "arms").iterdir()}
        assert kept == {name: f"update_{n:012d}" for name, n in chunks.items()}
    notes = Notes()
    reproduce(Part("lab.toy"), out, notes)
    assert notes.told[0] == (2, 6) and result_of(out) == result_of(whole)


def test_a_loss_that_is_nan_stops_with_a_hint(lab, monkeypatch):
    monkeypatch.setattr(driver, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Diverged) as error:
        reproduce(Part("lab.toy", {"poison": 3}), lab / "nan", Notes())
    assert "loss is nan in chunk 4 of b, seed 0, row 0" in str(error.value)
    assert "eps_root" in str(error.value) and "clip" in str(error.value)
    assert checkpoint.listed(lab / "nan" / "arms" / "b")[-1].stem == f"update_{3:012d}"
    assert not (lab / "nan" / "result.json").exists()

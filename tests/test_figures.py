import numpy as np
import pytest
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from metarl.io.figures import Curve, learning_curves
from metarl.io.panels import colours_of
from metarl.io.video import enlarge, write_gif
from metarl.recipes.common import Bar, Line, Panel


def test_the_interval_is_students_over_seeds():
    steps = np.array([10.0, 20.0, 30.0])
    curve = Curve(steps, np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]]))
    mean, low, high = curve.interval()
    np.testing.assert_allclose(mean, [2, 5, np.nan])
    np.testing.assert_allclose(high, [2 + 12.7062, 5, np.nan], rtol=1e-5)  # t of 1 degree, 97.5 %
    np.testing.assert_allclose(low, [2 - 12.7062, 5, np.nan], rtol=1e-5)


def test_a_curve_reads_the_rows_of_every_seed():
    metrics = {
        "seed": np.array([0, 7, 0, 7, 0]),
        "steps": np.array([5, 5, 10, 10, 15]),
        "episode_return": np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
    }
    curve = Curve.of(metrics)
    np.testing.assert_array_equal(curve.steps, [5, 10])  # a row that one seed lacks is left out
    np.testing.assert_array_equal(curve.values, [[1, 3], [2, 4]])


def test_curves_are_drawn_apart_from_each_other_and_from_the_level(tmp_path):
    steps = np.arange(1, 6) * 100.0
    arms = {
        "one": Curve(steps, np.zeros((1, 5))),
        "two": Curve(steps, np.stack([np.ones(5), np.ones(5) * 1.2])),
    }
    path = learning_curves(arms, tmp_path / "curve.png", title="arms", level=0.5)
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    assert picture.shape == (600, 960, 3)
    colours = {tuple(c) for c in picture.reshape(-1, 3)}
    assert {(31, 119, 180), (255, 127, 14), (102, 102, 102)} <= colours  # two arms and the level
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]


def test_a_label_has_one_colour_in_all_panels_and_no_other_label_has_it():
    names = [f"arm {i}" for i in range(13)]
    lines = [Line(name, np.arange(2), np.zeros((1, 2))) for name in names]
    bars = [Bar(name, 0.0, 0.0, 0.0) for name in reversed(names)]
    colours = colours_of([Panel("over time", lines=lines), Panel("total", bars=bars)])
    assert list(colours) == names and len(set(colours.values())) == 13


def test_nothing_measured_is_still_a_figure(tmp_path):
    curve = Curve(np.array([1.0, 2.0]), np.full((2, 2), np.nan))
    path = learning_curves({"a": curve}, tmp_path / "x.png", title="", level=float("nan"))
    with Image.open(path) as image:
        assert image.size == (960, 600)


def test_a_gif_shows_the_frames_enlarged(tmp_path):
    frames = np.zeros((3, 2, 4, 3), np.uint8)
    frames[0, 0, 0] = (255, 0, 0)
    frames[1, 1, 3] = (0, 255, 0)
    frames[2, :, :] = (0, 0, 255)
    path = write_gif(frames, tmp_path / "new" / "x.gif", fps=10, side=30)
    with GifImageFile(path) as image:
        assert image.n_frames == 3 and image.size == (32, 16) and image.info["loop"] == 0
        for i, frame in enumerate(enlarge(frames, 30)):
            image.seek(i)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), frame)
            assert image.info["duration"] == (1000 if i == 2 else 100)


def test_large_frames_keep_their_size():
    assert enlarge(np.zeros((1, 300, 10, 3), np.uint8)).shape == (1, 300, 10, 3)


@pytest.mark.parametrize(
    "frames, fps, words",
    [
        (np.zeros((2, 4, 4), np.uint8), 10, "uint8"),
        (np.zeros((2, 4, 4, 3)), 10, "float64"),
        (np.zeros((0, 4, 4, 3), np.uint8), 10, "uint8"),
        (np.zeros((2, 4, 4, 3), np.uint8), 0, "at most 50"),
        (np.zeros((2, 4, 4, 3), np.uint8), 60, "at most 50"),
    ],
)
def test_what_is_no_film_is_refused(tmp_path, frames, fps, words):
    with pytest.raises(ValueError, match=words):
        write_gif(frames, tmp_path / "x.gif", fps=fps)
    assert not list(tmp_path.iterdir())

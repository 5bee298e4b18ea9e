"""Generated pages say what their sources say: environments, and results of recipes."""

import pathlib
import re
import runpy

import pytest

import metarl
from metarl.rules import load, shipped
from metarl.rules.weights import FOLDER

DOCS = pathlib.Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def gallery():
    return runpy.run_path(str(DOCS / "gallery.py"))


def test_the_page_is_up_to_date(gallery):
    written = (DOCS / "environments.md").read_text()
    assert written == gallery["page"](), "run `python docs/gallery.py`"


def test_every_environment_has_its_section_and_every_film_is_there():
    text = (DOCS / "environments.md").read_text()
    assert not [name for name in metarl.registered() if f"`{name}`" not in text]
    films = re.findall(r'src="(films/[^"]+)"', text)
    assert films and all((DOCS / film).exists() for film in films)


def test_the_page_of_recipes_is_up_to_date():
    recipes = runpy.run_path(str(DOCS / "recipes.py"))
    written = (DOCS / "recipes" / "README.md").read_text()
    assert written == recipes["page"](), "run `python docs/recipes.py`"
    figures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", written)
    assert not [figure for figure in figures if not (DOCS / "recipes" / figure).exists()]


def test_the_page_of_results_is_up_to_date():
    results = runpy.run_path(str(DOCS / "results.py"))
    written = (DOCS / "results.md").read_text()
    assert written == results["page"](), "run `python docs/results.py`"
    figures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", written)
    assert figures and not [figure for figure in figures if not (DOCS / figure).exists()]


@pytest.mark.parametrize("name", shipped())
def test_the_cards_of_weights_are_up_to_date(name):
    card = runpy.run_path(str(DOCS / "weights.py"))["card"]
    written = (FOLDER / f"{name}.md").read_text()
    assert written == card(name, load(name)), "run `python docs/weights.py --cards`"


def test_the_page_of_recipes_tells_a_result():
    section = runpy.run_path(str(DOCS / "recipes.py"))["section"]
    claim = {"text": "a | b", "published": "3", "measured": "2.5 [2, 3]", "held": False}
    result = {
        "recipe": "x", "paper": "Somebody (2020)", "claim": "more is more", "claims": [claim],
        "notes": ["Sizes are reduced."], "settings": {"seeds": 4, "sizes": [1, 2]},
        "seconds": {"one": 1234.4, "two": 2.0}, "device": "cpu", "versions": {"jax": "1"},
    }  # fmt: skip
    text = section("x-long", result)
    for words in (
        "## x-long\n", "| a \\| b | 3 | 2.5 [2, 3] | no |", "- Sizes are reduced.", "Seeds: 4.",
        "one 1,234, two 2", "`seeds=4 sizes=1,2`", "![x-long](x-long.png)", "metarl/recipes/x.py",
    ):  # fmt: skip
        assert words in text

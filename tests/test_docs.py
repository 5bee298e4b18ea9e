"""The page of environments says what the environments say."""

import pathlib
import re
import runpy

import pytest

import metarl

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

"""Reports on results of rules: what they say, and that a browser shows all of it."""

import hashlib
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from metarl import scores
from metarl.cli import main
from metarl.io.figures import PALETTE, style
from metarl.io.films import film_path, found, slug
from metarl.io.report import write_report
from metarl.io.video import write_gif
from metarl.results import Record, Results

ENVS = ("CartPole-v0", "Catch-v0", "Breakout-v0", "Seaquest-v0")  # the last one has no reference
EVIL = 'my:rule <img src="http://x.y/z.png"> $a_1$ &amp;'
STEPS = (0, 5000, 10_000)


def made(rule, gain, seeds=3, envs=ENVS, **about):
    """Runs whose normalised scores are about gain * steps / 10,000."""
    rng, records = np.random.default_rng(len(rule)), []
    for env in envs:
        known = scores.entry(env)
        assert known.random
        high = known.reference.ret if known.reference else 1.0
        for seed in range(seeds):
            luck = 0.1 * rng.normal()
            for steps in STEPS:
                score = gain * steps / STEPS[-1] + luck
                ret = known.random.ret + (high - known.random.ret) * score
                records.append(Record.of(rule, env, seed, steps, ret))
    told = {"command": f"metarl evaluate-rule {rule}", "steps": 10_000, "jax": "0.10.2", **about}
    return Results(tuple(records), {rule: {"Pendulum-v0": "it <cannot>"}}, {rule: told})


class Page(html.parser.HTMLParser):
    """Rows of tables as lists of texts, sources of images, and all text."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.images, self.links, self.tags, self.text = [], [], [], set(), ""
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.in_cell = True
            self.rows[-1].append("")
        if tag == "img":
            self.images.append(told["src"])
        self.links += [v for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data

    def row(self, *begin):
        return next(row for row in self.rows if tuple(row[: len(begin)]) == begin)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three results in folders, the second with a film."""
    home = tmp_path_factory.mktemp("results")
    for name, one in (
        ("good", made("good", 0.9, code="sha256:77", tuning={"rate": 0.1})),
        ("bad", made("bad", 0.2, steps=7, unfilmed={"Catch-v0": "it draws no pictures"})),
        ("evil", made(EVIL, 0.5, seeds=4, envs=ENVS[:2])),
    ):
        one.save(home / name)
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    frames[1] = 200
    write_gif(frames, film_path(home / "bad", "CartPole-v0"), side=16)
    return [home / name for name in ("good", "bad", "evil")]


@pytest.fixture(scope="module")
def report(folders):
    """The report on all of them, by the command that merges them."""
    out = folders[0].parent / "all"
    assert main(["compare", *map(str, folders), "--out", str(out)]) == 0
    return out / "report.html"


@pytest.fixture(scope="module")
def page(report):
    return Page(report.read_text())


def number(text):
    return float(text.split()[0].replace("−", "-").replace(",", ""))


def test_tables_hold_the_aggregates_and_contests(page, folders):
    scaled = Results.load(folders[0]).normalised("good")[1][-1]
    runs = np.sort(scaled.ravel())  # 9 runs: 2 are cut off at either end
    row = page.row("good")
    assert number(row[1]) == pytest.approx(runs[2:-2].mean(), rel=0.01)
    assert number(row[3]) == pytest.approx(scaled.mean(), rel=0.01)
    assert row[5:] == ["3", "3"]
    contest = page.row("good", "bad")
    assert number(contest[2]) == 1 and number(contest[4]) < 0.01 and contest[6] == "3"
    assert number(contest[4]) <= number(contest[5]) <= 1
    difference = scaled.mean() - Results.load(folders[1]).normalised("bad")[1][-1].mean()
    assert number(contest[3]) == pytest.approx(difference, rel=0.01)
    assert "seeds that differ" in page.row("good", EVIL)[-1]


def test_every_environment_has_its_final_returns(page, folders):
    last = Results.load(folders[1]).returns("bad", "Catch-v0")[2][-1]
    half = 4.302653 * last.std(ddof=1) / np.sqrt(3)  # Student's t of 2 degrees, 97.5 %
    row = page.row("Catch-v0")
    ends = row[2].partition("[")[2].rstrip("]").split(", ")
    assert [number(x) for x in ends] == pytest.approx(
        [last.mean() - half, last.mean() + half], rel=0.01
    )
    assert [number(x) for x in row[4:]] == [-0.619, 1]
    assert page.row("Seaquest-v0")[3:] == ["–", "0.108", "–"]  # not played, and no reference


def test_what_is_missing_unlike_or_uncertain_is_said(page):
    for words in (
        "Rules differ in steps, so compare with care: good 10000; bad 7",
        "The scores of good also hold environments that not all rules have: Breakout-v0",
        "good, bad, my:rule",
        "with fewer than 5 seeds",
        "A 1 is not the best possible score in Breakout-v0",
    ):
        assert words in page.text
    assert page.row("good", "Pendulum-v0") == ["good", "Pendulum-v0", "it <cannot>"]
    assert page.row("Seaquest-v0", "no reference score is known")
    assert page.row("bad", "Catch-v0", "it draws no pictures")


def test_it_says_where_results_come_from(page, folders):
    for folder in folders:
        digest = hashlib.sha256((folder / "results.csv").read_bytes()).hexdigest()
        assert page.row(str(folder / "results.csv"))[1] == digest
    assert page.row("the same for all rules") and page.row("jax") == ["jax", "0.10.2"]
    assert page.row("tuning") == ["tuning", "rate 0.1", "none", "none"]
    assert page.row("code")[1] == "sha256:77"
    assert f"metarl evaluate-rule {EVIL}" in page.text
    how = page.row("Catch-v0", "reference")
    reference = scores.entry("Catch-v0").reference
    assert reference and how[3:5] == [reference.kind, reference.how] and how[3] == "optimum"


def test_text_is_escaped_and_nothing_lies_outside(page, report):
    assert EVIL in page.text and "script" not in page.tags and "link" not in page.tags
    assert all(link.startswith("data:image/") for link in page.links)
    assert "default-src 'none'; img-src data:;" in report.read_text()
    assert len(page.images) == 2 + len(ENVS) + 1  # two of all, one of each, one film
    drawn = {path.name for path in (report.parent / "figures").iterdir()}
    own = {f"{env}.png" for env in ENVS}
    assert drawn == {"efficiency.png", "profiles.png", "environments.png", *own}


def browser():
    return next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
    )


PROBE = """<script>addEventListener("load", () => {
  const images = [...document.images];
  document.body.dataset.told = JSON.stringify({
    sizes: images.map(i => [i.naturalWidth, i.naturalHeight, i.clientWidth]),
    headlines: [...document.querySelectorAll(".headline")].map(h => h.innerText),
    rows: document.querySelectorAll("tbody tr").length,
    wide: document.documentElement.scrollWidth - innerWidth,
    asked: performance.getEntriesByType("resource").map(e => e.name.slice(0, 5)),
  });
});</script>"""


@pytest.mark.skipif(not browser(), reason="no chromium, chromium-browser or google-chrome on PATH")
@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_all_of_it(report, page, tmp_path, width):
    text = re.sub(r"<meta http-equiv[^>]*>", "", report.read_text()).replace("</body>", PROBE)
    copy = tmp_path / "probed.html"
    copy.write_text(text)
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync"
    ).split()
    own = [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"]
    shot = [f"--screenshot={tmp_path / 'shot.png'}", "--dump-dom", f"file://{copy}"]
    out = subprocess.run(
        [browser(), *flags, *own, *shot], capture_output=True, text=True, timeout=120
    )
    attribute = re.search(r'data-told="([^"]*)"', out.stdout)
    assert attribute, out.stderr
    told = json.loads(html.unescape(attribute.group(1)))
    assert len(told["sizes"]) == len(page.images)
    assert all(size > 0 for sizes in told["sizes"] for size in sizes)
    assert told["sizes"][0][:2] > [900, 600] and told["sizes"][-1][:2] == [16, 16]
    assert [line.split(" scores")[0] for line in told["headlines"]] == ["good", "bad", EVIL]
    assert told["rows"] == len(page.rows) - text.count("<table")  # less one head of each
    assert told["wide"] <= 0, "the page itself does not scroll sideways"
    assert set(told["asked"]) <= {"data:"}


def test_merged_results_keep_their_films(report, folders, capsys, tmp_path):
    merged = report.parent
    films = found({merged: Results.load(merged)})
    assert set(films) == {("bad", "CartPole-v0")} and films.popitem()[1].parent != merged / "films"
    few = made("few", 0.5, envs=ENVS[:1]).save(tmp_path)
    shutil.copytree(folders[1] / "films", few / "films")
    assert main(["report", str(few)]) == 0
    assert Page((few / "report.html").read_text()).images[-1].startswith("data:image/gif")
    assert main(["report", *map(str, folders)]) == 2
    assert "--out FOLDER" in capsys.readouterr().err
    assert main(["report", str(folders[0]), str(folders[0]), "--out", str(tmp_path)]) == 2
    assert "several of the results are of good" in capsys.readouterr().err


def test_six_rules_have_six_looks_and_one_of_long_name_is_drawn(tmp_path):
    names = [f"module_of_mine.rules:rule_{i} learning_rate=0.000{i} lambda=0.9" for i in range(5)]
    names += ["_hidden"]
    six = {tmp_path / str(i): made(rule, 0.1 * i, envs=ENVS[:1]) for i, rule in enumerate(names)}
    text = write_report(six, tmp_path).read_text()
    keys = re.findall(r'class="key" style="background: (#\w+)"', text)
    assert dict.fromkeys(keys) == dict.fromkeys(PALETTE[:6])
    assert len([row for row in Page(text).rows if row[:1] == [names[0]]]) == 7  # 5 are contests
    looks = {tuple(style(i).values()) for i in range(21)}
    assert len(looks) == 21


def test_little_is_still_a_report(tmp_path):
    alone = made("alone", 0.5, seeds=1, envs=ENVS[:1])
    text = Page(write_report({tmp_path: alone}, tmp_path).read_text()).text
    assert "How good is alone?" in text and "one seed, so there are no intervals" in text
    unscaled = made("odd", 0.5, envs=ENVS[-1:])
    text = Page(write_report({tmp_path: unscaled}, tmp_path).read_text()).text
    assert "none of which has a reference score" in text and "Scores at the end" not in text
    nowhere = Results((), {"idle": {"Catch-v0": "no"}}, {"idle": {}})
    text = Page(write_report({tmp_path: nowhere}, tmp_path).read_text()).text
    assert "could act in none of 1 environments" in text


def test_names_of_files_tell_names_apart():
    names = ["Snake-v0", "Snake-v0 size=6", "Snake-v0-size-6", "brax/ant", "brax ant", "x" * 300]
    assert slug("Snake-v0") == "Snake-v0" and len({slug(name) for name in names}) == len(names)
    assert all(re.fullmatch(r"[\w.-]{1,90}", slug(name)) for name in names)

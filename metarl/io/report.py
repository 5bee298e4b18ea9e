"""The report on results of rules: one HTML file that needs nothing beside it, and its figures."""

import pathlib
import string
from collections.abc import Iterator, Mapping

from metarl import scores
from metarl.files import write_atomically
from metarl.io import report_figures as figures
from metarl.io.figures import style
from metarl.io.films import Films, found, slug
from metarl.io.report_notes import cautions, everyone, provenance, sources, unplayed
from metarl.io.report_tables import Raw, count, joined, number, picture, table, tag, text
from metarl.results import Results

_TEMPLATE = pathlib.Path(__file__).parent / "report.html"
_SINGLE = ("iqm", "median", "mean", "optimality_gap")


def write_report(parts: Mapping[pathlib.Path, Results], folder: pathlib.Path) -> pathlib.Path:
    """Writes `report.html`, and `figures/` with its PNGs, into a folder.

    Args:
      parts: results by the folder they lie in, where their films are looked for.
      folder: is made where it is absent.

    Returns:
      The HTML file.

    Raises:
      ValueError: two results of the same rule, or such as cannot be aggregated.
    """
    results = Results.merge(parts.values())
    sections = {
        "": _headlines(results),
        "Scores at the end": _aggregates(results),
        "Over time": _overall(results, folder),
        "Each environment": _environments(results, folder),
        "Films": _films(results, found(parts)),
        "What takes no part, and why": unplayed(results),
        "Where this comes from": [*provenance(results), *sources([*parts, folder])],
    }
    body = joined(_section(name, joined(inner)) for name, inner in sections.items())
    rules = everyone(results)
    title = text(f"How good {'is' if len(rules) == 1 else 'are'} {', '.join(rules)}?")
    page = string.Template(_TEMPLATE.read_text()).substitute(title=title, body=body)
    write_atomically(folder / "report.html", page.encode())
    return folder / "report.html"


def _section(name: str, inner: Raw) -> Raw:
    heading = [tag("h2", name)] if name else []
    return tag("section", joined([*heading, inner])) if inner else Raw()


def _headlines(results: Results) -> Iterator[Raw]:
    for rule in everyone(results):
        colour = _colour(results, rule) if rule in results.rules else "#7f7f7f"
        said = joined([tag("strong", rule), _headline(results, rule)], " ")
        yield tag("p", said, class_="headline", style=f"border-color: {colour}")


def _headline(results: Results, rule: str) -> Raw:
    if rule not in results.rules:
        return text(f"could act in none of {len(results.skipped.get(rule, {}))} environments.")
    envs = results.scaled(rule)
    seeds, steps, _ = results.returns(rule, (envs or results.envs(rule))[0])
    if not envs:
        return text(
            f"was played in {len(results.envs(rule))} environments, none of which has a reference "
            f"score; see the returns of each. {len(seeds)} seeds, {steps[-1]:,} steps."
        )
    iqm = results.aggregates(rule)["iqm"]
    one = len(envs) == 1
    return joined(
        [
            "scores ",
            tag("strong", number(*iqm)),
            f" where random play is 0 and the reference 1: the interquartile mean of "
            f"{len(envs)} environment{'' if one else 's'} with {len(seeds)} "
            f"seed{'' if len(seeds) == 1 else 's'} each, after {steps[-1]:,} steps.",
        ],
        "",
    )


def _aggregates(results: Results) -> Iterator[Raw]:
    rows = []
    for rule in results.scored:
        told, envs = results.aggregates(rule), results.scaled(rule)
        sizes = (len(envs), len(results.returns(rule, envs[0])[0]))
        numbers = (number(*told[name]) for name in _SINGLE)
        rows.append([_named(results, rule), *numbers, *map(count, sizes)])
    if rows:
        head = ["rule", "IQM", "median", "mean", "optimality gap", "environments", "seeds"]
        yield table(
            head,
            rows,
            "Normalised scores, 0 random and 1 the reference, with 95 % intervals that resample "
            "seeds within each environment. IQM: mean of the middle half of all runs. Optimality "
            "gap: by how much runs miss 1; less is better.",
        )
    contests = list(_contests(results))
    if contests:
        yield table(
            ["A", "B", "A beats B", "mean difference", "p", "p of all", "environments", "compared"],
            contests,
            "Every pair. A beats B: how often a run of A ends above one of B in the same "
            "environment. p: two-sided, by permutations; p of all: by Holm's correction for the "
            "number of pairs.",
        )
    yield from cautions(results)


def _contests(results: Results) -> Iterator[list[Raw]]:
    for a, b, contest, adjusted in results.contests():
        names = [_named(results, a), _named(results, b)]
        if contest is None:
            yield [*names, *[number()] * 4, count(0), text("nothing in common")]
            continue
        test = (number(contest.test.difference), number(contest.test.p), number(adjusted))
        how = text("in pairs of a seed" if contest.paired else "seeds that differ")
        yield [*names, number(*contest.improvement), *test, count(len(contest.envs)), how]


def _overall(results: Results, folder: pathlib.Path) -> Iterator[Raw]:
    if not results.scored:
        return
    curve = figures.efficiency(results, folder / "figures" / "efficiency.png")
    profile = figures.profiles(results, folder / "figures" / "profiles.png")
    pictures = [
        picture(curve, "Interquartile mean of normalised scores over environment steps, by rule"),
        picture(profile, "Share of runs that end above each normalised score, by rule"),
    ]
    yield tag("div", joined(pictures), class_="grid wide")
    yield tag("p", "Bands are 95 % bootstrap intervals, as in the table.", class_="soft")


def _environments(results: Results, folder: pathlib.Path) -> Iterator[Raw]:
    if not results.rules:
        return
    keys = (tag("span", _named(results, rule)) for rule in results.rules)
    yield tag("div", joined(keys), class_="legend")
    place = folder / "figures"
    panels = (
        picture(
            figures.environment(results, env, place / f"{slug(env)}.png"),
            f"Mean return in {env} over environment steps, by rule",
        )
        for env in results.envs()
    )
    yield tag("div", joined(panels), class_="grid")
    figures.environments(results, place / "environments.png")
    yield tag("p", "Bands are 95 % t-intervals over seeds, of few seeds wide ones.", class_="soft")
    yield table(
        ["environment", *(_named(results, rule) for rule in results.rules), "random", "reference"],
        ([env, *_finals(results, env)] for env in results.envs()),
        "Mean return at the end, with 95 % t-intervals over seeds.",
    )


def _finals(results: Results, env: str) -> Iterator[Raw]:
    for rule in results.rules:
        if env in results.envs(rule):
            yield number(*(x[-1] for x in figures.curve_of(results, rule, env)[1]))
        else:
            yield number()
    entry = scores.entry(env)
    for score in (entry.random, entry.reference):
        yield number(score.ret) if score else number()


def _films(results: Results, films: Films) -> Iterator[Raw]:
    for env in results.envs():
        shown = [rule for rule in results.rules if (rule, env) in films]
        if shown:
            yield tag("h3", env)
            pictures = (
                picture(films[rule, env], f"{rule} plays {env}", _named(results, rule))
                for rule in shown
            )
            yield tag("div", joined(pictures), class_="grid films")
    if films:
        said = "One episode of the first seed at the end; no more than 200 steps."
        yield tag("p", said, class_="soft")


def _named(results: Results, rule: str) -> Raw:
    key = Raw(f'<span class="key" style="background: {_colour(results, rule)}"></span>')
    return joined([key, rule], "")


def _colour(results: Results, rule: str) -> str:
    return style(results.rules.index(rule))["color"]

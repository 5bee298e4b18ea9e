"""What a report says in words: cautions, what was left out, and where results come from."""

import hashlib
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from metarl import scores
from metarl.io.report_tables import Raw, bullets, facts, number, table, tag, text
from metarl.results import Results

_CONVENTION = ("steps", "num_envs", "length", "max_steps", "split", "points", "episodes")
_FEW = 5  # seeds, below which bootstrap intervals are much too narrow
_APART = ("command", "unfilmed")  # of `about`, told elsewhere


def everyone(results: Results) -> tuple[str, ...]:
    """All rules, also those that could act nowhere."""
    return tuple(dict.fromkeys([*results.rules, *results.skipped, *results.about]))


def cautions(results: Results) -> Iterator[Raw]:
    """What must be known before numbers are compared."""
    said = [*_unlike(results), *_scales(results)]
    few = [rule for rule in results.scored if 1 < _seeds(results, rule) < _FEW]
    if few:
        said.append(
            f"{', '.join(few)}: with fewer than {_FEW} seeds bootstrap intervals are too narrow; "
            "of 3 seeds on one task, those of 95 % hold the truth some 75 % of the time."
        )
    alone = [rule for rule in results.rules if _seeds(results, rule) == 1]
    if alone:
        said.append(f"{', '.join(alone)}: one seed, so there are no intervals.")
    yield bullets(said)


def _unlike(results: Results) -> Iterator[str]:
    """Rules that were played in other ways or places than the rest."""
    for name in _CONVENTION:
        told = {rule: results.about.get(rule, {}).get(name) for rule in results.rules}
        if len({repr(value) for value in told.values()}) > 1:
            values = "; ".join(f"{rule} {facts(value)}" for rule, value in told.items())
            yield f"Rules differ in {name.replace('_', ' ')}, so compare with care: {values}."
    shared = results.scaled(*results.rules)
    for rule in results.rules:
        more = [env for env in results.scaled(rule) if env not in shared]
        if more:
            yield (
                f"The scores of {rule} also hold environments that not all rules have: "
                f"{', '.join(more)}. Pairs are compared only where both were played."
            )


def _scales(results: Results) -> Iterator[str]:
    soft = [
        env
        for env in results.scaled()
        if (reference := scores.entry(env).reference) and reference.kind not in scores.BEST
    ]
    if soft:
        yield f"A 1 is not the best possible score in {', '.join(soft)}; see the references below."


def _seeds(results: Results, rule: str) -> int:
    return len({r.seed for r in results.records if r.rule == rule})


def unplayed(results: Results) -> Iterator[Raw]:
    """Environments that were skipped, have no reference score, or no film."""
    skipped = [
        [text(rule), env, why]
        for rule, envs in results.skipped.items()
        for env, why in envs.items()
    ]
    if skipped:
        yield table(["rule", "skipped", "why"], skipped)
    if results.unnormalised:
        lacking = [[env, why] for env, why in results.unnormalised.items()]
        yield table(["no part in aggregates", "why"], lacking)
    unfilmed = [
        [text(rule), env, why]
        for rule in results.rules
        for env, why in results.about.get(rule, {}).get("unfilmed", {}).items()
    ]
    if unfilmed:
        yield table(["rule", "no film of", "why"], unfilmed)


def provenance(results: Results) -> Iterator[Raw]:
    """How the results of each rule were made, and who earned the scores they are measured by."""
    known = {rule: results.about.get(rule, {}) for rule in everyone(results)}
    for rule, about in known.items():
        if about.get("command"):
            yield tag("p", f"{rule}:")
            yield tag("p", about["command"], class_="command")
    names = dict.fromkeys(name for about in known.values() for name in about if name not in _APART)
    told = {name: [facts(about.get(name)) for about in known.values()] for name in names}
    alike = {name for name, values in told.items() if len(set(values)) == 1 < len(values)}
    if alike:
        rows = [[_words(name), values[0]] for name, values in told.items() if name in alike]
        yield table(["the same for all rules", "value"], rows, kind="facts")
    rows = [[_words(name), *values] for name, values in told.items() if name not in alike]
    if rows:
        yield table(["of each rule", *known], rows, kind="facts")
    if results.envs():
        yield tag("h3", "Who earned the reference scores")
        yield table(
            ["environment", "score", "return", "kind", "how"],
            (row for env in results.envs() for row in _earned(env)),
            "From the table in metarl.scores.",
            kind="facts",
        )


def _earned(env: str) -> Iterator[list[Any]]:
    known = scores.entry(env)
    for name, score in (("random", known.random), ("reference", known.reference)):
        if score:
            yield [env, name, number(score.ret), score.kind, score.how]
        else:
            yield [env, name, number(), "unknown", ""]


def sources(folders: Iterable[pathlib.Path]) -> Iterator[Raw]:
    """The digest of each table of results."""
    rows = []
    for folder in dict.fromkeys(folders):
        path = folder / "results.csv"
        if path.is_file():
            rows.append([str(path), hashlib.sha256(path.read_bytes()).hexdigest()])
    if rows:
        yield tag("h3", "Tables of results")
        yield table(["file", "sha256"], rows, kind="facts")


def _words(name: str) -> str:
    return name.replace("_", " ")

"""Where films lie beside results: `films/ENV.gif`, of several rules `films/RULE/ENV.gif`."""

import hashlib
import pathlib
import re
import shutil
from collections.abc import Mapping

from metarl.results import Results

Films = dict[tuple[str, str], pathlib.Path]  # (rule, environment) -> file


def slug(name: str) -> str:
    """A name as that of a file; what cannot stand there is told apart by a digest."""
    clean = re.sub(r"[^A-Za-z0-9.]+", "-", name)[:80]
    return clean if clean == name else f"{clean}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def film_path(folder: pathlib.Path, env: str, rule: str = "") -> pathlib.Path:
    """Where the film of an environment belongs; without a rule in the results of only one."""
    return folder / "films" / (slug(rule) if rule else "") / f"{slug(env)}.gif"


def found(parts: Mapping[pathlib.Path, Results]) -> Films:
    """The films that lie beside results, by the folder of each."""
    films: Films = {}
    for folder, results in parts.items():
        alone = len(results.rules) == 1
        for rule in results.rules:
            for env in results.envs(rule):
                places = [film_path(folder, env, rule), film_path(folder, env)][: 1 + alone]
                films.update(((rule, env), path) for path in places if path.is_file())
    return films


def gather(films: Films, folder: pathlib.Path) -> None:
    """Copies films beside results of several rules."""
    for (rule, env), path in films.items():
        target = film_path(folder, env, rule)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or not target.samefile(path):
            shutil.copyfile(path, target)

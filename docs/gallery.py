"""Writes docs/environments.md from the environments themselves, and films an agent in each.

    python docs/gallery.py                     # the page alone
    python docs/gallery.py --film all          # train, film, and the page; about half an hour
    python docs/gallery.py --film Snake-v0 ProcMaze-v0 --steps 1e6

A film shows an agent that PPO has just trained, so it is what a newcomer gets, not an expert's.
"""

import argparse
import inspect
import pathlib
import re
import runpy
import tempfile
from typing import Any

import numpy as np

import metarl
from metarl.cli import main as command
from metarl.config import Part

HERE = pathlib.Path(__file__).parent
PAGE, FILMS = HERE / "environments.md", HERE / "films"
GROUPS = {  # heading -> how the modules of its environments begin
    "Puzzles and grid games": ("snake", "sokoban", "minesweeper", "maze"),
    "Arcade games (MinAtar)": ("minatar",),
    "Procedurally generated games": ("procgen",),
    "Tasks for learning to learn": (
        *("lpg", "delayed_chain", "two_colours", "discounting_chain", "navigation", "bandit"),
        *("tabular", "key_to_door", "gridworld"),
    ),
    "Control": ("cartpole", "pendulum", "mountain_car", "acrobot", "brax"),
    "Diagnostics": ("t_maze", "catch", "deep_sea", "umbrella", "probe"),
}
SETTINGS = {"Snake-v0": "size=6", "Sokoban-v0": "height=6 width=6 boxes=2 max_steps=30"}
UNFILMED = ("brax/humanoid", "brax/humanoidstandup", "brax/pusher")  # minutes to compile


def sections() -> dict[type, list[str]]:
    """Every class of environments with its ids, in the order of the page."""
    found: dict[type, list[str]] = {}
    for name in metarl.registered():
        cls = type(metarl.make(name))
        if cls.__module__.startswith("metarl.envs."):
            found.setdefault(cls, []).append(name)
    return dict(sorted(found.items(), key=lambda item: (_place(item[0]), item[1][0])))


def page() -> str:
    """The whole page."""
    lines = [__doc_head__]
    heading = ""
    for cls, names in sections().items():
        group = list(GROUPS)[_place(cls)]
        if group != heading:
            heading = group
            lines.append(f"\n## {group}\n")
            lines.append(_results() if "Procedurally" in group else "")
        lines.append(section(cls, names))
    return "\n".join(lines)


def section(cls: type, names: list[str]) -> str:
    """One environment: film, rules, spaces, params, source."""
    env, module = metarl.make(names[0]), inspect.getmodule(cls)
    parts = [f"### {cls.__name__}\n", ", ".join(f"`{name}`" for name in names)]
    parts += [_film(name) for name in names if (FILMS / _file(name)).exists()][:3]
    parts.append(_prose(cls))
    shown = inspect.getdoc(type(env).observation_space.fget) if _is_property(cls) else ""  # type: ignore[attr-defined]
    parts.append(f"**Observation.** {_flat(shown or '')} `{_space(env.observation_space)}`")
    parts.append(f"**Actions.** `{_space(env.action_space)}`")
    if rows := _params(env):
        parts.append("**Params** (numbers that may differ from task to task):\n\n" + rows)
    extras = [f"`{m}`" for m in ("sample_params", "mutate") if hasattr(env, m)]
    if extras:
        parts.append(f"**Tasks.** {' and '.join(extras)}.")
    parts.append(f"**Source and differences.** {_prose(module)}")
    parts.append(f"File: `{_path(cls)}`")
    return "\n\n".join(part for part in parts if part) + "\n"


def film(name: str, steps: str) -> None:
    """Trains on an environment and films the agent."""
    words = [name, *SETTINGS.get(name, "").split()]
    out = FILMS / _file(name)
    with tempfile.TemporaryDirectory() as folder:
        run = str(pathlib.Path(folder) / "run")
        options = ["--agent", "mlp", "hidden=128,128", "--steps", steps, "--seeds", "0"]
        code = command(["train", *words, *options, "--out", run])
        render = ["render", run, "--out", str(out), "--steps", "120", "--side", "160"]
        code = code or command([*render, "--fps", "10"])
    print(f"{name}: {'failed' if code else f'{out.stat().st_size // 1024} KiB'}", flush=True)


def _results() -> str:
    """What PPO reaches on the generated games."""
    found = HERE.parent / "benchmarks" / "results" / "procgen.jsonl"
    table = runpy.run_path(str(HERE.parent / "benchmarks" / "procgen.py"))["table"](found)
    games = [name for name in metarl.registered() if name.startswith("Proc")]
    missing = ", ".join(name for name in games if name not in table)
    table += f"\n\nNot run yet: {missing}." if missing else ""
    return f"""Returns per episode of PPO and of the random policy, means over 3 seeds with 95 %
bootstrap intervals (`benchmarks/procgen.py`): one million steps on 20 levels, an MLP on planes, the
same settings for every game. On levels it has not seen, 200 of the other split, so few training
levels leave PPO at or below the random policy on some games.

{table}
"""


def _place(cls: type) -> int:
    """The number of a class's group."""
    module = cls.__module__.removeprefix("metarl.envs.")
    for number, starts in enumerate(GROUPS.values()):
        if module.startswith(starts):
            return number
    raise ValueError(f"docs/gallery.py puts {module} into no group; add it to GROUPS")


def _params(env: Any) -> str:
    """A table of the leaves of params with the comments that stand beside them."""
    rows = []
    for cls in reversed(type(env.default_params()).__mro__):
        if "__dataclass_fields__" in vars(cls) and cls.__module__.startswith("metarl"):
            source = inspect.getsource(cls)
            rows += re.findall(r"^    (\w+): [^#\n]*#\s*(.*(?:\n {4,}#.*)*)", source, re.MULTILINE)
    table = "".join(f"| `{name}` | {_flat(text.replace('#', ''))} |\n" for name, text in rows)
    return f"| name | meaning |\n|---|---|\n{table}".rstrip() if rows else ""


def _prose(thing: Any) -> str:
    """A docstring as paragraphs."""
    text = inspect.getdoc(thing) or ""
    blocks = [
        block if block.startswith((" ", "-")) else _flat(block) for block in text.split("\n\n")
    ]
    return "\n\n".join(blocks)


def _space(space: Any) -> str:
    """A space in a few words; bounds as arrays are told by their ends."""
    if type(space).__name__ == "Box":
        low, high = np.min(space.low), np.max(space.high)
        return f"Box({low:.6g}, {high:.6g}, {space.shape}, {space.dtype})"
    return str(space)


def _is_property(cls: type) -> bool:
    return isinstance(inspect.getattr_static(cls, "observation_space", None), property)


def _path(cls: type) -> str:
    return cls.__module__.removeprefix("metarl.").replace(".", "/") + ".py"


def _film(name: str) -> str:
    return f'<img src="films/{_file(name)}" width="200" alt="{name} played by a trained agent">'


def _file(name: str) -> str:
    return name.replace("/", "-").lower() + ".gif"


def _flat(text: str) -> str:
    return " ".join(text.split())


__doc_head__ = """# Environments

Made by `python docs/gallery.py` from the environments' own words; change those, not this page.
`metarl.make(id, **fields)` makes one, `env.default_params()` are its numbers. From the command line
fields and params are one list: `metarl train Snake-v0 size=6 max_steps=500`. Every film shows an
agent that PPO trained for some hundred thousand steps, so it is no expert.
"""


def main() -> None:
    """Films what is asked for and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--film", nargs="*", default=[], help="ids, or `all`")
    parser.add_argument("--steps", default="5e5", help="of training before a film")
    parser.add_argument("--missing", action="store_true", help="film only what has no film yet")
    args = parser.parse_args()
    names = [n for n in metarl.registered() if n not in UNFILMED]
    FILMS.mkdir(exist_ok=True)
    for name in names if args.film == ["all"] else args.film:
        if not (args.missing and (FILMS / _file(name)).exists()):
            film(str(Part(name)), args.steps)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()

"""Ships the weights that a meta-training has learned, with a model card made from what they say.

    metarl meta-train lpg_grid --laptop --out runs/lpg
    python docs/weights.py runs/lpg/eta-0.npz lpg-grid --machine "2 shared CPU cores" --hours 0.6
    python docs/weights.py --cards       # writes all cards anew

Cards lie beside the weights, in metarl/rules/weights; a test demands that they are what this makes.
"""

import argparse
import math
from typing import Any

from metarl import registry
from metarl.config import Part
from metarl.rules import Weights, load, save, shipped
from metarl.rules.weights import FOLDER

HOW = {  # rule -> how agents follow it
    "lpg": "metarl train LPGMazes-v0 --agent tabular --rule {name}",
    "ta_lpg": "metarl train LPGMazes-v0 --agent tabular --rule {name} lifetime=500",
    "lpo": "metarl train Breakout-v0 --rule {name}",
    "ta_lpo": "metarl train Breakout-v0 --rule {name} lifetime=500",
}


def card(name: str, weights: Weights) -> str:
    """The model card as Markdown."""
    about: dict[str, Any] = weights.about
    module = registry.training_module(about["training"])
    told = Part.of({"name": about["training"], "fields": about["settings"]})
    made = f"metarl meta-train {told} --seeds {about['seed']}"
    test = about["test"]
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    return f"""# {name}

Weights of the rule `{weights.rule}` ({module.PAPER}): {_count(weights):,} numbers, float32.

Follow it: `{HOW[weights.rule].format(name=name)}`, or `metarl.rules.load("{name}")`.

## How it was made

    {made}

One meta-training of seed {about["seed"]}: {about["settings"]["updates"]:,} meta-updates on
{about["environment_steps"]:,} environment steps, {about["hours"]:.2g} hours on {about["machine"]}
({about["device"]}; {versions}). The published scale is far larger: `metarl recipes` shows it.

Settings of the rule: `{weights.fields}`; of its heads: `{weights.heads}`.

## How it does

Mean return of agents at the end of {test["levels"]} lives where no training was (95 % intervals
over lives; one meta-training, so nothing is said about other seeds):

{_table(test)}

{about["notes"]}
"""


def _table(test: dict[str, Any]) -> str:
    """A column for all lives, and one for each group where there are several."""
    groups = test.get("groups", {})
    columns = {"all lives": test, **(groups if len(groups) > 1 else {})}
    rows = [["agents by", *columns], ["---"] * (len(columns) + 1)]
    for arm in test["returns"]:
        rows.append([arm, *(_figures(column["returns"][arm]) for column in columns.values())])
    rows.append(
        ["gain by meta-training", *(_figures(column["gain"]) for column in columns.values())]
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _figures(x: dict[str, Any]) -> str:
    low, high = x["interval"] or (math.nan, math.nan)
    return f"{x['mean']:.3g} [{low:.3g}, {high:.3g}]"


def _count(weights: Weights) -> int:
    import jax

    return sum(x.size for x in jax.tree.leaves(weights.eta))


def write_cards() -> None:
    """A card beside each file of weights."""
    for name in shipped():
        (FOLDER / f"{name}.md").write_text(card(name, load(name)))


def main() -> None:
    """Copies weights, if any are given, and writes all cards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="what a meta-training wrote, eta-SEED.npz")
    parser.add_argument("name", nargs="?", help="under which they are shipped")
    parser.add_argument("--machine", default="an unnamed machine")
    parser.add_argument("--hours", type=float, default=math.nan, help="that it took there")
    parser.add_argument("--notes", default="", help="what a user must know, sentences")
    parser.add_argument("--cards", action="store_true", help="write all cards anew")
    args = parser.parse_args()
    if args.file:
        found = load(args.file)
        made = {"machine": args.machine, "hours": args.hours, "notes": args.notes}
        save(FOLDER / f"{args.name}.npz", found._replace(about={**found.about, **made}))
    write_cards()


if __name__ == "__main__":
    main()

"""The newest lines of benchmarks/results/envs.jsonl as docs/speed.md.

python benchmarks/speed_table.py
"""

import json
import pathlib
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks/results/envs.jsonl", ROOT / "docs/speed.md"
HEAD = """# What a step costs

Made by `python benchmarks/speed_table.py` from `benchmarks/results/envs.jsonl`. Million steps of an
environment per CPU-second, auto-reset and observation included, uniform random actions, medians of
runs that alternated with the rival's in one process. Two shared cores, so trust ratios to about
20 %. Bytes: what the carry of one environment is read and written in a step. Operations: XLA's own
count of arithmetic on elements before it optimises, random numbers and reset included; most are on
8 bits, and one instruction does 16 to 64 of them. `pool` keeps 1024 starts and renews 4 a step.
"""


def newest() -> dict[tuple[str, int, str], dict[str, Any]]:
    """The last line of every environment, batch and suite."""
    lines = map(json.loads, RESULTS.read_text().splitlines())
    return {(line["env"], line["batch"], line["suite"]): line for line in lines}


def rows(lines: dict[tuple[str, int, str], dict[str, Any]]) -> list[str]:
    """One row an environment, batch and way to reset."""
    table = []
    for (env, batch, suite), line in sorted(lines.items()):
        ours = suite in ("metarl fresh", "metarl pool") and "operations_per_step" in line
        if not ours:
            continue
        ratios = {
            name.partition(" / ")[2]: other["ratio_cpu_s"]
            for (e, b, name), other in lines.items()
            if (e, b) == (env, batch) and name.startswith(f"{suite} / ")
        }
        cells = (
            *(env, str(batch), suite.removeprefix("metarl ")),
            f"{line['steps_per_cpu_s'] / 1e6:.2f}",
            ", ".join(f"{ratio:.1f}x {rival}" for rival, ratio in sorted(ratios.items())) or "-",
            *(str(line["moved_bytes_per_step"]), str(line["operations_per_step"])),
            str(line["compile_cpu_s"]),
        )
        table.append(f"| {' | '.join(cells)} |")
    return table


def main() -> None:
    """Writes the page."""
    names = "environment | batch | reset | M steps / CPU-s | against | bytes | operations | compile"
    head = [f"| {names} CPU-s |", f"|{'---|' * 8}"]
    PAGE.write_text(HEAD + "\n" + "\n".join([*head, *rows(newest())]) + "\n")


if __name__ == "__main__":
    main()

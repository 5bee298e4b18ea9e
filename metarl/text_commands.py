"""The command that lets language agents play."""

import pathlib
from dataclasses import dataclass, fields

from metarl.console import Console
from metarl.text_config import TextConfig


@dataclass(frozen=True)
class TextTrials(TextConfig):
    """Let a language agent play trials of several attempts at the same board; count pass@k.

    `metarl text-trials --env minesweeper --endpoint http://localhost:8000/v1 --model NAME` asks any
    server that speaks OpenAI's chat protocol; a key is taken from OPENAI_API_KEY. Writes
    transcript.jsonl as answers come, and result.json. After Ctrl-C, or where the server has died,
    the same command with the same --out goes on, and asks nothing twice.
    """

    out: pathlib.Path | None = None
    """Folder of the results; by default a new one in runs/."""

    def __call__(self) -> None:
        """Runs the command."""
        from metarl.io.runs import free_path
        from metarl.text_run import play, sentences

        config = TextConfig(**{f.name: getattr(self, f.name) for f in fields(TextConfig)})
        who = config.model.rpartition("/")[2] if config.model else config.policy
        out = self.out or free_path(
            pathlib.Path("runs"), f"text-{config.env.name}-{who}".lower().replace("/", "-")
        )
        with Console() as report:
            log = play(config, out, report)
            for line in sentences(log):
                report.line(line)
            report.line(f"{out / 'result.json'}, {out / 'transcript.jsonl'}")

"""A file of questions and answers, one JSON object a line, written as they come."""

import hashlib
import json
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from metarl.text.types import Prompt, TextPolicy


class Transcript:
    """Appends every answer to a file at once, and knows those that are there already.

    So an interrupted run that asks the same again, in the same place, goes on where it stopped. A
    last line that was cut off is dropped. Safe to use from several threads.

    Args:
      path: the file; one that exists is continued.
      asked: who is asked and how, such as the model and its temperature: an answer is known only
        to the same.

    Raises:
      ValueError: a line of the file is none of a transcript.
    """

    def __init__(self, path: pathlib.Path, asked: Mapping[str, Any] | None = None):
        self.path, self._asked = path, dict(asked or {})
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._read()
        self._file = open(path, "a+b")
        self._file.truncate(whole)

    def __enter__(self) -> "Transcript":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def known(self, prompt: Prompt) -> str | None:
        """The answer that this prompt got, if it did."""
        return self._known.get(self._key(prompt))

    def add(self, prompt: Prompt, answer: str | None, **more: Any) -> None:
        """Writes what was asked and answered, with whatever else is worth keeping."""
        key = self._key(prompt)
        line = {
            "key": key,
            "trial": prompt.trial,
            "attempt": prompt.attempt,
            "turn": prompt.turn,
            "kind": "reflect" if prompt.reflect else "act",
            **self._asked,
            "system": prompt.system,
            "text": prompt.text,
            "answer": answer,
            **more,
        }
        with self._lock:
            self._file.write(json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n")
            self._file.flush()
            if answer is not None:
                self._known[key] = answer

    def _read(self) -> int:
        """Takes in the file; returns how many bytes of it are whole lines."""
        if not self.path.exists():
            return 0
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                entry = json.loads(line)
                if entry["answer"] is not None:
                    self._known[entry["key"]] = entry["answer"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"line {number} of {self.path} is no answer: {error}") from error
        return whole

    def _key(self, prompt: Prompt) -> str:
        """What tells a question from all others, where it stands included."""
        where = prompt.trial, prompt.attempt, prompt.turn, prompt.reflect
        text = json.dumps([self._asked, *where, prompt.system, prompt.text], sort_keys=True)
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:24]


class Recorded:
    """Another policy, all of whose answers are written down, and known ones not asked for again."""

    def __init__(self, policy: TextPolicy, transcript: Transcript):
        self.policy, self.transcript = policy, transcript

    def act(self, prompts: Sequence[Prompt], /) -> list[str | None]:
        """The answers."""
        answers = [self.transcript.known(prompt) for prompt in prompts]
        new = [i for i, answer in enumerate(answers) if answer is None]
        if new:
            for i, answer in zip(new, self.policy.act([prompts[i] for i in new]), strict=True):
                self.transcript.add(prompts[i], answer)
                answers[i] = answer
        return answers

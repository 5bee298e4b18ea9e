"""A language agent behind a server that speaks OpenAI's chat protocol: vLLM, llama.cpp, OpenAI.

The only module here that needs a client library, and it loads it when an agent is made.
"""

import os
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metarl.text.transcript import Transcript
from metarl.text.types import Prompt

_HOPELESS = 401, 403, 404  # answers of a server that asking again does not change
_UNREACHABLE = "ConnectError", "UnsupportedProtocol"  # nobody is there, or it is no address


class EndpointError(OSError):
    """The server cannot be used; the message says why, and what to do."""


@dataclass(frozen=True)
class Reply:
    """What came of one question."""

    answer: str | None
    error: str | None = None  # why there is no answer
    hopeless: bool = False  # and none can be expected
    more: Mapping[str, Any] | None = None  # for the transcript


class EndpointPolicy:
    """Asks `model` at `url`, many questions at a time.

    A question that gets no answer, after all retries, is answered None, which costs the agent its
    turn. The run ends where the server cannot be reached, refuses the key, or does not know the
    model, and after `patience` questions in a row without an answer. What was answered by then
    stands in the transcript, and is not asked for again.

    Args:
      url: the base of the protocol, which usually ends in `/v1`.
      model: its name there.
      transcript: where answers are kept, and looked up first.
      temperature: of sampling; None leaves it to the server.
      top_p: of sampling; None leaves it to the server.
      max_tokens: of an answer; None leaves it to the server.
      extra: more entries of the request, such as {"top_k": 20}.
      timeout: seconds to wait for one answer.
      retries: of one question, after time-outs, dropped connections and errors of the server.
      concurrency: questions under way at the same time.
      patience: failures in a row that end the run.
      api_key: else the environment's OPENAI_API_KEY; servers of one's own mostly take anything.

    Raises:
      ImportError: the client library is not installed.
      ValueError: a number is out of range.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        transcript: Transcript | None = None,
        temperature: float | None = 0.7,
        top_p: float | None = 0.8,
        max_tokens: int | None = 1024,
        extra: Mapping[str, Any] | None = None,
        timeout: float = 120.0,
        retries: int = 2,
        concurrency: int = 16,
        patience: int = 8,
        api_key: str | None = None,
    ):
        if timeout <= 0 or retries < 0 or concurrency < 1 or patience < 1:
            raise ValueError(
                "timeout, concurrency and patience must be positive and retries not negative, got "
                f"{timeout}, {concurrency}, {patience}, {retries}"
            )
        self.url, self.transcript = url, transcript
        self.timeout, self.retries = timeout, retries
        self.concurrency, self.patience = concurrency, patience
        chosen = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        self._options: dict[str, Any] = {k: v for k, v in chosen.items() if v is not None}
        self._options |= {"model": model, "extra_body": dict(extra or {})}
        self._openai = _openai()
        self._client = self._openai.OpenAI(
            base_url=url,
            api_key=api_key or os.environ.get("OPENAI_API_KEY") or "none",
            timeout=timeout,
            max_retries=retries,
        )
        self._failures = 0  # in a row

    def act(self, prompts: Sequence[Prompt], /) -> list[str | None]:
        """The answers, None where there was none.

        Raises:
          EndpointError: the server cannot be used.
        """
        kept = self.transcript
        answers = [kept.known(prompt) if kept else None for prompt in prompts]
        new = [i for i, answer in enumerate(answers) if answer is None]
        for i, reply in self._replies(prompts, new):
            answers[i] = reply.answer
            if kept:
                kept.add(prompts[i], reply.answer, error=reply.error, **(reply.more or {}))
            self._failures = 0 if reply.error is None else self._failures + 1
            if reply.hopeless or self._failures >= self.patience:
                raise EndpointError(self._obituary(reply))
        return answers

    def _replies(self, prompts: Sequence[Prompt], which: list[int]) -> Iterator[tuple[int, Reply]]:
        """What comes of the questions, as it comes. Threads do not outlive the programme."""
        todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[int, Reply]] = queue.SimpleQueue()
        stop = threading.Event()
        for i in which:
            todo.put(i)

        def work() -> None:
            while not stop.is_set():
                try:
                    i = todo.get_nowait()
                except queue.Empty:
                    return
                done.put((i, self._ask(prompts[i])))

        for _ in range(min(self.concurrency, len(which))):
            threading.Thread(target=work, daemon=True).start()
        try:
            for _ in which:
                yield done.get()
        finally:
            stop.set()

    def _ask(self, prompt: Prompt) -> Reply:
        """One question, with the client's own retries. Never raises."""
        openai, start = self._openai, time.monotonic()
        messages = [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.text},
        ]
        try:
            reply = self._client.chat.completions.create(messages=messages, **self._options)
            answer, more = _content(reply)
            return Reply(answer, more={"seconds": round(time.monotonic() - start, 3), **more})
        except openai.APITimeoutError:
            return Reply(None, f"no answer within {self.timeout:g} s")
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            hopeless = type(cause).__name__ in _UNREACHABLE
            return Reply(None, f"no connection: {cause}", hopeless)
        except openai.APIStatusError as error:
            said = f"{error.status_code}: {error.message}"[:500]
            return Reply(None, said, hopeless=error.status_code in _HOPELESS)
        except Exception as error:  # whatever a server sends that the client does not expect
            return Reply(None, f"{type(error).__name__}: {error}"[:500])

    def _obituary(self, reply: Reply) -> str:
        model = self._options["model"]
        where = f"; what was answered is in {self.transcript.path}" if self.transcript else ""
        if reply.hopeless and reply.error and reply.error.startswith("404"):
            why = f"knows no model {model!r}, or the path is wrong, which mostly ends in /v1"
        elif reply.hopeless and reply.error and reply.error[0] == "4":
            why = "refuses the key; set OPENAI_API_KEY"
        elif reply.hopeless:
            why = "cannot be reached; is the server running?"
        else:
            why = f"has left {self._failures} questions in a row without an answer"
        return f"{self.url} {why} ({reply.error}){where}"


def _content(reply: Any) -> tuple[str, dict[str, Any]]:
    """The text of a reply, and what it cost.

    Raises:
      ValueError: it is no reply of a chat.
    """
    choices = getattr(reply, "choices", None)
    if not choices:
        raise ValueError(f"this is no chat completion: {str(reply)[:200]!r}")
    usage = getattr(reply, "usage", None)
    more = {"tokens": [usage.prompt_tokens, usage.completion_tokens]} if usage else {}
    return choices[0].message.content or "", {"finish": choices[0].finish_reason, **more}


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise ImportError(
            "asking an endpoint needs the client library of OpenAI: "
            "`pip install 'metarl-jax[text]'`"
        ) from error
    return openai

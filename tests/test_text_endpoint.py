"""Asking a server: one of our own, which answers, is slow, fails, or is not there."""

import http.server
import json
import socket
import threading
import time

import pytest

from metarl.cli import main
from metarl.text import Prompt, RandomTextPolicy
from metarl.text.endpoint import EndpointError, EndpointPolicy
from metarl.text.transcript import Recorded, Transcript

openai = pytest.importorskip("openai")

MOVE = "<action>(1, 1)</action>"
PROMPTS = [Prompt("rules", f"board {i}", i, 0, 0) for i in range(5)]


class Server:
    """Speaks as much of the protocol as needed; `reply(request, number)` says how.

    It gives the text of an answer, or a status with a body, and may sleep.
    """

    def __init__(self, reply):
        self.requests, self.most, self._busy = [], 0, 0
        lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler):
                with lock:
                    size = int(handler.headers["content-length"])
                    request = json.loads(handler.rfile.read(size))
                    request["path"], request["key"] = handler.path, handler.headers["authorization"]
                    self.requests.append(request)
                    number = len(self.requests)
                    self._busy += 1
                    self.most = max(self.most, self._busy)
                try:
                    said = reply(request, number)
                finally:
                    with lock:
                        self._busy -= 1
                status, body = said if isinstance(said, tuple) else (200, completion(said))
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                kind = "application/json" if status else "text/html"
                handler.send_response(status or 200)
                handler.send_header("content-type", kind)
                handler.send_header("content-length", str(len(data)))
                handler.end_headers()
                handler.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads, self.http.block_on_close = True, False
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


def completion(text):
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    return {
        "id": "x", "object": "chat.completion", "created": 0, "model": "m", "usage": usage,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }  # fmt: skip


@pytest.fixture
def serve():
    servers = []

    def start(reply):
        servers.append(Server(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def impatient(monkeypatch):
    """Retries follow at once."""
    from openai import _base_client

    monkeypatch.setattr(_base_client, "INITIAL_RETRY_DELAY", 0.001)


def dead_url():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_question_gets_its_own_answer_side_by_side(serve, tmp_path, monkeypatch):
    def reply(request, number):
        time.sleep(0.05 * (6 - number))  # the last come first
        return "re: " + request["messages"][1]["content"]

    server = serve(reply)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with Transcript(tmp_path / "t.jsonl", {"model": "m"}) as transcript:
        policy = EndpointPolicy(
            server.url, "m", transcript=transcript, concurrency=3, extra={"top_k": 20}
        )
        assert policy.act(PROMPTS) == [f"re: board {i}" for i in range(5)]
    assert server.most == 3
    request = server.requests[0]
    rules, board = request.pop("messages")
    assert rules == {"role": "system", "content": "rules"} and board["role"] == "user"
    assert request == {
        "model": "m", "temperature": 0.7, "top_p": 0.8, "max_tokens": 1024, "top_k": 20,
        "path": "/v1/chat/completions", "key": "Bearer secret",
    }  # fmt: skip
    written = lines(tmp_path / "t.jsonl")
    assert {line["answer"] for line in written} == {f"re: board {i}" for i in range(5)}
    assert written[0]["tokens"] == [7, 2] and written[0]["finish"] == "stop"
    assert written[0]["seconds"] >= 0.05 and written[0]["error"] is None
    assert "secret" not in (tmp_path / "t.jsonl").read_text()


def test_what_is_not_chosen_is_left_to_the_server(serve):
    server = serve(lambda request, number: MOVE)
    EndpointPolicy(server.url, "m", temperature=None, top_p=None, max_tokens=None).act(PROMPTS[:1])
    assert set(server.requests[0]) == {"model", "messages", "path", "key"}


def test_an_error_of_the_server_is_tried_again(serve, impatient):
    server = serve(lambda request, number: (500, {"error": "no"}) if number == 1 else MOVE)
    assert EndpointPolicy(server.url, "m").act(PROMPTS[:1]) == [MOVE]
    assert len(server.requests) == 2


def test_a_slow_answer_is_none_and_the_others_stay(serve, tmp_path):
    released = threading.Event()

    def reply(request, number):
        if request["messages"][1]["content"] == "board 2":
            released.wait(5)
        return MOVE

    server = serve(reply)
    with Transcript(tmp_path / "t.jsonl") as transcript:
        policy = EndpointPolicy(server.url, "m", transcript=transcript, timeout=0.5, retries=0)
        assert policy.act(PROMPTS) == [MOVE, MOVE, None, MOVE, MOVE]
        (failed,) = [x for x in lines(tmp_path / "t.jsonl") if x["answer"] is None]
        assert failed["trial"] == 2 and failed["error"] == "no answer within 0.5 s"
        released.set()
        assert policy.act(PROMPTS) == [MOVE] * 5
        assert len(server.requests) == 6  # only the one without an answer was asked again


@pytest.mark.parametrize(
    "said", [(0, b"<html>Hello</html>"), (200, {"choices": []}), (200, {"a": 1}), (429, {})]
)
def test_nonsense_is_no_answer(serve, impatient, said):
    server = serve(lambda request, number: said if number == 1 else MOVE)
    policy = EndpointPolicy(server.url, "m", retries=0, concurrency=1)
    assert policy.act(PROMPTS) == [None, *[MOVE] * 4]


def test_an_empty_message_is_an_answer(serve):
    server = serve(lambda request, number: None)
    assert EndpointPolicy(server.url, "m").act(PROMPTS[:1]) == [""]


def test_a_dead_endpoint_ends_with_a_word_and_the_transcript(tmp_path, impatient):
    url = dead_url()
    with Transcript(tmp_path / "t.jsonl") as transcript:
        policy = EndpointPolicy(url, "m", transcript=transcript)
        with pytest.raises(EndpointError) as caught:
            policy.act(PROMPTS)
    assert str(caught.value).startswith(f"{url} cannot be reached; is the server running? (no con")
    assert str(caught.value).endswith(f"what was answered is in {tmp_path / 't.jsonl'}")
    (line,) = lines(tmp_path / "t.jsonl")
    assert line["answer"] is None and "no connection" in line["error"]


@pytest.mark.parametrize(
    "status, expected",
    [(401, "refuses the key; set OPENAI_API_KEY"), (404, "knows no model 'm', or the path is")],
)
def test_what_will_not_change_ends_at_once(serve, status, expected):
    server = serve(lambda request, number: (status, {"error": {"message": "so it is"}}))
    with pytest.raises(EndpointError, match=expected):
        EndpointPolicy(server.url, "m", concurrency=1).act(PROMPTS)
    assert len(server.requests) == 1


def test_patience_ends_after_failures_in_a_row(serve, impatient):
    server = serve(lambda request, number: MOVE if number == 3 else (503, {}))
    policy = EndpointPolicy(server.url, "m", retries=0, concurrency=1, patience=4)
    assert policy.act(PROMPTS[:3]) == [None, None, MOVE]
    with pytest.raises(EndpointError, match="has left 4 questions in a row without an answer"):
        policy.act(PROMPTS)
    assert len(server.requests) == 7


def test_options_are_checked(monkeypatch):
    with pytest.raises(ValueError, match="retries not negative"):
        EndpointPolicy("http://localhost", "m", retries=-1)
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(ImportError, match=r"pip install 'metarl-jax\[text\]'"):
        EndpointPolicy("http://localhost", "m")


def test_a_transcript_remembers_and_drops_a_cut_line(tmp_path):
    path = tmp_path / "deep" / "t.jsonl"
    with Transcript(path, {"model": "m"}) as transcript:
        transcript.add(PROMPTS[0], "\ud800 odd √", tokens=[1, 2])
        transcript.add(PROMPTS[1], None, error="late")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key": "cut of')
    with Transcript(path, {"model": "m"}) as transcript:
        assert path.read_bytes() == whole
        assert transcript.known(PROMPTS[0]) == "? odd √" and transcript.known(PROMPTS[1]) is None
        again = Prompt("rules", "board 0", 0, 1, 0)  # the same question in another attempt
        assert transcript.known(again) is None
    with Transcript(path, {"model": "other"}) as transcript:
        assert transcript.known(PROMPTS[0]) is None
    path.write_bytes(whole + b"[]\n")
    with pytest.raises(ValueError, match="line 3 of .* is no answer"):
        Transcript(path)


def test_other_policies_are_recorded_and_not_asked_twice(tmp_path):
    prompts = [Prompt("", f"{i}", i, 0, 0, legal=("up", "left")) for i in range(4)]

    class Counting(RandomTextPolicy):
        asked = []

        def act(self, prompts):
            self.asked.append(len(prompts))
            return super().act(prompts)

    with Transcript(tmp_path / "t.jsonl") as transcript:
        policy = Recorded(Counting(), transcript)
        first = policy.act(prompts[:3])
        assert policy.act(prompts)[:3] == first and policy.act(prompts[:3]) == first
    assert Counting.asked == [3, 1]


def test_the_command_asks_and_goes_on_where_the_server_died(serve, tmp_path, capsys, impatient):
    """Killed after some answers, with all of them kept, and the same result as without."""

    def answer(request, number):
        text = request["messages"][1]["content"]
        if "<remark>" in text:
            return f"<remark>{text.count('?')} cells were closed.</remark>"
        if text.count("?") % 5 == 0:
            return "I give up."
        return f"<action>({text.count('1') % 3 + 1}, {text.count('?') % 3 + 1})</action>"

    def dying(request, number):
        return answer(request, number) if number <= 9 else (404, {"error": "gone"})

    def command(server, out):
        task = "--env minesweeper height=3 width=3 mines=2 --boards 3 --attempts 2 --turns 3"
        where = f"--endpoint {server.url} --model tiny --memory reflection --out {out}"
        return main(["text-trials", *task.split(), *where.split(), "--concurrency", "1"])

    whole, first, second = serve(answer), serve(dying), serve(answer)
    assert command(whole, tmp_path / "whole") == 0
    said = capsys.readouterr().out
    result = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert "pass@1 " in said and "turns" in said and result["invalid_answers"] > 0
    assert set(result["versions"]) == {"metarl", "jax", "openai"}
    assert result["agent"]["model"] == "tiny" and result["turns"] >= 6

    assert command(first, tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert "metarl: http://127.0.0.1" in error and "transcript.jsonl" in error
    assert not (tmp_path / "run" / "result.json").exists()
    assert command(second, tmp_path / "run") == 0
    assert len(second.requests) == len(whole.requests) - 9
    resumed = json.loads((tmp_path / "run" / "result.json").read_text())
    told = ("pass@1", "pass@2", "turns", "invalid_answers", "won_at", "first_return")
    assert [resumed[name] for name in told] == [result[name] for name in told]

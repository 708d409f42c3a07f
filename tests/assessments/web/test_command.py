"""`autocoder assessments serve` as a process: where it listens, how it stops, and that its token is seen nowhere."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import httpx2
import pytest

from autocoder.cli.main import execute
from tests.assessments.conftest import COMMAND, Answer, Start
from tests.assessments.web.conftest import PREFIX, TOKEN
from tests.store.fresh import fresh_sqlite

VARIABLE = "AUTOCODER_ASSESSMENTS__API_TOKEN"
WORDS = ("assessments", "serve", "--port", "0")


class Running:
    """A service in a process of its own; `said` is what it wrote to stderr so far."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process, self.url = process, url
        self.said = b""
        self._reader = threading.Thread(target=self._read, args=(process.stderr,))
        self._reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            self.said += line

    def ended(self) -> int:
        """The exit code, once it has left."""
        code = self.process.wait(60)
        self._reader.join()
        return code


Run = Callable[..., Running]


@pytest.fixture
def running(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Starts the service on a new SQLite file and a free port; it is answering when this returns."""
    started: list[Running] = []

    def runner(*words: str, **environ: str) -> Running:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        process = start(COMMAND, *WORDS, "--json", "--database", fresh_sqlite(tmp_path), *words)
        assert process.stdout is not None
        told = b"".join(process.stdout.readline() for _ in range(3))
        assert told, process.communicate()[1]
        made = Running(process, json.loads(told)["url"])
        started.append(made)
        return made

    yield runner
    for each in started:
        each.process.kill()
        each.ended()


def connected(service: Running, path: str, sent: bytes = b"") -> socket.socket:
    """A connection on which an answer has begun, or is being waited for."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    made = socket.create_connection((host, int(port)), timeout=60)
    made.sendall(sent or f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return made


def read(connection: socket.socket, until: bytes = b"") -> bytes:
    """What comes until something has come, or until the other side closes."""
    got = b""
    while not (until and until in got) and (part := connection.recv(65536)):
        got += part
    assert until in got, got
    return got


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_those_who_wait_and_the_process_in_order(running: Run, number: signal.Signals) -> None:
    service = running()
    with ExitStack() as stack:
        client = stack.enter_context(httpx2.Client(base_url=service.url, timeout=60, trust_env=False))
        assert client.post(PREFIX, json={"id": "one"}).status_code == 202
        places = (f"{PREFIX}/one/events", f"{PREFIX}/one/wait?timeout=300", "/health")
        stream, poll, idle = (stack.enter_context(connected(service, each)) for each in places)
        read(stream, b"event: state")
        read(idle, b'"cache_misses"')
        while "autocoder_http_requests_in_progress 3" not in client.get("/metrics").text:
            pass
        service.process.send_signal(number)
        assert read(stream).endswith(b"0\r\n\r\n"), "the stream is ended, not broken off"
        assert b'"settled":false' in read(poll)
        read(idle)
    assert service.ended() == 0, service.said
    assert b"error" not in service.said and b"Traceback" not in service.said


def test_a_second_signal_stops_by_force(running: Run) -> None:
    service = running("--log-level", "debug")
    head = f"POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"
    with connected(service, PREFIX, head.encode()):
        with httpx2.Client(base_url=service.url, trust_env=False) as client:
            while "autocoder_http_requests_in_progress 2" not in client.get("/metrics").text:
                pass
        service.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            service.process.wait(0.5)  # the body of that request may still come
        service.process.terminate()
        assert service.ended() == 143
    assert b"stopped by force by a second SIGTERM" in service.said


@pytest.mark.parametrize("by_file", [False, True])
def test_the_token_is_seen_nowhere(running: Run, tmp_path: Path, by_file: bool) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    words = ("--token-file", str(file)) if by_file else ()
    service = running("--log-level", "debug", "--debug", *words, **({} if by_file else {VARIABLE: TOKEN}))
    said = ""
    with httpx2.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get(PREFIX).status_code == 401
        assert client.get(PREFIX, headers=bearer).status_code == 200
        for path in (
            "/",
            "/metrics",
            "/health",
            "/openapi.json",
            "/nothing",
            f"{PREFIX}/nobody",
            f"{PREFIX}?x={TOKEN[:-1]}",
        ):
            answer = client.get(path, headers=bearer)
            said += answer.text.replace(TOKEN[:-1], "") + str(answer.headers)
        said += str(client.post("/login", data={"token": TOKEN}).headers)
    service.process.terminate()
    assert service.ended() == 0
    assert b"GET" in service.said
    assert TOKEN not in said and TOKEN.encode() not in service.said
    cmdline = Path(f"/proc/{service.process.pid}/cmdline")
    assert not cmdline.exists() or TOKEN.encode() not in cmdline.read_bytes()


@pytest.fixture
def serve(machine: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs the command in this process, for what it refuses before it listens."""

    def runner(*words: str) -> Answer:
        capfd.readouterr()
        code = execute([*WORDS, "--database", fresh_sqlite(tmp_path), *words])
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return runner


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_a_token_nobody_else_reaches_it(serve: Callable[..., Answer], host: str) -> None:
    answer = serve("--host", host)
    assert (answer.code, answer.out) == (2, "")
    assert f"a token is needed; put one into {VARIABLE}" in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "no such host.example"), "no such address"),
        (("--port", "65536"), "65536 is not in the range"),
        (("--url", "https://x.example.org"), "--url: a proxy that lets others in needs a token behind it"),
        (("--url", "example.org"), "--url: 'example.org' is no address to be called by"),
        (("--token-file", "missing"), "missing: the token cannot be read: No such file"),
        (("--token-file", "short"), "short: a token has at least 16"),
        (("--token-file", "binary"), "binary: a token is text"),
        (("--token-file", "empty"), "empty: a token has at least 16"),
    ],
)
def test_what_is_wrong_is_told_before_anything_listens(
    serve: Callable[..., Answer], machine: Path, words: tuple[str, ...], said: str
) -> None:
    (machine / "short").write_text("hunter2")
    (machine / "binary").write_bytes(b"\xff" * 20)
    (machine / "empty").write_text("")
    answer = serve(*words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err and "hunter2" not in answer.err


def test_a_weak_token_in_the_settings_is_refused_with_its_place_and_not_shown(
    serve: Callable[..., Answer], machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "config").mkdir()
    (machine / "config" / "staging.yaml").write_text("assessments: {api_token: hunter2}\n")
    answer = serve("--debug", "--env", "staging")
    assert answer.code == 78
    assert "config/staging.yaml:1:26: " in answer.err and "a token has at least 16" in answer.err
    assert "hunter2" not in answer.err
    for weak in ("hunter2", ""):  # an empty variable is a secret that went missing, and no wish to do without
        monkeypatch.setenv(VARIABLE, weak)
        answer = serve("--debug")
        assert answer.code == 78
        assert VARIABLE in answer.err and "a token has at least 16" in answer.err and "hunter2" not in answer.err


def test_a_port_that_is_taken_is_told(serve: Callable[..., Answer]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = serve("--port", str(taken.getsockname()[1]))
    assert answer.code == 2
    assert "Address already in use; choose another --port" in answer.err


def test_a_database_that_is_not_there_is_69(machine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert execute([*WORDS, "--database", "postgresql://nobody@127.0.0.1:1/none"]) == 69
    assert "cannot be opened" in capfd.readouterr().err


def test_with_a_token_it_listens_wherever_it_is_told_to(running: Run) -> None:
    service = running("--host", "0.0.0.0", "--url", "https://assessments.example.org", **{VARIABLE: TOKEN})
    assert service.url == "https://assessments.example.org"
    service.process.terminate()
    assert service.ended() == 0


def test_without_the_extra_it_is_told_what_to_install(machine: Path) -> None:
    """The rest of the pack needs none of it."""
    program = f"import sys; sys.modules.update(starlette=None, uvicorn=None); {COMMAND}"
    answers: list[Any] = []
    for words in (WORDS, ("assessments", "list")):
        command = [sys.executable, "-c", program, *words]
        answers.append(
            subprocess.run(command, cwd=machine, env=os.environ, capture_output=True, text=True, check=False)
        )
    assert (answers[0].returncode, answers[1].returncode) == (2, 0)
    assert "pip install 'autocoder[web]'" in answers[0].stderr

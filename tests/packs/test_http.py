"""http.Get and http.Post against a real server on the loopback interface."""

from __future__ import annotations

import datetime
import inspect
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from autocoder_components.http import ExchangeError, Get, Post, RefusedError
from autocoder_components.http.exchange import Retries, retry_after
from hypothesis import given
from hypothesis import strategies as st

from autocoder import Batch, Pipeline, PipelineError, Source
from autocoder.registry import Registry

pytestmark = pytest.mark.anyio

AT_ONCE = {"backoff": 0}


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """Answers with `reply(request)`, or drops the connection where that gives None; remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.reply: Callable[[Request], Reply | None] = lambda _: Reply()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                with outer._lock:
                    outer.requests.append(request)
                    outer._at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer._at_once)
                try:
                    reply = outer.reply(request)
                finally:
                    with outer._lock:
                        outer._at_once -= 1
                if reply is None:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST = do_PUT = do_PATCH = handle_any  # noqa: N815  names of the standard library

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that hangs up is part of the test."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.01), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.other_host = f"http://localhost:{self._server.server_address[1]}"

    def replies(self, *replies: Reply | None) -> None:
        """Answer with these in turn, and with the last one from then on."""
        left = list(replies)
        self.reply = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def as_json(value: Any, **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(200, json.dumps(value).encode(), {"Content-Type": "application/json", **named})


async def read(get: Get[Any], resume: Any = None, most: int | None = None) -> list[Batch[Any]]:
    await get.open()
    batches: list[Batch[Any]] = []
    try:
        async with aclosing(get.read(resume)) as reading:  # type: ignore[type-var]  # a generator
            async for batch in reading:
                batches.append(batch)
                if len(batches) == most:
                    break
    finally:
        await get.close()
    return batches


async def post(sink: Post, payloads: Sequence[Any], keys: Sequence[str] | None = None) -> None:
    await sink.open()
    try:
        await sink.write(payloads, keys or [f"key {number}" for number in range(len(payloads))])
        await sink.flush()
    finally:
        await sink.close()


# Get


async def test_an_array_gives_its_elements_and_an_object_itself(server: Server) -> None:
    server.reply = lambda _: as_json([{"n": 1}, {"n": 2}])
    assert [batch.payloads for batch in await read(Get(url=server.url))] == [[{"n": 1}, {"n": 2}]]
    server.reply = lambda _: as_json({"n": 1})
    assert [batch.payloads for batch in await read(Get(url=server.url))] == [[{"n": 1}]]


@pytest.mark.parametrize(
    ("format", "content_type"), [("auto", "application/x-ndjson; charset=utf-8"), ("lines", "text/plain")]
)
async def test_lines_are_payloads_and_a_broken_line_is_rejected(server: Server, format: str, content_type: str) -> None:
    server.reply = lambda _: Reply(200, b'{"n": 1}\n\n{"n": \r\n{"n": 3}', {"Content-Type": content_type})
    (batch,) = await read(Get(url=server.url, format=format))
    assert batch.payloads == [{"n": 1}, {"n": 3}]
    (rejected,) = batch.rejected
    assert (rejected.place, rejected.raw) == ("line 3", '{"n": \r')


@dataclass(frozen=True)
class Release:
    name: str
    at: datetime.date


async def test_elements_become_payloads_of_a_type(server: Server) -> None:
    server.reply = lambda _: as_json([{"name": "1.0", "at": "2024-05-01"}, {"name": "1.1"}])
    (batch,) = await read(Get(url=server.url, payload=Release))
    assert batch.payloads == [Release("1.0", datetime.date(2024, 5, 1))]
    (rejected,) = batch.rejected
    assert (rejected.place, str(rejected.error)) == ("element 1", "at: Field required")


async def test_elements_of_another_kind_are_rejected_unless_declared(server: Server) -> None:
    server.reply = lambda _: as_json([1, {"a": 1}])
    (batch,) = await read(Get(url=server.url))
    assert batch.payloads == [{"a": 1}]
    assert "expected an object, found a number" in str(batch.rejected[0].error)
    server.reply = lambda _: as_json([1, 2])
    (batch,) = await read(Get(url=server.url, payload=int))
    assert batch.payloads == [1, 2]


async def test_what_was_not_modified_is_not_read_again(server: Server) -> None:
    def reply(request: Request) -> Reply:
        if request.headers.get("if-none-match") == '"v1"':
            return Reply(304)
        return as_json([{"n": 1}], ETag='"v1"', Last_Modified="Wed, 01 May 2024 10:00:00 GMT")

    server.reply = reply
    (batch,) = await read(Get(url=server.url))
    assert batch.resume == {"etag": '"v1"', "modified": "Wed, 01 May 2024 10:00:00 GMT"}
    assert await read(Get(url=server.url), json.loads(json.dumps(batch.resume))) == []
    assert server.requests[-1].headers["if-modified-since"] == "Wed, 01 May 2024 10:00:00 GMT"


async def test_a_cursor_asks_for_what_follows(server: Server) -> None:
    def reply(request: Request) -> Reply:
        after = int(request.query.get("since", ["0"])[0])
        return as_json([{"id": number} for number in range(after + 1, min(after + 3, 6))])

    server.reply = reply
    get = Get(url=f"{server.url}/events?kind=a%20b", every=0.001, cursor_field="id", cursor_param="since")
    with anyio.fail_after(20):
        batches = await read(get, most=4)
    assert [[each["id"] for each in batch.payloads] for batch in batches] == [[1, 2], [3, 4], [5], []]
    assert [batch.resume["cursor"] for batch in batches] == [2, 4, 5, 5]
    assert server.requests[-1].query == {"kind": ["a b"], "since": ["5"]}
    (batch,) = await read(Get(url=server.url, cursor_field="id", cursor_param="since"), {"cursor": 2})
    assert [each["id"] for each in batch.payloads] == [3, 4]


async def test_polling_goes_on_after_not_modified(server: Server) -> None:
    server.replies(as_json([{"n": 1}], ETag="a"), Reply(304), Reply(304), as_json([{"n": 2}], ETag="b"))
    with anyio.fail_after(20):
        batches = await read(Get(url=server.url, every=0.001), most=2)
    assert [batch.payloads for batch in batches] == [[{"n": 1}], [{"n": 2}]]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
async def test_a_busy_server_is_asked_again(server: Server, status: int) -> None:
    server.replies(Reply(status), None, as_json({"n": 1}))
    (batch,) = await read(Get(url=server.url, retry=AT_ONCE))
    assert batch.payloads == [{"n": 1}]
    assert len(server.requests) == 3


async def test_a_server_that_stays_busy_is_given_up(server: Server) -> None:
    server.reply = lambda _: Reply(503)
    with pytest.raises(ExchangeError, match="failed after 3 attempts: the server answered 503"):
        await read(Get(url=f"{server.url}/x", retry={"attempts": 3, **AT_ONCE}))
    assert len(server.requests) == 3


async def test_a_refusal_is_not_repeated(server: Server) -> None:
    server.reply = lambda _: Reply(404)
    with pytest.raises(RefusedError, match="/x: the server refused it with 404") as caught:
        await read(Get(url=f"{server.url}/x?token=hunter2", retry=AT_ONCE))
    assert caught.value.status == 404
    assert len(server.requests) == 1


async def test_retry_after_is_waited_for_but_not_beyond_the_cap(server: Server) -> None:
    server.replies(Reply(429, headers={"Retry-After": "3600"}), as_json({}))
    started = time.monotonic()
    with anyio.fail_after(30):
        await read(Get(url=server.url, retry={"backoff": 0, "cap": 0.2}))
    assert time.monotonic() - started >= 0.2


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime.datetime(2024, 5, 1, 10, tzinfo=datetime.UTC)
    assert retry_after(" 120 ", now) == 120
    assert retry_after("Wed, 01 May 2024 10:00:30 GMT", now) == 30
    assert retry_after("Wed, 01 May 2024 09:00:00 GMT", now) == 0
    assert retry_after("9" * 5000, now) == 10**9
    for odd in (None, "", "soon", "-5", "1.5", "٣"):
        assert retry_after(odd, now) is None


@given(st.integers(1, 500), st.none() | st.floats(0, 1e9), st.floats(0, 10), st.floats(0, 60))
def test_a_delay_is_within_its_bounds(attempt: int, asked: float | None, backoff: float, cap: float) -> None:
    delay = Retries(attempts=2, backoff=backoff, cap=cap).delay(attempt, asked)
    assert min(asked or 0.0, cap) <= delay <= cap


def test_the_jitter_is_full() -> None:
    delays = [Retries(backoff=1, cap=8).delay(3, None) for _ in range(300)]
    assert min(delays) < 1
    assert 3 < max(delays) <= 4


async def test_timeouts(server: Server) -> None:
    done = threading.Event()

    def hang(_: Request) -> Reply:
        done.wait(20)
        return Reply()

    server.reply = hang
    try:
        with pytest.raises(ExchangeError, match=r"nothing came for 0\.1 s"):
            await read(Get(url=server.url, timeout={"read": 0.1}, retry={"attempts": 1}))
        with pytest.raises(ExchangeError, match=r"at the first attempt: no answer within 0\.1 s"):
            await read(Get(url=server.url, timeout={"total": 0.1}, retry={"attempts": 1}))
    finally:
        done.set()


async def test_a_server_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(
            ExchangeError, match=f"GET http://127.0.0.1:{port}/x failed after 2 attempts: no connection"
        ):
            await read(Get(url=f"http://me:hunter2@127.0.0.1:{port}/x?hunter2", retry={"attempts": 2, **AT_ONCE}))


SECRET = {"Authorization": "Bearer hunter2"}


async def test_redirects_within_a_host_are_followed(server: Server) -> None:
    server.reply = lambda request: Reply(302, headers={"Location": "/b"}) if request.path == "/a" else as_json({"n": 1})
    (batch,) = await read(Get(url=f"{server.url}/a", headers=SECRET))
    assert batch.payloads == [{"n": 1}]
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer hunter2"] * 2


async def test_redirects_to_another_host_are_refused_or_go_without_the_headers(server: Server) -> None:
    def reply(request: Request) -> Reply:
        if request.headers["host"].startswith("localhost"):
            return as_json({"n": 1})
        return Reply(302, headers={"Location": f"{server.other_host}/there"})

    server.reply = reply
    with pytest.raises(ExchangeError, match="another host; give the final url, or allow it with redirect_hosts"):
        await read(Get(url=server.url, headers=SECRET))
    (batch,) = await read(Get(url=server.url, headers=SECRET, redirect_hosts=["localhost"]))
    assert batch.payloads == [{"n": 1}]
    assert "authorization" not in server.requests[-1].headers
    assert server.requests[-2].headers["authorization"] == "Bearer hunter2"


async def test_redirects_end(server: Server) -> None:
    server.reply = lambda _: Reply(302, headers={"Location": "/"})
    with pytest.raises(ExchangeError, match="more than 5 redirects"):
        await read(Get(url=server.url))
    server.reply = lambda _: Reply(302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(ExchangeError, match="another host"):
        await read(Get(url=server.url))


async def test_an_answer_is_read_up_to_its_bound_also_when_compressed(server: Server) -> None:
    server.reply = lambda _: as_json(["x" * 10_000])
    with pytest.raises(ExchangeError, match="larger than 10000 bytes; raise max_body"):
        await read(Get(url=server.url, max_body=10_000))
    squeezed = zlib.compress(b" " * 10_000_000)
    server.reply = lambda _: Reply(200, squeezed, {"Content-Encoding": "deflate"})
    with pytest.raises(ExchangeError, match="larger than"):
        await read(Get(url=server.url, max_body=1_000_000))
    server.reply = lambda _: Reply(200, b"no deflate", {"Content-Encoding": "deflate"})
    with pytest.raises(ExchangeError, match="the connection broke"):
        await read(Get(url=server.url, retry={"attempts": 1}))


async def test_an_answer_that_is_no_json_stops_with_its_place(server: Server) -> None:
    server.reply = lambda _: Reply(200, b'{"n": 1}\n{"n": 2}')
    with pytest.raises(ValueError, match=r"no JSON \(line 2, column 1\); is it one document a line"):
        await read(Get(url=server.url))


# Post


async def test_each_payload_is_a_request_with_its_key(server: Server) -> None:
    await post(
        Post(url=f"{server.url}/in", headers=SECRET), [{"n": 1}, Release("ü", datetime.date(2024, 5, 1))], ["a", "b"]
    )
    first, second = sorted(server.requests, key=lambda request: request.headers["idempotency-key"])
    assert (first.json, first.headers["idempotency-key"], first.method, first.path) == ({"n": 1}, "a", "POST", "/in")
    assert second.json == {"name": "ü", "at": "2024-05-01"}
    assert second.headers["content-type"] == "application/json"
    assert second.headers["authorization"] == "Bearer hunter2"


async def test_a_batch_is_one_request(server: Server) -> None:
    sink = Post(url=server.url, batch=True, method="PUT")
    await post(sink, [1, 2, 3], ["a", "b", "c"])
    await post(sink, [1, 2, 3], ["a", "b", "c"])
    await post(sink, [1, 2], ["a", "b"])
    first, second, third = server.requests
    assert (first.json, first.method) == ([1, 2, 3], "PUT")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] != third.headers["idempotency-key"]


async def test_attempts_of_a_message_share_its_key(server: Server) -> None:
    server.replies(Reply(503), None, Reply(201))
    await post(Post(url=server.url, retry=AT_ONCE), [{"n": 1}], ["a"])
    assert [request.headers["idempotency-key"] for request in server.requests] == ["a"] * 3


async def test_requests_run_at_the_same_time_up_to_a_bound(server: Server) -> None:
    together = threading.Barrier(4)

    def reply(_: Request) -> Reply:
        together.wait(20)
        return Reply()

    server.reply = reply
    await post(Post(url=server.url, requests=4), list(range(12)))
    assert server.most_at_once == 4
    assert sorted(request.json for request in server.requests) == list(range(12))


async def test_one_request_at_a_time_keeps_the_order(server: Server) -> None:
    await post(Post(url=server.url, requests=1), list(range(20)))
    assert [request.json for request in server.requests] == list(range(20))


async def test_a_refused_message_does_not_hold_back_the_others(server: Server) -> None:
    server.reply = lambda request: Reply(422 if request.json == 3 else 200)
    sink = Post(url=server.url)
    await sink.open()
    keys = [str(number) for number in range(8)]
    with pytest.raises(RefusedError, match="refused it with 422"):
        await sink.write(list(range(8)), keys)
    # The runtime finds the message at fault by giving them singly: what was accepted is not sent again.
    for number in range(8):
        if number != 3:
            await sink.write([number], [str(number)])
    assert Counter(request.json for request in server.requests) == Counter(range(8))
    await sink.flush()
    await sink.write([0], ["0"])
    assert len(server.requests) == 9
    await sink.close()


async def test_a_server_that_is_away_ends_the_whole_batch(server: Server) -> None:
    server.reply = lambda _: Reply(503)
    with pytest.raises(ExchangeError):
        await post(Post(url=server.url, requests=2, retry={"attempts": 1}), list(range(50)))
    assert len(server.requests) <= 4


async def test_a_redirect_keeps_the_method_or_is_refused(server: Server) -> None:
    server.reply = lambda request: Reply(308, headers={"Location": "/b"}) if request.path == "/a" else Reply()
    await post(Post(url=f"{server.url}/a"), [1])
    assert [(request.method, request.path, request.json) for request in server.requests] == [
        ("POST", "/a", 1), ("POST", "/b", 1),
    ]  # fmt: skip
    server.reply = lambda _: Reply(302, headers={"Location": "/b"})
    with pytest.raises(ExchangeError, match="would make a GET of it"):
        await post(Post(url=f"{server.url}/a"), [1])


async def test_what_is_no_json_is_refused_by_its_type(server: Server) -> None:
    with pytest.raises(ValueError, match="a payload of type dict holds something that is no JSON"):
        await post(Post(url=server.url), [{"a": object()}])
    assert server.requests == []


# Both


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Get(url="ftp://host/hunter2"), "must begin with http:// or https://"),
        (lambda: Get(url="hunter2"), "must begin with http:// or https://"),
        (lambda: Get(url="http://h:port/hunter2"), "cannot be read"),
        (lambda: Get(url="http://h", cursor_field="id"), "go together"),
        (lambda: Get(url="http://h", headers={"if-none-match": "hunter2"}), "if-none-match is set by the component"),
        (lambda: Post(url="http://h", headers={"Idempotency-Key": "hunter2"}), "is set by the component"),
        (lambda: Post(url="http://h", headers={"A": "hunter2\r\nB: 1"}), "the value of A holds a line break"),
        (lambda: Post(url="http://h", headers={"A b": "hunter2"}), "'A b' is no name of a header"),
        (lambda: Post(url="http://h", timeout={"conect": 1}), "conect"),
        (lambda: Post(url="http://h", retry={"attempts": 0}), "greater than or equal to 1"),
    ],
)
def test_bad_configuration_is_refused_without_its_secrets(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_no_secret_is_told_or_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.reply = lambda _: Reply(403)
    url = server.url.replace("http://", "http://me:hunter2@") + "/x?token=hunter2"
    get = Get(url=url, headers=SECRET, retry={"attempts": 1})
    with caplog.at_level(logging.DEBUG), pytest.raises(RefusedError) as caught:
        await read(get)
    assert "/x" in caplog.text
    assert "hunter2" not in caplog.text
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(get.headers)
    assert "hunter2" in server.requests[0].path


def test_without_the_extra_the_cure_is_named() -> None:
    code = (
        "import sys; sys.modules['httpx2'] = None\n"
        "from autocoder_components.http import Get\n"
        "try: Get(url='http://h')\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'autocoder[http]'" in done.stdout


def test_the_library_is_not_imported_before_a_component_is_made() -> None:
    code = "import sys, autocoder_components.http; print('httpx2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


# In pipelines


@pytest.mark.parametrize("component", [Get, Post])
async def test_the_example_in_the_documentation_runs(component: type[Get[Any] | Post], server: Server) -> None:
    server.reply = lambda _: as_json([{"n": 1}])
    (example,) = re.findall(r"```yaml\n(.*?)```", inspect.getdoc(component) or "", re.DOTALL)
    environ = {"RELEASES_URL": server.url, "PAGER_URL": server.url, "PAGER_TOKEN": "hunter2"}
    summary = await Pipeline.from_yaml(example, environ=environ).run_async()
    assert summary.messages_out > 0
    assert summary.dead_letters == 0
    assert all(each.description for each in component.config_model().model_fields.values())


PAGES = """
pipeline: pages
components:
  tickets: {use: flow.Generate, with: {count: 40, value: "{'ticket': i}"}}
  page: {use: http.Post, from: tickets, with: {url: "${URL}", retry: {attempts: 2, backoff: 0}}}
"""


async def test_a_refused_message_becomes_a_dead_letter_of_the_pipeline(server: Server) -> None:
    server.reply = lambda request: Reply(422 if request.json["ticket"] == 7 else 200)
    letters: list[Any] = []
    pipeline = Pipeline.from_yaml(PAGES, environ={"URL": server.url})
    summary = await pipeline.run_async(on_dead_letter=letters.append)
    assert [letter.payload for letter in letters] == [{"ticket": 7}]
    assert summary.components["page"].dead_letters == 1
    times = Counter(request.json["ticket"] for request in server.requests)
    assert times.pop(7) == 2
    assert times == Counter(number for number in range(40) if number != 7)


async def test_a_second_run_sends_the_same_keys(server: Server) -> None:
    for _ in range(2):
        await Pipeline.from_yaml(PAGES, environ={"URL": server.url}).run_async()
    keys = Counter(request.headers["idempotency-key"] for request in server.requests)
    assert len(keys) == 40
    assert set(keys.values()) == {2}


async def test_a_server_that_is_away_stops_the_pipeline(server: Server) -> None:
    server.reply = lambda _: Reply(503)
    with pytest.raises(PipelineError, match=r"component 'page'.*failed after 2 attempts: the server answered 503"):
        await Pipeline.from_yaml(PAGES, environ={"URL": server.url}).run_async()


async def test_a_pipeline_reads_and_sends(server: Server) -> None:
    server.reply = lambda request: as_json([{"n": n} for n in range(100)]) if request.method == "GET" else Reply(204)
    text = """
pipeline: relay
components:
  read: {use: http.Get, with: {url: "${URL}"}}
  send: {use: http.Post, from: read, with: {url: "${URL}", batch: true}}
"""
    await Pipeline.from_yaml(text, environ={"URL": server.url}, registry=Registry.installed()).run_async()
    sent = [each["n"] for request in server.requests if request.method == "POST" for each in request.json]
    assert sorted(sent) == list(range(100))
    assert issubclass(Get, Source)

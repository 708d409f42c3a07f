"""http.Get and http.Post against a real server on the loopback interface."""

from __future__ import annotations

import datetime
import json
import socket
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass

import anyio
import pytest
from autocoder_components.http import ExchangeError, Get, Post, RefusedError
from autocoder_components.http.exchange import Retries, retry_after
from hypothesis import given
from hypothesis import strategies as st

from autocoder import UnreachableError
from tests.packs.http_server import SECRET, Reply, Request, Server, as_json, post, read

pytestmark = pytest.mark.anyio

AT_ONCE = {"backoff": 0}


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
    url = server.url.replace("http://", "http://me:hunter2@")
    (batch,) = await read(Get(url=f"{url}/a?token=hunter2", format=format))
    assert batch.payloads == [{"n": 1}, {"n": 3}]
    (rejected,) = batch.rejected
    assert (rejected.place, rejected.raw) == (f"{server.url}/a, line 3", '{"n": \r')


@dataclass(frozen=True)
class Release:
    name: str
    at: datetime.date


async def test_elements_become_payloads_of_a_type(server: Server) -> None:
    server.reply = lambda _: as_json([{"name": "1.0", "at": "2024-05-01"}, {"name": "1.1"}])
    (batch,) = await read(Get(url=server.url, payload=Release))
    assert batch.payloads == [Release("1.0", datetime.date(2024, 5, 1))]
    (rejected,) = batch.rejected
    assert (rejected.place, str(rejected.error)) == (f"{server.url}/, element 1", "at: Field required")


async def test_elements_of_another_kind_are_rejected_unless_declared(server: Server) -> None:
    server.reply = lambda _: as_json([1, {"a": 1}])
    (batch,) = await read(Get(url=server.url))
    assert batch.payloads == [{"a": 1}]
    assert "expected an object, found a number" in str(batch.rejected[0].error)
    server.reply = lambda _: as_json([1, 2])
    (batch,) = await read(Get(url=server.url, payload=int))
    assert batch.payloads == [1, 2]


async def test_a_line_too_deep_to_be_read_is_rejected_like_any_other(server: Server) -> None:
    server.reply = lambda _: Reply(200, b'{"n": 1}\n' + b"[" * 200_000 + b'\n{"n": 3}', {})
    (batch,) = await read(Get(url=server.url, format="lines"))
    assert batch.payloads == [{"n": 1}, {"n": 3}]
    assert [each.place for each in batch.rejected] == [f"{server.url}/, line 2"]


async def test_what_was_not_modified_is_not_read_again(server: Server) -> None:
    def reply(request: Request) -> Reply:
        if request.headers.get("if-none-match") == '"v1"':
            return Reply(304)
        return as_json([{"n": 1}], ETag='"v1"', Last_Modified="Wed, 01 May 2024 10:00:00 GMT")

    server.reply = reply
    (batch,) = await read(Get(url=server.url))
    assert batch.resume == {"answers": 1, "etag": '"v1"', "modified": "Wed, 01 May 2024 10:00:00 GMT"}
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
    with pytest.raises(UnreachableError, match="failed after 3 attempts: the server answered 503; allow more attempts"):
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
        with pytest.raises(UnreachableError, match=r"nothing came for 0\.1 s"):
            await read(Get(url=server.url, timeout={"read": 0.1}, retry={"attempts": 1}))
        with pytest.raises(UnreachableError, match=r"at the first attempt: no answer within 0\.1 s"):
            await read(Get(url=server.url, timeout={"total": 0.1}, retry={"attempts": 1}))
    finally:
        done.set()


async def test_a_server_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(
            UnreachableError, match=f"GET http://127.0.0.1:{port}/x failed after 2 attempts: no connection"
        ):
            await read(Get(url=f"http://me:hunter2@127.0.0.1:{port}/x?hunter2", retry={"attempts": 2, **AT_ONCE}))


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
    with pytest.raises(UnreachableError, match="the connection broke"):
        await read(Get(url=server.url, retry={"attempts": 1}))


async def test_an_answer_that_is_no_json_stops_with_its_place(server: Server) -> None:
    server.reply = lambda _: Reply(200, b'{"n": 1}\n{"n": 2}')
    with pytest.raises(ValueError, match=r"no JSON \(line 2, column 1\); is it one document a line"):
        await read(Get(url=server.url))


@pytest.mark.parametrize(
    ("number", "said"), [("NaN", "NaN is no JSON"), ("-Infinity", "-Infinity is no"), ("1e999", "number 1e999 is too")]
)
async def test_a_number_that_json_does_not_have_is_no_json(server: Server, number: str, said: str) -> None:
    server.reply = lambda _: Reply(200, f'[{{"n": {number}}}]'.encode())
    with pytest.raises(ValueError, match=f"is no JSON: .*{said}"):
        await read(Get(url=server.url))
    server.reply = lambda _: Reply(200, f'{{"n": 1}}\n{{"n": {number}}}\n{{"n": "{number}"}}'.encode())
    [batch] = await read(Get(url=server.url, format="lines"))
    assert batch.payloads == [{"n": 1}, {"n": number}]
    [rejected] = batch.rejected
    assert said in str(rejected.error) and str(rejected.place).endswith("line 2")


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
    with pytest.raises(RefusedError, match="refused it with 422"):
        await sink.write([3], ["3"])
    assert Counter(request.json for request in server.requests) == Counter(range(8))
    with pytest.raises(RefusedError):  # a second attempt asks again
        await sink.write([3], ["3"])
    assert len(server.requests) == 9
    await sink.flush()
    await sink.write([0], ["0"])
    assert len(server.requests) == 10
    await sink.close()


async def test_a_server_that_is_away_ends_the_whole_batch(server: Server) -> None:
    server.reply = lambda _: Reply(503)
    with pytest.raises(UnreachableError):
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


async def test_numbers_that_json_does_not_have_become_null(server: Server) -> None:
    await post(Post(url=server.url), [{"n": [float("nan"), float("-inf")]}])
    await post(Post(url=server.url, batch=True), [float("inf"), 1.5])
    assert [request.body for request in server.requests] == [b'{"n":[null,null]}', b"[null,1.5]"]


async def test_what_is_no_json_is_refused_by_its_type(server: Server) -> None:
    with pytest.raises(ValueError, match="a payload of type dict holds something that is no JSON"):
        await post(Post(url=server.url), [{"a": object()}])
    assert server.requests == []

"""What is sent to break the service, or to get at it from another site: refused by name, nothing stored, nothing shown."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
import anyio.abc
import httpx2
import pytest
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.assessments.web.conftest import PREFIX, TOKEN, Served, problem, serving
from tests.store.fresh import BOTH

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("url", BOTH, indirect=True)
JSON = {"Content-Type": "application/json"}
MEGABYTE = 1024 * 1024


async def stored(store: AssessmentStore) -> int:
    return len((await store.list_assessments()).assessments)


@pytest.mark.parametrize("path", [PREFIX, f"{PREFIX}/batch", f"{PREFIX}/one/cancel"])
async def test_ten_megabytes_are_too_many(store: AssessmentStore, served: Served, path: str) -> None:
    body = json.dumps({"reason": "x" * 10 * MEGABYTE}).encode()

    async def in_chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 65536):
            yield body[at : at + 65536]

    for content in (body, in_chunks()):
        answer = await served.client.post(path, content=content, headers=JSON)
        assert "is the most" in problem(answer, 413, "too_large", "body")
    assert await stored(store) == 0


@both
async def test_ten_megabytes_of_options_within_a_body_that_may_come(store: AssessmentStore) -> None:
    """Where the body is let through, the store still says which part of the request is too large."""
    async with serving(store, most_bytes=32 * MEGABYTE) as served:
        paths = ["x" * 1000] * 10_000
        answer = await served.client.post(PREFIX, json={"paths": paths})
        assert "are allowed" in problem(answer, 422, "invalid_request", "paths")
    assert await stored(store) == 0


async def test_a_length_that_is_told_is_judged_before_anything_is_read(served: Served) -> None:
    """The body never comes: whoever read it first would wait for ever."""
    for length in (3 * MEGABYTE, 10**19):
        head = f"POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
        got = await served.raw(f"{head}\r\n".encode())
        assert got.startswith(b"HTTP/1.1 413 "), got
        expecting = await served.raw(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert expecting.startswith(b"HTTP/1.1 413 "), "the client is not asked to go on"


async def test_a_body_that_drips_is_given_up(store: AssessmentStore) -> None:
    head = f"POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    async with serving(store, body_seconds=0.2) as served:
        for rest in (b"Content-Length: 50\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"):
            got = await served.raw(head + rest, until_closed=True)
            assert got.startswith(b"HTTP/1.1 408 ") and b'"too_slow"' in got, got
    assert await stored(store) == 0


DRIPPED = b"X-Drip: 1\r\n"
WHOLE = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "answered"),
    [
        (b"", b"HTTP/1.1 408 "),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"HTTP/1.1 408 "),
        # The second head on a connection, and a body that nobody reads.
        (WHOLE + b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 "),
        (WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Length: 100000\r\n\r\n"), b"HTTP/1.1 200 "),
    ],
)
async def test_a_head_that_drips_is_given_up(store: AssessmentStore, first: bytes, answered: bytes) -> None:
    async with serving(store, head_seconds=0.3) as served:
        async with await anyio.connect_tcp("127.0.0.1", served.port) as stream:
            await stream.send(first)
            got = b""
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_drip, stream, bool(first))
                    with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                        while True:
                            got += await stream.receive()
                    tasks.cancel_scope.cancel()
        assert got.startswith(answered), got
        assert (await served.client.get("/health")).status_code == 200


async def _drip(stream: anyio.abc.SocketStream, drips: bool) -> None:
    while drips:
        await anyio.sleep(0.02)
        with suppress(anyio.BrokenResourceError):
            await stream.send(DRIPPED)


async def test_who_waits_for_an_answer_is_not_taken_for_slow(store: AssessmentStore) -> None:
    made = await store.create({})
    async with serving(store, head_seconds=0.05) as served:
        answer = await served.client.get(f"{PREFIX}/{made}/wait", params={"timeout": 0.5})
        assert (answer.status_code, answer.json()["settled"]) == (200, False), answer.text


async def test_a_body_that_breaks_off_stores_nothing(store: AssessmentStore, served: Served) -> None:
    stream = await anyio.connect_tcp("127.0.0.1", served.port)
    head = f"POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
    await stream.send(head.encode() + b"{}")
    await anyio.sleep(0.05)
    await stream.aclose()
    with anyio.fail_after(20):
        while served.service.meter.in_progress:
            await anyio.sleep(0.01)
    assert await stored(store) == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Expecting value"),
        (b"{", "line 1, column 2"),
        (b'{"id": "a",}', "line 1"),
        (b'{"priority": NaN}', "the body is no JSON: NaN is no JSON"),
        (b'{"priority": -Infinity}', "-Infinity is no JSON"),
        (b'{"id": "a", "id": "b"}', "'id' stands in one object twice"),
        (b'{"id": "\xff"}', "not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"priority": ' + b"1" * 5000 + b"}", "limit"),
        (b'{} {"id": "a"}', "Extra data"),
        (b"'{}'", "Expecting value"),
    ],
)
async def test_what_is_no_json_is_refused_with_its_place(
    store: AssessmentStore, served: Served, body: bytes, said: str
) -> None:
    answer = await served.client.post(PREFIX, content=body, headers=JSON)
    assert said in problem(answer, 400, "bad_json", "body")
    assert await stored(store) == 0


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
async def test_a_body_has_to_say_that_it_is_json(store: AssessmentStore, served: Served, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    problem(
        await served.client.post(PREFIX, content=b"{}", headers=headers), 415, "unsupported_media_type", "Content-Type"
    )
    assert await stored(store) == 0
    said = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await served.client.post(PREFIX, content=b"{}", headers=said)).status_code == 202


@both
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "nonsense"}, "type"),
        ({"nonsense": True}, "nonsense"),
        ({"options": {"nonsense": True}}, "nonsense"),
        ({"priority": 0}, "priority"),
        ({"priority": 11}, "priority"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": 366 * 86400}, "timeout"),
        ({"id": "x" * 300}, "id"),
        ({"id": "a\x00b"}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"id": "\u202egnp"}, "id"),
        ({"id": "\ud800"}, "id"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ([], "request"),
        (None, "request"),
        ("id", "request"),
    ],
)
async def test_a_request_that_cannot_be_stored_is_refused_by_field(
    store: AssessmentStore, served: Served, body: Any, field: str
) -> None:
    answer = await served.client.post(PREFIX, content=json.dumps(body).encode(), headers=JSON)
    assert field in problem(answer, 422, "invalid_request", *answer.json().get("fields", []))
    assert answer.json()["fields"] == [field]
    assert await stored(store) == 0


@both
@pytest.mark.parametrize(
    "odd", ["a\x00b", "\ud800", "\ud800\x00", "\U0001f600", "\u202e", "'; DROP TABLE assessment_states"]
)
async def test_no_text_breaks_the_database(store: AssessmentStore, served: Served, odd: str) -> None:
    """Stored as it is, or refused; never an answer that says that the database is down."""
    bodies = (
        {"server_filter": odd},
        {"paths": [odd]},
        {"candidates": [{"text": odd, "name": odd or "x", "client": odd}]},
        {"timestamp": odd},
        {odd: 1},
    )
    for body in bodies:
        answer = await served.client.post(PREFIX, content=json.dumps(body).encode(), headers=JSON)
        assert answer.status_code in (202, 422), (body, answer.text)
        if answer.status_code == 202:
            shown = await served.client.get(answer.headers["location"])
            page = await served.client.get(answer.headers["location"].removeprefix("/api/v1"))
            assert (shown.status_code, page.status_code) == (200, 200)
    assert (await served.client.get(PREFIX)).status_code == (await served.client.get("/")).status_code == 200


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    ["id", "type", "paths", "server_filter", "priority", "timeout", "options", "source", "candidates"]
)


async def test_whatever_json_comes_the_answer_is_ours(served: Served) -> None:
    """Of any JSON: stored, in conflict, or refused by field; and the service goes on."""
    examples: list[Any] = []

    @settings(max_examples=40)
    @given(VALUES | st.dictionaries(FIELDS, VALUES, max_size=4))
    def gather(body: Any) -> None:
        examples.append(body)

    gather()
    for body in examples:
        answer = await served.client.post(PREFIX, content=json.dumps(body).encode(), headers=JSON)
        assert answer.status_code in (202, 409, 422), (body, answer.text)
        assert answer.status_code == 202 or answer.json()["fields"], (body, answer.text)
    assert (await served.client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 600_000 + b"\r\n\r\n",
        b"POST "
        + PREFIX.encode()
        + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST " + PREFIX.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n{}",
        b"POST " + PREFIX.encode() + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_refused_and_the_service_goes_on(served: Served, sent: bytes) -> None:
    got = await served.raw(sent, until_closed=True)
    assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 415 ")), got
    assert (await served.client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    "path", ["//etc/passwd", "/static/../../etc/passwd", "/static/x/..%2F..%2Fpages.py", "/%00", "/static/"]
)
async def test_no_path_leads_out(served: Served, path: str) -> None:
    got = await served.raw(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(), until_closed=True
    )
    assert got.startswith(b"HTTP/1.1 404 "), got
    assert b"root:" not in got


async def test_a_name_of_somebody_else_reaches_nothing(store: AssessmentStore, served: Served) -> None:
    """DNS rebinding: the page of evil.example may have its own name point at 127.0.0.1."""
    for host in (
        "evil.example",
        f"evil.example:{served.port}",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "",
        "[::1",
    ):
        for method, path in (("GET", PREFIX), ("POST", PREFIX), ("GET", "/health"), ("GET", "/openapi.json")):
            answer = await served.client.request(method, path, headers={"Host": host})
            problem(answer, 421, "wrong_host", "Host")
        assert (await served.client.get("/", headers={"Host": host})).status_code == 421
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8321", "localhost."):
        assert (await served.client.get(PREFIX, headers={"Host": host})).status_code == 200
    assert await stored(store) == 0


async def test_no_page_of_another_site_changes_anything(store: AssessmentStore, served: Served) -> None:
    await store.create({"id": "one"})
    own = served.url
    elsewhere = (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": own.replace("127.0.0.1", "localhost")},
        {"Origin": own + "1"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": own},
    )
    for headers in elsewhere:
        for path in (PREFIX, f"{PREFIX}/batch", f"{PREFIX}/one/cancel"):
            answer = await served.client.post(path, json={}, headers=headers)
            problem(answer, 403, "cross_site", "Origin")
            assert not [each for each in answer.headers if each.startswith("access-control")]
        assert (await served.client.post("/login", data={"token": TOKEN}, headers=headers)).status_code == 403
    assert (await store.get_state("one", fresh=True)).state == "pending"
    assert await stored(store) == 1
    preflight = await served.client.options(PREFIX, headers={"Origin": "https://evil.example"})
    assert preflight.status_code == 405
    assert not [each for each in preflight.headers if each.startswith("access-control")]
    assert (await served.client.post(PREFIX, json={}, headers={"Origin": own})).status_code == 202


async def test_every_answer_says_what_a_browser_may_do_with_it(served: Served) -> None:
    for answer in [
        *[
            await served.client.get(path)
            for path in ("/", "/nothing", "/api/nothing", "/health", "/metrics", "/login", PREFIX)
        ],
        await served.client.get("/", headers={"Host": "evil.example"}),
        await served.client.post(PREFIX, content=b"x"),
    ]:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "*" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "server" not in answer.headers


async def test_a_mistake_of_ours_is_told_without_its_words(
    store: AssessmentStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the answer may not hold, the log does."""

    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("sk-very-secret")

    monkeypatch.setattr(store, "get_state", broken)
    async with serving(store) as served:
        answer = await served.client.get(f"{PREFIX}/one")
        problem(answer, 500, "internal_error")
        page = await served.client.get("/assessments/one")
        assert (page.status_code, page.headers["content-type"]) == (500, "text/html; charset=utf-8")
        assert "very-secret" not in answer.text + page.text
        assert "ZeroDivisionError" in caplog.text
        assert (await served.client.get("/health")).status_code == 200


async def test_with_a_token_everything_but_the_door_is_closed(store: AssessmentStore) -> None:
    await store.create({"id": "one"})
    async with serving(store, token=TOKEN) as served:
        closed = (
            ("GET", PREFIX),
            ("POST", PREFIX),
            ("POST", f"{PREFIX}/batch"),
            ("GET", f"{PREFIX}/one"),
            ("GET", f"{PREFIX}/one/wait"),
            ("GET", f"{PREFIX}/one/events"),
            ("POST", f"{PREFIX}/one/cancel"),
            ("GET", "/api/v1/stats"),
            ("GET", "/metrics"),
            ("GET", "/api/nothing"),
            ("DELETE", PREFIX),
            ("HEAD", PREFIX),
        )
        wrong = ("", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer \xff")
        for method, path in closed:
            for said in wrong:
                headers = [(b"Authorization", said.encode("latin-1"))] if said else []
                answer = await served.client.request(method, path, headers=headers)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (method, path, said)
                assert TOKEN[:-1] not in answer.text
        allowed = httpx2.Headers({"Authorization": f"bearer {TOKEN}"})
        assert (await served.client.get(PREFIX, headers=allowed)).status_code == 200
        assert (await served.client.post(PREFIX, json={}, headers=allowed)).status_code == 202
        assert (await served.client.get("/health")).json() == {"status": "healthy"}
        assert (await served.client.get("/health", headers=allowed)).json()["pending"] == 2
        assert (await served.client.get("/openapi.json")).status_code == 200
        assert "autocoder_assessments_up 1.0" in (await served.client.get("/metrics", headers=allowed)).text
    assert (await store.get_state("one", fresh=True)).state == "pending"

"""Servers that are addresses: those of the public package, and fakes that mean harm. Loopback only."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from autocoder_components.assessments.model import Status

from tests.assessments.probes.conftest import (
    HANDSHAKE,
    MODERN,
    TOOL,
    always,
    answer,
    json_rpc,
    late,
    listening,
    probe,
    request_of,
    rules,
)

pytestmark = pytest.mark.anyio

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def at(port: int, path: str = "/mcp", host: str = "127.0.0.1") -> dict[str, Any]:
    return {"type": "http", "url": f"http://{host}:{port}{path}"}


@pytest.mark.parametrize(
    ("mode", "path", "kind", "said", "found"),
    [
        ("http", "/mcp", "http", "MCP 2026-07-28 over Streamable HTTP, 2 tools listed in ", []),
        ("http-old", "/mcp", "http", "MCP 2025-11-25 over Streamable HTTP, 2 tools listed in ", []),
        ("sse", "/sse", "sse", "MCP 2025-11-25 over HTTP+SSE, 2 tools listed in ", []),
        ("sse", "/sse", "http", None, ["AC-817"]),
    ],
)
async def test_servers_of_the_public_package(
    sdk: Callable[[str], int], mode: str, path: str, kind: str, said: str | None, found: list[str]
) -> None:
    outcome = await probe({"type": kind, "url": f"http://127.0.0.1:{sdk(mode)}{path}"})
    assert rules(outcome) == found
    assert (outcome.reason or "").startswith(said or "")


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (MODERN, "MCP 2026-07-28 over Streamable HTTP, 1 tool "),
        (HANDSHAKE, "MCP 2025-06-18 over Streamable HTTP, 2 tools"),
        (
            {"initialize": {"protocolVersion": "2024-11-05", "capabilities": {}}},
            "MCP 2024-11-05 over Streamable HTTP, no",
        ),
        ({**MODERN, "server/discover": {**MODERN["server/discover"], "capabilities": {}}}, "MCP 2026-07-28 over"),
    ],
)
async def test_each_era_by_json(results: dict[str, Any], said: str) -> None:
    async with listening(json_rpc(results)) as port:
        outcome = await probe(at(port))
    assert outcome.status is Status.PASS
    assert (outcome.reason or "").startswith(said)


async def test_the_headers_and_the_session_of_each_era_are_as_the_protocol_wants_them() -> None:
    heads: list[dict[str, str]] = []

    def server(results: dict[str, Any], *more: str) -> Callable[[SocketStream], Any]:
        async def handler(stream: SocketStream) -> None:
            head, body = await request_of(stream)
            first, *lines = head.split("\r\n")
            heads.append({"": first.split()[0], **dict(line.lower().split(": ", 1) for line in lines)})
            message = json.loads(body) if body else {}
            result = results.get(message.get("method", ""))
            part = {"error": {"code": -32601, "message": "no"}} if result is None else {"result": result}
            reply = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), **part}).encode()
            await stream.send(answer(200, reply, "Content-Type: application/json", *more))

        return handler

    async with listening(server(MODERN)) as port:
        await probe({**at(port), "headers": {"X-Key": "secret"}})
    assert [each.get("mcp-method") for each in heads] == ["server/discover", "tools/list"]
    assert {each["mcp-protocol-version"] for each in heads} == {"2026-07-28"}
    assert {each["x-key"] for each in heads} == {"secret"}
    heads.clear()
    async with listening(server(HANDSHAKE, "Mcp-Session-Id: s-1")) as port:
        await probe(at(port))
    older = heads[1:]
    assert [each[""] for each in older] == ["POST", "POST", "POST", "DELETE"]
    assert [each.get("mcp-session-id") for each in older] == [None, "s-1", "s-1", "s-1"]
    assert [each.get("mcp-protocol-version") for each in older] == [None, *["2025-06-18"] * 3]


async def never(stream: SocketStream) -> None:
    await request_of(stream)
    await anyio.sleep_forever()


async def drip(stream: SocketStream) -> None:
    await request_of(stream)
    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        await stream.send(b" ")
        await anyio.sleep(0.01)


async def dripping_head(stream: SocketStream) -> None:
    await request_of(stream)
    await stream.send(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        await stream.send(b"x")
        await anyio.sleep(0.01)


async def silent_events(stream: SocketStream) -> None:
    await request_of(stream)
    await stream.send(EVENTS)
    while True:
        await stream.send(chunk(b": still here\n\n"))
        await anyio.sleep(0.01)


async def mute(stream: SocketStream) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize("handler", [mute, never, drip, dripping_head, silent_events])
async def test_one_that_does_not_answer_has_its_time_and_no_more(handler: Any) -> None:
    async with listening(handler) as port:
        outcome = await probe(at(port), timeout=0.5)
    assert rules(outcome) == ["AC-812"]
    assert "No end after 0.5 s" in outcome.findings[0].message


async def endless_line(stream: SocketStream) -> None:
    await request_of(stream)
    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(100):
        await stream.send(b"x" * 1_000_000)


async def endless_event(stream: SocketStream) -> None:
    await request_of(stream)
    await stream.send(EVENTS)
    for _ in range(100):
        await stream.send(chunk(b"data: " + b"x" * 1_000_000))


async def endless_events(stream: SocketStream) -> None:
    await request_of(stream)
    await stream.send(EVENTS)
    while True:
        await stream.send(chunk((b"data: sk-never-shown" + b" " * 480 + b"\n\n") * 400))


async def endless_head(stream: SocketStream) -> None:
    await request_of(stream)
    await stream.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await stream.send(b"X-Filler: " + b"x" * 10_000 + b"\r\n")


async def no_http(stream: SocketStream) -> None:
    await stream.receive()
    await stream.send(b"220 mail.example.org sk-never-shown ESMTP\r\n")


async def hang_up(stream: SocketStream) -> None:
    await stream.receive()


@pytest.mark.parametrize(
    ("handler", "rule", "said"),
    [
        (endless_line, "AC-811", "An answer is longer than 4,194,304 bytes"),
        (endless_event, "AC-811", "One line of an event stream is longer than 4,194,304 bytes"),
        (endless_events, "AC-811", "answers more than 16,777,216 bytes"),
        (endless_head, "AC-811", "breaks the rules of HTTP"),
        (no_http, "AC-811", "breaks the rules of HTTP"),
        (hang_up, "AC-811", "breaks the rules of HTTP"),
        (always(answer(200, b"sk-never-shown", "Content-Type: text/html")), "AC-811", "is no message of the protocol"),
        (always(answer(200, b'["sk-never-shown"', "Content-Type: application/json")), "AC-811", "is no message"),
        (always(answer(200, b"[" * 100_000, "Content-Type: application/json")), "AC-811", "is no message"),
        (always(answer(404, b"sk-never-shown")), "AC-809", "the HTTP status 404"),
        (always(answer(500, b"sk-never-shown")), "AC-809", "the HTTP status 500"),
        (json_rpc({**MODERN, "tools/list": -32603}), "AC-813", "fails with the error -32603"),
        (json_rpc({**MODERN, "tools/list": {"tools": [{"name": 7}]}}), "AC-813", "holds what is no tool"),
        (json_rpc({**MODERN, "tools/list": {"tools": [TOOL], "nextCursor": "a"}}), "AC-813", "no end within 100 pages"),
        (
            json_rpc({"initialize": {"protocolVersion": "1999"}}),
            "AC-811",
            "a version of the protocol that is not known",
        ),
        (json_rpc({"initialize": -32603}), "AC-811", "refuses the handshake with the error -32603"),
    ],
)
async def test_servers_that_mean_harm_or_do_it(handler: Any, rule: str, said: str) -> None:
    async with listening(handler) as port:
        outcome = await probe(at(port))
    assert outcome.status is Status.FAIL
    assert rules(outcome) == [rule]
    assert said in outcome.findings[0].message
    assert "sk-never-shown" not in str(outcome.findings)


@pytest.mark.parametrize(
    ("results", "stage"), [(MODERN, "tools/list"), (HANDSHAKE, "initialize"), (HANDSHAKE, "tools/list")]
)
@pytest.mark.parametrize(
    ("harm", "rule"),
    [
        (anyio.sleep_forever, "AC-812"),
        (b" ", "AC-812"),
        (b"", "AC-811"),
        (b"x" * 1_000_000, "AC-811"),
        (answer(500), "AC-809"),
        (answer(307, b"", "Location: http://169.254.169.254/"), "AC-810"),
    ],
    ids=["silence", "drip", "hangs up", "one long line", "an error", "a redirect inwards"],
)
async def test_harm_at_each_step_of_either_era(results: dict[str, Any], stage: str, harm: Any, rule: str) -> None:
    harmed = anyio.Event()

    async def handler(stream: SocketStream) -> None:
        _, body = await request_of(stream)
        message = json.loads(body) if body else {}
        if message.get("method") != stage:
            result = results.get(message.get("method", ""))
            part = {"error": {"code": -32601, "message": "no"}} if result is None else {"result": result}
            reply = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), **part}).encode()
            await stream.send(answer(200, reply, "Content-Type: application/json"))
            return
        harmed.set()
        if not isinstance(harm, bytes):
            await harm()
        elif harm.startswith(b"HTTP"):
            await stream.send(harm)
        elif harm:
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
            while True:
                await stream.send(harm)
                await anyio.sleep(0.01)

    async with listening(handler) as port:
        outcome = (await late(harmed.is_set, at(port)))[0] if rule == "AC-812" else await probe(at(port))
    assert rules(outcome) == [rule]
    assert harmed.is_set()


async def test_nothing_listens() -> None:
    async with listening(never) as port:
        pass
    outcome = await probe(at(port))
    assert rules(outcome) == ["AC-803"]
    assert f"No connection to '127.0.0.1', port {port}: " in outcome.findings[0].message


async def test_a_sign_in_is_for_a_person_and_a_refused_credential_is_a_finding() -> None:
    async with listening(always(answer(401))) as port:
        asked = await probe(at(port))
        refused = await probe({**at(port), "headers": {"Authorization": "Bearer sk-never-shown"}})
    assert (asked.status, rules(asked)) == (Status.MANUAL, [])
    assert "asks for a sign-in (HTTP status 401)" in (asked.reason or "")
    assert rules(refused) == ["AC-809"]
    assert "does not accept the configured credential" in refused.findings[0].message
    assert "sk-never-shown" not in str(refused.findings)


@pytest.mark.parametrize("value", ["a\r\nX: 1", "naïve 漢", "\x00"])
async def test_a_header_that_http_cannot_carry_is_not_sent_and_not_shown(value: str) -> None:
    async with listening(json_rpc(MODERN)) as port:
        outcome = await probe({**at(port), "headers": {"X-Key": value}})
    assert outcome.status is Status.SKIPPED
    assert outcome.reason == "a header of the configuration cannot be sent by HTTP"


class TestRedirects:
    async def test_within_the_host_they_are_followed(self) -> None:
        async def moved(stream: SocketStream) -> None:
            head, _ = await request_of(stream)
            assert head.startswith("POST /old")
            await stream.send(answer(307, b"", f"Location: http://127.0.0.1:{port}/mcp"))

        seen: list[str] = []

        async def server(stream: SocketStream) -> None:
            head, body = await request_of(stream)
            seen.append(head)
            result = MODERN[json.loads(body)["method"]]
            reply = json.dumps({"jsonrpc": "2.0", "id": json.loads(body)["id"], "result": result}).encode()
            await stream.send(answer(200, reply, "Content-Type: application/json"))

        async with listening(server) as port, listening(moved) as old:
            outcome = await probe({**at(old, "/old"), "headers": {"Authorization": "Bearer sk-for-the-first-alone"}})
        assert outcome.status is Status.PASS
        assert seen
        assert "sk-for-the-first-alone" not in str(seen)

    async def test_to_an_address_that_is_not_allowed_they_are_refused_before_anything_is_sent(self) -> None:
        contacted: list[str] = []

        async def inner(stream: SocketStream) -> None:
            contacted.append("here")

        async with listening(inner, host="127.0.0.2") as port:
            redirect = always(answer(307, b"", f"Location: http://127.0.0.2:{port}/latest/meta-data"))
            async with listening(redirect) as entry:
                outcome = await probe(at(entry))
        assert rules(outcome) == ["AC-810"]
        assert "'127.0.0.2' has a private, local or metadata address" in outcome.findings[0].message
        assert contacted == []

    @pytest.mark.parametrize(
        ("status", "location", "said"),
        [
            (307, "http://169.254.169.254/", "'169.254.169.254' has a private, local or metadata address"),
            (307, "http://[::ffff:10.0.0.1]/", "has a private, local or metadata address"),
            (307, "http://10.0.0.1/", "'10.0.0.1' has a private"),
            (307, "file:///etc/passwd", "to what is no address of http or https"),
            (307, "http://[broken/", "to what is no address of http or https"),
            (302, "/mcp", "with 302, which would make a GET of the request"),
            (308, "/mcp", "redirects more than 5 times"),
        ],
    )
    async def test_others_are_refused(self, status: int, location: str, said: str) -> None:
        async with listening(always(answer(status, b"", f"Location: {location}"))) as port:
            outcome = await probe(at(port), hosts=["127.0.0.1", "*"])
        assert rules(outcome) == ["AC-810"]
        assert said in outcome.findings[0].message


class TestReach:
    async def test_no_host_is_contacted_where_none_is_allowed(self) -> None:
        contacted: list[str] = []

        async def inner(stream: SocketStream) -> None:
            contacted.append("here")

        async with listening(inner) as port:
            for hosts in ([], ["*"], ["127.0.0.2"], ["10.0.0.0/8", "localhost"]):
                for host in ("127.0.0.1", "localhost"):
                    outcome = await probe(at(port, host=host), hosts=hosts)
                    assert outcome.status is Status.SKIPPED
                    assert "allow it in the field hosts of ProbeServer" in (outcome.reason or "")
        assert contacted == []

    async def test_a_name_is_judged_by_its_address(self) -> None:
        async with listening(json_rpc(MODERN)) as port:
            outcome = await probe(at(port, host="localhost"), hosts=["127.0.0.0/8"])
        assert outcome.status is Status.PASS


async def test_a_host_that_fails_again_and_again_is_left_alone() -> None:
    from autocoder_components.assessments import ProbeServer

    from tests.assessments.probes.conftest import LOOPBACK, check_of

    async with listening(never) as port:
        pass
    component = ProbeServer(hosts=LOOPBACK, failures=2, pause=1000)
    await component.open()
    outcomes = [await component.process(check_of(at(port))) for _ in range(3)]
    assert [each.status for each in outcomes] == [Status.FAIL, Status.FAIL, Status.ERROR]
    assert "failed 2 times in a row" in (outcomes[2].reason or "")


class TestOldTransport:
    @pytest.mark.parametrize("endpoint", ["http://127.0.0.2:1/x", "https://127.0.0.1/x", "//10.0.0.1/x", "file:///x"])
    async def test_an_endpoint_elsewhere_is_refused(self, endpoint: str) -> None:
        async def handler(stream: SocketStream) -> None:
            await request_of(stream)
            await stream.send(EVENTS + chunk(f"event: endpoint\ndata: {endpoint}\n\n".encode()))
            await anyio.sleep_forever()

        async with listening(handler) as port:
            outcome = await probe({"type": "sse", "url": f"http://127.0.0.1:{port}/sse"})
        assert rules(outcome) == ["AC-811"]
        assert "to be sent to another origin" in outcome.findings[0].message

    async def test_a_stream_that_ends_is_a_finding(self) -> None:
        async with listening(always(EVENTS + chunk(b"event: message\ndata: {}\n\n") + b"0\r\n\r\n")) as port:
            outcome = await probe({"type": "sse", "url": f"http://127.0.0.1:{port}/sse"})
        assert rules(outcome) == ["AC-811"]
        assert "ends before it says where messages are sent to" in outcome.findings[0].message

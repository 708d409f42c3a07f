"""The parts of the protocol alone: messages, event streams, and the breaker of a host."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import anyio
import pytest
from autocoder_components.assessments.probes.breaker import MOST_HOSTS, Breakers
from autocoder_components.assessments.probes.outcome import Limits, ProbeError, Trace
from autocoder_components.assessments.probes.protocol import Message, Reply, converse, decode, reply_of
from autocoder_components.assessments.probes.remote import Event, events
from autocoder_components.assessments.rules import CATALOGUE
from hypothesis import given
from hypothesis import strategies as st


def parsed(chunks: list[bytes], limit: int = 10_000) -> list[Event]:
    async def given_chunks() -> AsyncIterator[bytes]:
        for each in chunks:
            yield each

    async def run() -> list[Event]:
        return [each async for each in events(given_chunks(), limit)]

    return anyio.run(run)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_as_the_standard_has_them(end: bytes) -> None:
    lines = [
        b"event: endpoint",
        b"data:/x",
        b"",
        b": a comment",
        b"data: a",
        b"data:  b",
        b"id: 7",
        b"",
        b"",
        b"data: lost",
    ]
    assert parsed([end.join(lines)]) == [Event("endpoint", b"/x"), Event("message", b"a\n b")]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_events_do_not_depend_on_how_they_are_cut(body: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(body), *(min(each, len(body)) for each in cuts)})
    pieces = [body[start:end] for start, end in pairwise(edges)]
    assert parsed(pieces) == parsed([body])


@given(st.lists(st.sampled_from([b"data: x", b"\n", b"\r", b"\r\n", b"event: e", b":", b""]), max_size=30))
def test_cuts_between_and_within_ends_of_lines(parts: list[bytes]) -> None:
    body = b"".join(parts)
    assert parsed([body[at : at + 1] for at in range(len(body))]) == parsed([body])


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_flood_of_ends_of_lines_takes_time_in_its_length_alone(end: bytes) -> None:
    flood = end * (2**20 // len(end))
    started = time.process_time()
    assert parsed([flood]) == parsed([flood[at : at + 2**16] for at in range(0, len(flood), 2**16)]) == []
    # Each byte once takes less than a second; with what follows it each time, it takes ten.
    assert time.process_time() - started < 5


def test_an_event_of_many_lines_is_bounded_too() -> None:
    with pytest.raises(ProbeError, match="One event is longer than 100 bytes"):
        parsed([b"data: x\n" * 60], limit=100)


@given(st.binary(max_size=100))
def test_no_bytes_break_the_reading_of_messages(data: bytes) -> None:
    decode(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
keys = st.sampled_from(["id", "result", "error", "method", "code", "data", "supported", "tools", "nextCursor"])
messages = st.dictionaries(keys, json_values | st.dictionaries(keys, json_values, max_size=4), max_size=5)


@given(messages, st.integers(1, 3))
def test_a_message_is_the_reply_to_a_request_or_is_not(message: dict[str, Any], number: int) -> None:
    try:
        reply = reply_of({"jsonrpc": "2.0", **message}, number)
    except ProbeError as error:
        assert error.remark.rule is CATALOGUE["AC-811"]
    else:
        assert reply is None or (message["id"] == number and (reply.result is None) != (reply.code is None))


class Scripted:
    """A link that gives these replies to these methods."""

    def __init__(self, replies: list[tuple[str, Reply]]) -> None:
        self.replies = replies

    async def ask(self, message: Message) -> Reply:
        method, reply = self.replies.pop(0)
        assert message["method"] == method
        json.dumps(message)
        return reply

    async def tell(self, message: Message) -> None:
        pass

    def settle(self, version: str) -> None:
        pass


MODERN = Reply({"supportedVersions": ["2026-07-28"], "capabilities": {}})
OLDER = Reply({"protocolVersion": "2025-11-25", "capabilities": {}})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("replies", "version"),
    [
        ([("server/discover", MODERN)], "2026-07-28"),
        ([("server/discover", Reply(code=-32601)), ("initialize", OLDER)], "2025-11-25"),
        ([("server/discover", Reply(code=-32022, supported=("2025-11-25",))), ("initialize", OLDER)], "2025-11-25"),
        ([("server/discover", Reply({"supportedVersions": ["2025-06-18"]})), ("initialize", OLDER)], "2025-11-25"),
        (
            # One that was slow to start has heard both questions, and stays with the first.
            [
                ("server/discover", Reply(code=-32601)),
                ("initialize", Reply(code=-32022, supported=("2026-07-28",))),
                ("server/discover", MODERN),
            ],
            "2026-07-28",
        ),
    ],
)
async def test_the_era_is_found(replies: list[tuple[str, Reply]], version: str) -> None:
    link = Scripted(list(replies))
    assert (await converse(link, Limits(), Trace(), "it")).version == version
    assert link.replies == []


@pytest.mark.anyio
async def test_a_server_of_another_time_is_told_apart_from_one_that_is_broken() -> None:
    link = Scripted([("server/discover", Reply(code=-32022, supported=("2031-01-01",)))])
    with pytest.raises(ProbeError, match="no version of the protocol that is known"):
        await converse(link, Limits(), Trace(), "it")


class TestBreakers:
    def test_a_host_is_left_alone_after_its_failures_and_then_tried_by_one(self) -> None:
        now = 0.0
        breakers = Breakers(2, 60, lambda: now)
        breakers.record("a", reached=False)
        assert breakers.wait("a") == 0
        breakers.record("a", reached=False)
        assert breakers.wait("a") == 60
        assert breakers.wait("b") == 0
        now = 61.0
        assert breakers.wait("a") == 0  # this one tries
        assert breakers.wait("a") == 60
        breakers.record("a", reached=False)
        assert breakers.wait("a") == 60
        now = 122.0
        assert breakers.wait("a") == 0
        breakers.record("a", reached=True)
        assert breakers.wait("a") == 0
        breakers.record("a", reached=False)
        assert breakers.wait("a") == 0

    def test_no_number_of_hosts_fills_the_memory(self) -> None:
        breakers = Breakers(1, 60, lambda: 0.0)
        for number in range(MOST_HOSTS + 5):
            breakers.record(str(number), reached=False)
        assert breakers.wait("0") == 0
        assert breakers.wait(str(MOST_HOSTS)) == 60

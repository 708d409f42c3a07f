"""Probing a server that is an address: Streamable HTTP in both eras of the protocol, and the HTTP+SSE transport before it."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import anyio

from autocoder_components.assessments.probes.http import Answer, Client, Terms, Url
from autocoder_components.assessments.probes.outcome import Answered, Limits, ProbeError, SignInNeededError, Trace
from autocoder_components.assessments.probes.protocol import (
    REFUSED,
    Message,
    Reply,
    converse,
    decode,
    encode,
    refusal_of,
    reply_of,
)
from autocoder_components.assessments.rules.base import quote
from autocoder_components.assessments.rules.status import HTTP_REFUSED, NO_MCP, OLD_TRANSPORT

STREAMABLE: Final = "Streamable HTTP"
OLD: Final = "HTTP+SSE"
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_SESSION: Final = re.compile(r"[\x21-\x7e]{1,1024}")
_SIGN_IN: Final = frozenset({401, 403})
_NO_SUCH_WAY: Final = frozenset({400, 404, 405, 406, 415, 501})
"""How servers refuse a transport that they do not speak; anything else is about this server, not about its transport."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A server to contact: its address, the headers that its configuration gives, and whether it is said to speak HTTP+SSE."""

    url: Url
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    old: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    data: bytes


class _RefusedError(Exception):
    """The server refuses what was sent as a whole; `status` says how (0: with an answer that is no message)."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def probe_remote(remote: Remote, terms: Terms, trace: Trace) -> Answered:
    """Connect, find the transport and the era, list the tools, and say goodbye.

    Raises ProbeError, NotAskedError where the host may not be contacted, SignInNeededError where the server asks for that.
    """
    client = Client(remote.url, remote.headers, terms, trace)
    try:
        if remote.old:
            return await _old(client, terms.limits, trace)
        link = _Posts(client, terms.limits)
        try:
            # HTTP answers each request, also one that is not understood: here silence means slow, and not old.
            patient = replace(terms.limits, patience=math.inf)
            answered = await converse(link, patient, trace, STREAMABLE)
        except _RefusedError as refused:
            if refused.status not in _NO_SUCH_WAY or trace.answered:
                raise _refused(refused.status, client) from None
        else:
            await link.leave()
            return answered
        try:
            answered = await _old(client, terms.limits, trace)
        except _RefusedError:
            raise _refused(link.refused, client) from None
        trace.remark(OLD_TRANSPORT, f"{quote(client.url.host)} speaks only {OLD}")
        return answered
    except _RefusedError as refused:
        raise _refused(refused.status, client) from None
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(terms.limits.grace):
            await client.aclose()


def _refused(status: int, client: Client) -> ProbeError:
    if not status:
        return ProbeError(NO_MCP, f"{quote(client.url.host)} answers with what is no message of the protocol")
    return ProbeError(HTTP_REFUSED, f"{quote(client.url.host)} answers with the HTTP status {status}")


def _check_sign_in(answer: Answer, client: Client) -> None:
    if answer.status not in _SIGN_IN:
        return
    if client.has_credentials and answer.url.origin == client.url.origin:
        raise ProbeError(
            HTTP_REFUSED,
            f"{quote(client.url.host)} does not accept the configured credential (HTTP status {answer.status})",
        )
    raise SignInNeededError(
        f"{quote(client.url.host)} asks for a sign-in (HTTP status {answer.status}), which only a person can give; the "
        "connection itself works"
    )


class _Posts:
    """Streamable HTTP: each message is a request of its own, answered by JSON or by a stream of events."""

    def __init__(self, client: Client, limits: Limits) -> None:
        self._client = client
        self._limits = limits
        self._version: str | None = None
        self._session: str | None = None
        self.refused = 0

    async def ask(self, message: Message) -> Reply:
        reply: Reply | None = None
        async with self._client.send("POST", self._client.url, self._headers(message), encode(message)) as answer:
            _check_sign_in(answer, self._client)
            if message["method"] == "initialize":
                self._session = _session_of(answer)
            if answer.media_type == JSON:
                received = decode(await answer.body(self._limits.message_bytes))
                reply = None if received is None else _reply(received, message)
            elif answer.media_type == EVENTS and answer.status == 200:
                async for event in events(answer.chunks, self._limits.message_bytes):
                    received = decode(event.data)
                    reply = None if received is None else reply_of(received, message["id"])
                    if reply is not None:
                        break
        if reply is not None:
            return reply
        self.refused = answer.status if answer.status >= 300 else 0
        if message["method"] == "server/discover":
            return Reply(code=REFUSED)  # whoever does not know the question may refuse it in any way
        raise _RefusedError(self.refused)

    async def tell(self, message: Message) -> None:
        async with self._client.send("POST", self._client.url, self._headers(message), encode(message)) as answer:
            _check_sign_in(answer, self._client)
            if answer.status >= 300:
                raise _refused(answer.status, self._client)

    def settle(self, version: str) -> None:
        self._version = version

    async def leave(self) -> None:
        """End the session, if there is one; a server that does not heed that is no worse for it."""
        if self._session is None:
            return
        with anyio.move_on_after(self._limits.grace):
            try:
                async with self._client.send("DELETE", self._client.url, self._session_headers()):
                    pass
            except ProbeError:
                return

    def _headers(self, message: Message) -> list[tuple[str, str]]:
        meta = message.get("params", {}).get("_meta")
        modern = None if meta is None else meta["io.modelcontextprotocol/protocolVersion"]
        headers = [("Accept", f"{JSON}, {EVENTS}"), ("Content-Type", JSON)]
        if modern is not None:
            return [*headers, ("MCP-Protocol-Version", modern), ("Mcp-Method", message["method"])]
        return [*headers, *self._session_headers()]

    def _session_headers(self) -> list[tuple[str, str]]:
        session = [] if self._session is None else [("Mcp-Session-Id", self._session)]
        return session if self._version is None else [*session, ("MCP-Protocol-Version", self._version)]


def _reply(received: Message, message: Message) -> Reply | None:
    """The reply; an error without the number of its request is the answer to the one request that was sent."""
    if received.get("id") is None and "error" in received:
        received = {**received, "id": message["id"]}
    return reply_of(received, message["id"])


def _session_of(answer: Answer) -> str | None:
    session = answer.headers.get("mcp-session-id")
    return session if session is not None and _SESSION.fullmatch(session) else None


async def _old(client: Client, limits: Limits, trace: Trace) -> Answered:
    """HTTP+SSE: one long answer carries the events, the first of which says where messages are sent to."""
    trace.stage = "waiting for the event stream"
    async with client.send("GET", client.url, [("Accept", EVENTS)]) as answer:
        _check_sign_in(answer, client)
        if answer.status != 200 or answer.media_type != EVENTS:
            raise _RefusedError(answer.status if answer.status >= 300 else 0)
        stream = events(answer.chunks, limits.message_bytes)
        endpoint = await _endpoint(stream, answer.url)
        return await converse(_Events(client, endpoint, stream), limits, trace, OLD, modern_first=False)


async def _endpoint(stream: AsyncIterator[Event], at: Url) -> Url:
    async for event in stream:
        if event.name == "endpoint":
            url = at.join(event.data.decode(errors="replace"))
            # Another origin would make the probe send what a stranger wants to where it wants.
            if url is None or url.origin != at.origin:
                raise ProbeError(NO_MCP, "The server wants messages to be sent to another origin")
            return url
    raise ProbeError(NO_MCP, "The event stream ends before it says where messages are sent to")


class _Events:
    """HTTP+SSE once its endpoint is known: messages are posted there, answers come as events."""

    def __init__(self, client: Client, endpoint: Url, stream: AsyncIterator[Event]) -> None:
        self._client = client
        self._endpoint = endpoint
        self._stream = stream

    async def ask(self, message: Message) -> Reply:
        await self.tell(message)
        async for event in self._stream:
            received = decode(event.data)
            if received is None:
                continue
            reply = reply_of(received, message["id"])
            if reply is not None:
                return reply
            refusal = refusal_of(received)
            if refusal is not None:
                await self.tell(refusal)
        raise ProbeError(NO_MCP, "The event stream ends in the middle of the conversation")

    async def tell(self, message: Message) -> None:
        async with self._client.send("POST", self._endpoint, [("Content-Type", JSON)], encode(message)) as answer:
            _check_sign_in(answer, self._client)
            if answer.status >= 300:
                raise _refused(answer.status, self._client)

    def settle(self, version: str) -> None:
        """The older transport has no header for the version."""


async def events(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[Event]:
    """The server-sent events of a body, as the HTML standard parses them; ids and retry times are of no use here.

    Raises ProbeError for a line or an event of more than `limit` bytes.
    """
    name, data = "", bytearray()
    lines = _Lines(limit)
    async for chunk in chunks:
        for line in lines.ended_in(chunk):
            if not line:
                if data:
                    yield Event(name or "message", bytes(data[:-1]))
                    data = bytearray()
                name = ""
                continue
            field_name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field_name == b"event":
                name = value.decode(errors="replace")
            elif field_name == b"data":
                data += value + b"\n"
                if len(data) > limit:
                    raise ProbeError(NO_MCP, f"One event is longer than {limit:,} bytes")


class _Lines:
    """Lines ended by CRLF, LF or CR; what stands after the last end is no line, for the stream broke off in it.

    Each byte is looked at once: whoever sends nothing but ends of lines must not hold up all else that this process does.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = bytearray()
        self._after_return = False

    def ended_in(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that end in this chunk, the next one of the stream."""
        at = 1 if self._after_return and chunk.startswith(b"\n") else 0
        self._after_return = chunk.endswith(b"\r") if chunk else self._after_return
        for end in _LINE_END.finditer(chunk, at):
            line = chunk[at : end.start()]
            if self._begun:
                line = bytes(self._begun) + line
                self._begun.clear()
            at = end.end()
            yield line
        self._begun += chunk[at:]
        if len(self._begun) > self._limit:
            raise ProbeError(NO_MCP, f"One line of an event stream is longer than {self._limit:,} bytes")

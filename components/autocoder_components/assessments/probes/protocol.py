"""The little of MCP that a probe speaks: both eras of the protocol, over any link that carries one question to one answer.

Up to 2025-11-25 a conversation begins with `initialize`. The revision of 2026-07-28 removed that: each request says its
version in `_meta`, and `server/discover` tells what the server is. Which of the two a server speaks is found by asking.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio

from autocoder_components.assessments.probes.outcome import Answered, Limits, ProbeError, Trace
from autocoder_components.assessments.rules.status import NO_MCP, NO_TOOLS

MODERN: Final = "2026-07-28"
HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
UNSUPPORTED_VERSION: Final = -32022
METHOD_NOT_FOUND: Final = -32601
REFUSED: Final = 0
"""The code of a reply that is no message: the link refused the question in its own way."""
_META: Final = "io.modelcontextprotocol/"
_CLIENT: Final = {"name": "autocoder-probe", "version": "1"}

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request: its result, or the code of its error with the versions that the error names."""

    result: Mapping[str, Any] | None = None
    code: int | None = None
    supported: tuple[str, ...] = ()


class Link(Protocol):
    """A way to a server. What cannot be asked or answered is a ProbeError; that there is no end to waiting is the caller's."""

    async def ask(self, message: Message) -> Reply:
        """The server's answer to this request. `REFUSED` is the code of one that came in no message."""
        ...

    async def tell(self, message: Message) -> None:
        """Send a notification."""
        ...

    def settle(self, version: str) -> None:
        """From now on the conversation is of this revision."""
        ...


def decode(data: bytes) -> Message | None:
    """One JSON-RPC message; None for what is none."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and message.get("jsonrpc") == "2.0" else None


def encode(message: Message) -> bytes:
    """The message as one line without its end."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=True).encode()


def reply_of(message: Message, number: int) -> Reply | None:
    """The reply to the request of that number; None where the message is something else."""
    if message.get("id") != number or isinstance(message.get("id"), bool) or "method" in message:
        return None
    if isinstance(message.get("result"), dict):
        return Reply(result=message["result"])
    error = message.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("code"), int):
        raise ProbeError(NO_MCP, "An answer has neither a result nor an error")
    data = error.get("data")
    named = data.get("supported") if isinstance(data, dict) else None
    supported = tuple(each for each in named if isinstance(each, str)) if isinstance(named, list) else ()
    return Reply(code=error["code"], supported=supported)


def refusal_of(message: Message) -> Message | None:
    """What to answer where the message is a request of the server's own; None where it is none."""
    if "method" not in message or message.get("id") is None:
        return None
    answer: Message = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] == "ping":
        return {**answer, "result": {}}
    return {**answer, "error": {"code": METHOD_NOT_FOUND, "message": "a probe answers no requests"}}


class Conversation:
    """One conversation with one server over one link, from finding the era to the list of tools."""

    def __init__(self, link: Link, limits: Limits, trace: Trace) -> None:
        self._link = link
        self._limits = limits
        self._trace = trace
        self._number = 0
        self._modern = False

    async def open(self, *, modern_first: bool = True) -> tuple[str, bool]:
        """Find the era and begin. The revision agreed on, and whether the server offers tools.

        A server that does not know `server/discover`, or says nothing to it for the time of `patience`, is asked with
        `initialize`; one that then says it speaks the new revision only was slow to start, and is asked again.
        """
        if modern_first:
            self._trace.stage = "waiting for the answer to server/discover"
            offered = None
            with anyio.move_on_after(self._limits.patience):
                offered = await self._discover()
            if offered is not None:
                return offered
        self._modern = False
        self._trace.stage = "waiting for the answer to initialize"
        offer = {"protocolVersion": HANDSHAKE[-1], "capabilities": {}, "clientInfo": _CLIENT}
        reply = await self._ask("initialize", offer)
        if reply.code == UNSUPPORTED_VERSION and MODERN in reply.supported:
            offered = await self._discover()
            if offered is not None:
                return offered
        if reply.result is None:
            raise ProbeError(NO_MCP, f"The server refuses the handshake with the error {reply.code}")
        version, capabilities = reply.result.get("protocolVersion"), reply.result.get("capabilities")
        if version not in HANDSHAKE:
            raise ProbeError(
                NO_MCP, "The server answers the handshake with a version of the protocol that is not known"
            )
        if not isinstance(capabilities, dict):
            raise ProbeError(NO_MCP, "The server answers the handshake without its capabilities")
        self._instructions(reply.result)
        self._link.settle(version)
        await self._link.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return version, "tools" in capabilities

    async def count_tools(self) -> int:
        """How many tools the server lists, page by page."""
        self._trace.stage = "waiting for the list of tools"
        count, cursor = 0, None
        for _ in range(self._limits.pages):
            reply = await self._ask("tools/list", {} if cursor is None else {"cursor": cursor})
            if reply.result is None:
                raise ProbeError(NO_TOOLS, f"The list of tools fails with the error {reply.code}")
            tools = reply.result.get("tools")
            if not isinstance(tools, list) or not all(map(_is_tool, tools)):
                raise ProbeError(NO_TOOLS, "The list of tools holds what is no tool")
            count += len(tools)
            for tool in tools:
                self._trace.heard(tool)
            cursor = reply.result.get("nextCursor")
            if cursor is None:
                return count
            if not isinstance(cursor, str):
                raise ProbeError(NO_TOOLS, "The list of tools goes on at what is no cursor")
        raise ProbeError(NO_TOOLS, f"The list of tools has no end within {self._limits.pages} pages")

    async def _discover(self) -> tuple[str, bool] | None:
        """The modern offer; None where the answer is no sign of the new revision."""
        self._modern = True
        reply = await self._ask("server/discover", {})
        if reply.code == UNSUPPORTED_VERSION and reply.supported and not {MODERN, *HANDSHAKE} & set(reply.supported):
            raise ProbeError(NO_MCP, "The server speaks no version of the protocol that is known")
        versions = None if reply.result is None else reply.result.get("supportedVersions")
        if reply.result is None or not isinstance(versions, list) or MODERN not in versions:
            return None
        capabilities = reply.result.get("capabilities")
        if not isinstance(capabilities, dict):
            raise ProbeError(NO_MCP, "The server answers server/discover without its capabilities")
        self._instructions(reply.result)
        self._link.settle(MODERN)
        return MODERN, "tools" in capabilities

    def _instructions(self, result: Mapping[str, Any]) -> None:
        said = result.get("instructions")
        if isinstance(said, str):
            self._trace.instructed(said)

    async def _ask(self, method: str, params: Message) -> Reply:
        self._number += 1
        meta = {
            f"{_META}protocolVersion": MODERN,
            f"{_META}clientInfo": _CLIENT,
            f"{_META}clientCapabilities": {},
        }
        sent = {**params, "_meta": meta} if self._modern else params
        reply = await self._link.ask({"jsonrpc": "2.0", "id": self._number, "method": method, "params": sent})
        self._trace.answered |= reply.code != REFUSED
        return reply


async def converse(link: Link, limits: Limits, trace: Trace, transport: str, *, modern_first: bool = True) -> Answered:
    """The whole conversation: the era, then the tools where there are any, and how long their list took in seconds."""
    conversation = Conversation(link, limits, trace)
    version, has_tools = await conversation.open(modern_first=modern_first)
    begun = time.monotonic()
    tools = await conversation.count_tools() if has_tools else None
    return Answered(version, transport, tools, time.monotonic() - begun)


def _is_tool(tool: object) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("name"), str) and isinstance(tool.get("inputSchema"), dict)

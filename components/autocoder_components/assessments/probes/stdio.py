"""Probing a server that is a program: start it, speak over its standard streams, see it go."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from autocoder_components.assessments.probes.outcome import Answered, Limits, ProbeError, Trace
from autocoder_components.assessments.probes.processes import Started, started
from autocoder_components.assessments.probes.protocol import (
    Message,
    Reply,
    converse,
    decode,
    encode,
    refusal_of,
    reply_of,
)
from autocoder_components.assessments.rules.base import quote
from autocoder_components.assessments.rules.status import DIES, NO_MCP, PROGRAM_MISSING, STRAY_OUTPUT

TRANSPORT = "stdio"


@dataclass(frozen=True, slots=True)
class Program:
    """A program to start: its words, all of its environment, its folder (None: the working folder)."""

    argv: tuple[str, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    folder: Path | None = None


async def probe_program(program: Program, limits: Limits, trace: Trace) -> Answered:
    """Start the program, find the era, list the tools, and let it go. Raises ProbeError; leaves no process behind.

    A program that ends at the question of the new revision without a word is started once more for the older handshake:
    some servers break on what they do not know.
    """
    argv = (await anyio.to_thread.run_sync(_found, program), *program.argv[1:])
    try:
        return await _attempt(argv, program, limits, trace, modern_first=True)
    except ProbeError as fault:
        if fault.remark.rule is not DIES or trace.answered:
            raise
    return await _attempt(argv, program, limits, trace, modern_first=False)


async def _attempt(
    argv: tuple[str, ...], program: Program, limits: Limits, trace: Trace, *, modern_first: bool
) -> Answered:
    trace.stage = "starting the program"
    async with started(argv, program.environment, program.folder, limits.grace, trace) as running:
        link = _Pipes(running, limits, trace)
        answered = await converse(link, limits, trace, TRANSPORT, modern_first=modern_first)
        trace.stage = "waiting for the program to end"
        running.done = True
    return answered


def _found(program: Program) -> str:
    """The path of the program, looked for as it would be at its start."""
    if program.folder is not None and not program.folder.is_dir():
        raise ProbeError(PROGRAM_MISSING, f"The working folder {quote(str(program.folder))} does not exist")
    name = program.argv[0]
    if "/" in name:
        path = (program.folder or Path()) / name
        found = shutil.which(str(path.absolute()))
    else:
        found = shutil.which(name, path=program.environment.get("PATH", ""))
    if found is None:
        raise ProbeError(PROGRAM_MISSING, f"There is no program {quote(name)} that can be executed")
    return found


class _Pipes:
    """The standard streams of a program: a message a line."""

    def __init__(self, running: Started, limits: Limits, trace: Trace) -> None:
        self._running = running
        self._process = running.process
        self._limits = limits
        self._trace = trace
        self._buffer = bytearray()
        self._searched = 0
        self._received = 0

    async def ask(self, message: Message) -> Reply:
        await self.tell(message)
        while True:
            line = await self._line()
            received = decode(line)
            if received is None:
                if line.strip():
                    self._trace.remark(STRAY_OUTPUT, "The server writes lines that are no messages to its output")
                continue
            reply = reply_of(received, message["id"])
            if reply is not None:
                return reply
            refusal = refusal_of(received)
            if refusal is not None:
                await self.tell(refusal)

    async def tell(self, message: Message) -> None:
        assert self._process.stdin is not None  # noqa: S101  it was started with a pipe
        try:
            await self._process.stdin.send(encode(message) + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            raise await self._ended() from None

    def settle(self, version: str) -> None:
        """Nothing in a line says which revision it is of."""

    async def _line(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101  it was started with a pipe
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if len(self._buffer) > self._limits.message_bytes:
                raise ProbeError(NO_MCP, f"One line of the output is longer than {self._limits.message_bytes:,} bytes")
            try:
                self._buffer += await self._process.stdout.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                raise await self._ended() from None
            self._received += len(self._buffer) - self._searched
            if self._received > self._limits.total_bytes:
                raise ProbeError(NO_MCP, f"The server writes more than {self._limits.total_bytes:,} bytes")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    async def _ended(self) -> ProbeError:
        """The fault of a server whose streams have closed, with its exit code where it has ended."""
        with anyio.move_on_after(self._limits.grace):
            await self._running.wait()
        code = self._running.returncode
        how = "closes its output" if code is None else f"ends with exit code {code}"
        if code is not None and code < 0:
            how = f"is ended by signal {-code}"
        return ProbeError(DIES, f"The server {how} while a probe is {self._trace.stage}")

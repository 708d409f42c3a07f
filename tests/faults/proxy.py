"""A TCP proxy in front of a server on a Unix socket, which does to the traffic what networks do."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

COMMIT: Final = b"COMMIT"
BROKEN: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)
RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


class Wire:
    """One connection: its client, and the scope in which it lives."""

    def __init__(self, client: ByteStream, scope: anyio.CancelScope) -> None:
        self.client = client
        self.scope = scope
        self.cut = False

    def reset(self) -> None:
        """Break it off, with RST for the client."""
        raw = self.client.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self.scope.cancel()


class Proxy:
    """`port` on 127.0.0.1 leads to the server, as long as nothing else is said."""

    def __init__(self, path: str, tls: ssl.SSLContext | None) -> None:
        self.port = 0
        self.commits_cut = 0
        self.swallowed = 0
        self._path = path
        self._tls = tls
        self._wires: set[Wire] = set()
        self._refusing = False
        self._hole = False
        self._word = b""
        self._cuts = 0

    def black_hole(self) -> None:
        """From now on take everything, on connections old and new, and pass nothing on."""
        self._hole = True

    def black_hole_within(self, word: bytes) -> None:
        """The same, from the middle of the next message of a client in which `word` stands."""
        self._word = word

    def refuse(self) -> None:
        """Close every connection, and new ones at once."""
        self._refusing = True
        self.drop()

    def heal(self) -> None:
        """Be a wire again; a connection of which something was swallowed stays dead, and says nothing."""
        self._refusing = self._hole = False
        self._word = b""

    def drop(self) -> None:
        """Close every connection that there is."""
        for wire in self._wires:
            wire.scope.cancel()

    def reset(self) -> None:
        """Break every connection off with RST."""
        for wire in self._wires:
            wire.reset()

    def cut_commits(self, number: int) -> None:
        """Let the next so many COMMITs reach the server, and lose the connection before the answer gets back."""
        self._cuts = number

    async def serve(self, plain: SocketStream) -> None:
        """One connection."""
        async with plain:
            with suppress(*BROKEN, ssl.SSLError):
                client = await self._wrapped(plain)
                async with await anyio.connect_unix(self._path) as server, anyio.create_task_group() as tasks:
                    wire = Wire(client, tasks.cancel_scope)
                    self._wires.add(wire)
                    try:
                        if not self._refusing:
                            tasks.start_soon(self._pass, server, client, wire)
                            await self._pass(client, server, wire)
                    finally:
                        self._wires.discard(wire)

    async def _wrapped(self, plain: SocketStream) -> ByteStream:
        if self._tls is None:
            return plain
        await plain.receive(8)  # the client asks first, in eight bytes
        await plain.send(b"S")
        return await TLSStream.wrap(plain, server_side=True, ssl_context=self._tls, standard_compatible=False)

    async def _pass(self, origin: ByteStream, target: ByteStream, wire: Wire) -> None:
        with suppress(*BROKEN):
            while True:
                data = await origin.receive()
                if self._word and self._word in data and origin is wire.client:
                    self._hole = True
                    await target.send(data[: data.index(self._word)])
                if self._hole:
                    self.swallowed += 1
                    await anyio.sleep_forever()
                if wire.cut:  # the answer to a COMMIT
                    self.commits_cut += 1
                    break
                if self._cuts and origin is wire.client and COMMIT in data:
                    self._cuts -= 1
                    wire.cut = True
                await target.send(data)
        wire.scope.cancel()


@asynccontextmanager
async def proxied(path: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy to the server whose Unix socket is at `path`; with `tls` its clients must speak that."""
    proxy = Proxy(path, tls)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        proxy.port = listener.extra(SocketAttribute.local_port)
        tasks.start_soon(listener.serve, proxy.serve)
        try:
            yield proxy
        finally:
            tasks.cancel_scope.cancel()

"""The HTTP of the service, for clients that let it wait: uvicorn gives the head of a request all the time in the world.

Knows nothing of the application, which bounds the bodies that it reads itself.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_CLOSES: Final = [(b"connection", b"close"), (b"content-length", b"0")]


class ImpatientProtocol(H11Protocol):
    """Closes a connection on which nothing is answered and no whole head of a request comes for `head_seconds`.

    It does not matter how often something comes. Between two requests a connection may rest as long as uvicorn says.
    """

    head_seconds: float = 15.0
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        _send_at_once(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Count the time from here, unless it is counted already, or something is being answered."""
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            self._rest()
        elif self._due is None:
            self._due = self.loop.call_later(self.head_seconds, self._give_up)

    def _rest(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _give_up(self) -> None:
        self._due = None
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE:
            status = HTTPStatus.REQUEST_TIMEOUT
            answer = h11.Response(status_code=status, headers=_CLOSES, reason=status.phrase.encode())
            self.transport.write(self.conn.send(answer) or b"")
        self.transport.close()


def _send_at_once(transport: asyncio.Transport) -> None:
    """Let no piece of an answer wait until the client has acknowledged the one before, which clients put off for 40 ms.

    An answer is written in two pieces, head and body. asyncio sees to it only where a socket was made with its protocol named.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):  # broken off already
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

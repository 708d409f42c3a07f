"""The producing end of a durable channel: gathers encoded messages until the barrier, then they are rows of the epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import anyio

from autocoder.codec import Codec, PayloadError
from autocoder.errors import storable
from autocoder.graph import Edge
from autocoder.message import Barrier, End, Traced
from autocoder.store.epoch import Output

Refused = Callable[[Any, PayloadError], None]


class Outlet:
    """Looks like a channel to its producer. It pushes back only at `limit` messages that are committed and not yet taken."""

    def __init__(self, edge: Edge, codec: Codec, refused: Refused) -> None:
        self.name = str(edge)
        self.edge = edge
        self.size = 0
        self.dropped = 0
        self.codec = codec
        self.target = f"{edge.target}.{edge.port}"
        self._refused = refused
        self._key = edge.options.key
        self._limit = edge.options.limit
        self._messages: list[str] = []
        self._keys: list[str | None] = []
        self._room: anyio.Event | None = None

    def put(self, messages: Sequence[Any]) -> bool:
        """Encode messages; one that cannot be encoded is refused to its error policy. Returns whether to wait."""
        payloads = [item.payload if type(item) is Traced else item for item in messages]
        try:
            encoded = self.codec.encode_all(payloads)
        except PayloadError:
            payloads, encoded = self._sifted(payloads)
        if self._key is not None:
            self._keys += [field_key(payload, self._key) for payload in payloads]
        self._messages += encoded
        return self.full

    def _sifted(self, payloads: list[Any]) -> tuple[list[Any], list[str]]:
        """Those that can be encoded, with their text; the others are refused."""
        good: list[Any] = []
        encoded: list[str] = []
        for payload in payloads:
            try:
                encoded.append(self.codec.encode(payload))
            except PayloadError as error:
                self._refused(payload, error)
                continue
            good.append(payload)
        return good, encoded

    def mark(self, marker: Barrier | End) -> None:
        """Markers end here: the other end of the channel belongs to another region."""

    @property
    def full(self) -> bool:
        return self._limit is not None and self.size >= self._limit

    async def room(self) -> None:
        """Wait until the backlog is below the limit."""
        while self.full:
            if self._room is None:
                self._room = anyio.Event()
            await self._room.wait()

    def take(self) -> Output | None:
        """The messages since the last barrier."""
        if not self._messages:
            return None
        edge = self.edge
        output = Output(edge.source, edge.target, edge.port, self._messages, self._keys if self._key else None)
        self._messages, self._keys = [], []
        return output

    def backlog(self, difference: int) -> None:
        """So many messages more (or fewer) are committed and not yet taken."""
        self.size += difference
        if self._room is not None and not self.full:
            self._room.set()
            self._room = None


def field_key(payload: Any, key: str) -> str:
    """The field of a payload by which its channel orders."""
    return storable(str((itemgetter if isinstance(payload, dict) else attrgetter)(key)(payload)))

"""Parked messages: those that entered a component and did not leave it. In a durable run each is a row.

`Parking` gathers, for one unit, how these rows stand at the next barrier; `Waiting` holds, for one stage, those that are
to be given again, by the time when they are due.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypedDict, Unpack

import anyio
from pydantic_core import to_json

from autocoder.codec import Codec, PayloadError
from autocoder.durations import later
from autocoder.errors import describe
from autocoder.graph import Node
from autocoder.masking import Redactor
from autocoder.message import Rejected
from autocoder.runtime.careful import Call
from autocoder.store.epoch import Parked, Reference, Status
from autocoder.store.failpoints import reached

Finder = Callable[[Any], int | None]
Lookup = Callable[[str], Finder]


@dataclass(order=True)
class Entry:
    """A parked message that waits for its next attempt; `due` is a time of the event loop."""

    due: float
    number: int
    unit: Any = field(compare=False)
    port: str = field(compare=False)
    payload: Any = field(compare=False)
    attempts: int = field(compare=False)
    reference: Reference = field(compare=False)
    identity: str | None = field(compare=False)


class Waiting:
    """The parked messages of one stage, soonest first."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._numbers = count()

    def add(  # everything that its next attempt has to know
        self,
        unit: Any,
        port: str,
        payload: Any,
        attempts: int,
        reference: Reference,
        identity: str | None,
        delay: float,
    ) -> None:
        """Give `payload` to `unit` again after `delay` seconds."""
        due = anyio.current_time() + max(0.0, delay)
        heapq.heappush(self._heap, Entry(due, next(self._numbers), unit, port, payload, attempts, reference, identity))

    def take_due(self) -> Entry | None:
        """The soonest one, if its time has come."""
        if self._heap and self._heap[0].due <= anyio.current_time():
            reached("message.again")
            return heapq.heappop(self._heap)
        return None

    def seconds(self) -> float:
        """How long until the soonest is due (infinite where there is none)."""
        return max(0.0, self._heap[0].due - anyio.current_time()) if self._heap else float("inf")

    def __len__(self) -> int:
        return len(self._heap)


class Standing(TypedDict, total=False):
    """How a message stands, where there is more to say than its status."""

    attempts: int
    """How many have failed; 0 where it is not said."""
    reference: Reference | None
    """The row that it has already."""
    identity: str | None
    error: BaseException | None
    delay: float | None
    """Seconds until its next attempt."""
    target: str | None
    """The one channel for which it stands at an output."""


class Parking:
    """The rows of one unit's parked messages, as they stand at the next barrier."""

    def __init__(
        self, node: Node, codecs: dict[str, Codec], redactor: Redactor, new_handle: Callable[[], str], lookup: Lookup
    ) -> None:
        self._node = node
        self._codecs = codecs
        self._redactor = redactor
        self._new_handle = new_handle
        self._lookup = lookup
        self._changes: dict[Reference, Parked] = {}
        self._fresh: set[Reference] = set()
        self._let_go: dict[tuple[str, int], list[tuple[Reference, Any]]] = {}

    def let_go(self, port: str, payload: Any, reference: Reference) -> None:
        """A message that was set aside is taken by the component after all; where it fails, it keeps its row."""
        self.done(reference, port)
        self._let_go.setdefault((port, id(payload)), []).append((reference, payload))

    def finder(self, port: str) -> Finder:
        """Finds the rows of messages that came over a durable channel and were taken before the next barrier."""
        return self._lookup(port)

    def reference(self, port: str, payload: Any) -> Reference | None:
        """The row of a message that was set aside or came over a durable channel; None for one that has no row yet."""
        aside = self._let_go.get((port, id(payload))) if self._let_go else None
        return aside.pop(0)[0] if aside else self._lookup(port)(payload)

    def park(self, port: str, payload: Any, status: Status, **how: Unpack[Standing]) -> Reference:
        """Note how a message stands; returns its reference, made here where it has none."""
        row = self.row(port, payload, status, **how)
        if how.get("reference") is None:
            self._fresh.add(row.reference)
        self._changes[row.reference] = row
        return row.reference

    def call(self, port: str, payload: Any) -> Call:
        """A message on its way into the component, told by its content."""
        data, details = self._encoded(port, payload)
        return Call(self._node.name, port, json.dumps(details, sort_keys=True) if data is None else data)

    def row(self, port: str, payload: Any, status: Status, **how: Unpack[Standing]) -> Parked:
        """The row of a message as it stands; nothing is noted."""
        data, details = self._encoded(port, payload)
        reference, error, delay = how.get("reference"), how.get("error"), how.get("delay")
        if how.get("target") is not None:
            details = {**(details or {}), "target": how["target"]}
        due = None if delay is None else later(datetime.now(UTC), delay)
        return Parked(
            self._new_handle() if reference is None else reference,
            self._node.name,
            port,
            status,
            data=data,
            identity=how.get("identity"),
            attempts=how.get("attempts", 0),
            max_attempts=self._node.on_error.retry.attempts,
            next_retry_at=due,
            error_type=None if error is None else getattr(error, "error_type", type(error).__name__),
            error_message=None if error is None else self._redactor(describe(error)),
            details=details,
        )

    def done(self, reference: Reference, port: str) -> None:
        """The message has left the component after all."""
        if reference in self._fresh:  # no row was written: there is nothing to complete
            self._fresh.discard(reference)
            del self._changes[reference]
            return
        self._changes[reference] = Parked(reference, self._node.name, port, "completed")

    def take(self) -> list[Parked]:
        """The changes since the last barrier."""
        changes, self._changes = list(self._changes.values()), {}
        self._fresh.clear()
        self._let_go.clear()
        return changes

    def _encoded(self, port: str, payload: Any) -> tuple[str | None, dict[str, Any] | None]:
        if isinstance(payload, Rejected):
            return None, _rejected(payload)
        try:
            return self._codecs[port].encode(payload), None
        except PayloadError as error:
            return None, {"payload": error.description, "reason": str(error)}


def _rejected(piece: Rejected) -> dict[str, Any]:
    """A piece of input that could not become a payload, for the person who mends it: as it was read, and where it stands."""
    raw = piece.raw.decode(errors="backslashreplace") if isinstance(piece.raw, bytes) else piece.raw
    try:
        kept = json.loads(to_json(raw, fallback=repr))
    except Exception:  # what a source hands out may be anything, and its repr may fail
        kept = f"a {type(raw).__name__} that cannot be written down"
    return {"raw": kept, "place": piece.place}

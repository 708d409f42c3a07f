"""The consuming end of a durable channel: takes rows in order and gives them to the first component behind it.

To its region it is a source whose position are the rows themselves: what was put before a barrier is settled by the
epoch that the barrier closes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import anyio

from autocoder.codec import Codec
from autocoder.message import END, Barrier, Traced
from autocoder.runtime.channel import Channel
from autocoder.runtime.region import Contribution, Region
from autocoder.store.epoch import Parked, Settled
from autocoder.store.store import Row, Store

BATCH: Final = 1000
POLL_SECONDS: Final = 0.25
SWEEP_SECONDS: Final = 1.0


class Taken:
    """The messages taken since a barrier, by identity: to find the row of one that failed."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.payloads: list[Any] = []
        self._index: dict[int, list[int]] | None = None
        self._found: set[int] = set()

    def add(self, seq: int, payload: Any) -> None:
        self.seqs.append(seq)
        self.payloads.append(payload)
        self._index = None

    def find(self, payload: Any) -> int | None:
        """The row of this very object; of several equal ones (small numbers are one object) each is found once."""
        if self._index is None:
            self._index = {}
            for seq, each in zip(self.seqs, self.payloads, strict=True):
                self._index.setdefault(id(each), []).append(seq)
        for seq in self._index.get(id(payload), ()):
            if seq not in self._found:
                self._found.add(seq)
                return seq
        return None


class Inlet:
    """One durable input port of a region."""

    def __init__(  # the ends of a channel know each other
        self, store: Store, component: str, port: str, channel: Channel, codec: Codec, region: Region, *, traced: bool
    ) -> None:
        self.component = component
        self.port = port
        self.name = f"{component}.{port} (durable)"
        self.given = 0
        self._store = store
        self._channel = channel
        self._codec = codec
        self._region = region
        self._traced = traced
        self._upstream: list[Region] = []
        self._endless = False
        self._cursor = 0
        self._now = Taken()
        self._before: list[Taken] = []
        self._open: set[int] = set()
        self._garbage: list[Parked] = []
        self._wake = anyio.Event()
        self._reading = anyio.CancelScope()
        self._swept = 0.0

    def feed_from(self, regions: Iterable[Region]) -> None:
        """The regions that write to this channel; when all have finished and no row waits, it has ended."""
        self._upstream = [each for each in regions if each is not self._region]
        self._endless = any(each is self._region for each in regions)

    def keep_open(self) -> None:
        """It is fed from outside: it ends only when the run drains."""
        self._endless = True

    def wake(self) -> None:
        """There may be new rows."""
        self._wake.set()

    def drain(self) -> None:
        """Take no more; what waits is taken by the next run."""
        self._reading.cancel()

    def find(self, payload: Any) -> int | None:
        """The row of a message that this inlet gave."""
        for taken in (self._now, *reversed(self._before)):
            seq = taken.find(payload)
            if seq is not None:
                return seq
        return None

    def start_barrier(self, barrier: Barrier) -> Contribution:
        """Send a barrier behind everything put so far; what was put belongs to its epoch."""
        self._channel.mark(barrier)
        garbage, self._garbage = self._garbage, []
        done = Contribution(parked=garbage)
        if self._now.seqs:
            done.settled.append(Settled(self.component, self.port, self._now.seqs))
        self._before.append(self._now)
        self._now = Taken()
        return done

    def committed(self, done: Contribution) -> int:
        """The epoch with these messages is committed: forget them. Returns how many they were."""
        mine = [each for each in done.settled if (each.component, each.port) == (self.component, self.port)]
        for settled in mine:
            self._open.difference_update(settled.seqs)
        if self._before:
            self._before.pop(0)
        return sum(len(each.seqs) for each in mine)

    async def run(self) -> None:
        """Give rows until the channel has ended or the run drains."""
        with self._reading:
            while True:
                over = all(each.finished.is_set() for each in self._upstream) and not self._endless
                rows = await self._next()
                if rows:
                    self._put(rows)
                    self._region.tick()
                    await self._channel.room()
                elif over:
                    break
                else:
                    with anyio.move_on_after(POLL_SECONDS):
                        await self._wake.wait()
                    self._wake = anyio.Event()
        self._region.ended(self.name, Contribution())
        self._channel.mark(END)

    async def _next(self) -> list[Row]:
        """The next rows. Where several writers commit in another order than they numbered, look behind the cursor, too."""
        rows = await self._store.waiting(self.component, self.port, self._cursor, BATCH)
        if not self._store.database.is_sqlite and (not rows or anyio.current_time() > self._swept + SWEEP_SECONDS):
            self._swept = anyio.current_time()
            # What is committed while the query runs leaves `_open`, and may still stand in the answer.
            known = set(self._open)
            behind = await self._store.waiting(self.component, self.port, 0, BATCH + len(known))
            late = [row for row in behind if row.seq not in known and row.seq <= self._cursor]
            return [*late, *rows]
        return rows

    def _put(self, rows: list[Row]) -> None:
        payloads: list[Any] = []
        for row in rows:
            self._open.add(row.seq)
            try:
                payload = self._codec.decode(row.data or "")
            except ValueError as error:
                self._garbage.append(_garbage(row, error))
                self._now.seqs.append(row.seq)
                self._now.payloads.append(None)
                continue
            self._now.add(row.seq, payload)
            payloads.append(Traced(f"row:{row.seq}", payload) if self._traced else payload)
        self._cursor = max(self._cursor, rows[-1].seq)
        self.given += len(rows)
        self._channel.put(payloads)


def _garbage(row: Row, error: ValueError) -> Parked:
    """A row whose data is no payload of this port (edited by hand, say): a dead letter; the others go on."""
    lines = str(error).splitlines()
    return Parked(
        row.seq,
        row.component,
        row.port,
        "dead_letter",
        data=row.data,
        attempts=row.attempts,
        error_type="UnreadablePayload",
        error_message=f"the stored message is no payload of this port: {lines[0] if lines else ''}",
    )

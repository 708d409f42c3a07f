"""The consuming end of a durable channel: takes rows in order and gives them to the first component behind it.

To its region it is a source whose position are the rows themselves: what was put before a barrier is settled by the
epoch that the barrier closes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import anyio
import anyio.lowlevel

from autocoder.codec import Codec
from autocoder.errors import describe
from autocoder.message import END, Barrier, Traced
from autocoder.runtime.channel import Channel
from autocoder.runtime.region import Contribution, Region
from autocoder.store.epoch import Parked, Placed, Settled
from autocoder.store.failpoints import reached
from autocoder.store.store import Store, WaitingRow
from autocoder.tracing import row_key

BATCH: Final = 1000
"""So many rows are fetched at once, or as many as the channel has capacity for and an epoch is to hold: they all belong to
one."""
LARGE: Final = 8 * 1024 * 1024
"""So many characters of payloads are fetched at once, if the next rows are as long as the last ones."""
FIRST: Final = 32
"""Rows of the first fetch, before which nothing is known of their length."""
POLL_SECONDS: Final = 0.25
SWEEP_SECONDS: Final = 1.0


class UnreadablePayload(ValueError):  # noqa: N818  it names what happened
    """What is stored is no payload of its port."""

    def __init__(self, error: ValueError) -> None:
        lines = str(error).splitlines()  # of which the others quote it
        super().__init__(f"the stored message is no payload of this port: {lines[0] if lines else ''}")


class Taken:
    """The messages given between two barriers, by identity: to find the row of one that failed.

    A row that is no payload has a seq (it is settled with the others), and is never found.
    """

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self._given: list[tuple[int, Any]] = []
        self._index: dict[int, deque[int]] = {}
        self._indexed = 0

    def add(self, seqs: Sequence[int], payloads: Sequence[Any]) -> None:
        self.seqs += seqs
        self._given += zip(seqs, payloads, strict=True)

    def find(self, payload: Any) -> int | None:
        """The row of this very object; of several equal ones (small numbers are one object) each is found once."""
        for seq, each in self._given[self._indexed :]:
            self._index.setdefault(id(each), deque()).append(seq)
        self._indexed = len(self._given)
        found = self._index.get(id(payload))
        return found.popleft() if found else None


class Handed:
    """Rows that were handed over, and how many of them have been taken."""

    def __init__(self, placed: Placed) -> None:
        self._placed = placed
        self._at = 0

    def next(self, most: int) -> list[WaitingRow]:
        """The next rows, as the store would give them."""
        part = slice(self._at, self._at + most)
        self._at += most
        moment = self._placed.moment
        return [
            (seq, data, moment)
            for seq, data in zip(self._placed.seqs[part], self._placed.output.messages[part], strict=True)
        ]

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._placed.seqs)


class Inlet:
    """One durable input port of a region."""

    def __init__(  # the ends of a channel know each other
        self, store: Store, component: str, port: str, channel: Channel, codec: Codec, region: Region, *, traced: bool
    ) -> None:
        self.component = component
        self.port = port
        self.name = f"{component}.{port} (durable)"
        self.given = 0
        self.rests = False
        """Whether it has found no row to give, or has ended."""
        self.tell: Callable[[str | None, ValueError], None] = _nobody
        """Hears of each row that is no payload."""
        self._store = store
        self._channel = channel
        channel.counts_aside = True
        self._codec = codec
        self._region = region
        self._traced = traced
        self._producers: list[tuple[Region, str | None]] = []
        self._endless = False
        self._cursor = 0
        self._handed: deque[Handed] = deque()
        self._held = 0
        self._tip = 0
        self._asks = False
        self._waits = False
        self._has_given = False
        self._limit = min(BATCH, channel.capacity, region.most)
        self._most = min(FIRST, self._limit)
        self._now = Taken()
        self._unmet: deque[Taken] = deque([self._now])
        self._open: set[int] = set()
        self._garbage: list[Parked] = []
        self._wake = anyio.Event()
        self._reading = anyio.CancelScope()
        self._swept = 0.0

    def feed_from(self, producers: Iterable[tuple[Region, str | None]]) -> None:
        """The regions that write to this channel: when all have finished and no row waits, it has ended.

        Where a region cannot finish before that, the source or stage in it that writes is named, and its end counts instead.
        """
        self._producers = list(producers)
        for region, name in self._producers:
            if name is not None:
                region.awaited.add(name)

    def keep_open(self) -> None:
        """It is fed from outside: it ends only when the run drains."""
        self._endless = True

    def offer(self, placed: Placed) -> None:
        """Rows that this process has committed just now, which need not be read back.

        They are taken where all that stands before them was, and as long as not too much waits here; the others are read.
        They are decoded all the same: the consumer shall get the same payloads as after a restart.
        """
        length = sum(map(len, placed.output.messages))
        if self._asks or not placed.before <= self._tip < placed.seqs[0] or self._held + length > LARGE:
            return
        self._held += length
        self._tip = placed.seqs[-1]
        self._handed.append(Handed(placed))

    def wake(self) -> None:
        """There may be new rows. What was handed over is given within this call, where this inlet waits for just that: a turn
        of the event loop takes as long as writing ten rows."""
        is_held_up = self._channel.full or self._region.is_behind or self._reading.cancel_called
        if self._waits and len(self._handed) == 1 and not is_held_up:
            self.rests = False
            self._give(self._from_hand())
            self._has_given = not self._handed
        self._wake.set()

    def _give(self, rows: list[WaitingRow]) -> None:
        self._put(rows)
        reached("inlet.given")
        self._region.tick()

    def drain(self) -> None:
        """Take no more; what waits is taken by the next run."""
        self._reading.cancel()

    @property
    def taken(self) -> Taken:
        """What was given between the barrier that the consumer has met last and the one that it meets next.

        A message is looked for there alone: equal small payloads on both sides of a barrier are one object, and the row of
        the other side belongs to another epoch.
        """
        return self._unmet[0]

    def met(self) -> None:
        """The consumer has met a barrier: what it handles from now on was given behind it."""
        self._unmet.popleft()

    def start_barrier(self, barrier: Barrier) -> Contribution:
        """Send a barrier behind everything put so far; what was put belongs to its epoch."""
        self._channel.mark(barrier)
        garbage, self._garbage = self._garbage, []
        done = Contribution(parked=garbage)
        if self._now.seqs:
            done.settled.append(Settled(self.component, self.port, self._now.seqs))
        self._now = Taken()
        self._unmet.append(self._now)
        return done

    def committed(self, done: Contribution) -> int:
        """The epoch with these messages is committed: forget them. Returns how many they were."""
        mine = [each for each in done.settled if (each.component, each.port) == (self.component, self.port)]
        for settled in mine:
            self._open.difference_update(settled.seqs)
        return sum(len(each.seqs) for each in mine)

    async def run(self) -> None:
        """Give rows until the channel has ended or the run drains."""
        with self._reading:
            while True:
                over = self._has_all()
                given, self._has_given = self._has_given, False
                from_hand = given or bool(self._handed)
                rows = await self._next() if self._handed or over or not given else []
                if rows:
                    self._give(rows)
                elif over:
                    break
                if rows or given:
                    await self._channel.room()
                    await self._region.catch_up()
                if not rows or (from_hand and not self._handed):  # nothing was written behind these when they were
                    await self._rest()
        self.rests = True
        self._region.ended(self.name, Contribution())
        self._channel.mark(END)

    def _has_all(self) -> bool:
        """Whether everything that is ever written to this channel is there."""
        return not self._endless and all(
            region.finished.is_set() if name is None else name in region.over for region, name in self._producers
        )

    async def _rest(self) -> None:
        """Wait until there may be rows again."""
        self.rests = self._waits = True
        self._region.quiet()
        with anyio.move_on_after(POLL_SECONDS):
            await self._wake.wait()
            self._waits = False
            if any(region.has_epochs_open for region, _ in self._producers):
                await anyio.lowlevel.checkpoint()  # as in `Region.catch_up`
        self._wake = anyio.Event()
        self.rests = self._waits = False

    async def _next(self) -> list[WaitingRow]:
        """The next rows. Where several writers commit in another order than they numbered, look behind the cursor, too."""
        self._asks = not self._handed
        try:
            return await self._late(self._from_hand() if self._handed else await self._read())
        finally:
            self._asks = False

    def _from_hand(self) -> list[WaitingRow]:
        handed = self._handed[0]
        rows = handed.next(self._most)
        self._held -= sum(len(data or "") for _, data, _ in rows)
        if handed.is_empty:
            self._handed.popleft()
        return rows

    async def _read(self) -> list[WaitingRow]:
        rows = await self._store.waiting(self.component, self.port, self._cursor, self._most, moments=self._traced)
        self._tip = rows[-1][0] if rows else self._tip
        return rows

    async def _late(self, rows: list[WaitingRow]) -> list[WaitingRow]:
        if not self._store.database.is_sqlite and (not rows or anyio.current_time() > self._swept + SWEEP_SECONDS):
            self._swept = anyio.current_time()
            # What is committed while the query runs leaves `_open`, and may still stand in the answer.
            known = set(self._open)
            place, most = (self.component, self.port), self._most + len(known)
            late = [seq for seq in await self._store.waiting_seqs(*place, self._cursor, most) if seq not in known]
            if late:
                among = late[: self._most]
                rows = [*await self._store.waiting(*place, 0, self._most, moments=self._traced, among=among), *rows]
        return rows

    def _put(self, rows: list[WaitingRow]) -> None:
        length = sum(len(data or "") for _, data, _ in rows)
        self._most = max(1, min(self._limit, LARGE * len(rows) // max(length, 1)))
        decode = self._codec.decode
        seqs = [seq for seq, _, _ in rows]
        self._open.update(seqs)
        try:
            payloads = [decode(data or "") for _, data, _ in rows]
        except ValueError:
            payloads, seqs = self._sifted(rows)
        self._now.add(seqs, payloads)
        if self._traced:
            moments = {seq: moment for seq, _, moment in rows if moment is not None}
            keys = [row_key(seq, moments[seq]) for seq in seqs]
            payloads = [Traced(key, payload) for key, payload in zip(keys, payloads, strict=True)]
        self._cursor = max(self._cursor, rows[-1][0])
        self.given += len(rows)
        self._channel.put(payloads)

    def _sifted(self, rows: list[WaitingRow]) -> tuple[list[Any], list[int]]:
        """The payloads that can be decoded, with their seqs; the others are settled as dead letters."""
        payloads: list[Any] = []
        seqs: list[int] = []
        for seq, data, _ in rows:
            try:
                payloads.append(self._codec.decode(data or ""))
            except ValueError as error:
                unreadable = UnreadablePayload(error)
                self.tell(data, unreadable)
                self._garbage.append(_garbage(self, seq, data, unreadable))
                self._now.seqs.append(seq)
                continue
            seqs.append(seq)
        return payloads, seqs


def _garbage(inlet: Inlet, seq: int, data: str | None, error: UnreadablePayload) -> Parked:
    """A row whose data is no payload of this port (edited by hand, say): a dead letter; the others go on."""
    return Parked(
        seq,
        inlet.component,
        inlet.port,
        "dead_letter",
        data=data,
        error_type=type(error).__name__,
        error_message=describe(error),
    )


def _nobody(_data: str | None, _error: ValueError) -> None:
    """Told of garbage before anybody wants to hear of it."""

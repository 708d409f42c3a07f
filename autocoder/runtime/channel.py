"""An in-memory channel: lists of payloads and the markers between them, from one output to one input.

What travels is a list, never a single payload: payloads put one after the other are taken together, so that a source that
yields them singly costs no more than one that yields many. Putting never waits; the producer waits for room between two
pieces of work. Knows nothing of components.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final

import anyio

from autocoder.message import END, Barrier, End, Traced
from autocoder.store.failpoints import reached

DEFAULT_CAPACITY: Final = 1024
PRIORITY_BATCH: Final = 16
PIECE: Final = 1024
Item = list[Any] | Barrier | End


class Channel:
    """Holds at most about `capacity` messages; what does not fit waits with the producer, or is dropped and counted.

    `order_by` (priority order) gives the rank of a payload, lowest first; it reorders what waits here, between two markers.
    """

    __slots__ = (
        "_drops",
        "_items",
        "_room",
        "capacity",
        "counts_aside",
        "dropped",
        "limitless",
        "name",
        "on_full",
        "order_by",
        "size",
        "taken",
        "wake",
    )

    def __init__(
        self,
        name: str,
        *,
        capacity: int = DEFAULT_CAPACITY,
        on_full: str = "block",
        order_by: Callable[[Any], Any] | None = None,
    ) -> None:
        self.name = name
        self.capacity = capacity
        self.on_full = on_full
        self._drops = on_full != "block"
        self.order_by = order_by
        self.size = 0
        self.taken = 0
        self.dropped = 0
        self.limitless = False
        self.counts_aside = False
        """Whether what was set aside takes room here still; for a producer that feeds nothing else, and reads on from rows."""
        self.wake: Callable[[], None] = _nobody
        self._items: deque[Item] = deque()
        self._room: anyio.Event | None = None

    def put(self, payloads: Sequence[Any]) -> bool:
        """Append payloads (copied: the same list may go to several channels) and wake the consumer.

        Returns whether the producer should wait for room before it does more work.
        """
        if self._drops and self.size + len(payloads) > self.capacity:
            payloads = self._drop(payloads)
        if not payloads:
            return False
        items = self._items
        if items and type(items[-1]) is list:
            items[-1].extend(payloads)
        else:
            items.append(list(payloads))
            self.wake()
        self.size += len(payloads)
        return self.size >= self.capacity and self.full

    def mark(self, marker: Barrier | End) -> None:
        """Append a marker; markers take no room and are never dropped."""
        self._items.append(marker)
        self.wake()

    @property
    def full(self) -> bool:
        """Whether the producer should wait before it does more work."""
        return self.size >= self.capacity and not (self._drops or self.limitless)

    async def room(self) -> None:
        """Wait until the channel is not full."""
        while self.full:
            if self._room is None:
                self._room = anyio.Event()
            await self._room.wait()

    def open_gates(self, limitless: bool) -> None:
        """While its consumer waits for a barrier that stands behind the producer's work, capacity does not count."""
        self.limitless = limitless
        self._tell_producer()

    def room_for(self, number: int) -> None:
        """So many messages less (or more) take room here."""
        self.size -= number
        self._tell_producer()

    @property
    def is_empty(self) -> bool:
        """Whether neither messages nor markers wait here."""
        return not self._items

    def next_is_marker(self) -> bool:
        return bool(self._items) and type(self._items[0]) is not list

    def take(self, most: int | None = None) -> Item | None:
        """The oldest list, or the first `most` messages of it, or the oldest marker, or None."""
        if not self._items:
            return None
        item = self._items.popleft()
        if type(item) is list:
            if self.order_by is not None:
                item = self._foremost(item)
            elif most is not None and len(item) > most:
                # A long list is cut up once: to copy what is left of it each time would take as long as it is, squared.
                rest = [item[at : at + PIECE] for at in range(most, len(item), PIECE)]
                self._items.extendleft(reversed(rest))
                del item[most:]
            self.size -= len(item)
            self.taken += len(item)
            if self._room is not None:
                self._tell_producer()
        return item

    def _foremost(self, item: list[Any]) -> list[Any]:
        """The few that go first; the others stay, so that what arrives meanwhile may still overtake them."""
        item.sort(key=self.order_by)
        if len(item) > PRIORITY_BATCH:
            self._items.appendleft(item[PRIORITY_BATCH:])
        return item[:PRIORITY_BATCH]

    def _tell_producer(self) -> None:
        if self._room is not None and not self.full:
            self._room.set()
            self._room = None

    def _drop(self, payloads: Sequence[Any]) -> Sequence[Any]:
        room = max(0, self.capacity - self.size)
        if self.on_full == "drop_newest":
            self.dropped += len(payloads) - min(room, len(payloads))
            return payloads[:room]
        keep = payloads[-self.capacity :]
        self.dropped += len(payloads) - len(keep)
        excess = self.size + len(keep) - self.capacity
        for item in self._items:
            if excess <= 0:
                break
            if type(item) is list:
                cut = min(excess, len(item))
                del item[:cut]
                self.size -= cut
                self.dropped += cut
                excess -= cut
        return keep

    def __repr__(self) -> str:
        return f"<Channel {self.name} {self.size}/{self.capacity}>"


def _nobody() -> None:
    """Woken before a consumer is attached."""


def _nobody_asked(_port: str, _aside: Aside) -> None:
    """Let go in a run that keeps nothing."""


def ranking(key: str) -> Callable[[Any], Any]:
    """The rank of a payload by one of its fields; a traced payload is looked into."""

    def rank(item: Any) -> Any:
        payload = item.payload if type(item) is Traced else item
        return (itemgetter if isinstance(payload, dict) else attrgetter)(key)(payload)

    return rank


class PortEnd:
    """Given by an intake once, when every channel of a port has ended."""

    __slots__ = ("port",)

    def __init__(self, port: str) -> None:
        self.port = port


class Aside:
    """Messages of a held port that a barrier went past. In a kept run each is a row from the moment the barrier was met."""

    __slots__ = ("channel", "items", "references")

    def __init__(self, items: list[Any], channel: Channel | None, references: list[Any] | None = None) -> None:
        self.items = items
        self.channel = channel
        self.references = references


class Intake:
    """The channels that feed one stage: gives their lists as they come, aligns their barriers, counts their ends.

    After the barrier on one channel, that channel waits until all others delivered theirs (an ended one counts as
    aligned). `holds(port)` leaves the messages of a port where they are; to reach a barrier behind held messages, these are
    set aside here, as part of the port, and given once the port is let go; `let_go` then hears of those that are rows.
    """

    def __init__(self, channels: Sequence[tuple[str, Channel]], holds: Callable[[str], bool] | None = None) -> None:
        self._channels = list(channels)
        self._lone = channels[0][1] if len(channels) == 1 else None
        self._holds = holds
        self._aside: dict[str, deque[Aside]] = {port: deque() for port, _ in channels}
        self._first: set[str] = set()
        self._drains = False
        self.let_go: Callable[[str, Aside], None] = _nobody_asked
        self._aligned: dict[Channel, Barrier] = {}
        self._open = {channel for _, channel in channels}
        self._ports_told: set[str] = set()
        self._event: anyio.Event | None = None
        self._turn = 0
        self._moved = False
        for _, channel in channels:
            channel.wake = self.wake

    def wake(self) -> None:
        """Something arrived (or a stage has other work to look at)."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Wait until something arrives."""
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()

    async def take(self) -> tuple[str, list[Any]] | Barrier | PortEnd | End:
        """The next piece of work: payloads with their port, an aligned barrier, the end of a port, or of everything."""
        while True:
            found = self.take_nowait()
            if found is not None:
                return found
            await self.wait()

    @property
    def is_empty(self) -> bool:
        """Whether there is certainly nothing to take; told of a lone channel only, which spares most calls of `take`."""
        return self._lone is not None and self._lone.is_empty and not any(self._aside.values())

    @property
    def has_ended(self) -> bool:
        """Whether every channel has delivered its end."""
        return not self._open

    def take_nowait(self, most: int | None = None) -> tuple[str, list[Any]] | Barrier | PortEnd | End | None:
        """As `take`, but None where there is nothing to do yet; with `most` so many messages of a channel."""
        while True:
            self._moved = False
            for offset in range(len(self._channels)):
                at = (self._turn + offset) % len(self._channels)
                port, channel = self._channels[at]
                found = self._from(port, channel, most)
                if found is not None:
                    self._turn = at + 1
                    return found
            told = self._aligned_barrier() or self._end_of_port() or self._end()
            if told is not None or not self._moved:
                return told

    def _from(self, port: str, channel: Channel, most: int | None) -> tuple[str, list[Any]] | None:
        held = self._is_held(port, channel)
        if not held and self._aside[port]:
            return port, self._taken_up(port)
        if channel in self._aligned or channel not in self._open:
            return None
        if held and not channel.next_is_marker():
            if self._aligned or self._drains:
                self._set_aside(port, channel)
            if not channel.next_is_marker():
                return None
        item = channel.take(most)
        if item is None:
            return None
        if type(item) is list:
            self._first.discard(port)
            return (port, item) if item else self._from(port, channel, most)
        self._moved = True
        if isinstance(item, Barrier):
            self._aligned[channel] = item
            if len(self._aligned) < len(self._open):
                reached("barrier.half")
            channel.open_gates(limitless=False)
        else:
            self._open.discard(channel)
        return None

    def _is_held(self, port: str, channel: Channel) -> bool:
        if self._first and port not in self._first:
            if not channel.full:
                return True
            self._first.clear()  # what is waited for may wait for this very channel
        return self._holds is not None and self._holds(port)

    def hold_for(self, ports: set[str]) -> None:
        """Give nothing of the other ports until each of these has given something, or ended."""
        self._first = set(ports)

    def drain(self) -> None:
        """What is held waits for a later run: it is set aside, and does not keep the end back."""
        self._drains = True

    def restore(self, port: str, item: Any, reference: Any) -> None:
        """Set aside what an earlier run had set aside; called in order, before anything is taken."""
        self._aside[port].append(Aside([item], None, [reference]))

    def park_aside(self, park: Callable[[str, Any], Any]) -> None:
        """A barrier is met: what it went past becomes rows, each once."""
        for port, waiting in self._aside.items():
            for each in waiting:
                if each.references is None:
                    each.references = [park(port, item) for item in each.items]

    def _taken_up(self, port: str) -> list[Any]:
        aside = self._aside[port].popleft()
        if aside.channel is not None and aside.channel.counts_aside:
            aside.channel.room_for(len(aside.items))
        if aside.references is not None:
            self.let_go(port, aside)
        return aside.items

    def _set_aside(self, port: str, channel: Channel) -> None:
        channel.open_gates(limitless=True)
        while not channel.next_is_marker():
            item = channel.take()
            if type(item) is not list:
                return
            self._aside[port].append(Aside(item, channel))
            if channel.counts_aside:
                channel.room_for(-len(item))

    def _aligned_barrier(self) -> Barrier | None:
        if self._aligned and self._open <= self._aligned.keys():
            barrier = max(self._aligned.values(), key=lambda each: each.epoch)
            self._aligned.clear()
            return barrier
        return None

    def _end_of_port(self) -> PortEnd | None:
        for port in self._aside.keys() - self._ports_told:
            if not self._aside[port] and all(each not in self._open for name, each in self._channels if name == port):
                self._ports_told.add(port)
                self._first.discard(port)
                return PortEnd(port)
        return None

    def _end(self) -> End | None:
        done = not self._open and (self._drains or len(self._ports_told) == len(self._aside))
        return END if done else None

    def pending(self) -> int:
        """Messages that wait here."""
        return sum(channel.size for _, channel in self._channels) + sum(
            len(each.items)
            for waiting in self._aside.values()
            for each in waiting
            if each.channel is None or not each.channel.counts_aside
        )

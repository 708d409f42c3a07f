"""A stage whose head has many calls in flight: async handlers, threads, processes.

Each call is a slot. Outputs leave in the order of the slots (`ordered`) or as they come. A barrier does not wait for
calls in flight: what entered the component and has not left it belongs to the snapshot of its input port.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from autocoder.faults import FAULTS, Fault
from autocoder.message import Barrier, End
from autocoder.runtime.careful import ProcessDiedError
from autocoder.runtime.channel import Intake, PortEnd
from autocoder.runtime.parking import Entry
from autocoder.runtime.region import Region
from autocoder.runtime.stage import ENDED_PAUSE, Stage, drive
from autocoder.runtime.unit import CHUNK, parts_of
from autocoder.runtime.worker import Worker
from autocoder.store.epoch import Reference
from autocoder.store.failpoints import reached

FEW: Final = 32
Result = Sequence[Any] | Fault
Attempt = Callable[[str, list[Any]], Awaitable[list[Result]]]


class Slot:
    """Messages given to one call, and once it returned what each of them gave."""

    __slots__ = ("again", "attempts", "carried", "done", "failed", "given", "items", "port", "references")

    def __init__(self, port: str, items: list[Any], attempts: int = 0, reference: Reference | None = None) -> None:
        self.port = port
        self.items = items
        self.attempts = attempts
        self.references: list[Reference | None] = [reference] * len(items)
        self.failed: set[int] = set()
        self.given: list[Any] = []
        self.done = False
        self.again = reference is not None
        self.carried = False
        """Whether a barrier went past it, so that what comes of it is news to the next epoch."""


class PoolStage(Stage):
    """Feeds slots to at most `concurrency` callers and emits what comes back.

    A few more slots exist than calls may be in flight, so that no caller waits for work. In an ordered stage twice as many:
    one slow call at its head holds back a bounded number of results.
    """

    head: Worker

    def __init__(
        self, head: Worker, intake: Intake, region: Region, attempt: Attempt, *, slot_size: int | None
    ) -> None:
        super().__init__(head, intake, region)
        self._attempt = attempt
        alone = head.line is not None  # a message may have to wait for the one before it
        self._slot_size = 1 if alone else slot_size or 1
        self._adapts = slot_size is None and not alone
        self._callers = head.node.concurrency
        self._ordered = head.node.ordered
        self._most = self._callers + max(1, self._callers if self._ordered or self._adapts else self._callers // 4)
        """So many slots there may be: each is a row at a barrier."""
        self._slots: deque[Slot] = deque()
        self._live: dict[Slot, None] = {}
        self._todo: deque[Slot] = deque()
        self._finished: deque[Slot] = deque()
        self._markers: deque[Barrier | PortEnd | End] = deque()
        self._behind: deque[Entry] = deque()
        self._emitting = False
        self._rests = False
        self._idle: list[anyio.Event] = []
        self._started = 0
        self._emit = anyio.Event()
        self._free = anyio.Event()
        self._met = anyio.Event()
        self._count = 0

    @property
    def rests(self) -> bool:
        return (self._rests and not (self._count or self._behind or self._emitting)) or self.finishing

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._emit_all, tasks)
            while True:
                parked = self.waiting.take_due()
                if parked is not None:
                    self.resumed += 1
                    await self._resume(tasks, parked)
                    continue
                work = self.intake.take_nowait(self._appetite())
                # Calls in flight and messages on their way out may still fail and be parked: the end is met when none is left.
                left = bool(self.waiting or self._count or self._behind or self._emitting)
                ended = isinstance(work, End) and not self.region.draining and left
                if ended:
                    work = self.region.unmet(self.name)
                if work is None:
                    self._rests = True
                    self.region.quiet()
                    with anyio.move_on_after(self.pause(ended=ended)):
                        await self.intake.wait()
                    self._rests = False
                elif isinstance(work, Barrier | PortEnd | End):
                    self._markers.append(work)
                    self._emit.set()
                    if isinstance(work, End):
                        self.finishing = True
                        break
                    await self._passed_on()
                else:
                    await self._give_all(tasks, *work)

    async def _passed_on(self) -> None:
        """Take nothing more until the marker has been met: what comes behind it must not be emitted before it.

        The end of a port waits for the calls in flight, for which a commit does not; behind the last of them no barrier comes.
        """
        while self._markers:
            self._met = anyio.Event()
            is_last = isinstance(self._markers[0], PortEnd) and self.intake.has_ended and not self.region.draining
            with anyio.move_on_after(ENDED_PAUSE if is_last else None):
                await self._met.wait()
                continue
            barrier = self.region.unmet(self.name)
            if barrier is not None and not self._emitting:
                self._markers.appendleft(barrier)
                self._emit.set()

    async def _give_all(self, tasks: TaskGroup, port: str, batch: list[Any]) -> None:
        self.head.taken += len(batch)
        self.head.took(port)
        await drive(self.head.fetch_state(port, batch))
        at = 0
        while at < len(batch):
            await self._room_for_slot()
            slot = Slot(port, batch[at : at + self._slot_size])
            at += len(slot.items)
            self._give(tasks, slot)

    async def _resume(self, tasks: TaskGroup, parked: Entry) -> None:
        """A parked message: of the head into a slot of its own, of a unit behind it directly, between two emissions."""
        if parked.unit is self.head:
            self.head.took(parked.port)
            item = self.head.item_of(parked)
            await drive(self.head.fetch_state(parked.port, [item]))
            await self._room_for_slot()
            self._give(tasks, Slot(parked.port, [item], parked.attempts, parked.reference))
        else:
            self._behind.append(parked)
            self._emit.set()

    def _give(self, tasks: TaskGroup, slot: Slot) -> None:
        self._count += 1
        self._live[slot] = None
        if self._ordered:
            self._slots.append(slot)
        self._todo.append(slot)
        if self._idle:
            self._idle.pop().set()
        elif self._started < self._callers:
            self._started += 1
            tasks.start_soon(self._call)

    def _appetite(self) -> int:
        """So many messages it takes at once: what it holds in its hands a barrier waits for as well."""
        return max(FEW, (self._most - self._count) * self._slot_size)

    async def _room_for_slot(self) -> None:
        while self._count >= self._most:
            self._free = anyio.Event()
            await self._free.wait()

    async def _call(self) -> None:
        """One caller: takes slots for as long as the stage lives."""
        while True:
            while not self._todo:
                event = anyio.Event()
                self._idle.append(event)
                await event.wait()
            slot = self._todo.popleft()
            if not slot.again and self.head.stands_behind(slot.port, slot.items[0], slot.references[0]):
                slot.references[0] = None  # the row is the line's now
                slot.failed.add(0)
                self._done(slot)
                continue
            started = time.monotonic() if self._adapts else 0.0  # the event loop's own clock takes longer to find
            if not self.head.is_careful:
                results = await self._attempt(slot.port, slot.items)
            else:
                results = [await self._one_carefully(slot.port, item) for item in slot.items]
            if self._adapts:
                self._adapt(time.monotonic() - started, len(slot.items))
            for number, (item, result) in enumerate(zip(slot.items, results, strict=True)):
                if not isinstance(result, FAULTS):
                    slot.given.extend(result)
                elif self.head.parking is None:
                    slot.given.extend(await self._recover(slot.port, item, result))
                else:
                    self.head.failed(slot.port, item, result, slot.attempts + 1, slot.references[number])
                    slot.references[number] = None  # the row is the failure's now
                    slot.failed.add(number)
                if slot.again and number not in slot.failed:
                    self.head.settled(slot.port, item)
            self._done(slot)

    def _done(self, slot: Slot) -> None:
        slot.done = True
        if not self._ordered:
            self._finished.append(slot)
        self._emit.set()

    async def _one_carefully(self, port: str, item: Any) -> Result:
        try:
            noting = self.head.noting(port, item)
        except ProcessDiedError as error:
            return error
        if noting is not None:
            await noting
        (result,) = await self._attempt(port, [item])
        if noting is not None:
            await self.head.leave()
        return result

    def _adapt(self, seconds: float, size: int) -> None:
        """Between a task switch for every message and a slot that holds its messages for long: 5 to 20 ms a slot."""
        if seconds < 0.005 and size == self._slot_size:
            self._slot_size = min(2 * self._slot_size, CHUNK)
        elif seconds > 0.02:
            self._slot_size = max(1, self._slot_size // 2)

    async def _recover(self, port: str, item: Any, result: Result) -> Sequence[Any]:
        attempt = 1
        while isinstance(result, FAULTS):
            delay = self.head.failures.delay(self.head.node, result, attempt)
            if delay is None:
                self.head.settle(port, item, result, attempt)
                return ()
            await anyio.sleep(delay)
            attempt += 1
            self.head.retried += 1
            (result,) = await self._attempt(port, [item])
        return result

    async def _emit_all(self, tasks: TaskGroup) -> None:
        """Emit finished slots and pass markers on; alone touches what is behind the head, so a barrier cuts cleanly."""
        while True:
            self._emitting = True
            out = self._take_finished()
            if out:
                await drive(self.head.emit(out))
            elif self._behind:
                parked = self._behind.popleft()
                await drive(parked.unit.resume(parked))
            elif self._markers and (not self._count or (isinstance(self._markers[0], Barrier) and not self.head.cells)):
                marker = self._markers[0]
                if isinstance(marker, Barrier):
                    self._park_in_flight()
                    reached("barrier.parked")
                    await self.meet(marker)
                elif isinstance(marker, PortEnd) and not self.goes_on_later:
                    await drive(self.head.ended(marker.port))
                self._markers.popleft()
                self._met.set()
                if isinstance(marker, End):
                    await self.end()
                    tasks.cancel_scope.cancel()  # the callers wait for slots that will not come
                    return
            else:
                self._emitting = False
                self._emit = anyio.Event()
                self.intake.wake()
                await self._emit.wait()

    def _take_finished(self) -> list[Any]:
        out: list[Any] = []
        before = self._count
        if self._ordered:
            while self._slots and self._slots[0].done:
                out.extend(self._leave(self._slots.popleft()))
        else:
            while self._finished:
                out.extend(self._leave(self._finished.popleft()))
        if self._count < before:
            self._free.set()
            self.intake.wake()
        return out

    def _leave(self, slot: Slot) -> list[Any]:
        """A slot's messages leave the component: rows that stood for them in flight are completed."""
        self._count -= 1
        del self._live[slot]
        self.resumed += slot.carried
        if self.head.parking is not None:
            for reference in slot.references:
                if reference is not None:
                    self.head.parking.done(reference, slot.port)
        return slot.given

    def _park_in_flight(self) -> None:
        """At a barrier: what has not left becomes rows, given again after a crash. Each once, until it leaves.

        A call that returned, but whose results wait behind a slower one, has not left either.
        """
        parking = self.head.parking
        for slot in self._live:
            slot.carried = True
        if parking is None:
            return
        for slot in self._live:
            for number, item in enumerate(slot.items):
                if slot.references[number] is None and number not in slot.failed:
                    payload, identity = parts_of(item)
                    slot.references[number] = parking.park(
                        slot.port,
                        payload,
                        "processing",
                        attempts=slot.attempts,
                        reference=parking.reference(slot.port, payload),
                        identity=identity,
                    )

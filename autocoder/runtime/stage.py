"""A stage is one task: it takes from its intake, lets its units compute, and waits where they must wait."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable
from functools import partial
from itertools import islice
from typing import Any, Final

import anyio
import anyio.lowlevel

from autocoder.message import END, Barrier, End
from autocoder.runtime.channel import Aside, Intake, PortEnd
from autocoder.runtime.inlet import Inlet
from autocoder.runtime.outlet import Outlet
from autocoder.runtime.parking import Parking, Waiting
from autocoder.runtime.region import Contribution, Region
from autocoder.runtime.sink_unit import SinkUnit
from autocoder.runtime.unit import CHUNK, Flow, Unit, parts_of
from autocoder.runtime.worker import Worker
from autocoder.store.epoch import Reference
from autocoder.store.failpoints import reached
from autocoder.store.store import Row

ENDED_PAUSE: Final = 0.05
Work = tuple[str, list[Any]] | Barrier | PortEnd | End


async def drive(flow: Flow) -> None:
    """Run a flow, waiting where it asks to."""
    for awaitable in flow:
        await awaitable


class Stage:
    """What stages share: meeting a barrier and meeting the end, for the head and the units fused behind it."""

    def __init__(self, head: Unit, intake: Intake, region: Region) -> None:
        self.head = head
        self.name = head.node.name
        self.intake = intake
        self.region = region
        self.units = list(head.followers())
        self.waiting = Waiting()
        self.resumed = 0
        self.finishing = False
        self.inlets: list[Inlet] = []
        for unit in self.units:
            unit.waiting = self.waiting
        if head.parking is not None:
            intake.let_go = self._let_go

    def give(self, unit: Unit, row: Row, payload: Any, delay: float) -> None:
        """A parked message from the store, to be given to one of this stage's units; too late, it is the next run's."""
        if self.finishing:
            return
        unit.taken += 1
        add = partial(self.waiting.add, unit, row.port, payload, row.attempts, row.seq, row.identity)
        key = None if unit.line is None else unit.line.key(row.port, unit.item(payload, row.seq, row.identity))
        if unit.line is not None and key is not None and unit.line.is_held(key):
            unit.line.wait(key, partial(add, 0.0))
            return
        if unit.line is not None:
            unit.line.lead(key)
        add(delay)
        self.intake.wake()

    async def meet(self, barrier: Barrier) -> None:
        """Everything before the barrier has been handled: hand in what belongs to the epoch, pass the barrier on."""
        reached("barrier.begin")
        for unit in self.units:
            for awaitable in unit.at_barrier(barrier):
                await awaitable
        self.region.hand_in(self.name, barrier, self.contribution())
        for inlet in self.inlets:
            inlet.met()
        reached("barrier.handed")
        self._mark(barrier)
        reached("barrier.met")

    @property
    def goes_on_later(self) -> bool:
        """A durable run that drains: its input has not ended, so nothing is emitted for the end."""
        return self.region.draining and self.head.parking is not None

    async def end(self) -> None:
        """No more input: let the units emit what they still have, producers first, then pass the end on."""
        self.finishing = True
        for unit in self.units:
            if self.goes_on_later:
                break
            await drive(unit.finish())
            await self._settle()
        if self.head.careful is not None:  # nothing died here
            self.head.changes.append(self.head.careful.cleared())
        for unit in self.units:
            if isinstance(unit, SinkUnit):
                await unit.flush()
        reached("end.met")
        self.region.ended(self.name, self.contribution())
        self._mark(END)

    async def _settle(self) -> None:
        """What a unit emitted at its end may have failed behind it, and is tried again before the next one finishes."""
        while self.waiting and not self.region.draining:
            barrier = self.region.unmet(self.name)
            parked = self.waiting.take_due() if barrier is None else None
            if barrier is not None:
                await self.meet(barrier)
            elif parked is not None:
                await drive(parked.unit.resume(parked))
            else:
                await anyio.sleep(self.pause(ended=True))

    @property
    def rests(self) -> bool:
        """Whether it waits for work, or has ended."""
        return self.finishing

    def drain(self) -> None:
        """The run stops reading; what a merger holds back waits for a later run, where there will be one."""
        if self.goes_on_later:
            self.intake.drain()
        self.intake.wake()

    def restore(self, unit: Unit, row: Row, payload: Any) -> None:
        """A message that was set aside at an input of a merger waits there again, in its order."""
        self.intake.restore(row.port, unit.item(payload, row.seq, row.identity), row.seq)

    def _let_go(self, port: str, aside: Aside) -> None:
        if self.head.parking is not None:
            for item, reference in zip(aside.items, aside.references or (), strict=True):
                self.head.parking.let_go(port, parts_of(item)[0], reference)
            self.resumed += len(aside.items)

    def _park_aside(self, parking: Parking) -> None:
        def park(port: str, item: Any) -> Reference:
            payload, identity = parts_of(item)
            reference = parking.reference(port, payload)
            return parking.park(port, payload, "processing", reference=reference, identity=identity)

        self.intake.park_aside(park)

    def contribution(self) -> Contribution:
        """What the units have done since the last barrier."""
        done = Contribution()
        if self.head.parking is not None:
            self._park_aside(self.head.parking)
        for unit in self.units:
            if isinstance(unit, SinkUnit):
                done.sinks += unit.take_rows()
            for channels in unit.channels.values():
                for channel in channels:
                    output = channel.take() if isinstance(channel, Outlet) else None
                    if output is not None:
                        done.outputs.append(output)
            if unit.memory is not None:
                done.state += unit.memory.take_changes()
            if unit.ending is not None:
                done.state += unit.ending.take_changes()
            done.state += unit.changes
            unit.changes = []
            if unit.parking is not None:
                done.parked += unit.parking.take()
        return done

    def pause(self, *, ended: bool) -> float:
        """The longest wait for work: until a retry is due; behind the end of input, until the region may want to commit."""
        return min(self.waiting.seconds(), ENDED_PAUSE if ended else float("inf"))

    async def run(self) -> None:
        """Work until the end."""
        raise NotImplementedError

    def _mark(self, marker: Barrier | End) -> None:
        for channel in self.head.leaving():
            channel.mark(marker)


class PlainStage(Stage):
    """Plain components (and sinks of either kind) in one loop."""

    def __init__(self, head: Unit, intake: Intake, region: Region) -> None:
        super().__init__(head, intake, region)
        self._idle = False
        self._handed: Work | Begun | None = None

    @property
    def rests(self) -> bool:
        return self._idle or self.finishing

    def help(self) -> None:
        """Do what waits here now, in the task of the source that fed it, which saves two switches of tasks.

        Only what is computed is done so: where this stage would have to wait, its own task goes on.
        """
        while self._idle:
            work = None if self.intake.is_empty else self.intake.take_nowait()
            if work is None:
                self.region.quiet()
                return
            left: Work | Begun | None = work
            if isinstance(work, tuple) and len(work[1]) <= 2 * CHUNK:
                flow = self.head.flow(*work)
                awaitable = next(flow, None)
                left = None if awaitable is None else Begun(awaitable, flow)
            if left is not None:
                self._handed, self._idle = left, False
                self.intake.wake()

    async def run(self) -> None:
        try:
            await self._work()
        finally:
            if isinstance(self._handed, Begun):
                self._handed.abandon()

    async def _work(self) -> None:
        while True:
            handed, self._handed = self._handed, None
            if isinstance(handed, Begun):
                await handed.go_on()
                continue
            parked = self.waiting.take_due() if handed is None else None
            if parked is not None:
                self.resumed += 1
                await drive(parked.unit.resume(parked))
                continue
            work = handed or self.intake.take_nowait()
            ended = isinstance(work, End) and bool(self.waiting) and not self.region.draining
            if ended:
                work = self.region.unmet(self.name)
            if work is None:
                self._idle = True
                self.region.quiet()
                with anyio.move_on_after(self.pause(ended=ended)):
                    await self.intake.wait()
                self._idle = False
            elif isinstance(work, Barrier):
                await self.meet(work)
            elif isinstance(work, PortEnd):
                if isinstance(self.head, Worker) and not self.goes_on_later:
                    await drive(self.head.ended(work.port))
            elif isinstance(work, End):
                await self.end()
                return
            else:
                port, batch = work
                for number, piece in enumerate(pieces(batch)):
                    if number:  # between the pieces of a long list the others run; behind it they do anyway
                        await anyio.lowlevel.checkpoint()
                    await drive(self.head.flow(port, piece))


class Begun:
    """A flow that has run to the first place where it has to wait."""

    def __init__(self, awaitable: Awaitable[Any], flow: Flow) -> None:
        self._awaitable = awaitable
        self._flow = flow

    async def go_on(self) -> None:
        await self._awaitable
        await drive(self._flow)

    def abandon(self) -> None:
        """It will not go on: leave nothing that was begun and never awaited."""
        if isinstance(self._awaitable, Coroutine):
            self._awaitable.close()
        self._flow.close()


def pieces(batch: list[Any], size: int = CHUNK) -> Iterable[list[Any]]:
    """A list in parts short enough to let other tasks run in between."""
    if len(batch) <= 2 * size:
        yield batch
        return
    iterator = iter(batch)
    while piece := list(islice(iterator, size)):
        yield piece

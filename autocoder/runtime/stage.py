"""A stage is one task: it takes from its intake, lets its units compute, and waits where they must wait."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import anyio
import anyio.lowlevel

from autocoder.message import END, Barrier, End
from autocoder.runtime.channel import Intake, PortEnd
from autocoder.runtime.outlet import Outlet
from autocoder.runtime.parking import Waiting
from autocoder.runtime.region import Contribution, Region
from autocoder.runtime.sink_unit import SinkUnit
from autocoder.runtime.unit import CHUNK, Flow, Unit, Worker
from autocoder.store.epoch import Reference
from autocoder.store.failpoints import reached

ENDED_PAUSE: Final = 0.05


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
        for unit in self.units:
            unit.waiting = self.waiting

    def give(self, unit: Unit, port: str, payload: Any, attempts: int, reference: Reference, delay: float) -> None:
        """A parked message from the store, to be given to one of this stage's units."""
        self.waiting.add(unit, port, payload, attempts, reference, delay)
        self.intake.wake()

    async def meet(self, barrier: Barrier) -> None:
        """Everything before the barrier has been handled: hand in what belongs to the epoch, pass the barrier on."""
        reached("barrier.begin")
        for unit in self.units:
            for awaitable in unit.at_barrier(barrier):
                await awaitable
        self.region.hand_in(self.name, barrier, self.contribution())
        self._mark(barrier)
        reached("barrier.met")

    async def end(self) -> None:
        """No more input: let the units emit what they still have, then pass the end on.

        A durable run that drains goes on later: its input has not ended, so nothing is emitted for the end.
        """
        if not (self.region.draining and self.head.parking is not None):
            await drive(self.head.finish())
        for unit in self.units:
            if isinstance(unit, SinkUnit):
                await unit.flush()
        self.region.ended(self.name, self.contribution())
        self._mark(END)

    def contribution(self) -> Contribution:
        """What the units have done since the last barrier."""
        done = Contribution()
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

    async def run(self) -> None:
        while True:
            parked = self.waiting.take_due()
            if parked is not None:
                self.resumed += 1
                await drive(parked.unit.resume(parked))
                continue
            work = self.intake.take_nowait()
            ended = isinstance(work, End) and bool(self.waiting) and not self.region.draining
            if ended:
                work = self.region.unmet(self.name)
            if work is None:
                with anyio.move_on_after(self.pause(ended=ended)):
                    await self.intake.wait()
            elif isinstance(work, Barrier):
                await self.meet(work)
            elif isinstance(work, PortEnd):
                if isinstance(self.head, Worker):
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


def pieces(batch: list[Any], size: int = CHUNK) -> Iterable[list[Any]]:
    """A list in parts short enough to let other tasks run in between."""
    if len(batch) <= 2 * size:
        yield batch
        return
    iterator = iter(batch)
    while piece := list(islice(iterator, size)):
        yield piece

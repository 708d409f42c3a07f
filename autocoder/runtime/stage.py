"""A stage is one task: it takes from its intake, lets its units compute, and waits where they must wait."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

import anyio
import anyio.lowlevel

from autocoder.message import END, Barrier, End
from autocoder.runtime.channel import Intake, PortEnd
from autocoder.runtime.sink_unit import SinkUnit
from autocoder.runtime.unit import CHUNK, Flow, Unit, Worker
from autocoder.statement import Statement


class Epochs(Protocol):
    """What a stage tells its region."""

    def tick(self) -> None: ...
    def hand_in(self, stage: str, barrier: Barrier, statements: list[tuple[str, Statement]]) -> None: ...
    def ended(self, stage: str, statements: list[tuple[str, Statement]]) -> None: ...


async def drive(flow: Flow) -> None:
    """Run a flow, waiting where it asks to."""
    for awaitable in flow:
        await awaitable


class Stage:
    """What stages share: meeting a barrier and meeting the end, for the head and the units fused behind it."""

    def __init__(self, head: Unit, intake: Intake, epochs: Epochs) -> None:
        self.head = head
        self.name = head.node.name
        self.intake = intake
        self.epochs = epochs
        self.units = list(head.followers())

    async def meet(self, barrier: Barrier) -> None:
        """Everything before the barrier has been handled: hand in what belongs to the epoch, pass the barrier on."""
        for unit in self.units:
            for awaitable in unit.at_barrier(barrier):
                await awaitable
        self.epochs.hand_in(self.name, barrier, self.statements())
        self._mark(barrier)

    async def end(self) -> None:
        """No more input: let the units emit what they still have, then pass the end on."""
        await drive(self.head.finish())
        for unit in self.units:
            if isinstance(unit, SinkUnit):
                await unit.flush()
        self.epochs.ended(self.name, self.statements())
        self._mark(END)

    def statements(self) -> list[tuple[str, Statement]]:
        return [
            (unit.node.name, statement)
            for unit in self.units
            if isinstance(unit, SinkUnit)
            for statement in unit.take_statements()
        ]

    def _mark(self, marker: Barrier | End) -> None:
        for channel in self.head.leaving():
            channel.mark(marker)


class PlainStage(Stage):
    """Plain components (and sinks of either kind) in one loop."""

    async def run(self) -> None:
        while True:
            work = await self.intake.take()
            if isinstance(work, Barrier):
                await self.meet(work)
            elif isinstance(work, PortEnd):
                if isinstance(self.head, Worker):
                    await drive(self.head.ended(work.port))
            elif isinstance(work, End):
                await self.end()
                return
            else:
                port, batch = work
                for piece in pieces(batch):
                    await drive(self.head.flow(port, piece))
                    await anyio.lowlevel.checkpoint()


def pieces(batch: list[Any], size: int = CHUNK) -> Iterable[list[Any]]:
    """A list in parts short enough to let other tasks run in between."""
    if len(batch) <= 2 * size:
        yield batch
        return
    iterator = iter(batch)
    while piece := list(islice(iterator, size)):
        yield piece

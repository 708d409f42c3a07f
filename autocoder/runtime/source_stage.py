"""A source at run time: reads batches, passes them on, and knows the position to resume from.

Its batches and its position change together, between two steps of the event loop, so that a barrier may start at any time:
what was put before it is covered by the position that goes with it (I6).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread

from autocoder.contract import OUT
from autocoder.message import END, Barrier, Batch, Traced
from autocoder.runtime.failures import NO_PAYLOAD
from autocoder.runtime.outlet import Outlet
from autocoder.runtime.region import Contribution, Region
from autocoder.runtime.unit import CHUNK, Unit
from autocoder.tracing import origin_key


class SourceStage:
    """The task of one source."""

    def __init__(self, unit: Unit, pipeline: str, region: Region) -> None:
        self.unit = unit
        self.name = unit.node.name
        self.region = region
        self.position: Any = None
        self._saved: Any = None
        self._pipeline = pipeline
        self._reading = anyio.CancelScope()
        self._since_pause = 0
        self._traced = unit.traced
        self._channels = unit.channels[OUT]

    def drain(self) -> None:
        """Read no more; what was read goes its way."""
        self._reading.cancel()

    def start_barrier(self, barrier: Barrier) -> Contribution:
        """Send a barrier behind everything put so far; what was put belongs to its epoch, with the position behind it."""
        for channel in self.unit.leaving():
            channel.mark(barrier)
        return self._contribution()

    def _contribution(self) -> Contribution:
        done = Contribution()
        if self.position != self._saved:
            done.positions[self.name] = self._saved = self.position
        if self.unit.parking is not None:
            done.parked += self.unit.parking.take()
        for channel in self._channels:
            output = channel.take() if isinstance(channel, Outlet) else None
            if output is not None:
                done.outputs.append(output)
        return done

    def resume_from(self, position: Any) -> None:
        """Start where an earlier run stopped."""
        self.position = self._saved = position

    async def run(self) -> None:
        read = self.unit.component.read
        try:
            with self._reading:
                if self.unit.node.contract.is_async:
                    await self._read_async(read(self.position))
                else:
                    await self._read_plain(read(self.position))
        except Exception as error:
            if getattr(error, "component", None) is not None:
                raise
            raise self.unit.failures.stopped(self.unit.node, OUT, NO_PAYLOAD, error, hook="read") from error
        self.region.ended(self.name, self._contribution())
        for channel in self.unit.leaving():
            channel.mark(END)

    async def _read_async(self, batches: AsyncGenerator[Batch[Any], None]) -> None:
        put = self._put
        async with aclosing(batches):
            async for batch in batches:
                if put(batch):
                    await self._pause()

    async def _read_plain(self, batches: Generator[Batch[Any], None, None]) -> None:
        put = self._put
        with closing(batches):
            if self.unit.node.run_in == "thread":
                while (batch := await anyio.to_thread.run_sync(next, batches, None)) is not None:
                    if put(batch):
                        await self._pause()
                return
            for batch in batches:
                if put(batch):
                    await self._pause()

    def _put(self, batch: Batch[Any]) -> bool:
        """Pass a batch on and move the position behind it; returns whether it is time to pause.

        Called for every batch, which may hold a single payload: no await, no work that can be left to the pause.
        """
        payloads = batch.payloads
        if self._traced or batch.rejected:
            payloads = self._examined(batch)
        count = len(payloads)
        pause = False
        for channel in self._channels:
            pause |= channel.put(payloads)
        self.position = batch.resume
        self.unit.given += count
        self._since_pause += count + 1
        return pause or self._since_pause >= CHUNK

    def _examined(self, batch: Batch[Any]) -> Sequence[Any]:
        for rejected in batch.rejected:
            self.unit.settle(OUT, rejected, rejected.error, 1)
        if not self._traced:
            return batch.payloads
        origin = origin_key(self._pipeline, self.name, self.position)
        return [Traced(f"{origin}:{number}", payload) for number, payload in enumerate(batch.payloads)]

    async def _pause(self) -> None:
        """Wait for room, or let the others run for once: a source that never waits must not starve them."""
        self._since_pause = 0
        self.region.tick()
        waited = False
        for channel in self._channels:
            if channel.full:
                await channel.room()
                waited = True
        if not waited:
            await anyio.lowlevel.checkpoint()

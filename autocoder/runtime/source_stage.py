"""A source at run time: reads batches, passes them on, and knows the position to resume from.

Its batches and its position change together, between two steps of the event loop, so that a barrier may start at any time:
what was put before it is covered by the position that goes with it (I6).
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any, Final
from uuid import uuid4

import anyio
import anyio.lowlevel
import anyio.to_thread

from autocoder.contract import OUT
from autocoder.faults import faults
from autocoder.message import END, Barrier, Batch, Traced
from autocoder.runtime.channel import Channel
from autocoder.runtime.failures import NO_PAYLOAD
from autocoder.runtime.outlet import Outlet
from autocoder.runtime.region import Contribution, Region
from autocoder.runtime.stage import PlainStage
from autocoder.runtime.unit import CHUNK, Unit
from autocoder.store.failpoints import reached
from autocoder.tracing import origin_key

SLICE: Final = 0.01
"""So many seconds a source that never waits keeps the event loop to itself."""


class SourceStage:
    """The task of one source."""

    def __init__(self, unit: Unit, pipeline: str, region: Region) -> None:
        self.unit = unit
        self.name = unit.node.name
        self.region = region
        self.finishing = False
        self.resumed = 0
        """Pieces of input that were rejected in an earlier run, and mended since."""
        self.position: Any = None
        self._saved: Any = None
        self._pipeline = pipeline
        self._reading = anyio.CancelScope()
        self._since_pause = 0
        self._pause_at = 0.0
        self._piece = min(CHUNK, region.most)
        self._traced = unit.traced
        # Payloads are numbered behind a position that does not move. What cannot be read again has no other identity than
        # that it was read by this run.
        self._numbered_from: Any = None
        self._number = 0
        self._run = "" if unit.component.replayable else f"/{uuid4().hex}"
        self._alone = all(isinstance(each, Outlet) for each in unit.channels[OUT])
        self._channels = unit.channels[OUT]
        self._followers: list[tuple[Channel, PlainStage]] = []

    def feeds(self, channel: Channel, stage: PlainStage) -> None:
        """The stage behind a channel; as long as this source never waits, it does the work of that stage in between."""
        if self.unit.node.run_in == "loop":
            self._followers.append((channel, stage))

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
        done.state, self.unit.changes = self.unit.changes, []
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
        except faults() as error:
            if getattr(error, "component", None) is not None:
                raise
            raise self.unit.failures.stopped(self.unit.node, OUT, NO_PAYLOAD, error, hook="read") from error
        reached("source.ended")
        self.finishing = True
        if self.unit.careful is not None and self._alone:  # nothing died here, and nobody else is there to say so
            self.unit.changes.append(self.unit.careful.cleared())
        self.region.ended(self.name, self._contribution())
        for channel in self.unit.leaving():
            channel.mark(END)

    async def _read_carefully(self, step: Callable[[], Awaitable[Batch[Any] | None]]) -> None:
        """Read in careful mode, for as long as that lasts: each step is watched, while nothing else is on its way."""
        while (careful := self.unit.careful) is not None and not careful.over:
            async with careful.reading(self.name, self.position, self.region.rests):
                batch = await step()
            if batch is None:
                return  # an iterator that has ended gives nothing more
            if self._put(batch):
                await self._pause()

    async def _read_async(self, batches: AsyncGenerator[Batch[Any], None]) -> None:
        put = self._put
        async with aclosing(batches):
            await self._read_carefully(lambda: anext(batches, None))
            async for batch in batches:
                if put(batch):
                    await self._pause()

    async def _read_plain(self, batches: Generator[Batch[Any], None, None]) -> None:
        put = self._put

        async def step() -> Batch[Any] | None:
            if self.unit.node.run_in == "thread":
                return await anyio.to_thread.run_sync(next, batches, None)
            return next(batches, None)

        with closing(batches):
            await self._read_carefully(step)
            if self.unit.node.run_in == "thread":
                while (batch := await step()) is not None:
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
        if self._alone:
            self.region.quiet(at_once=True)
        return (pause or self._since_pause >= self._piece) and self._is_to_pause(count)

    def _is_to_pause(self, count: int) -> bool:
        """Whether a channel stays full or the others have waited long enough.

        Where a channel holds more than the `count` messages just put, this source has read twice without waiting, so
        nothing is lost by working off the channel here. A source that waits reads on while its messages are processed.
        """
        self._since_pause = 0
        self.region.tick()
        for channel, stage in self._followers:
            if channel.size > count:
                stage.help()
        is_held_up = self.region.is_behind or any(channel.full for channel in self._channels)
        return is_held_up or time.monotonic() >= self._pause_at

    def _examined(self, batch: Batch[Any]) -> Sequence[Any]:
        self.unit.taken += len(batch.rejected)
        for rejected in batch.rejected:
            self.unit.settle(OUT, rejected, rejected.error, 1)
        if not self._traced:
            return batch.payloads
        if self.position != self._numbered_from:
            self._numbered_from, self._number = self.position, 0
        origin = origin_key(self._pipeline, self.name, self.position) + self._run
        first = self._number
        self._number += len(batch.payloads)
        return [Traced(f"{origin}:{number}", payload) for number, payload in enumerate(batch.payloads, first)]

    async def _pause(self) -> None:
        """Wait for room, or let the others run for once: a source that never waits must not starve them."""
        await anyio.lowlevel.checkpoint()
        for channel in self._channels:
            await channel.room()
        await self.region.catch_up()
        self._pause_at = time.monotonic() + SLICE

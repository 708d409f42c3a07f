"""A source at run time: reads batches, passes them on, and knows the position to resume from.

Its batches and its position change together, between two steps of the event loop, so that a barrier may start at any time:
what was put before it is covered by the position that goes with it (I6).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from typing import Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from autocoder.contract import OUT
from autocoder.message import END, Barrier, Batch, Traced
from autocoder.runtime.failures import NO_PAYLOAD
from autocoder.runtime.stage import Epochs
from autocoder.runtime.unit import CHUNK, Unit
from autocoder.tracing import origin_key

_NO_MORE: Final = object()


class SourceStage:
    """The task of one source."""

    def __init__(self, unit: Unit, pipeline: str, epochs: Epochs, *, resume: Any = None) -> None:
        self.unit = unit
        self.name = unit.node.name
        self.epochs = epochs
        self.position = resume
        self._pipeline = pipeline
        self._reading = anyio.CancelScope()
        self._since_pause = 0

    def drain(self) -> None:
        """Read no more; what was read goes its way."""
        self._reading.cancel()

    def start_barrier(self, barrier: Barrier) -> Any:
        """Send a barrier behind everything put so far; returns the position that it stands for."""
        for channel in self.unit.leaving():
            channel.mark(barrier)
        return self.position

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
        self.epochs.ended(self.name, [])
        for channel in self.unit.leaving():
            channel.mark(END)

    async def _read_async(self, batches: AsyncGenerator[Batch[Any], None]) -> None:
        async with aclosing(batches):
            async for batch in batches:
                await self._put(batch)

    async def _read_plain(self, batches: Generator[Batch[Any], None, None]) -> None:
        with closing(batches):
            threaded = self.unit.node.run_in == "thread"
            while True:
                batch = await anyio.to_thread.run_sync(next, batches, _NO_MORE) if threaded else next(batches, _NO_MORE)
                if batch is _NO_MORE:
                    return
                await self._put(batch)

    async def _put(self, batch: Any) -> None:
        unit = self.unit
        payloads = batch.payloads
        if unit.traced:
            origin = origin_key(self._pipeline, self.name, self.position)
            payloads = [Traced(f"{origin}:{number}", payload) for number, payload in enumerate(payloads)]
        for rejected in batch.rejected:
            unit.settle(OUT, rejected, rejected.error, 1)
        count = len(payloads)
        unit.taken += count + len(batch.rejected)
        unit.given += count
        for channel in unit.channels[OUT]:
            channel.put(payloads)
        self.position = batch.resume
        self.epochs.count(count)
        self._since_pause += count + 1
        for channel in unit.channels[OUT]:
            if channel.full:
                await channel.room()
                self._since_pause = 0
        if self._since_pause >= CHUNK:  # a source that never waits must not starve the others
            self._since_pause = 0
            await anyio.lowlevel.checkpoint()

"""A pipeline inside a program that runs an event loop of its own already.

    python examples/embed.py

The program measures, and hands what it measured to the pipeline; the pipeline averages and gives back. Both run at once,
in one loop. Without a database nothing is kept: `run_async(database="sqlite:///readings.db")` would keep it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from autocoder import Batch, DeadLetter, Keyed, Pipeline, Sink, Source, Transformer


@dataclass(frozen=True)
class Reading:
    sensor: str
    celsius: float


class Readings(Source[Reading], replayable=False):
    """Take readings from the program; the end of its stream is the end of the input."""

    stream: MemoryObjectReceiveStream[Reading]

    async def read(self, resume: None, /) -> AsyncIterator[Batch[Reading]]:
        async with self.stream:
            async for reading in self.stream:
                yield Batch([reading])


class Average(Transformer[Reading, Reading]):
    """Replace each reading by the average of its sensor so far."""

    count = Keyed(int, default=0)
    total = Keyed(float, default=0.0)

    def key(self, reading: Reading, /) -> str:
        return reading.sensor

    def process(self, reading: Reading, /) -> Reading:
        if reading.celsius < -273.15:
            raise ValueError(f"{reading.celsius} °C is colder than anything")
        self.count.value += 1
        self.total.value += reading.celsius
        return Reading(reading.sensor, self.total.value / self.count.value)


class Show(Sink[Reading]):
    """Print the readings."""

    def write(self, batch: Sequence[Reading], /) -> None:
        for reading in batch:
            print(f"{reading.sensor}: {reading.celsius:.1f} °C on average")


async def measure(stream: MemoryObjectSendStream[Reading]) -> None:
    """What the program does anyway."""
    async with stream:
        for sensor, celsius in (
            ("cellar", 11.0),
            ("attic", 27.0),
            ("cellar", 12.0),
            ("attic", -300.0),
            ("attic", 29.0),
        ):
            await stream.send(Reading(sensor, celsius))


def complain(letter: DeadLetter) -> None:
    """Called for each message that a component could not handle."""
    print(f"not averaged: {letter.error}")


async def main() -> None:
    send, receive = anyio.create_memory_object_stream[Reading](16)
    pipeline = Pipeline("readings")
    readings = pipeline.add("readings", Readings(stream=receive))
    averages = pipeline.add("averages", Average(), after=readings)
    pipeline.add("show", Show(), after=averages)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(measure, send)
        summary = await pipeline.run_async(on_dead_letter=complain)
    print(f"{summary.messages_in} in, {summary.messages_out} out, {summary.dead_letters} dead letter")


if __name__ == "__main__":
    anyio.run(main)

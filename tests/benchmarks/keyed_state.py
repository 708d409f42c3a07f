"""Keyed state of 10^3 to 10^6 keys: what an epoch costs that touches 1 % of them, or always the same number.

Between two commits of a running pipeline, so that neither its start nor its end counts.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from autocoder import Batch, Keyed, Pipeline, Sink, Source, Transformer
from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure_curve, step
from tests.benchmarks.in_memory import Tally

KEYS = (1000, 10_000, 100_000, 1_000_000)
SAME = 1000
EPOCHS = 10
STRIDE = 7919
"""Prime, so that the keys of an epoch are scattered, and every key has its turn before the first comes again."""
X = "keys"


class Numbers(Source[int]):
    """Keys, `batch` of them at a time, the next once these are committed; and the moments at which they were."""

    upto: int
    keys: int
    batch: int

    def check(self) -> None:
        self.commits: list[float] = []

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        for at in range(resume or 0, self.upto, self.batch):
            self.done = anyio.Event()
            yield Batch([n * STRIDE % self.keys for n in range(at, at + self.batch)], at + self.batch)
            if at + self.batch < self.upto:
                await self.done.wait()

    async def committed(self, resume: int, /) -> None:
        self.commits.append(OPTIONS.clock())
        self.done.set()


class Times(Transformer[int, int]):
    """How often each number came."""

    times = Keyed(int, default=0)

    def key(self, number: int, /) -> str:
        return f"key-{number:07d}"

    def process(self, number: int, /) -> int:
        self.times.value += 1
        return self.times.value


class Store:
    """A database with so many keys, and how far its source has read."""

    def __init__(self, folder: str, keys: int) -> None:
        self.keys = keys
        self.read = 0
        self._url = f"sqlite:///{Path(folder) / f'{keys}.db'}"

    def touch(self, number: int, epochs: int) -> float:
        """Milliseconds for each epoch that touches so many keys."""
        self.read += number * epochs
        numbers = Numbers(upto=self.read, keys=self.keys, batch=number)
        pipeline = Pipeline("bench", messages=number, every=60)
        sink: Sink[int] = Tally()
        pipeline.add("sink", sink, after=pipeline.add("times", Times(), after=pipeline.add("numbers", numbers)))
        pipeline.run(database=self._url)
        commits = numbers.commits if epochs > 1 else [0.0, 0.0]
        return 1000 * statistics.median(after - before for before, after in itertools.pairwise(commits))


def run() -> list[Result]:
    keys = KEYS[:2] if OPTIONS.quick else KEYS
    with tempfile.TemporaryDirectory() as folder:
        stores = {number: Store(folder, number) for number in keys}
        for number, store in stores.items():
            store.touch(min(number, 10_000), number // min(number, 10_000))
        part, same = "autocoder, 1 % touched", f"autocoder, {SAME:,} touched"
        return [
            measure_curve(
                "an epoch by keys of state, SQLite FULL",
                X,
                keys,
                lambda number: [
                    Contender(part, lambda: stores[number].touch(number // 100, EPOCHS)),
                    Contender(same, lambda: stores[number].touch(SAME, EPOCHS)),
                ],
                [
                    Bar(step(same, 10_000, X), most=2, of=step(same, 1_000_000, X)),
                    Bar(step(part, 100_000, X), most=12, of=step(part, 1_000_000, X)),
                ],
                unit="ms an epoch",
            )
        ]

"""What a durable hop adds at low load: from the moment a source gives a message to the moment a sink behind it gets it.

Against one raw insert-and-commit of the same row on sqlite3, WAL and FULL, at the same pace.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import anyio

from autocoder import Batch, ChannelOptions, Pipeline, Sink, Source
from tests.benchmarks.durable_sqlite import TABLES, connect
from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure

MESSAGES = 200
PAUSE = 0.02


class Ticks(Source[float]):
    """The time, again and again."""

    upto: int

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[float]]:
        for at in range(resume or 0, self.upto):
            await anyio.sleep(PAUSE)
            yield Batch([time.perf_counter()], at + 1)


class Delays(Sink[float]):
    """How long each tick was under way."""

    def check(self) -> None:
        self.seconds: list[float] = []

    def write(self, batch: Sequence[float], /) -> None:
        now = time.perf_counter()
        self.seconds += [now - each for each in batch]


def ours(messages: int) -> list[float]:
    pipeline = Pipeline("bench")
    delays = Delays()
    pipeline.add(
        "delays", delays, after=pipeline.add("ticks", Ticks(upto=messages)), channel=ChannelOptions(durable=True)
    )
    with tempfile.TemporaryDirectory() as folder:
        pipeline.run(database=f"sqlite:///{Path(folder) / 'bench.db'}")
    assert len(delays.seconds) == messages, len(delays.seconds)
    return delays.seconds


def raw(messages: int) -> list[float]:
    found: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        connection = connect(Path(folder) / "raw.db")
        connection.executescript(TABLES)
        for number in range(messages):
            time.sleep(PAUSE)
            started = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO messages (data, status, created_at) VALUES (?, 'pending', '')", (number,))
            connection.execute("COMMIT")
            found.append(time.perf_counter() - started)
        connection.close()
    return found


def percentile(values: Sequence[float], part: int) -> float:
    """In milliseconds."""
    return 1000 * statistics.quantiles(values, n=100, method="inclusive")[part - 1]


def run() -> list[Result]:
    messages = max(20, OPTIONS.sized(MESSAGES))
    last: list[float] = []

    def measured(work: Callable[[int], list[float]]) -> float:
        last[:] = work(messages)
        return percentile(last, 50)

    return [
        measure(
            f"latency of a durable hop, SQLite FULL, a message every {PAUSE * 1000:.0f} ms",
            [
                Contender("one raw insert and commit, p50", lambda: measured(raw)),
                Contender("one raw insert and commit, p99", lambda: percentile(last, 99)),
                Contender("autocoder, p50", lambda: measured(ours)),
                Contender("autocoder, p99", lambda: percentile(last, 99)),
            ],
            [
                Bar("one raw insert and commit, p50", most=3, of="autocoder, p50"),
                Bar(most=20, of="autocoder, p99"),
            ],
            unit="ms",
            rounds=5,
        )
    ]

"""An async component with 1,000 calls in flight, each of 100 ms, against the ideal; commits go on meanwhile."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio

from autocoder import Batch, Pipeline, Sink, Source, Transformer
from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure

MESSAGES = 50_000
CALLS = 1000
SECONDS = 0.1
EVERY = 0.1


class Requests(Source[int]):
    """Counts up, and notes when a commit has covered what it gave."""

    upto: int

    def check(self) -> None:
        self.commits: list[float] = []

    def read(self, resume: int | None, /) -> Iterator[Batch[int]]:
        for at in range(resume or 0, self.upto, 1000):
            yield Batch(list(range(at, min(at + 1000, self.upto))), at + 1000)

    async def committed(self, resume: int, /) -> None:
        self.commits.append(time.perf_counter())


class Call(Transformer[int, int], concurrency=CALLS):
    """Waits for an answer."""

    async def process(self, number: int, /) -> int:
        await anyio.sleep(SECONDS)
        return number


class Answers(Sink[int]):
    """Counts."""

    def check(self) -> None:
        self.count = 0

    def write(self, batch: Sequence[int], /) -> None:
        self.count += len(batch)


def calls(messages: int, *, kept: bool, gaps: list[float]) -> None:
    """Sets `gaps` to the longest and the usual time between two commits."""
    requests, answers = Requests(upto=messages), Answers()
    pipeline = Pipeline("bench", every=EVERY)
    answered = pipeline.add("call", Call(), after=pipeline.add("requests", requests))
    pipeline.add("answers", answers, after=answered)
    with tempfile.TemporaryDirectory() as folder:
        pipeline.run(database=f"sqlite:///{Path(folder) / 'bench.db'}" if kept else None)
    assert answers.count == messages, answers.count
    between = [after - before for before, after in zip(requests.commits, requests.commits[1:], strict=False)] or [0.0]
    gaps[:] = [max(between), statistics.median(between)]


def ideal(messages: int) -> None:
    """The same calls by hand on the event loop: as many tasks, each taking one after the other."""

    async def caller(numbers: Iterator[int]) -> None:
        for _ in numbers:
            await anyio.sleep(SECONDS)

    async def all_of_them() -> None:
        numbers = iter(range(messages))
        async with anyio.create_task_group() as tasks:
            for _ in range(CALLS):
                tasks.start_soon(caller, numbers)

    anyio.run(all_of_them)


def run() -> list[Result]:
    messages = max(2 * CALLS, OPTIONS.sized(MESSAGES))
    memory, file = [0.0, 0.0], [0.0, 0.0]
    longest, usual = (
        "autocoder, kept: longest time between commits",
        "autocoder, kept: usual time between commits",
    )
    return [
        measure(
            f"{CALLS:,} calls in flight, {SECONDS * 1000:.0f} ms each (ideal: {CALLS / SECONDS:,.0f})",
            [
                Contender("autocoder, in memory", lambda: calls(messages, kept=False, gaps=memory), messages),
                Contender("autocoder, kept", lambda: calls(messages, kept=True, gaps=file), messages),
                Contender("asyncio by hand, nothing kept", lambda: ideal(messages), messages),
                Contender(longest, lambda: file[0], unit="s"),
                Contender(usual, lambda: file[1], unit="s"),
            ],
            [
                Bar(least=0.9 * CALLS / SECONDS, of="autocoder, in memory"),
                Bar(least=0.9 * CALLS / SECONDS, of="autocoder, kept"),
                Bar(most=2 * EVERY, of=usual),
            ],
            rounds=5,
        )
    ]

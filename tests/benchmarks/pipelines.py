"""1, 8 and 64 pipelines in one process on one SQLite file, each with a durable hop and the same work to do."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio

from autocoder import ChannelOptions, Pipeline, Sink, open_database, prepare
from tests.benchmarks.harness import Bar, Contender, Result, measure_curve, step
from tests.benchmarks.orders import BATCH, Orders, Price, Priced

EACH = 2 * BATCH
NUMBERS = (1, 8, 64)
X = "pipelines"


class Tally(Sink[Priced]):
    """Counts what arrives."""

    def check(self) -> None:
        self.count = 0

    def write(self, batch: Sequence[Priced], /) -> None:
        self.count += len(batch)


async def together(number: int, url: str) -> None:
    async with open_database(url) as database:
        await prepare(database)
    tallies = [Tally() for _ in range(number)]
    async with anyio.create_task_group() as tasks:
        for at, tally in enumerate(tallies):
            pipeline = Pipeline(f"bench-{at}", messages=BATCH)
            outlet = pipeline.add("orders", Orders(upto=EACH))
            priced = pipeline.add("price", Price(), after=outlet, channel=ChannelOptions(durable=True))
            pipeline.add("tally", tally, after=priced)
            tasks.start_soon(lambda each=pipeline: each.run_async(database=url))
    assert all(each.count == EACH for each in tallies), [each.count for each in tallies]


def work(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(together, number, f"sqlite:///{Path(folder) / 'bench.db'}")


def run() -> list[Result]:
    return [
        measure_curve(
            "pipelines in one process, durable hops on one SQLite file",
            X,
            NUMBERS,
            lambda number: [Contender("autocoder", lambda: work(number), number * EACH)],
            [Bar(step("autocoder", 1, X), least=0.9, of=step("autocoder", 64, X))],
        )
    ]

"""A region that has nothing to do commits what it has done at once, however long an epoch may last."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from autocoder import Batch, Pipeline, Source, Transformer
from autocoder.declaration import ChannelOptions
from tests.support import Collect, Double

pytestmark = pytest.mark.anyio
LONG = 600.0


class Now(Source[int]):
    """Numbers as they come, without an end; notes what was committed."""

    def check(self) -> None:
        self.send, self.receive = anyio.create_memory_object_stream[int](10)
        self.committed_up_to = -1

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        async for number in self.receive:
            yield Batch([number], resume=number)

    async def close(self) -> None:
        self.send.close()
        self.receive.close()

    async def committed(self, resume: int, /) -> None:
        self.committed_up_to = resume


class Slow(Transformer[int, int], concurrency=2):
    """With calls in flight."""

    async def process(self, number: int, /) -> int:
        await anyio.sleep(0.01)
        return number


@pytest.mark.parametrize("channel", [ChannelOptions(), ChannelOptions(durable=True)], ids=["memory", "durable"])
@pytest.mark.parametrize("steps", [[Double], [Slow], [Slow, Double], []])
async def test_an_idle_region_commits_at_once(tmp_path: Path, channel: ChannelOptions, steps: list[Any]) -> None:
    source, sink, file = Now(), Collect(), tmp_path / "x.db"
    pipeline = Pipeline("now", every=LONG)
    at = pipeline.add("source", source)
    for number, step in enumerate([*steps, Double]):
        at = pipeline.add(f"step{number}", step(), after=at, channel=channel)
    pipeline.add("sink", sink, after=at)
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await pipeline.run_async(database=f"sqlite:///{file}")

        tasks.start_soon(run)
        for number in range(3):
            await source.send.send(number)
            with anyio.fail_after(30):
                while source.committed_up_to < number or len(sink.got) <= number or waiting(file):
                    await anyio.sleep(0.005)
        pipeline.drain()


def waiting(file: Path) -> int:
    """How many rows stand for messages that are under way."""
    connection = sqlite3.connect(file)
    try:
        query = "SELECT count(*) FROM port_messages WHERE status <> 'completed'"
        return int(connection.execute(query).fetchone()[0])
    finally:
        connection.close()


class Few(Source[int]):
    """Three numbers, and the word that they are committed."""

    def check(self) -> None:
        self.is_committed = anyio.Event()

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        yield Batch([0, 1, 2], resume=3)

    async def committed(self, resume: int, /) -> None:
        self.is_committed.set()


class Waits(Transformer[int, int], concurrency=4):
    """Gives back the last number when all of them are committed."""

    few: Any

    async def process(self, number: int, /) -> int:
        if number == 2:
            await self.few.is_committed.wait()
        return number


async def test_behind_the_end_of_input_no_commit_waits_for_a_call_in_flight(tmp_path: Path) -> None:
    few, sink, pipeline = Few(), Collect(), Pipeline("few", every=0.05)
    at = pipeline.add("waits", Waits(few=few), after=pipeline.add("few", few))
    pipeline.add("sink", sink, after=at)
    with anyio.fail_after(20):
        await pipeline.run_async(database=f"sqlite:///{tmp_path / 'x.db'}")
    assert sorted(sink.got) == [0, 1, 2]

"""Rows that a region has just written are handed to the next one in memory: each once, in order, and none left out."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocoder import Batch, ChannelOptions, Pipeline, Source
from autocoder.codec import Codec
from autocoder.database import Database, open_database
from autocoder.declaration import CommitPolicy
from autocoder.runtime import inlet as inlets
from autocoder.runtime.channel import Channel
from autocoder.runtime.inlet import Inlet
from autocoder.runtime.region import Epoch, Region
from autocoder.store.committing import Committer
from autocoder.store.epoch import EpochCommit, Output, Placed
from autocoder.store.inbox import insert_messages
from autocoder.store.schema import prepare
from autocoder.store.store import Store
from autocoder.store.tables import regions
from tests.store.statements import asked
from tests.support import Collect

PLACE = ("c", "in")


class Numbers(Source[int]):
    """Counts, ten at a time."""

    upto: int

    def read(self, resume: int | None, /) -> Iterator[Batch[int]]:
        for at in range(resume or 0, self.upto, 10):
            yield Batch(list(range(at, at + 10)), at + 10)


class Scene:
    """An inlet, the region that writes to its channel, and another process that does so as well."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.committer = Committer(database, "p")
        self.channel = Channel("x", capacity=10_000)
        region = Region("r", CommitPolicy(), _nothing, _nothing)
        self.inlet = Inlet(Store(database, "p"), *PLACE, self.channel, Codec(int), region, traced=False)
        self.epoch = self.number = 0

    def numbers(self, count: int) -> list[str]:
        self.number += count
        return [str(number) for number in range(self.number - count, self.number)]

    async def commit(self, count: int) -> list[Placed]:
        self.epoch += 1
        output = Output("source", *PLACE, self.numbers(count))
        return await self.committer.commit(EpochCommit("region", 1, self.epoch, outputs=[output]))

    async def write(self, count: int) -> None:
        async with self.database.transaction() as connection:
            await insert_messages(connection, "p", *PLACE, self.numbers(count))

    async def take(self) -> None:
        rows = await self.inlet._next()
        if rows:
            self.inlet._put(rows)

    async def take_all(self) -> list[int]:
        """What the consumer gets, from the beginning."""
        while rows := await self.inlet._next():
            self.inlet._put(rows)
        taken = self.channel.take()
        return taken if isinstance(taken, list) else []


async def _nothing(_: Epoch) -> None:
    """No commit."""


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    async with open_database(f"sqlite:///{folder}/x.db") as database:
        await prepare(database)
        async with database.transaction() as connection:
            await connection.execute(regions.insert().values(pipeline="p", region="region", token=1))
        yield Scene(database)


steps = st.lists(st.tuples(st.sampled_from(["hand", "keep", "write", "take"]), st.integers(1, 40)), max_size=25)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_whoever_writes_and_whenever_the_consumer_takes(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with scene(Path(folder)) as at:
                for step, count in steps:
                    if step == "write":
                        await at.write(count)
                    elif step == "take":
                        await at.take()
                    else:
                        placed = await at.commit(count)
                        if step == "hand":
                            at.inlet.offer(placed[0])
                assert await at.take_all() == list(range(at.number))

    anyio.run(play)


@pytest.mark.anyio
async def test_rows_that_were_read_already_are_not_taken_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        placed = await at.commit(5)
        await at.take()
        at.inlet.offer(placed[0])
        assert await at.take_all() == [0, 1, 2, 3, 4]


@pytest.mark.anyio
async def test_rows_are_not_taken_before_others_that_stand_in_front(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.write(3)
        at.inlet.offer((await at.commit(2))[0])
        assert await at.take_all() == [0, 1, 2, 3, 4]


@pytest.mark.anyio
async def test_no_more_is_held_in_memory_than_is_fetched_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inlets, "LARGE", 60)
    async with scene(tmp_path) as at:
        for _ in range(10):
            at.inlet.offer((await at.commit(10))[0])
        assert sum(len(each._placed.seqs) for each in at.inlet._handed) <= 60
        assert await at.take_all() == list(range(100))


def test_a_consumer_that_keeps_up_reads_nothing_back(tmp_path: Path) -> None:
    pipeline, sink = Pipeline("p", messages=10), Collect()
    numbers = pipeline.add("numbers", Numbers(upto=1000))
    pipeline.add("sink", sink, after=numbers, channel=ChannelOptions(durable=True))
    with asked() as statements:
        pipeline.run(database=f"sqlite:///{tmp_path}/x.db")
    assert sink.got == list(range(1000))
    reads = [each for each in statements if "message_data" in each.sql and each.sql.startswith("SELECT")]
    assert len(reads) < 50  # of a hundred epochs

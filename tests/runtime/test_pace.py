"""What is read and not yet committed stays within bounds: a source waits for commits (I11)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from autocoder import Batch, ChannelOptions, Pipeline, Sink, Source, Statement, Transformer, Value
from autocoder.runtime.pace import TURN
from autocoder.runtime.region import IN_FLIGHT
from autocoder.runtime.unit import CHUNK
from tests.support import Collect, PlainNumbers

COUNT, SIZE, MESSAGES = 20_000, 50, 100


class Eager(Source[int]):
    """Reads as fast as it is let, and notes how far it is ahead of what is safe."""

    def check(self) -> None:
        self.safe = 0
        self.ahead = 0

    def read(self, resume: int | None, /) -> Iterator[Batch[int]]:
        for at in range(resume or 0, COUNT, SIZE):
            self.ahead = max(self.ahead, at - self.safe)
            yield Batch(range(at, at + SIZE), at + SIZE)

    async def committed(self, position: int, /) -> None:
        self.safe = position


class Same(Transformer[int, int]):
    """Gives what it takes."""

    def process(self, number: int, /) -> int:
        return number


class Rows(Sink[int]):
    """Writes rows into the pipeline's database."""

    def statements(self, batch: Sequence[int], /) -> Iterable[Statement]:
        yield Statement(sa.text("CREATE TABLE IF NOT EXISTS numbers (number BIGINT PRIMARY KEY)"))
        table = sa.table("numbers", sa.column("number"))
        yield Statement(sa.insert(table), [{"number": number} for number in batch])


@pytest.mark.anyio
@pytest.mark.parametrize("durable", [True, False])
async def test_a_source_waits_for_commits(tmp_path: Path, durable: bool) -> None:
    source = Eager()
    pipeline = Pipeline("paced", messages=MESSAGES)
    same = pipeline.add("same", Same(), after=pipeline.add("eager", source), channel=ChannelOptions(durable=durable))
    pipeline.add("rows", Rows(), after=same)
    summary = await pipeline.run_async(database=f"sqlite:///{tmp_path / 'x.db'}")
    assert summary.components["rows"].taken == COUNT
    assert source.safe == COUNT
    assert source.ahead <= IN_FLIGHT * MESSAGES + 2 * CHUNK


class Slow(Transformer[int, int]):
    """Keeps everything else waiting, and notes how often it did since the others ran."""

    seconds: float = 0.02

    def check(self) -> None:
        self.calls = 0
        self.longest = 0

    def process(self, number: int, /) -> int:
        time.sleep(self.seconds)
        self.calls += 1
        self.longest = max(self.longest, self.calls)
        return number


class SlowWithState(Slow):
    """The same, one message at a time."""

    seen = Value(int, default=0)

    def process(self, number: int, /) -> int:
        self.seen.value = number
        return super().process(number)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [Slow, SlowWithState])
async def test_plain_handlers_that_take_long_let_others_run(kind: type[Slow]) -> None:
    slow, sink = kind(), Collect()
    pipeline = Pipeline("slow")
    at = pipeline.add("numbers", PlainNumbers(upto=60, size=60))
    pipeline.add("sink", sink, after=pipeline.add("slow", slow, after=at))

    async def others() -> None:
        while True:
            slow.calls = 0
            await anyio.sleep(0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        await pipeline.run_async()
        tasks.cancel_scope.cancel()
    assert sink.got == list(range(60))
    assert slow.longest <= TURN / slow.seconds + 1

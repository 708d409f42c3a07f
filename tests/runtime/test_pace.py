"""What is read and not yet committed stays within bounds: a source waits for commits (I11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from autocoder import Batch, ChannelOptions, Pipeline, Sink, Source, Statement, Transformer
from autocoder.runtime.region import IN_FLIGHT
from autocoder.runtime.unit import CHUNK

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

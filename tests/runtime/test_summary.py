"""The summary counts what an earlier run left, and every message once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from autocoder import Batch, ChannelOptions, ErrorPolicy, Pipeline, PipelineError, Rejected, Sink, Source
from autocoder.database import open_database
from autocoder.store.dead_letters import DeadLetters
from autocoder.store.schema import prepare
from tests.store.jobs import every_letter
from tests.support import Numbers


class Door(Sink[int]):
    """Takes nothing as long as it is shut."""

    shut: bool

    def write(self, batch: Sequence[int], /) -> None:
        if self.shut:
            raise ValueError("shut")


def ran(database: str, *, shut: bool) -> tuple[int, bool]:
    pipeline = Pipeline("left")
    numbers = pipeline.add("numbers", Numbers(upto=5))
    stop = ErrorPolicy(then="stop")
    pipeline.add("door", Door(shut=shut), after=numbers, channel=ChannelOptions(durable=True), on_error=stop)
    summary = pipeline.run(database=database)
    return summary.messages_in, summary.did_nothing


def test_what_an_earlier_run_left(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'x.db'}"
    with pytest.raises(PipelineError):
        ran(database, shut=True)
    assert ran(database, shut=False) == (0, False)
    assert ran(database, shut=False) == (0, True)


async def replayed(database: str, *, shut: bool) -> tuple[int, int, int]:
    """What the summary of a run says that is given the dead letters of the one before: in, out, dead letters."""
    async with open_database(database) as opened:
        await DeadLetters(opened).replay(await every_letter(opened))
    pipeline = Pipeline("left")
    numbers = pipeline.add("numbers", Numbers(upto=5))
    pipeline.add("door", Door(shut=shut), after=numbers)
    summary = await pipeline.run_async(database=database)
    return summary.messages_in, summary.messages_out, summary.dead_letters


@pytest.mark.anyio
async def test_what_is_replayed_is_counted_as_taken(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'x.db'}"
    async with open_database(database) as opened:
        await prepare(opened)
    assert await replayed(database, shut=True) == (5, 0, 5)
    assert await replayed(database, shut=True) == (0, 0, 5)
    assert await replayed(database, shut=False) == (0, 5, 0)


class Odd(Source[Any]):
    """Something that JSON knows, something that it does not, and something that the source rejects."""

    def read(self, resume: int | None, /) -> Iterator[Batch[Any]]:
        yield Batch([1, object()], resume=1, rejected=[Rejected("x", ValueError("no number"))])


def test_what_cannot_leave_a_source_is_read_once(tmp_path: Path) -> None:
    pipeline = Pipeline("odd")
    pipeline.add("door", Door(shut=False), after=pipeline.add("odd", Odd()), channel=ChannelOptions(durable=True))
    summary = pipeline.run(database=f"sqlite:///{tmp_path / 'x.db'}")
    assert (summary.messages_in, summary.messages_out, summary.dead_letters) == (2, 1, 2)
    odd = summary.components["odd"]
    assert (odd.taken, odd.given, odd.dead_letters) == (3, 2, 2)

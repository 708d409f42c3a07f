"""Dead letters at an output: what a source rejected, and what a durable channel could not take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autocoder import Batch, Pipeline, Source, Transformer
from autocoder.database import open_database
from autocoder.declaration import ChannelOptions
from autocoder.message import Rejected
from autocoder.store.dead_letters import DeadLetters, Letter, Selection
from tests.support import Collect, Double, Numbers

pytestmark = pytest.mark.anyio
DURABLE = ChannelOptions(durable=True)


class Rejecting(Source[int]):
    """Three numbers, and a piece that is none."""

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        if resume is None:
            yield Batch([1, 2, 3], resume=1, rejected=[Rejected("vier", ValueError("no number"), "file:4")])


@dataclass
class Thing:
    """A payload with something that no JSON can hold, for one number."""

    number: int
    what: Any = None


class Make(Transformer[int, Thing]):
    """A thing for each number."""

    def process(self, number: int, /) -> Thing:
        return Thing(number, object() if number == 2 else None)


async def letters(url: str) -> list[Letter]:
    async with open_database(url) as database:
        return [each async for page in DeadLetters(database).matching(Selection()) for each in page]


async def mend(url: str, data: str) -> None:
    """Give the one dead letter another payload, and replay it."""
    async with open_database(url) as database:
        dead = DeadLetters(database)
        (letter,) = await letters(url)
        with pytest.raises(ValueError, match="without payload"):
            await dead.replay([letter])
        assert await dead.edit(letter, data, who="me")
        assert len(await dead.replay(await letters(url))) == 1


@pytest.mark.parametrize("channel", [ChannelOptions(), DURABLE], ids=["memory", "durable"])
async def test_a_rejected_piece_goes_on_once_it_is_a_payload(tmp_path: Path, channel: ChannelOptions) -> None:
    url, sinks = f"sqlite:///{tmp_path}/x.db", [Collect(), Collect()]

    async def run() -> int:
        pipeline = Pipeline("rejects")
        source = pipeline.add("source", Rejecting())
        pipeline.add("one", sinks[0], after=pipeline.add("double", Double(), after=source), channel=channel)
        pipeline.add("two", sinks[1], after=source, channel=channel)
        return (await pipeline.run_async(database=url)).dead_letters

    assert await run() == 1
    await mend(url, '"five"')
    assert await run() == 1, "which is no number, either"
    (letter,) = await letters(url)
    assert letter.replayed == 1
    async with open_database(url) as database:
        await DeadLetters(database).edit(letter, "4", who="me")
        await DeadLetters(database).replay(await letters(url))
    assert await run() == 0
    assert (await run(), await letters(url)) == (0, [])
    assert [sorted(sink.got) for sink in sinks] == [[2, 4, 6, 8], [1, 2, 3, 4]]


async def test_what_a_channel_refused_goes_on_through_that_channel_alone(tmp_path: Path) -> None:
    url, durable, memory = f"sqlite:///{tmp_path}/x.db", Collect(), Collect()

    async def run() -> int:
        pipeline = Pipeline("refuses")
        things = pipeline.add("make", Make(), after=pipeline.add("numbers", Numbers(upto=4)))
        pipeline.add("durable", durable, after=things, channel=DURABLE)
        pipeline.add("memory", memory, after=things)
        return (await pipeline.run_async(database=url)).dead_letters

    assert await run() == 1
    assert [each.number for each in memory.got] == [0, 1, 2, 3]
    await mend(url, '{"number": 2, "what": "mended"}')
    assert (await run(), await letters(url)) == (0, [])
    assert [each["number"] if isinstance(each, dict) else each.number for each in durable.got] == [0, 1, 3, 2]
    assert len(memory.got) == 4

"""Rows that cannot be written, or were edited by hand: the message is at fault and nobody else, and what is wrong is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from autocoder import Batch, Keyed, Pipeline, Source, Transformer
from autocoder.codec import MOST_BYTES
from autocoder.database import Database
from autocoder.declaration import ChannelOptions
from autocoder.errors import AutocoderError
from autocoder.store.tables import component_state
from tests.store.jobs import every_letter
from tests.support import Collect, Numbers

pytestmark = pytest.mark.anyio


class Pieces(Source[Any]):
    """Something that JSON knows, something that it does not, something too large, and a last one."""

    def read(self, resume: int | None, /) -> Iterator[Batch[Any]]:
        yield Batch([1, object(), "x" * (MOST_BYTES + 1), float("nan"), "\ud800", 2], resume=1)


async def test_a_payload_that_cannot_be_written_down_is_kept_by_hash_and_size(database: Database) -> None:
    pipeline, collect = Pipeline("pieces"), Collect()
    at = pipeline.add("pieces", Pieces())
    pipeline.add("collect", collect, after=at, channel=ChannelOptions(durable=True))
    await pipeline.run_async(database=database.options)
    letters = await every_letter(database)
    told = {each.details["payload"]["type"]: each for each in letters}
    assert told["object"].data is None and told["str"].data is None
    assert all("sha256" in each.details["payload"] for each in letters)
    assert any(each.details["payload"]["bytes"] == MOST_BYTES + 3 for each in letters)
    assert [each for each in collect.got if each in (1, 2)] == [1, 2]
    assert len(collect.got) + len(letters) == 6


class Totals(Transformer[int, int]):
    """The running total."""

    total = Keyed(int, default=0)

    def key(self, number: int, /) -> str:
        return "all"

    def process(self, number: int, /) -> int:
        self.total.value += number
        return self.total.value


def summing(upto: int) -> Pipeline:
    pipeline = Pipeline("sums")
    at = pipeline.add("totals", Totals(), after=pipeline.add("numbers", Numbers(upto=upto)))
    pipeline.add("collect", Collect(), after=at)
    return pipeline


async def test_state_that_was_edited_to_garbage_is_told_with_its_place(database: Database) -> None:
    await summing(10).run_async(database=database.options)
    async with database.transaction() as connection:
        await connection.execute(sa.update(component_state).values(state_data='"hush-hush"'))
    with pytest.raises(AutocoderError) as caught:
        await summing(20).run_async(database=database.options)
    assert "totals" in str(caught.value) and "total" in str(caught.value) and "'all'" in str(caught.value)
    assert "hush-hush" not in str(caught.value)

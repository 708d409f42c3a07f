"""How many rows of a durable channel are fetched at once depends on how long they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.flow import Inbox

from autocoder import ChannelOptions, Pipeline
from autocoder.database import open_database
from autocoder.runtime import inlet
from autocoder.store.inbox import insert_messages
from autocoder.store.schema import prepare
from tests.store.statements import asked
from tests.support import Collect

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("length", "then"),
    [(3, {inlet.BATCH}), (100, {100}), (20_000, {1})],
    ids=["short ones", "as many as fit", "longer than all that fits"],
)
async def test_long_rows_are_fetched_in_small_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, then: set[int]
) -> None:
    monkeypatch.setattr(inlet, "LARGE", 10_000)
    texts = [f"{number:0{length - 2}}" for number in range(10 if length < 10 else 150)]
    limits = await fetched(f"sqlite:///{tmp_path}/x.db", texts, ChannelOptions(), "texts")
    assert limits[0] == inlet.FIRST
    assert set(limits[1:]) == then


@pytest.mark.parametrize("capacity", [1, 7, 100])
async def test_no_more_rows_are_fetched_at_once_than_the_channel_has_capacity_for(
    tmp_path: Path, capacity: int
) -> None:
    texts = [str(number) for number in range(150)]
    channel = ChannelOptions(durable=True, capacity=capacity)
    limits = await fetched(f"sqlite:///{tmp_path}/x.db", texts, channel, "sink")
    assert (limits[-1], max(limits)) == (capacity, capacity)


@pytest.mark.parametrize("component", ["texts", "sink"])
async def test_no_more_rows_are_fetched_at_once_than_an_epoch_is_to_hold(tmp_path: Path, component: str) -> None:
    texts = [str(number) for number in range(150)]
    channel = ChannelOptions(durable=True)
    limits = await fetched(f"sqlite:///{tmp_path}/x.db", texts, channel, component, messages=40)
    assert (limits[-1], max(limits)) == (40, 40)


async def fetched(
    url: str, texts: list[str], channel: ChannelOptions, component: str, *, messages: int = 10_000
) -> list[int]:
    """The limits of all fetches for an input of a component in a run that gives all texts in their order."""
    async with open_database(url) as database:
        await prepare(database)
        async with database.transaction() as connection:
            await insert_messages(connection, "long", "texts", "in", [json.dumps(each) for each in texts])
    sink = Collect()
    pipeline: Any = Pipeline("long", messages=messages)
    inbox = pipeline.add("texts", Inbox(payload=str, until_empty=True))
    pipeline.add("sink", sink, after=inbox, channel=channel)
    with asked() as statements:
        await pipeline.run_async(database=url)
    assert sink.got == texts
    fetches = [each.values for each in statements if "port_messages.seq > " in each.sql and component in each.values]
    return [values[-2] for values in fetches if "in" in values]

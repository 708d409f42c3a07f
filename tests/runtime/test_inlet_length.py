"""How many rows of a durable channel are fetched at once depends on how long they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.flow import Inbox

from autocoder import Pipeline
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
    url = f"sqlite:///{tmp_path}/x.db"
    texts = [f"{number:0{length - 2}}" for number in range(10 if length < 10 else 150)]
    async with open_database(url) as database:
        await prepare(database)
        async with database.transaction() as connection:
            await insert_messages(connection, "long", "texts", "in", [json.dumps(each) for each in texts])
    sink = Collect()
    pipeline: Any = Pipeline("long")
    pipeline.add("sink", sink, after=pipeline.add("texts", Inbox(payload=str, until_empty=True)))
    with asked() as statements:
        await pipeline.run_async(database=url)
    assert sink.got == texts
    fetches = [each.values for each in statements if "port_messages.seq > " in each.sql and "texts" in each.values]
    limits = [values[-2] for values in fetches if "in" in values]
    assert limits[0] == inlet.FIRST
    assert set(limits[1:]) == then

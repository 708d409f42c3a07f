"""Several writers may commit in another order than their rows are numbered: no row is missed, and to look for one that
came late reads no payload of those that are known."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.flow import Inbox

from autocoder import Pipeline
from autocoder.database import open_database
from autocoder.store.schema import prepare
from autocoder.store.tables import port_messages
from tests.store.filled import message
from tests.store.fresh import fresh_postgres
from tests.store.statements import asked
from tests.support import Collect

pytestmark = pytest.mark.anyio


async def test_a_row_of_a_lower_number_that_is_committed_later_is_found_by_its_number(postgres_url: str) -> None:
    sink, pipeline = Collect(), Pipeline("swept")
    pipeline.add("sink", sink, after=pipeline.add("inbox", Inbox(payload=int)))
    async with fresh_postgres(postgres_url) as url, open_database(url) as database:
        await prepare(database)

        async def write(*rows: tuple[int, str]) -> None:
            place: dict[str, Any] = {"pipeline": "swept", "target_component": "inbox", "source_component": ""}
            async with database.transaction() as connection:
                for seq, data in rows:
                    await connection.execute(
                        sa.insert(port_messages).values(message(seq=seq, message_data=data, **place))
                    )

        async def arrived(*numbers: int) -> None:
            with anyio.fail_after(60):
                while sink.got != list(numbers):
                    await anyio.sleep(0.01)

        async def run() -> None:
            await pipeline.run_async(database=url)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await write((1000, "1"), (2000, "2"))
            await arrived(1, 2)
            with asked() as statements:
                await write((7, "3"), (1500, "4"))
                await arrived(1, 2, 3, 4)
            pipeline.drain()
    reads = [each for each in statements if each.sql.startswith("SELECT") and "port_name =" in each.sql]
    payloads = [each for each in reads if "message_data" in each.sql and 0 in each.values]
    assert len(reads) > len(payloads) == 1
    assert {7, 1500} <= set(payloads[0].values)

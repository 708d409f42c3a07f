"""A message that is completed changes its row in place on SQLite: what is long is not written a second time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from autocoder.database import open_database
from autocoder.store.committing import Committer
from autocoder.store.epoch import EpochCommit, Output, Settled
from autocoder.store.inbox import store_messages
from autocoder.store.schema import prepare
from autocoder.store.tables import port_messages, regions
from tests.store.fresh import fresh_sqlite

pytestmark = pytest.mark.anyio
PAYLOAD = f'"{"x" * 1_000_000}"'


@pytest.mark.parametrize("is_sent", [False, True])
async def test_the_completion_of_a_long_message_writes_little(tmp_path: Path, is_sent: bool) -> None:
    log = tmp_path / "autocoder.db-wal"
    async with open_database(fresh_sqlite(tmp_path)) as database:
        await prepare(database)
        async with database.transaction() as connection:
            await connection.execute(sa.insert(regions), [{"pipeline": "p", "region": "r", "token": 1}])
        committer = Committer(database, "p")

        async def commit(number: int, *, outputs: Sequence[Output] = (), settled: Sequence[Settled] = ()) -> int:
            before = log.stat().st_size
            await committer.commit(EpochCommit("r", 1, number, outputs=list(outputs), settled=list(settled)))
            return log.stat().st_size - before

        if is_sent:
            before = log.stat().st_size
            await store_messages(database, "p", "work", "in", [PAYLOAD])
            written = log.stat().st_size - before
        else:
            written = await commit(1, outputs=[Output("source", "work", "in", [PAYLOAD])])
        completed = await commit(2, settled=[Settled("work", "in", [1])])

        async with database.reading() as connection:
            (row,) = await connection.execute(sa.select(port_messages.c.status, port_messages.c.message_data))
    assert tuple(row) == ("completed", PAYLOAD)
    assert written > len(PAYLOAD) and completed < len(PAYLOAD) / 10, (written, completed)
